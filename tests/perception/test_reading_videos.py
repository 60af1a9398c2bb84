from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import savgol_coeffs

from i2fet.coefficients import FaceCoefficients
from i2fet.errors import NoFaceError, PhotoError
from i2fet.perception import EncodedFaces, Picture
from i2fet.perception.video import encode_video, frame_at, is_video, read_frames, smooth
from i2fet.rendering.video import write_video

FPS = 25


class BrightnessEncoder:
    """Reads the picture's brightness as its first action; sees no face in the dark."""

    name = "brightness"
    fingerprint = "1"

    def encode(self, images: list[Picture], neutral: Picture | None = None) -> EncodedFaces:
        light = torch.tensor([image.mean() / 255 for image in images])
        found = light > 0.1
        coefficients = FaceCoefficients.zeros(len(images))
        coefficients.expression[:, 0] = light * found
        nothing = torch.zeros(len(images))
        return EncodedFaces(
            coefficients,
            found,
            nothing,
            found.long(),
            nothing,
            torch.zeros(len(images), 478, 3),
            torch.zeros(len(images), 51),
        )


def write_clip(path: Path, light: np.ndarray) -> None:
    frames = [np.full((64, 96, 3), round(255 * value), np.uint8) for value in light]
    write_video(path, frames, fps=FPS)


def test_endings_tell_videos_from_photos() -> None:
    assert is_video(Path("a.MP4"))
    assert not is_video(Path("a.png"))


def test_frames_come_in_order(tmp_path: Path) -> None:
    light = np.linspace(0.2, 0.8, 12)
    write_clip(tmp_path / "clip.mp4", light)
    frames = list(read_frames(tmp_path / "clip.mp4"))
    assert {frame.shape for frame in frames} == {(64, 96, 3)}
    np.testing.assert_allclose([frame.mean() / 255 for frame in frames], light, atol=0.02)
    assert frame_at(tmp_path / "clip.mp4", 7).mean() == frames[7].mean()


def test_every_frame_is_read_and_noise_is_smoothed(tmp_path: Path) -> None:
    time = np.arange(80)
    wave = 0.5 + 0.2 * np.sin(time / 12)
    noise = 0.05 * np.random.default_rng(0).standard_normal(80)
    write_clip(tmp_path / "clip.mp4", wave + noise)
    errors = []
    for smoothing in (0, 0.4):
        faces = encode_video(tmp_path / "clip.mp4", BrightnessEncoder(), smoothing=smoothing)
        errors.append(np.abs(faces.coefficients.expression[:, 0].numpy() - wave).mean())
    assert faces.found.shape == (80,)
    assert errors[1] < 0.65 * errors[0]


def test_smoothing_is_the_parabola_around_each_frame_and_keeps_to_runs() -> None:
    light = 0.2 + 0.8 * torch.rand(30, generator=torch.Generator().manual_seed(0))
    light[[11, 12, 15]] = 0
    encoder = BrightnessEncoder()
    faces = encoder.encode([np.full((1, 1, 3), 255 * v) for v in light.tolist()])
    values = smooth(faces, 6).expression[:, 0].numpy()
    seen = faces.coefficients.expression[:, 0].numpy()
    inside = seen[16:30]
    middle = np.convolve(inside, savgol_coeffs(5, 2), mode="valid")
    expected = middle.clip(inside.min(), inside.max())
    np.testing.assert_allclose(values[18:28], expected, atol=1e-6)
    np.testing.assert_array_equal(values[[11, 12, 13, 14, 15]], seen[[11, 12, 13, 14, 15]])


@pytest.mark.parametrize("window", [0, 1, 2])
def test_narrow_windows_change_nothing(window: int) -> None:
    faces = BrightnessEncoder().encode([np.full((1, 1, 3), v) for v in (50.0, 200.0, 90.0, 70.0)])
    torch.testing.assert_close(smooth(faces, window).expression, faces.coefficients.expression)


def test_a_video_without_a_face_is_told(tmp_path: Path) -> None:
    write_clip(tmp_path / "dark.mp4", np.zeros(5))
    with pytest.raises(NoFaceError, match=r"any frame of .*dark\.mp4"):
        encode_video(tmp_path / "dark.mp4", BrightnessEncoder())


@pytest.mark.parametrize("content", [None, b"", b"no video"])
def test_what_is_no_video_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PhotoError, match=r"clip\.mp4"):
        list(read_frames(path))


def test_only_coefficients_are_smoothed() -> None:
    faces = BrightnessEncoder().encode([np.full((1, 1, 3), v) for v in range(60, 90, 3)])
    before = faces.coefficients.expression.clone()
    smooth(replace(faces), 5)
    torch.testing.assert_close(faces.coefficients.expression, before)
