"""Experiments: one YAML each, and the scripts that derive assets, tables and reports."""
