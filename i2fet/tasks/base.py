"""What every training task shares: provenance, optimiser, checkpoints."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypedDict

from lightning import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.optim import Optimizer
from typing_extensions import Self

from i2fet.checkpoint import Provenance, reading_checkpoint
from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import Emotion
from i2fet.errors import OptionError
from i2fet.heads import load_head
from i2fet.tasks.optimizers import allow_clipping

logger = logging.getLogger(__name__)

Values = dict[str, str | bool | int | list[str] | list[int] | list[float]]
"""Plain hyperparameters; typed so that the command line does not read strings as YAML."""


class Evaluated(TypedDict, total=False):
    """What steps of validation and testing return, for callbacks to draw; N faces of a batch.

    Attributes:
        emotion: (N,) int64 what each face should show, indices into the label set.
        named: (N,) int64 what it was taken for, by kind of face, such as "generated".
        latents: (N, D) by their name, such as "mu".
    """

    emotion: Tensor
    named: dict[str, Tensor]
    latents: dict[str, Tensor]


class DataSource(Protocol):
    """What a task reads off the data module, once that is set up.

    Attributes:
        view: What a sample is: "pairs", "faces" or "neutral".
        emotions: The label set; labels in batches are indices into it.
        head_name: The head to which the coefficients belong.
        encoder_name: What read the coefficients from pictures.
        text_name: The text encoder of the token embeddings.
        text_width: Their width D.
        synthetic: Whether the people are invented.
        description: One line for people.
        statistics: expression_mean, expression_std (50,), pose_mean, pose_std (6,) of the training
            part, in head units.
        class_means: expression (E, 50) and pose (E, 6) of each label there; NaN for one that does
            not occur.
        class_counts: (E,) int64 faces of each label there.
        population: Whose names those of the subjects are: a dataset's, or one synthetic corpus's.
        subjects: Names of the subjects in "train", "val" and "test".
        cache_path: Where coefficients that were read off pictures are kept.
        vertex_scale: `vertex_spread` of the training part, metres.
    """

    emotions: tuple[Emotion, ...]
    encoder_name: str
    synthetic: bool
    description: str
    statistics: dict[str, Tensor]
    class_means: dict[str, Tensor]
    class_counts: Tensor
    subjects: dict[str, list[str]]

    @property
    def head_name(self) -> str: ...

    @property
    def text_name(self) -> str: ...

    @property
    def text_width(self) -> int: ...

    @property
    def view(self) -> str: ...

    @property
    def population(self) -> str: ...

    @property
    def cache_path(self) -> Path: ...

    @property
    def vertex_scale(self) -> float: ...


def provenance_of(data: DataSource) -> Provenance:
    """Describe a data module that is set up."""
    low, high = load_head(data.head_name).expression_range
    return Provenance(
        head=data.head_name,
        expression_range=(float(low), float(high)),
        emotions=tuple(str(emotion) for emotion in data.emotions),
        encoder=data.encoder_name,
        text=data.text_name,
        text_width=data.text_width,
        synthetic=data.synthetic,
        description=data.description,
        population=data.population,
    )


def training_part_of(data: DataSource) -> dict[str, Any]:
    """Whom the training part of a data module holds, as plain values for `TrainingPart`."""
    return {
        "population": data.population,
        "subjects": data.subjects["train"],
        "counts": data.class_counts.tolist(),
    }


class BaseTask(LightningModule, ABC):
    """A model, its losses and its metrics.

    A task learns the label set, the head and the widths from the data module when the trainer sets
    it up, builds its model then, and keeps all this in the hyperparameter `provenance`; so its
    checkpoint can be used without any data module. Subclasses implement the `configure_*`
    methods, whose models may rely on `self.provenance`, and the steps.

    Args:
        optimizer: Parameters to optimiser.
        scheduler: Optimiser to a scheduler that steps once an epoch.
        provenance: Set by training, not by the user.

    Attributes:
        view: What a sample must be.
        judged_by: What names expressions in `Evaluated`, if anything does.
    """

    view: ClassVar[str] = "pairs"
    judged_by: ClassVar[str | None] = None

    def __init__(
        self,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        provenance: Values | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["optimizer", "scheduler"])
        self.optimizer_factory = optimizer
        self.scheduler_factory = scheduler
        if provenance is not None:
            self._configure()

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """A trained task on the CPU, ready for use.

        Raises:
            CheckpointError: If the file is missing, broken or of another kind of task.
        """
        with reading_checkpoint(path, cls.__name__):
            task = cls.load_from_checkpoint(path, map_location="cpu", weights_only=True)
        return task.eval()

    @property
    def provenance(self) -> Provenance:
        """Where the training data came from; known once the task is set up."""
        return Provenance.from_values(self.hparams["provenance"])

    @abstractmethod
    def configure_models(self) -> None:
        """Build the networks."""

    @abstractmethod
    def configure_losses(self) -> None:
        """Build what only training and validation need."""

    @abstractmethod
    def configure_metrics(self) -> None:
        """Build the metrics."""

    def adopt(self, data: DataSource) -> None:
        """Take over the training set's statistics into buffers of a new model; none by default."""

    def key_faces(self, batch: dict[str, Tensor]) -> FaceCoefficients | None:
        """The (B, K) faces that pictures of each sample of a batch pass; None where none move."""
        return None

    def log(self, name: str, value: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """As Lightning's, but the mean over an epoch is that of all processes."""
        if kwargs.get("batch_size"):
            # Lightning truncates the mean of the processes' counts, which is whole like this.
            kwargs["batch_size"] *= self.trainer.world_size
        super().log(name, value, **{**kwargs, "sync_dist": True})

    def setup(self, stage: str) -> None:
        """Learn from the data module, or check that it fits what the task has learnt."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if self.hparams["provenance"] is None:
            self.configure_model()
        elif data is not None:
            self._meet(data)
        self.configure_losses()

    def configure_model(self) -> None:
        """Build a new task's networks; callbacks that copy them ask for it before `setup`."""
        if self.hparams["provenance"] is not None:
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is None:
            raise ValueError("a new task learns the label set and the head from a data module")
        self._meet(data)

    def configure_optimizers(self) -> Any:
        """The optimiser, with the scheduler if there is one."""
        optimizer = allow_clipping(self.optimizer_factory(self.parameters()))
        if self.scheduler_factory is None:
            return optimizer
        scheduler = self.scheduler_factory(optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"},
        }

    def on_train_start(self) -> None:
        """Name what a checkpoint to resume from keeps of its optimiser against what was asked."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        if self.trainer.ckpt_path is None or not isinstance(optimizer, Optimizer):
            return
        group = optimizer.param_groups[0]
        for name, asked in optimizer.defaults.items():
            kept = group.get(f"initial_{name}", group.get(name, asked))
            if isinstance(asked, float) and kept != asked:
                logger.warning(
                    "the checkpoint keeps its optimizer's %s %s; the %s asked for is not used",
                    name,
                    kept,
                    asked,
                )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume on data that the checkpoint does not know."""
        stored = checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY]["provenance"]
        Provenance.from_values(stored).check(self.provenance)

    def _configure(self) -> None:
        self.configure_models()
        self.configure_metrics()

    def _meet(self, data: DataSource) -> None:
        if data.view != self.view:
            raise OptionError(
                f"{type(self).__name__} learns from {self.view}, not {data.view}; "
                f"use --data.view {self.view}"
            )
        found = provenance_of(data)
        if self.hparams["provenance"] is not None:
            self.provenance.check(found)
            return
        values = asdict(found).items()
        self.hparams["provenance"] = {k: list(v) if type(v) is tuple else v for k, v in values}
        self._configure()
        self.adopt(data)


def seen_from_front(shape: Tensor, expression: Tensor, pose: Tensor) -> FaceCoefficients:
    """(B, K) faces of (B, 100) shape, (B, K, 50) expression and (B, K, 6) pose."""
    faces = FaceCoefficients.zeros(*expression.shape[:-1], device=expression.device)
    return FaceCoefficients(shape[:, None].expand_as(faces.shape), expression, pose, faces.camera)
