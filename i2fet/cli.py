"""The `i2fet` command. The only module that knows all packages."""

from __future__ import annotations

import argparse
import logging
import math
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from i2fet.errors import I2fetError, OptionError, PhotoError
from i2fet.files import check_output

LIGHTNING_COMMANDS = {
    "fit": "train a model",
    "validate": "evaluate a checkpoint on the validation part",
    "test": "evaluate a checkpoint on the test part",
    "predict": "generate with a checkpoint",
}
LIGHTNING_OPTIONS = ("--config", "--ckpt_path", "--print_config")
# OpenMP threads that spin long for each other stall on busy cores: five times as long a step.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
IRRELEVANT_WARNINGS = (
    "`isinstance.treespec, LeafSpec.` is deprecated",  # Lightning's own use of torch
    ".*does not have many workers",  # tables in memory need none
    "Checkpoint directory .* exists and is not empty",
)
JSON_ENDINGS = (".json",)
STDOUT = Path("-")
PLACES = ("accelerator", "devices", "num_nodes")
"""Options of Lightning's trainer that `extract` has too."""
DATA = "data."
"""Of the data module's options on Lightning's command line."""


def lightning(args: Sequence[str] | None) -> int:
    """Run one of Lightning's commands: any config of `experiments/`, any override.

    Args:
        args: None for those of the command line.

    Returns:
        0 done, 143 stopped by SIGTERM.

    Raises:
        OptionError: If options contradict each other.
    """
    from lightning.pytorch import LightningDataModule, LightningModule
    from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

    from callbacks import RunIdentity
    from i2fet.training import RunConfig, TrainingCLI, TrainingParser

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # hardware lists and adverts
    for message in IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", message)
    try:
        TrainingCLI(
            LightningModule,
            LightningDataModule,
            save_config_callback=RunConfig,
            trainer_defaults={"callbacks": [RunIdentity()]},
            parser_kwargs={"prog": "i2fet"},
            parser_class=TrainingParser,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            args=None if args is None else list(args),
        )
    except MisconfigurationException as error:
        raise OptionError(" ".join(str(error).split())) from error
    except SIGTERMException:
        return 128 + signal.SIGTERM
    return 0


def animate(arguments: argparse.Namespace) -> None:
    """Turn a photo and a sentence into a clip."""
    from i2fet.heads import load_head
    from i2fet.nn.generator import SHIPPED_GENERATOR
    from i2fet.pipeline import EXPORT_ENDINGS, TransitionPipeline
    from i2fet.rendering.video import CLIP_WRITERS

    check_output(arguments.output, CLIP_WRITERS)
    for path in arguments.export:
        check_output(path, EXPORT_ENDINGS)
    head = load_head(arguments.head) if arguments.head else None
    pipeline = TransitionPipeline.from_checkpoint(
        arguments.checkpoint or SHIPPED_GENERATOR,
        arguments.encoder,
        arguments.ned,
        arguments.temperature,
    )
    if arguments.renderer != "mesh":
        pipeline.photo_renderer(arguments.renderer)
    transition = pipeline(
        arguments.photo,
        arguments.instruction,
        frames=arguments.frames,
        through_neutral=arguments.through_neutral,
        head_pose=arguments.head_pose,
        easing=arguments.easing,
        hold=arguments.hold,
        intensity=arguments.intensity,
        seed=arguments.seed,
        neutral=arguments.neutral,
    )
    if head is not None:
        transition = transition.on_head(head)
    for path in (arguments.output, *arguments.export):
        path.parent.mkdir(parents=True, exist_ok=True)
    print(transition.summary())
    transition.write_video(arguments.output, arguments.renderer, arguments.size, arguments.fps)
    print(f"clip    {arguments.output}")
    for path in arguments.export:
        transition.export(path, arguments.renderer, arguments.size, arguments.fps)
        print(f"export  {path}")


