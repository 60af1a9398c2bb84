"""Weights & Biases with and without an account."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from callbacks.drawing import wandb_loggers
from callbacks.identity import describe_run
from i2fet.tasks.base import BaseTask, DataSource

Mode = Literal["online", "offline", "disabled"]

TRUTH = "true"
"""As the encoder's name says that coefficients were not read off pictures."""


class ReviewLogger(WandbLogger):
    """Weights & Biases, with a run of its own for every training.

    Args:
        project: The runs' project.
        name: Of the run.
        save_dir: Folder of offline runs; they are in `wandb` of it.
        group: The runs it belongs to.
        tags: Further tags.
        mode: By default as `$WANDB_MODE` says; without that, online where an API key is known and
            offline where none is.
    """

    def __init__(
        self,
        project: str = "i2fet",
        name: str | None = None,
        save_dir: str = "outputs",
        group: str | None = None,
        tags: list[str] | None = None,
        mode: Mode | None = None,
    ) -> None:
        Path(save_dir).mkdir(parents=True, exist_ok=True)
        super().__init__(
            name=name,
            save_dir=save_dir,
            project=project,
            group=group,
            tags=tags,
            mode=mode or default_mode(),
        )

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run, so that the next one in this process is another."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(status != "success"))
            self._experiment = None


def default_mode() -> Mode | None:
    """Offline without an API key; else, or if `$WANDB_MODE` is set, W&B's own choice."""
    import wandb

    return None if "WANDB_MODE" in os.environ or wandb.api.api_key else "offline"


class RunArtifacts(Callback):
    """Keeps the lineage of models in W&B: the cache that a run read, the checkpoint that it made.

    The cache stays where it is: only its path and digest are known to W&B, since coefficients of
    people may not be passed on. An offline run cannot say that it uses something: it logs the cache
    as its own, and names it in the checkpoint's metadata.
    """

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        for logger in wandb_loggers(trainer):
            self._log(trainer, pl_module, logger)

    def _log(self, trainer: Trainer, task: LightningModule, logger: WandbLogger) -> None:
        import wandb

        run, metadata = logger.experiment, describe_run(trainer, task, "fit")
        data: DataSource | None = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(task, BaseTask) and data is not None and data.encoder_name != TRUTH:
            cache = data.cache_path
            used = wandb.Artifact(
                f"{cache.parent.name}-{cache.stem}", "cache", metadata={"path": str(cache)}
            )
            used.add_reference(cache.resolve().as_uri())
            metadata["cache"] = {"name": used.name, "digest": used.digest}
            if run.settings.mode == "online":
                run.use_artifact(used)
            else:
                run.log_artifact(used)
        for path in best_checkpoints(trainer):
            made = wandb.Artifact(f"{type(task).__name__}-{run.id}", "model", metadata=metadata)
            made.add_file(str(path))
            run.log_artifact(made, aliases=["best", f"epoch-{trainer.current_epoch}"])


def best_checkpoints(trainer: Trainer) -> list[Path]:
    """What each callback that watches a metric has kept as the best."""
    watching = [
        callback
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback.monitor
    ]
    return [Path(callback.best_model_path) for callback in watching if callback.best_model_path]
