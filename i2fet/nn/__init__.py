"""Networks and losses, as plain modules."""

from i2fet.nn.caft import Caft
from i2fet.nn.generator import ExpressionGenerator
from i2fet.nn.generators import load_generator
from i2fet.nn.i2fet import I2fet
from i2fet.nn.ifed import Ifed
from i2fet.nn.losses import VertexLoss, vertex_spread
from i2fet.nn.motionclip import MotionClip, MotionClipGenerator
from i2fet.nn.ned import Ned, NeutralGenerator
from i2fet.nn.pair_generator import PairGenerator
from i2fet.nn.scaler import CoefficientScaler

__all__ = [
    "Caft",
    "CoefficientScaler",
    "ExpressionGenerator",
    "I2fet",
    "Ifed",
    "MotionClip",
    "MotionClipGenerator",
    "Ned",
    "NeutralGenerator",
    "PairGenerator",
    "VertexLoss",
    "load_generator",
    "vertex_spread",
]
