"""Pictures and clips as files: MP4, GIF, PNG, JPEG, contact sheets."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from i2fet.files import check_ending, replacing

Frame = np.ndarray
Writer = Callable[[Path, Iterator[Frame], float, str], None]

BT709 = 1
GIF_FPS = 20
PALETTE_FRAMES = 8


def _say_synthetic(description: str) -> str:
    return description if "synthetic" in description.lower() else f"synthetic; {description}"


def _checked(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The frames, at least one and all of one shape."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("a clip needs at least one frame")
    for frame in chain([first], frames):
        if frame.dtype != np.uint8 or frame.shape != (*first.shape[:2], 3):
            raise ValueError(
                f"a frame is {frame.dtype} of shape {frame.shape}, "
                f"expected uint8 of shape {(*first.shape[:2], 3)}"
            )
        yield frame


def _even(frame: Frame) -> Frame:
    """Repeat the last row or column of odd sizes, which yuv420p cannot hold."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _write_mp4(path: Path, frames: Iterator[Frame], fps: float, description: str) -> None:
    first = _even(next(frames))
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(path, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = description
        # One thread, so that the same frames give the same bytes on every machine.
        options = {"preset": "veryfast", "crf": "18", "threads": "1"}
        stream = container.add_stream("libx264", rate, options)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.color_range = ColorRange.MPEG
        context.colorspace = context.color_primaries = context.color_trc = BT709
        convert = VideoReformatter().reformat
        for frame in chain([first], map(_even, frames)):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = convert(picture, format="yuv420p", dst_colorspace=Colorspace.ITU709)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _shared_palette(frames: Sequence[Frame]) -> Image.Image:
    some = frames[:: -(-len(frames) // PALETTE_FRAMES)]
    return Image.fromarray(np.concatenate(some)).quantize(256)


def _write_gif(path: Path, frames: Iterator[Frame], fps: float, description: str) -> None:
    """Write a GIF that repeats, of at most `GIF_FPS` frames a second."""
    every = max(round(fps / GIF_FPS), 1)
    kept = list(frames)[::every]
    palette = _shared_palette(kept)
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in kept
    ]
    # GIF counts hundredths of a second: round the times, not the durations, and nothing drifts.
    times = np.round(np.arange(len(kept) + 1) * every * 100 / fps)
    pictures[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=(np.diff(times) * 10).astype(int).tolist(),
        loop=0,
        comment=description.encode(),
    )


CLIP_WRITERS: dict[str, Writer] = {".mp4": _write_mp4, ".gif": _write_gif}
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")


def write_video(
    path: str | Path, frames: Iterable[Frame], fps: float = 30, description: str = "synthetic"
) -> None:
    """Write a clip that browsers play: H.264 for .mp4, or an animated .gif.

    Args:
        path: Ends in .mp4 or .gif.
        frames: (H, W, 3) uint8 RGB pictures of one size, at least one. In an MP4, odd sizes gain
            a row or column.
        fps: Frames a second. A GIF leaves frames out to stay at about 20 a second.
        description: For the file's comment, which always says "synthetic".

    Raises:
        OutputError: Another ending, or a path that cannot be written.
        ValueError: No frames, frames that differ in shape, or fps that is not positive.
    """
    if fps <= 0:
        raise ValueError(f"fps is {fps}, expected a positive number")
    path = Path(path)
    writer = CLIP_WRITERS[check_ending(path, CLIP_WRITERS)]
    with replacing(path) as unfinished:
        writer(unfinished, _checked(frames), fps, _say_synthetic(description))


def write_image(path: str | Path, image: Frame, description: str = "synthetic") -> None:
    """Write one (H, W, 3) uint8 RGB picture as .png or .jpg, with a comment.

    Raises:
        OutputError: Another ending, or a path that cannot be written.
    """
    path = Path(path)
    ending = check_ending(path, IMAGE_ENDINGS)
    comment = _say_synthetic(description)
    text = PngInfo()
    text.add_text("Comment", comment)
    with replacing(path) as unfinished:
        picture = Image.fromarray(image)
        if ending == ".png":
            picture.save(unfinished, pnginfo=text)
        else:
            picture.save(unfinished, quality=95, comment=comment)


def contact_sheet(
    frames: Iterable[Frame], labels: Sequence[str], columns: int = 4, gap: int = 8
) -> Frame:
    """Lay pictures out in rows, each with its label below.

    Args:
        frames: (H, W, 3) uint8 RGB pictures of one size, at least one.
        labels: One for each; long ones are wrapped.
        columns: Pictures in a row.
        gap: Pixels between and around the tiles.

    Returns:
        (rows, columns of tiles, 3) uint8 RGB picture on white.

    Raises:
        ValueError: Not as many labels as frames, or frames that differ in shape.
    """
    tiles = list(_checked(frames))
    if len(tiles) != len(labels):
        raise ValueError(f"{len(tiles)} frames, but {len(labels)} labels")
    height, width = tiles[0].shape[:2]
    font_size = max(width // 14, 11)
    font = ImageFont.load_default(font_size)
    characters = int(width / font.getlength("n"))
    texts = ["\n".join(textwrap.wrap(label, characters)) for label in labels]
    strip = max(text.count("\n") + 1 for text in texts) * int(font_size * 1.4)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    tile_width, tile_height = width + gap, height + strip + gap
    sheet = Image.new("RGB", (columns * tile_width + gap, rows * tile_height + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (tile, text) in enumerate(zip(tiles, texts, strict=True)):
        row, column = divmod(index, columns)
        left, top = gap + column * tile_width, gap + row * tile_height
        sheet.paste(Image.fromarray(tile), (left, top))
        middle = (left + width / 2, top + height + 2)
        draw.multiline_text(middle, text, "black", font, anchor="ma", align="center")
    return np.asarray(sheet)