def perceive(arguments: argparse.Namespace) -> int:
    """Read expression, head pose and identity from photos and videos."""
    from i2fet.heads import load_head
    from i2fet.perception import encode_photo, load_face_encoder
    from i2fet.perception.readout import (
        describe,
        format_records,
        read_file,
        to_records,
        write_records,
    )
    from i2fet.rendering.overlay import draw_overlay, write_overlays
    from i2fet.rendering.video import IMAGE_ENDINGS

    to_stdout = arguments.json == STDOUT
    file = None if to_stdout else arguments.json
    for path, endings in ((file, JSON_ENDINGS), (arguments.overlay, IMAGE_ENDINGS)):
        if path is not None:
            check_output(path, endings)
    head = load_head(arguments.head)
    encoder = load_face_encoder(arguments.encoder, head, arguments.refine)
    neutral = encode_photo(arguments.neutral, encoder)[0] if arguments.neutral else None
    records: list[dict[str, Any]] = []
    overlays, code = [], 0
    for path in arguments.photos:
        try:
            readout = read_file(path, encoder, neutral, arguments.smooth)
        except PhotoError as error:
            code = complain(error)
            continue
        if not to_stdout:
            print(f"{path}\n{describe(readout.faces, head)}")
        records += to_records(readout, head)
        if arguments.overlay:
            overlays.append(draw_overlay(head, readout.picture, readout.face))
    if to_stdout:
        print(format_records(records), end="")
    elif file and records:
        write_records(file, records)
    if overlays:
        write_overlays(arguments.overlay, overlays)
    return code


def corpus(arguments: argparse.Namespace) -> None:
    """Write a synthetic corpus."""
    from datamodules.celebvhq_corpus import write_celebvhq_corpus
    from datamodules.corpus import write_ckplus_corpus

    write = {"ckplus": write_ckplus_corpus, "celebvhq": write_celebvhq_corpus}[arguments.layout]
    given = {} if arguments.subjects is None else {"subjects": arguments.subjects}
    write(
        arguments.out,
        seed=arguments.seed,
        size=arguments.size,
        pictures=arguments.pictures,
        **given,
    )
    print(f"SYNTHETIC corpus in the layout of {arguments.layout}: {arguments.out}")


def extract(arguments: argparse.Namespace) -> None:
    """Read the coefficients of a dataset's pictures into the cache, and report on them."""
    from datamodules.report import report_faces, report_samples, write_report
    from datamodules.source import FaceSource
    from datamodules.truth_table import compare_with_truth, write_truth_table
    from i2fet.heads import load_head

    own = ("command", "run", "pairs", *PLACES)
    given = {name: value for name, value in vars(arguments).items() if name not in own}
    # Lightning takes longer to load than a small dataset to read.
    if arguments.pairs:
        from datamodules.expression import ExpressionDataModule

        data = ExpressionDataModule(**given)
        source = data.source
    else:
        source = FaceSource(**given)
    if arguments.devices:
        from datamodules.ranks import read_on_devices

        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        places = {name: getattr(arguments, name) for name in PLACES}
        if not read_on_devices(source.frames, source.cache_path, source.encoder_loader, **places):
            return
    records, tensors = source.extracted
    if arguments.pairs:
        data.setup()
        report = report_samples(data)
    else:
        report = report_faces(source.usable[0])
    folder = write_report(report, source.cache_path.with_suffix(""))
    print(report.table())
    if records.synthetic:
        truth = source.layout.read_truth(records)
        table = compare_with_truth(tensors, truth, load_head(source.head_name))
        write_truth_table(table, folder)
        print(f"Compared with the truth:\n{table.by_yaw()}")
    print(f"{int(tensors['found'].sum())} faces found in {len(tensors['found'])} frames")
    print(f"cache   {source.cache_path}")
    print(f"report  {folder}")


