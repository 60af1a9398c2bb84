"""Photos of any kind to RGB pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from i2fet.errors import PhotoError

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""

Photo = str | os.PathLike[str] | np.ndarray | Image.Image
"""A file, a picture array, or a PIL image."""

MAX_SIDE = 2048
MAX_MEGAPIXELS = 150
STRIP = 64
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError)
"""What Pillow raises for broken files, by format."""

_limit_lock = Lock()


def load_photo(source: Photo, max_side: int = MAX_SIDE) -> Picture:
    """Read a photo upright.

    Orientation tags are honoured, transparency is laid on white, 16 bits become 8, and an animation
    gives its first picture.

    Args:
        source: A path, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8,
            uint16, or floats in [0, 1].
        max_side: Larger photos are reduced to it while they are read, pixels.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        PhotoError: If there is no such file, or it is not a whole picture.
    """
    if isinstance(source, np.ndarray):
        return _normalize(_from_array(source), max_side)
    if isinstance(source, Image.Image):
        return _normalize(source.copy(), max_side)
    path = Path(source)
    if path.is_dir():
        raise PhotoError(f"{path} is a folder; give the pictures in it, such as {path / '*.jpg'}")
    if not path.is_file():
        raise PhotoError(f"there is no photo {path}; give the path of an existing picture file")
    if path.stat().st_size == 0:
        raise PhotoError(f"the photo {path} is empty; copy or download it again")
    try:
        with _no_pixel_limit(), Image.open(path) as image:
            _check_size(image, path)
            return _normalize(image, max_side)
    except UNREADABLE as error:
        raise PhotoError(
            f"the photo {path} cannot be read ({error}); save it again as JPEG or PNG"
        ) from error


@contextmanager
def _no_pixel_limit() -> Iterator[None]:
    """Lift Pillow's limit, which is below a 12,000 pixel panorama; `_check_size` has its own."""
    with _limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_size(image: Image.Image, path: Path) -> None:
    megapixels = image.width * image.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise PhotoError(
            f"the photo {path} has {megapixels:.0f} megapixels, more than {MAX_MEGAPIXELS}; "
            "reduce it first"
        )


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    colors = array.ndim == 3 and array.shape[2] in (3, 4)
    if not (array.ndim == 2 or colors) or array.size == 0:
        raise PhotoError(
            f"a picture of shape {array.shape} is not supported; give (H, W), (H, W, 3) or "
            "(H, W, 4)"
        )
    return Image.fromarray(_to_8_bits(array))


def _to_8_bits(array: np.ndarray) -> Picture:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array // 257).astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating) and 0 <= array.min() <= array.max() <= 1:
        return np.rint(array * 255).astype(np.uint8)
    raise PhotoError(
        f"a picture of {array.dtype} from {array.min()} to {array.max()} is not supported; give "
        "uint8, uint16, or floats in [0, 1]"
    )


def _normalize(image: Image.Image, max_side: int) -> Picture:
    image.draft(None, (max_side, max_side))
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    small = _reduce(image, max(image.size) // max_side)
    small.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    small.getexif()[ExifTags.Base.Orientation] = orientation
    return np.array(ImageOps.exif_transpose(small))


def _reduce(image: Image.Image, factor: int) -> Image.Image:
    """RGB, smaller by a whole factor; in strips, so that a large photo is held only once."""
    if factor < 2:
        return _to_rgb(image)
    width, height = image.size
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for row in range(0, small.height, STRIP):
        bottom = min((row + STRIP) * factor, height)
        strip = _to_rgb(image.crop((0, row * factor, width, bottom)))
        small.paste(strip.reduce(factor), (0, row))
    return small


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB of 8 bits, transparency on white."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        high = np.asarray(image).clip(0, 65535).astype(np.uint16)
        image = Image.fromarray(_to_8_bits(high))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
