from __future__ import annotations

import inspect
import subprocess
import sys

from datamodules.expression import ExpressionDataModule
from datamodules.source import FaceSource

SLOW = ("lightning", "torchmetrics", "transformers", "sklearn", "matplotlib", "mediapipe")
"""Packages that take longer to load than some hundred pictures to read."""


def test_defaults_are_those_of_the_data_module() -> None:
    source, module = (
        {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}
        for kind in (FaceSource, ExpressionDataModule)
    )
    assert source == {name: module[name] for name in source}


def test_extraction_loads_only_what_it_needs() -> None:
    code = "import sys; from i2fet.cli import main; main(['extract', '']); print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "datamodules.source" in loaded
    assert not set(SLOW) & set(loaded)
