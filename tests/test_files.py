from __future__ import annotations

from pathlib import Path

import pytest

from i2fet.errors import OutputError
from i2fet.files import check_ending, check_output, replacing


def test_replaces_only_when_done(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with replacing(target) as unfinished:
        unfinished.write_text("new")
        assert unfinished.parent == target.parent
        assert unfinished.suffix == ".txt"
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with replacing(tmp_path / "a.txt") as unfinished:
            unfinished.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere" / "a.txt", tmp_path / "file" / "a.txt"):
        with pytest.raises(OutputError, match="there is no folder"), replacing(path):
            pass
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(OutputError, match="Is a directory"),
        replacing(tmp_path / "folder") as unfinished,
    ):
        unfinished.touch()


def test_endings() -> None:
    assert check_ending(Path("a.MP4"), [".mp4", ".gif"]) == ".mp4"
    with pytest.raises(OutputError, match=r"a\.b: its name must end in one of \.mp4, \.gif"):
        check_ending(Path("a.b"), [".mp4", ".gif"])


def test_outputs_are_checked_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_output(tmp_path / "new" / "folders" / "a.MP4", [".mp4"])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(OutputError, match=r"must end in one of \.mp4"):
        check_output(tmp_path / "a.txt", [".mp4"])
    with pytest.raises(OutputError, match="no writable folder"):
        check_output(tmp_path / "file" / "a.mp4", [".mp4"])
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        check_output(tmp_path / "folder.mp4", [".mp4"])
