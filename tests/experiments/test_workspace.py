"""The W&B workspace, as far as it can be seen without an account."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from experiments.script import run
from experiments.workspace import MEDIA, TABLES, layout, main
from i2fet.errors import OptionError


@pytest.mark.skipif(find_spec("wandb_workspaces") is not None, reason="it is installed")
def test_the_missing_package_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(lambda: main([]))
    error = capsys.readouterr().err
    assert "a workspace needs the package wandb-workspaces" in error
    assert error.count("\n") == 1


def test_every_key_is_a_panel_in_its_section() -> None:
    pytest.importorskip("wandb_workspaces")
    view = layout("me", "i2fet")._to_model()
    sections = {one.name: one for one in view.spec.section.panel_bank_config.sections}
    assert list(sections) == ["loss", *MEDIA]
    for name, keys in MEDIA.items():
        media = [panel.config.media_keys for panel in sections[name].panels[: len(keys)]]
        assert media == [[key] for key in keys]
        assert len(sections[name].panels) == len(keys) + len(TABLES.get(name, ()))


def test_an_account_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb_workspaces")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(OptionError, match="run `wandb login` first"):
        main([])
