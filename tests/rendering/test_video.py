from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from i2fet.errors import OutputError
from i2fet.rendering.video import contact_sheet, write_image, write_video


def clip(length: int = 12, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture whose brightness grows from frame to frame."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack([x / width, y / height, 0.5 + 0 * x], -1) * 120
    return (picture + np.linspace(0, 120, length)[:, None, None, None]).astype(np.uint8)


def decode(path: Path) -> np.ndarray:
    with av.open(path) as container:
        frames = [
            frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()
            for frame in container.decode(video=0)
        ]
    return np.stack(frames)


class TestMp4:
    def test_comes_back(self, tmp_path: Path) -> None:
        frames = clip()
        write_video(tmp_path / "a.mp4", frames, fps=25)
        decoded = decode(tmp_path / "a.mp4")
        assert decoded.shape == frames.shape
        assert np.abs(decoded.astype(int) - frames).mean() < 4

    def test_plays_in_browsers(self, tmp_path: Path) -> None:
        write_video(tmp_path / "a.mp4", clip(), fps=25)
        with av.open(tmp_path / "a.mp4") as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264"
            assert stream.codec_context.pix_fmt == "yuv420p"
            assert stream.average_rate == 25
            assert stream.frames == 12
        content = (tmp_path / "a.mp4").read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")

    @pytest.mark.parametrize(
        ("description", "comment"),
        [
            ("synthetic", "synthetic"),
            ("Synthetic face", "Synthetic face"),
            ("anger to fear", "synthetic; anger to fear"),
        ],
    )
    def test_says_synthetic(self, tmp_path: Path, description: str, comment: str) -> None:
        write_video(tmp_path / "a.mp4", clip(2), description=description)
        with av.open(tmp_path / "a.mp4") as container:
            assert container.metadata["comment"] == comment

    def test_same_frames_same_bytes(self, tmp_path: Path) -> None:
        for name in ("a.mp4", "b.mp4"):
            write_video(tmp_path / name, clip())
        assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()

    def test_odd_sizes_gain_a_row_and_a_column(self, tmp_path: Path) -> None:
        frames = clip(3, 47, 63)
        write_video(tmp_path / "a.mp4", frames)
        decoded = decode(tmp_path / "a.mp4")
        assert decoded.shape == (3, 48, 64, 3)
        assert np.abs(decoded[:, :47, :63].astype(int) - frames).mean() < 4

    def test_frames_may_be_a_generator(self, tmp_path: Path) -> None:
        write_video(tmp_path / "a.mp4", (frame for frame in clip(5)))
        assert len(decode(tmp_path / "a.mp4")) == 5


class TestGif:
    def test_comes_back(self, tmp_path: Path) -> None:
        write_video(tmp_path / "a.gif", clip(), fps=10)
        with Image.open(tmp_path / "a.gif") as gif:
            frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)]
            assert gif.info["loop"] == 0
            assert gif.info["comment"] == b"synthetic"
        assert np.abs(np.stack(frames).astype(int) - clip()).mean() < 8

    @pytest.mark.parametrize("fps", [7.0, 24.0, 30.0, 60.0])
    def test_lasts_as_long_as_the_clip(self, tmp_path: Path, fps: float) -> None:
        write_video(tmp_path / "a.gif", clip(24), fps=fps)
        with Image.open(tmp_path / "a.gif") as gif:
            durations = [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]
        assert sum(durations) == pytest.approx(1000 * 24 / fps, abs=1000 * 2 / fps)
        assert len(durations) / sum(durations) * 1000 <= 25


@pytest.mark.parametrize("ending", [".avi", "", ".MOV", ".mp4.txt"])
def test_unknown_ending(tmp_path: Path, ending: str) -> None:
    with pytest.raises(OutputError, match=r"must end in one of \.mp4, \.gif"):
        write_video(tmp_path / f"clip{ending}", clip(2))


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.png"])
class TestUnwritable:
    def write(self, path: Path) -> None:
        if path.suffix == ".png":
            write_image(path, clip(1)[0])
        else:
            write_video(path, clip(2))

    def test_missing_folder(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(OutputError, match=r"there is no folder .*/nowhere; create it first"):
            self.write(tmp_path / "nowhere" / name)

    def test_folder_in_the_way(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).mkdir()
        with pytest.raises(OutputError, match="choose another path"):
            self.write(tmp_path / name)
        assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failed_clip_leaves_the_old_one(tmp_path: Path) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield clip(1)[0]
        raise RuntimeError("renderer failed")

    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="renderer failed"):
        write_video(tmp_path / "a.mp4", failing())
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        ([], 30, "at least one frame"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)], 30, r"\(8, 9, 3\)"),
        ([np.zeros((8, 8, 3))], 30, "float64"),
        ([np.zeros((8, 8, 4), np.uint8)], 30, r"\(8, 8, 4\)"),
        ([np.zeros((8, 8, 3), np.uint8)], 0, "fps is 0"),
    ],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_wrong_frames(
    tmp_path: Path, frames: list[np.ndarray], fps: float, message: str, name: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / name, frames, fps)
    assert not list(tmp_path.iterdir())


class TestWriteImage:
    def test_png_is_exact(self, tmp_path: Path) -> None:
        picture = clip(1)[0]
        write_image(tmp_path / "a.png", picture, "anger")
        with Image.open(tmp_path / "a.png") as image:
            np.testing.assert_array_equal(np.asarray(image), picture)
            assert image.info["Comment"] == "synthetic; anger"

    def test_jpeg(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.JPG", clip(1)[0], "anger")
        with Image.open(tmp_path / "a.JPG") as image:
            assert image.format == "JPEG"
            assert image.info["comment"] == b"synthetic; anger"

    def test_unknown_ending(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"\.png, \.jpg, \.jpeg"):
            write_image(tmp_path / "a.tiff", clip(1)[0])


class TestContactSheet:
    def test_tiles_and_labels(self) -> None:
        frames = clip(5, 40, 60)
        sheet = contact_sheet(frames, [f"frame {i}" for i in range(5)], columns=3, gap=4)
        assert sheet.shape[1] == 3 * 64 + 4
        np.testing.assert_array_equal(sheet[4:44, 4:64], frames[0])
        np.testing.assert_array_equal(sheet[4:44, 132:192], frames[2])
        label, empty = sheet[45:58, 4:64], sheet[45 + sheet.shape[0] // 2 :, 132:192]
        assert label.min() < 100
        assert (empty == 255).all()

    def test_long_labels_are_wrapped_inside_their_tile(self) -> None:
        frames = clip(1, 40, 90)
        sheet = contact_sheet(frames, ["turn this face from disgust to happiness"], gap=5)
        assert (sheet[:, :5] == 255).all()
        assert (sheet[:, -5:] == 255).all()
        assert (sheet[-5:] == 255).all()
        assert sheet.shape[0] > 40 + 3 * 11

    def test_a_single_row_is_no_wider_than_its_frames(self) -> None:
        assert contact_sheet(clip(2, 40, 60), ["a", "b"], columns=9, gap=0).shape[1] == 120

    def test_labels_must_match(self) -> None:
        with pytest.raises(ValueError, match="2 frames, but 1 labels"):
            contact_sheet(clip(2), ["a"])
