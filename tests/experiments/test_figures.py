"""A grid trained and judged by the real commands, at a tiny size, and the figures drawn from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from datamodules.corpus import write_ckplus_corpus
from experiments import ablation, figures
from experiments.ablation import Setting, Size, make_table
from i2fet import cli

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings(
    "ignore:The least populated class",
    "ignore:The number of training batches",
    "ignore:Mean of empty slice",
)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """Two corpora and a judge."""
    folder = tmp_path_factory.mktemp("figures")
    for name, seed in (("judged", 1), ("train", 2), ("test", 3)):
        write_ckplus_corpus(folder / name, subjects=16, seed=seed, pictures=False)
    settings = {
        "--config": ROOT / "experiments/ckplus/classifier.yaml",
        "--data.root": folder / "judged",
        "--model.init_args.image_size": 32,
        "--trainer.max_epochs": 1,
        "--trainer.logger": "false",
        "--trainer.callbacks": "null",
        "--trainer.enable_progress_bar": "false",
        "--trainer.default_root_dir": folder / "judge",
    }
    assert cli.main(["fit", *(str(part) for each in settings.items() for part in each)]) == 0
    (judge,) = (folder / "judge").rglob("*.ckpt")
    return Setting("ckplus", "quick", "true", folder / "train", folder / "test", judge)


@pytest.fixture(scope="module")
def drawn(setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The figures before and after the runs."""
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation, "OUT", out / "ablations")
        patch.setitem(ablation.SIZES, "quick", Size(seeds=1, epochs=1, samples=300, evaluations=1))
        patch.setattr(ablation, "_i2fet", lambda folder, threads, *args: cli.main(args))
        patch.setattr(figures, "MAPPED", 60)
        options = {f"--{name}": getattr(setting, name) for name in ("train", "test", "judge")}
        given = [str(part) for option in options.items() for part in option]
        figures.main(["--size", "quick", *given, "-o", str(out / "before")])
        for grid in ("components", "methods", "losses"):
            make_table(grid, setting, workers=1)
        figures.main(["--size", "quick", *given, "-o", str(out / "after")])
    return out


def test_without_runs_only_the_data_is_drawn(drawn: Path) -> None:
    assert [path.name for path in (drawn / "before").iterdir()] == ["fig05_statistics-ckplus.png"]


def test_every_figure_is_drawn(drawn: Path) -> None:
    found = {path.name.removesuffix("-ckplus.png") for path in (drawn / "after").iterdir()}
    assert found == set(figures.FIGURES)
    for path in (drawn / "after").iterdir():
        assert min(Image.open(path).size) > 200


def test_the_tables_hold_what_the_runs_measured(drawn: Path) -> None:
    page = (drawn / "ablations" / "methods-ckplus-quick.md").read_text()
    assert "| MotionCLIP |" in page
    assert "| I2FET, improved |" in page
    assert "nan" not in page
