"""What every training task shares: provenance, optimiser, checkpoints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

from lightning import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from typing_extensions import Self

from i2fet.emotions import Emotion
from i2fet.errors import CheckpointError
from i2fet.heads import load_head


class DataSource(Protocol):
    """What a task reads off the data module, once that is set up.

    Attributes:
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
        vertex_scale: `vertex_spread` of the training part, metres.
    """

    emotions: tuple[Emotion, ...]
    head_name: str
    encoder_name: str
    text_name: str
    text_width: int
    synthetic: bool
    description: str
    statistics: dict[str, Tensor]
    class_means: dict[str, Tensor]

    @property
    def vertex_scale(self) -> float: ...


@dataclass(frozen=True)
class Provenance:
    """Where a model's training data came from, in plain values.

    Attributes:
        head: Name of the head of all coefficients.
        expression_range: Lowest and highest expression coefficient of that head.
        emotions: The label set.
        encoder: What read the coefficients from pictures.
        text: Name of the text encoder.
        text_width: Width of its token embeddings.
        synthetic: Whether the model was trained on invented people.
        description: The data in one line.
    """

    head: str
    expression_range: tuple[float, float]
    emotions: tuple[str, ...]
    encoder: str
    text: str
    text_width: int
    synthetic: bool
    description: str

    @classmethod
    def of(cls, data: DataSource) -> Provenance:
        """Describe a data module that is set up."""
        low, high = load_head(data.head_name).expression_range
        return cls(
            head=data.head_name,
            expression_range=(float(low), float(high)),
            emotions=tuple(str(emotion) for emotion in data.emotions),
            encoder=data.encoder_name,
            text=data.text_name,
            text_width=data.text_width,
            synthetic=data.synthetic,
            description=data.description,
        )

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Provenance:
        """From a checkpoint's or a configuration file's plain values."""
        tuples = {key: tuple(values[key]) for key in ("expression_range", "emotions")}
        return cls(**{**values, **tuples})

    def check(self, other: Provenance) -> None:
        """Compare a trained model's provenance with that of data it meets.

        Warns when another encoder or text model produced the data.

        Raises:
            CheckpointError: If the head, the label set or the text width differs.
        """
        for part in ("head", "emotions", "text_width"):
            mine, theirs = getattr(self, part), getattr(other, part)
            if mine != theirs:
                raise CheckpointError(
                    f"the model was trained for {part} {_shown(mine)} but the data has "
                    f"{_shown(theirs)}; use a model and data that agree"
                )
        for part in ("encoder", "text"):
            mine, theirs = getattr(self, part), getattr(other, part)
            if mine != theirs:
                rank_zero_warn(f"the model was trained with {part} {mine} and now meets {theirs}")


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
    """

    def __init__(
        self,
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None = None,
        provenance: dict[str, Any] | None = None,
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
        try:
            task = cls.load_from_checkpoint(path, map_location="cpu", weights_only=True)
        except OSError as error:
            raise CheckpointError(
                f"the checkpoint {path} cannot be read ({error.strerror}); train or download one"
            ) from error
        except (UnpicklingError, EOFError, KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f"{path} is broken or not a checkpoint of {cls.__name__}; give another one"
            ) from error
        return task.eval()

    @property
    def provenance(self) -> Provenance:
        """Where the training data came from; known once the task is set up."""
        return Provenance.from_values(self.hparams["provenance"])

    def card(self) -> str:
        """What was trained on what, in one line."""
        return (
            f"{type(self).__name__.removesuffix('Task')} trained on {self.provenance.description}"
        )

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

    def setup(self, stage: str) -> None:
        """Learn from the data module, or check that it fits what the task has learnt."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is not None:
            self._meet(data)
        elif self.hparams["provenance"] is None:
            raise ValueError("a new task learns the label set and the head from a data module")
        self.configure_losses()

    def configure_optimizers(self) -> Any:
        """The optimiser, with the scheduler if there is one."""
        optimizer = self.optimizer_factory(self.parameters())
        if self.scheduler_factory is None:
            return optimizer
        scheduler = self.scheduler_factory(optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume on data that the checkpoint does not know."""
        stored = checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY]["provenance"]
        Provenance.from_values(stored).check(self.provenance)

    def _configure(self) -> None:
        self.configure_models()
        self.configure_metrics()

    def _meet(self, data: DataSource) -> None:
        found = Provenance.of(data)
        if self.hparams["provenance"] is not None:
            self.provenance.check(found)
            return
        self.hparams["provenance"] = asdict(found)
        self._configure()
        self.adopt(data)


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else repr(value)
