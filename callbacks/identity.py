"""What a run is: its data, its code, its judge."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from callbacks.drawing import wandb_loggers
from i2fet.files import replacing
from i2fet.runs import run_folder

IDENTITY = "run.json"
SYNTHETIC = "synthetic"
"""Tag of runs whose people never lived."""

DATA = ("description", "population", "view", SYNTHETIC, "head_name", "encoder_name", "text_name")
PACKAGES = ("i2fet", "lightning", "torch")


class RunIdentity(Callback):
    """Writes `run.json` into the run's folder, and the same into W&B's configuration and tags."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = run_folder(trainer)
        if folder is None or not trainer.is_global_zero:
            return
        identity = describe_run(trainer, pl_module, stage)
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / IDENTITY) as unfinished:
            unfinished.write_text(json.dumps(identity, indent=1))
        for logger in wandb_loggers(trainer):
            run = logger.experiment
            run.config.update({"run": identity}, allow_val_change=True)
            if identity["data"].get(SYNTHETIC):
                run.tags = (*(run.tags or ()), SYNTHETIC)


def describe_run(trainer: Trainer, task: LightningModule, stage: str) -> dict[str, Any]:
    """All that tells this run from others, in plain values."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    return {
        "command": sys.argv,
        "stage": stage,
        "task": type(task).__name__,
        "data": {name: getattr(data, name) for name in DATA if hasattr(data, name)},
        "judge": getattr(task, "judged_by", None),
        "processes": trainer.world_size,
        "git": git_state(Path(__file__).parent),
        "versions": {name: version(name) for name in PACKAGES},
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit that is checked out, and whether files differ from it; None outside of git."""
    git = shutil.which("git")
    if git is None:
        return None

    def ask(*question: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([git, "-C", folder, *question], capture_output=True, text=True)

    commit = ask("rev-parse", "HEAD")
    if commit.returncode:
        return None
    changes = ask("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit.stdout.strip(), "changed": bool(changes.stdout)}
