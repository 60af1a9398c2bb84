"""The options of the commands."""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path

DATA = "data."
"""Of the data module's options on Lightning's command line."""


def natural(text: str, least: int = 0) -> int:
    """Parse a whole number of at least `least`."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)


def number(text: str, least: float, most: float) -> float:
    """Parse a number from `least` to `most`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
    return value


def picture_size(text: str) -> int:
    """Parse a side of pictures."""
    size = natural(text)
    if not 64 <= size <= 4096:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 64 to 4096")
    return size


positive = partial(natural, least=1)
amount = partial(number, least=0, most=3)
frame_rate = partial(number, least=1, most=240)


def add_animate(parser: argparse.ArgumentParser) -> None:
    """The options of `animate`."""
    parser.add_argument("photo", type=Path, help="a picture of a face")
    parser.add_argument("instruction", help='such as "Turn this face from fear to happiness"')
    parser.add_argument("-o", "--output", type=Path, required=True, help="an .mp4 or .gif")
    parser.add_argument(
        "--export",
        type=Path,
        action="append",
        default=[],
        help="also write: .glb (3D, animated), .csv (ARKit curves), .obj (last frame), "
        ".png (contact sheet); may be repeated",
    )
    add_encoder(parser)
    parser.add_argument(
        "--renderer",
        choices=("portrait", "mesh", "rome", "cvthead"),
        default="portrait",
        help="the photo warped by the mesh, the shaded mesh, or with FLAME the person as drawn by "
        "ROME's or CVTHead's networks (`i2fet assets`)",
    )
    parser.add_argument(
        "--head", choices=("ict",), help="show the mesh on this head instead of the model's own"
    )
    parser.add_argument("--frames", type=positive, default=60)
    parser.add_argument("--fps", type=frame_rate, default=30, help="frames a second, as 29.97")
    parser.add_argument("--size", type=picture_size, default=512, help="pixels")
    parser.add_argument(
        "--through-neutral", action="store_true", help="pass a neutral face between expressions"
    )
    parser.add_argument(
        "--ned",
        type=Path,
        metavar="FILE",
        help="a trained NED, which tells the person's own neutral face; without one the head's "
        "zero expression is the neutral face",
    )
    parser.add_argument(
        "--head-pose",
        choices=("source", "generated"),
        default="source",
        help="keep the photo's head rotation, or take the model's",
    )
    parser.add_argument(
        "--intensity", type=amount, default=1.0, help="factor on the generated expressions"
    )
    parser.add_argument("--easing", choices=("linear", "smooth"), default="linear")
    parser.add_argument(
        "--hold", type=natural, default=0, help="frames for which each expression stays"
    )
    parser.add_argument("--seed", type=natural, default=0)
    add_temperature(parser)
    parser.add_argument("--checkpoint", type=Path, help="a trained model; one is shipped")


def add_perceive(parser: argparse.ArgumentParser) -> None:
    """The options of `perceive`."""
    parser.add_argument("photos", type=Path, nargs="+", metavar="photo", help="or a video")
    parser.add_argument(
        "--json",
        type=Path,
        help="write what was read, one object a face; - prints it and nothing else",
    )
    parser.add_argument("--overlay", type=Path, help="write a picture of the mesh on each photo")
    add_encoder(parser)
    parser.add_argument("--head", choices=("arkit", "flame"), default="arkit")
    parser.add_argument(
        "--no-refine",
        dest="refine",
        action="store_false",
        help="do not fit identity, head pose and camera to the landmarks",
    )
    parser.add_argument(
        "--smooth", type=amount, default=0.2, help="seconds over which videos are smoothed"
    )


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """The options of how photos are read."""
    parser.add_argument(
        "--encoder",
        choices=("learned", "landmarks", "mediapipe", "deca", "emoca"),
        help="a trained network, a plain fit to landmarks, or MediaPipe Tasks' scores; with the "
        "head flame, deca or emoca",
    )
    parser.add_argument("--neutral", type=Path, help="a photo of the same person at rest")


def add_temperature(parser: argparse.ArgumentParser) -> None:
    """The option of how far samples stray."""
    parser.add_argument(
        "--temperature",
        type=amount,
        metavar="X",
        help="factor on the model's noise: at 0 a sentence always gives the same face, and the "
        "higher it is the more samples differ; by default the model's own",
    )


