"""What a shell with `argcomplete` is offered."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("argcomplete")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("i2fet an", {"animate"}),
        ("i2fet animate a.jpg happy --rend", {"--renderer"}),
        ("i2fet animate a.jpg happy --encoder l", {"learned", "landmarks"}),
        ("i2fet fit --conf", {"--config"}),
    ],
)
def test_words_are_completed(line: str, expected: set[str], tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    question = {
        **{"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_SUPPRESS_SPACE": "1"},
        **{"_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "COMP_TYPE": "9"},
        **{"COMP_LINE": line, "COMP_POINT": str(len(line))},
    }
    subprocess.run([sys.executable, "-m", "i2fet"], env={**os.environ, **question}, check=True)
    assert set(answer.read_text().split()) == expected
