"""Data for every task: readers, synthetic corpora, caches and the Lightning data module."""