def evaluate(arguments: argparse.Namespace) -> None:
    """Judge the faces that a model generates for the test part, beside the real ones."""
    from rich.console import Console
    from rich.progress import track

    from datamodules.held_out import (
        evaluate_held_out,
        labelled_faces,
        load_pairs,
        load_strangers,
        match_held_out,
    )
    from i2fet.evaluation_report import (
        Report,
        describe_evaluation,
        describe_matching,
        identify_judge,
        identify_model,
        write_report,
    )
    from i2fet.judge import ExpressionJudge
    from i2fet.nn import load_generator
    from i2fet.nn.matching import Matcher

    check_output(arguments.output / "report.json", JSON_ENDINGS)
    generator = load_generator(arguments.checkpoint, arguments.temperature)
    judge = ExpressionJudge.from_checkpoint(arguments.judge)
    matcher = Matcher.from_checkpoint(arguments.matcher) if arguments.matcher else None
    given = vars(arguments).items()
    overrides = {name.removeprefix(DATA): value for name, value in given if name.startswith(DATA)}
    data = test = load_pairs(arguments.config, overrides)
    if arguments.test:
        test = load_strangers(data, arguments.config, overrides, arguments.test)
    seeds = track(range(arguments.seeds), "Judging", console=Console(stderr=True))
    result = evaluate_held_out(generator, judge, data, test, seeds)
    faces = labelled_faces(test, "test", judge.provenance.emotions)
    report = Report(
        test.description,
        identify_model(arguments.checkpoint, generator.provenance),
        generator.temperature,
        identify_judge(judge, arguments.judge, faces),
        result,
    )
    if matcher is not None:
        report = replace(
            report,
            matcher=identify_model(arguments.matcher, matcher.provenance),
            matching=match_held_out(generator, matcher, test, range(arguments.seeds)),
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_report(report, arguments.output)
    print(describe_evaluation(result))
    if report.matching is not None:
        print(describe_matching(report.matching))
    print(f"report  {arguments.output}")


def assets(arguments: argparse.Namespace) -> None:
    """List the optional files, or check one and install it."""
    from i2fet.assets import ASSETS, add_asset, describe_asset

    if arguments.action == "add":
        print(f"installed {add_asset(arguments.name, arguments.path)}")
    else:
        print("\n".join(map(describe_asset, ASSETS.values())))


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
        help="factor on the model's noise: at 0 every sample is the typical face, above 1 they "
        "differ more; by default as in training",
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


COMMANDS: dict[str, tuple[Callable[..., int | None], Callable[..., None]]] = {
    "animate": (animate, add_animate),
    "perceive": (perceive, add_perceive),
    "corpus": (corpus, add_corpus),
    "extract": (extract, add_extract),
    "evaluate": (evaluate, add_evaluate),
    "assets": (assets, add_assets),
}


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


class Parser(argparse.ArgumentParser):
    """Answers wrong use in one sentence."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of everything but Lightning's own commands."""
    parser = Parser(prog="i2fet", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (run, add_arguments) in COMMANDS.items():
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        add_arguments(command)
        command.set_defaults(run=run)
    for name, text in LIGHTNING_COMMANDS.items():
        command = commands.add_parser(name, help=text)
        # Lightning has many more; these are what a shell can complete without loading it.
        for option in LIGHTNING_OPTIONS:
            command.add_argument(option)
    return parser


def complain(error: I2fetError) -> int:
    """Tell a user error in one sentence, and give its exit code."""
    print(f"i2fet: {error}", file=sys.stderr)
    return 2


def complete() -> None:
    """Answer a shell that asks for completions, if `argcomplete` is installed."""
    if find_spec("argcomplete"):
        import argcomplete

        argcomplete.autocomplete(build_parser())


def run(args: Sequence[str] | None) -> int:
    """Run one command line and give its exit code; user errors are raised."""
    if "_ARGCOMPLETE" in os.environ:
        complete()
    command = (sys.argv[1:] if args is None else args)[:1]
    if command and command[0] in LIGHTNING_COMMANDS:
        return lightning(args)
    arguments = build_parser().parse_args(args)
    return arguments.run(arguments) or 0


def nobody_reads_output() -> bool:
    """Whether stdout is a pipe whose reader has left, such as `head`."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line.

    Returns:
        0 done, 2 wrong use, 130 interrupted, 141 nobody reads the output any more; anything
        unexpected is raised, which exits with 1.
    """
    try:
        code = run(args)
        sys.stdout.flush()
    except I2fetError as error:
        return complain(error)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        if not nobody_reads_output():
            raise
        # Python would try, and complain, once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code
