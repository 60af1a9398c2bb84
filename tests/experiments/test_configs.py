from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from i2fet.cli import main

ROOT = Path(__file__).parents[2]
LAYERS = [ROOT / f"experiments/{name}.yaml" for name in ("gpu", "logging")]
WRITTEN = sorted((ROOT / "experiments").rglob("*.yaml"))
CONFIGS = [path for path in WRITTEN if "model" in yaml.safe_load(path.read_text())]


def parse(config, *overrides, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--config", str(config), *overrides, "--print_config"])
    return yaml.safe_load(capsys.readouterr().out)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shipped_configuration_is_valid(config, capsys):
    parsed = parse(config, capsys=capsys)
    written = yaml.safe_load(config.read_text())
    assert parsed["model"]["class_path"] == written["model"]["class_path"]
    assert parsed["trainer"]["max_epochs"] == written["trainer"]["max_epochs"]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda path: path.name)
@pytest.mark.parametrize("experiment", ["ckplus/i2fet", "ckplus/classifier"])
def test_layers_add_to_an_experiment(experiment, layer, capsys):
    config = ROOT / f"experiments/{experiment}.yaml"
    alone = parse(config, capsys=capsys)["trainer"]
    both = parse(config, "--config", str(layer), capsys=capsys)["trainer"]
    written = yaml.safe_load(layer.read_text())["trainer"]
    for name, value in written.items():
        if not name.endswith("+"):
            assert both[name] == value
            continue
        items = alone[name[:-1]]
        before = items if isinstance(items, list) else [items]
        after = both[name[:-1]]
        assert after[: len(before)] == before
        added = [item["class_path"] for item in after[len(before) :]]
        assert added == [item["class_path"] for item in value]


def test_overrides_win(capsys):
    overrides = ["--trainer.max_epochs", "3", "--model.init_args.latent", "8"]
    parsed = parse(ROOT / "experiments/ckplus/i2fet.yaml", *overrides, capsys=capsys)
    assert parsed["trainer"]["max_epochs"] == 3
    assert parsed["model"]["init_args"]["latent"] == 8


def test_paper_settings(capsys):
    parsed = parse(ROOT / "experiments/ckplus/i2fet_paper.yaml", capsys=capsys)
    assert parsed["trainer"]["max_epochs"] == 200
    model = parsed["model"]["init_args"]
    assert (model["face_encoders"], model["text_encoders"], model["caft_layers"]) == (2, 1, 1)
    assert model["kl_factor"] == 0.5


@pytest.mark.parametrize(
    "option", ["--trainer.epochs=3", "--model.init_args.lattent=3", "--data.rooot=x"]
)
def test_unknown_options_exit_with_2(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(ROOT / "experiments/default.yaml"), option])
