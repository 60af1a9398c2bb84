"""Lightning modules, one per model."""

from i2fet.tasks.base import BaseTask, DataSource
from i2fet.tasks.i2fet import I2FETTask

__all__ = ["BaseTask", "DataSource", "I2FETTask"]
