from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from datamodules.clips import ClipError, ClipInfo, decode_clip, inspect_clip, longest_scene
from i2fet.rendering.video import write_image, write_video

GREYS = (10, 20, 30, 40, 50, 60, 70, 80)


def write_clip(path: Path, greys: Sequence[int] = GREYS, noise: float = 0, fps: int = 25) -> Path:
    """A clip whose frames can be told apart by their brightness."""
    rng = np.random.default_rng(0)
    pictures = [
        rng.normal(grey, noise, (48, 64, 3)).clip(0, 255).astype(np.uint8) for grey in greys
    ]
    write_video(path, pictures, fps)
    return path


def greys(pictures: list[NDArray[np.uint8] | None]) -> list[int | None]:
    return [None if picture is None else round(float(picture.mean())) for picture in pictures]


def test_header(tmp_path: Path) -> None:
    assert inspect_clip(write_clip(tmp_path / "a.mp4", fps=30)) == ClipInfo(8, 30)


def test_frames_by_position(tmp_path: Path) -> None:
    pictures = decode_clip(write_clip(tmp_path / "a.mp4"), [0, 3, 7])
    assert all(picture is not None and picture.shape == (48, 64, 3) for picture in pictures)
    assert np.allclose(np.array(greys(pictures), float), [10, 40, 80], atol=2)


def test_frames_past_the_end(tmp_path: Path) -> None:
    assert decode_clip(write_clip(tmp_path / "a.mp4"), [7, 8])[1] is None


def test_truncated(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", noise=30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ClipError, match="truncated"):
        inspect_clip(path)
    pictures = decode_clip(path, [0, 7])
    assert pictures[0] is not None
    assert pictures[1] is None


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\0" * 4096])
def test_no_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ClipError, match="not a readable video"):
        inspect_clip(path)
    assert decode_clip(path, [0, 1]) == [None, None]


def test_picture_named_as_a_clip(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    path = (tmp_path / "a.png").rename(tmp_path / "a.mp4")
    with pytest.raises(ClipError):
        inspect_clip(path)


def test_only_the_longest_scene_is_used(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [200, 202, 40, 42, 44, 46, 120])
    pictures = decode_clip(path, range(7))
    assert [picture is not None for picture in pictures] == [False] * 2 + [True] * 4 + [False]


def test_motion_is_no_cut() -> None:
    x = np.arange(96) / 96
    scene = (127 + 127 * np.sin(9 * x) * np.cos(5 * x[:32, None])).astype(np.uint8)
    still, panning, elsewhere = (
        [scene[:, :32]] * 5,
        [scene[:, 2 * step : 2 * step + 32] for step in range(20)],
        [scene[:, 60:92]] * 4,
    )
    assert longest_scene(still + panning) == range(25)
    assert longest_scene(still + elsewhere) == range(5)


def test_no_frames() -> None:
    assert longest_scene([]) == range(0)
    assert longest_scene([np.zeros((32, 32), np.uint8)]) == range(1)
