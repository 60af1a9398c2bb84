from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2fet.errors import PhotoError
from i2fet.perception.images import load_photo

MEMORY_SCRIPT = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("error")
import torch
from i2fet.perception import load_photo
assert max(load_photo(sys.argv[1]).shape) == 2048
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.fixture
def gradient() -> np.ndarray:
    rows, columns = np.mgrid[:40, :60]
    return np.stack([rows * 6, columns * 4, 255 - rows * 6], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_tags_are_honoured(
    tmp_path: Path, gradient: np.ndarray, orientation: int
) -> None:
    undo = {
        1: gradient,
        2: gradient[:, ::-1],
        3: gradient[::-1, ::-1],
        4: gradient[::-1],
        5: gradient.swapaxes(0, 1),
        6: np.rot90(gradient, 1),
        7: gradient[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(gradient, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    Image.fromarray(np.ascontiguousarray(undo[orientation])).save(path, exif=exif)
    np.testing.assert_array_equal(load_photo(path), gradient)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_modes(tmp_path: Path, mode: str) -> None:
    values: dict[str, float | tuple[float, ...]] = {"I;16": 65535, "CMYK": (0, 0, 0, 0)}
    path = tmp_path / ("photo.tif" if mode == "CMYK" else "photo.png")
    Image.new(mode, (8, 5), values.get(mode, "white")).save(path)
    np.testing.assert_array_equal(load_photo(path), np.full((5, 8, 3), 255))


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((0, 0), (10, 20, 30, 255))
    expected = np.full((4, 4, 3), 255)
    expected[0, 0] = 10, 20, 30
    np.testing.assert_array_equal(load_photo(image), expected)


def test_arrays_of_every_depth(gradient: np.ndarray) -> None:
    np.testing.assert_array_equal(load_photo(gradient), gradient)
    np.testing.assert_array_equal(load_photo(gradient.astype(np.uint16) * 257), gradient)
    np.testing.assert_array_equal(load_photo(gradient / 255), gradient)
    grey = gradient[..., :1]
    np.testing.assert_array_equal(load_photo(grey), np.repeat(grey, 3, axis=2))


@pytest.mark.parametrize(
    "array",
    [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 5), np.uint8), np.full((4, 4), 3.0)],
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(PhotoError):
        load_photo(array)


def test_large_photos_are_reduced(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (3000, 1500), (200, 100, 50)).save(path)
    photo = load_photo(path)
    assert photo.shape == (1024, 2048, 3)
    assert abs(photo.astype(int) - [200, 100, 50]).max() <= 2


def test_missing_photo_is_named(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"nowhere\.jpg"):
        load_photo(tmp_path / "nowhere.jpg")
    with pytest.raises(PhotoError, match=r"is a folder; .*\*\.jpg"):
        load_photo(tmp_path)


@pytest.mark.parametrize("content", [b"", b"dear diary", b"\xff\xd8\xff\xe0"])
def test_files_that_are_no_photos(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=r"photo\.jpg"):
        load_photo(path)


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_truncated_photos(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"photo.{ending}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PhotoError, match="save it again"):
        load_photo(path)


def test_pillows_limit_is_restored(tmp_path: Path) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "photo.png"
    Image.new("1", (12000, 8000)).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_photo(path)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
@pytest.mark.slow
@pytest.mark.parametrize(("ending", "mode"), [("jpg", "RGB"), ("png", "RGBA")])
def test_a_12000_pixel_photo_fits_in_memory(tmp_path: Path, ending: str, mode: str) -> None:
    path = tmp_path / f"photo.{ending}"
    Image.new(mode, (12000, 9000), "teal").save(path)
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(path)]
    kilobytes = int(subprocess.run(command, check=True, capture_output=True).stdout)
    assert kilobytes < 1.5e6


def test_reducing_in_strips_leaves_no_seams(tmp_path: Path) -> None:
    rows = np.linspace(0, 255, 5000)[:, None].repeat(40, axis=1).astype(np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(rows).save(path)
    photo = load_photo(path, max_side=1000)
    assert photo.shape == (1000, 8, 3)
    np.testing.assert_allclose(photo[:, 4, 0], np.linspace(0, 255, 1000), atol=2)
