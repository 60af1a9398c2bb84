"""The page of local runs, read as text and opened in a browser."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, browser

from experiments.report import main
from experiments.script import run
from i2fet.rendering import write_image, write_video

EPOCHS = 3


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run leaves: pictures of two epochs and a test, a table, a clip, metrics."""
    root = tmp_path_factory.mktemp("runs")
    folder = root / "ckplus" / "i2fet" / "version_0"
    pictures = folder / "pictures"
    green = np.full((32, 32, 3), (0, 200, 0), np.uint8)
    for name in ("latents/val/epoch-0001.png", "latents/val/epoch-0002.png", "latents/test.png"):
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(pictures / name, green)
    (pictures / "transitions/val").mkdir(parents=True)
    frames = [np.full((32, 32, 3), value, np.uint8) for value in range(0, 250, 10)]
    write_video(pictures / "transitions/val/epoch-0002.mp4", frames)
    (pictures / "confusion/val_table").mkdir(parents=True)
    with (pictures / "confusion/val_table/epoch-0002.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["shown", "count"], ["<fear>", 7]])
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", "train/loss", "val/loss"])
        for epoch in range(EPOCHS):
            writer.writerow([epoch, 10, "", 3.5 - epoch])
            writer.writerow([epoch, 10, 2.5 - epoch, ""])
    (folder / "config.yaml").write_text("model:\n  class_path: i2fet.tasks.I2FETTask\n")
    identity = {
        "command": ["i2fet", "fit"],
        "stage": "fit",
        "task": "I2FETTask",
        "data": {"description": "ckplus: <invented>", "population": "p", "synthetic": True},
        "judge": "nearest mean",
        "processes": 1,
        "git": {"commit": "0123abc", "changed": False},
        "versions": {"i2fet": "0.1.0"},
    }
    (folder / "run.json").write_text(json.dumps(identity))
    return root


@pytest.fixture(scope="module")
def page(runs: Path) -> Path:
    out = runs / "report.html"
    main(["--runs", str(runs), "-o", str(out)])
    return out


class Page(HTMLParser):
    """Collects sources, links and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("img", "video", "script", "link"):
            self.sources.append(values.get("src") or values.get("href") or "")
        elif tag == "a":
            self.links.append(values["href"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_no_other_file(page: Path) -> None:
    parsed = Page(page.read_text())
    assert len(parsed.sources) == 5  # the icon, curves, two pictures and a clip
    assert all(source.startswith("data:") for source in parsed.sources)
    assert sum(source.startswith("data:video/mp4") for source in parsed.sources) == 1


def test_the_newest_of_each_key_is_shown(page: Path) -> None:
    text = Page(page.read_text()).text
    assert "latents/val, epoch-0002" in text
    assert "latents/val, epoch-0001" not in text
    assert "latents/test, test" in text


def test_runs_are_told_with_their_values_and_their_people(page: Path) -> None:
    text = Page(page.read_text()).text
    for words in (
        "synthetic",
        "ckplus: <invented>",
        "0123abc",
        "val/loss 1.5",
        "<fear>",
        "nearest",
    ):
        assert words in text


def test_the_configuration_is_linked(page: Path) -> None:
    (link,) = [link for link in Page(page.read_text()).links if link.endswith(".yaml")]
    assert (page.parent / link).read_text().startswith("model:")


def test_a_folder_without_runs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(lambda: main(["--runs", str(tmp_path), "-o", str(tmp_path / "a.html")]))
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "a.html").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_browser_without_network_shows_everything(page: Path, tmp_path: Path) -> None:
    with browser(tmp_path) as chromium:
        chromium.open(page)
        seen = chromium.evaluate(
            """
            if (document.readyState !== "complete")
                await new Promise(done => addEventListener("load", done));
            const images = [...document.images].map(image => image.naturalWidth > 0);
            const times = [];
            for (const clip of document.querySelectorAll("video")) {
                await clip.play();
                await new Promise(done => clip.addEventListener("timeupdate", () => {
                    if (clip.currentTime > 0.1) done();
                }));
                times.push(clip.currentTime);
            }
            return {images, times};
            """
        )
        assert seen["images"] == [True] * 3
        assert len(seen["times"]) == 1
        assert chromium.faults == []
