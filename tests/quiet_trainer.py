"""Trainers that show nothing and keep nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning import Trainer


def make_trainer(folder: Path, epochs: int = 1, **options: Any) -> Trainer:
    """On the CPU, with a folder for what options ask to be kept."""
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**{**quiet, **options}, max_epochs=epochs, default_root_dir=folder)
