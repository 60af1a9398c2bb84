"""What the commands do."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from i2fet.cli.options import DATA
from i2fet.errors import I2fetError, OptionError, PhotoError
from i2fet.files import check_output

IRRELEVANT_WARNINGS = (
    "`isinstance.treespec, LeafSpec.` is deprecated",  # Lightning's own use of torch
    ".*does not have many workers",  # tables in memory need none
    "Checkpoint directory .* exists and is not empty",
)
JSON_ENDINGS = (".json",)
STDOUT = Path("-")
PLACES = ("accelerator", "devices", "num_nodes")
"""Options of Lightning's trainer that `extract` has too."""


def complain(error: I2fetError) -> int:
    """Tell a user error in one sentence, and give its exit code."""
    print(f"i2fet: {error}", file=sys.stderr)
    return 2


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
