"""What can go wrong for a reason the user can mend.

The command line prints any of these as one sentence and exits with code 2.
"""


class I2fetError(Exception):
    """Base of every error caused by the input rather than by this program."""


class PhotoError(I2fetError):
    """A photo that cannot be read."""


class NoFaceError(PhotoError):
    """A readable photo in which no face was found."""


class FaceTooSmallError(PhotoError):
    """A face with too few pixels to read an expression from."""


class InstructionError(I2fetError):
    """A sentence that names no expression, or one that is not known."""


class CheckpointError(I2fetError):
    """A checkpoint that is missing, broken, or made for another head or label set."""


class AssetError(I2fetError):
    """An optional or shipped file that is missing or not the expected one."""


class DatasetError(I2fetError):
    """A dataset folder that is missing, empty, or not in the expected layout."""


class OptionError(I2fetError, ValueError):
    """An option whose value cannot work."""


class OutputError(I2fetError):
    """A file or folder that cannot be written."""