def add_corpus(parser: argparse.ArgumentParser) -> None:
    """The options of `corpus`."""
    parser.add_argument("layout", choices=("ckplus", "celebvhq"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--subjects", type=positive, help="by default those of the paper")
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument("--size", type=picture_size, default=256, help="pixels")
    parser.add_argument(
        "--no-pictures",
        dest="pictures",
        action="store_false",
        help="only the true coefficients, which is all that training on them needs",
    )


def add_extract(parser: argparse.ArgumentParser) -> None:
    """The options of `extract`; what is not given is left to the data module."""
    parser.add_argument("root", help="the dataset's folder")
    parser.add_argument(
        "--pairs",
        action="store_true",
        help="report also which expressions and words occur in the pairs that `i2fet fit` draws",
    )
    places = parser.add_argument_group(
        "options of Lightning's trainer",
        "By default each core of this machine has a process. With --devices each device has one, "
        "on every machine of the cluster that starts the command; all must see the cache.",
    )
    places.add_argument("--devices", type=positive, help="GPUs of a machine, or processes on CPUs")
    places.add_argument("--num-nodes", type=positive, default=1, help="machines")
    places.add_argument("--accelerator", choices=("auto", "cpu", "gpu"), default="auto")
    group = parser.add_argument_group(
        "options of the data module",
        "Give the same to `i2fet fit` as --data.NAME, so that it finds this cache.",
        argument_default=argparse.SUPPRESS,
    )
    group.add_argument("--dataset", choices=("ckplus", "celebvhq"), help="its layout")
    group.add_argument("--encoder", help="what reads the pictures")
    group.add_argument(
        "--no-refine",
        dest="refine",
        action="store_false",
        help="do not fit identity, head pose and camera to the landmarks",
    )
    group.add_argument("--head", help="whose coefficients are read")
    group.add_argument("--cache-dir", help="$I2FET_CACHE or outputs/cache by default")
    group.add_argument("--workers", type=positive, help="processes; one a core by default")
    group.add_argument("--apex-frames", type=positive, help="CK+: last frames of a sequence")
    group.add_argument(
        "--unlabelled", action="store_true", help="CK+: first frames of unlabelled sequences too"
    )
    group.add_argument("--frames-per-span", type=positive, help="CelebV-HQ")
    group.add_argument("--min-expressions", type=positive, help="CelebV-HQ: of a subject")


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """The options of `evaluate`; what is not given is left to the configuration file."""
    parser.add_argument("checkpoint", type=Path, help="a trained I2FET or MotionCLIP")
    parser.add_argument("--judge", type=Path, required=True, help="a trained classifier")
    parser.add_argument(
        "--config", type=Path, required=True, help="the YAML file that trained the model"
    )
    parser.add_argument(
        "--test",
        type=Path,
        metavar="FOLDER",
        help="judge on everybody of this folder instead of the test part",
    )
    parser.add_argument(
        "--matcher",
        type=Path,
        help="a trained matcher, for R-precision and the other text-to-motion measures",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="a folder for the report")
    parser.add_argument(
        "--seeds", type=positive, default=10, help="how often every face is generated"
    )
    add_temperature(parser)
    group = parser.add_argument_group(
        "overrides of the configuration file",
        "As in `i2fet fit`.",
        argument_default=argparse.SUPPRESS,
    )
    group.add_argument(f"--{DATA}root", metavar="FOLDER", help="the dataset's folder")
    for part in ("head", "encoder", "text"):
        group.add_argument(f"--{DATA}{part}", metavar="NAME")
    group.add_argument(f"--{DATA}coefficients", choices=("perceived", "true"))
    group.add_argument(
        f"--{DATA}samples", type=positive, metavar="N", help="pairs in all three parts"
    )
    group.add_argument(f"--{DATA}seed", type=natural, metavar="N", help="of the split")
    group.add_argument(f"--{DATA}cache_dir", metavar="FOLDER")


def add_assets(parser: argparse.ArgumentParser) -> None:
    """The options of `assets`."""
    actions = parser.add_subparsers(dest="action", metavar="add NAME PATH")
    add = actions.add_parser("add", help="check a file completely and install it")
    add.add_argument("name", help="as `i2fet assets` lists it")
    add.add_argument("path", type=Path, help="the file, or the folder, as its makers publish it")
