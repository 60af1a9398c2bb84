"""A W&B workspace with this project's pictures on top: `python -m experiments.workspace`.

Needs an account, and the package `wandb-workspaces` beside the pinned environment.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import wandb

from experiments.script import run
from i2fet.errors import OptionError

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NAME = "i2fet"
PACKAGE = "wandb-workspaces"

MEDIA = {
    "transitions": ("transitions/val", "transitions/val_sheet", "transitions/test"),
    "latents": ("latents/val", "latents/test"),
    "confusion": ("confusion/val", "confusion/test"),
    "cache": ("cache/faces",),
    "curves": ("curves/all",),
}
"""Sections from top to bottom, and the keys of their pictures and clips, a panel each."""

TABLES = {"confusion": ("confusion/val_table", "confusion/test_table")}
"""Keys of the tables that follow them."""

LOSSES = ("train/loss", "val/loss")


def layout(entity: str, project: str) -> Workspace:
    """The workspace, not yet saved; panels of all other values follow by themselves.

    Raises:
        OptionError: The package is not installed.
    """
    try:
        from wandb_workspaces import workspaces
        from wandb_workspaces.reports.v2 import LinePlot, MediaBrowser, WeavePanelSummaryTable
    except ImportError as error:
        raise OptionError(
            f"a workspace needs the package {PACKAGE} ({error}); "
            f"run `{sys.executable} -m pip install {PACKAGE}`"
        ) from error
    sections = [
        workspaces.Section(
            name=name,
            panels=[
                *(MediaBrowser(title=key, media_keys=[key]) for key in keys),
                *(WeavePanelSummaryTable(table_name=key) for key in TABLES.get(name, ())),
            ],
            is_open=True,
        )
        for name, keys in MEDIA.items()
    ]
    losses = workspaces.Section(
        name="loss", panels=[LinePlot(x="epoch", y=list(LOSSES))], is_open=True
    )
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[losses, *sections],
        auto_generate_panels=True,
    )


def main(args: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entity", help="user or team; your own by default")
    parser.add_argument("--project", default="i2fet")
    given = parser.parse_args(args)
    workspace = layout(given.entity or "", given.project)
    if not wandb.api.api_key:
        raise OptionError("no W&B account is known here; run `wandb login` first")
    workspace.entity = given.entity or wandb.Api().default_entity
    workspace.save()
    print(f"workspace  {workspace.url}")


if __name__ == "__main__":
    run(main)
