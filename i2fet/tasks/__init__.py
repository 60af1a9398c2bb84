"""Lightning modules, one per model."""

from i2fet.tasks.base import BaseTask, DataSource
from i2fet.tasks.classifier import ExpressionClassifierTask
from i2fet.tasks.face_encoder import FaceEncoderTask
from i2fet.tasks.i2fet import I2FETTask
from i2fet.tasks.instruction_reader import InstructionReaderTask
from i2fet.tasks.matching import MatchingTask
from i2fet.tasks.motionclip import MotionClipTask
from i2fet.tasks.ned import NEDTask
from i2fet.tasks.word_namer import WordNamerTask

__all__ = [
    "BaseTask",
    "DataSource",
    "ExpressionClassifierTask",
    "FaceEncoderTask",
    "I2FETTask",
    "InstructionReaderTask",
    "MatchingTask",
    "MotionClipTask",
    "NEDTask",
    "WordNamerTask",
]
