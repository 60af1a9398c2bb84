from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_pairs import WIDTH, FakePairs
from lightning import Trainer, seed_everything
from lightning.pytorch.cli import LightningCLI

from i2fet.errors import CheckpointError, OptionError
from i2fet.heads import load_head
from i2fet.nn import ExpressionGenerator
from i2fet.tasks import BaseTask, I2FETTask
from tests.quiet_trainer import make_trainer

Trained = tuple[I2FETTask, Trainer, Path]
SMALL: dict[str, Any] = {"hidden": 32, "latent": 4, "vertex_weight": 0.0}


def fit(folder: Path, epochs: int = 1, **options: Any) -> tuple[I2FETTask, Trainer]:
    seed_everything(1, verbose=False)
    task = I2FETTask(**SMALL | options)
    trainer = make_trainer(folder, epochs)
    trainer.fit(task, datamodule=FakePairs())
    return task, trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    task, trainer = fit(folder, epochs=20)
    trainer.save_checkpoint(folder / "last.ckpt")
    return task, trainer, folder / "last.ckpt"


def sentences(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    batch = FakePairs().batches[0]
    return batch["tokens"][:count], batch["token_mask"][:count]


def test_it_learns_to_show_the_named_expressions(trained: Trained) -> None:
    metrics = trained[1].callback_metrics
    assert metrics["val/acc1_nearest_mean"] > 0.9
    assert metrics["val/acc2_nearest_mean"] > 0.8
    assert metrics["val/acc1_nearest_mean_real"] == 1


def test_losses_and_shares_are_logged_by_name(trained: Trained) -> None:
    names = {"expression", "kl_expression", "pose", "kl_pose"}
    metrics = trained[1].callback_metrics
    for stage in ("train", "val"):
        parts = {f"{stage}/{name}" for name in names | {"loss"}}
        assert parts <= set(metrics)
    shares = [metrics[f"train/gradient_share_{name}"] for name in names]
    assert float(sum(shares)) == pytest.approx(1)
    expected = sum(float(metrics[f"val/{name}"]) for name in names)
    assert float(metrics["val/loss"]) == pytest.approx(expected)


def test_weights_make_the_total(tmp_path: Path) -> None:
    _, trainer = fit(tmp_path, kl_factor=2.0, pose_weight=3.0, vertex_weight=5.0, reduction="mean")
    m = {name: float(value) for name, value in trainer.callback_metrics.items()}
    expected = m["val/expression"] + 4 * m["val/kl_expression"] + 5 * m["val/vertices"]
    expected += 3 * (m["val/pose"] + 4 * m["val/kl_pose"])
    assert m["val/loss"] == pytest.approx(expected, rel=1e-4)


def test_without_pose_loss_the_pose_learns_nothing(tmp_path: Path) -> None:
    task, _ = fit(tmp_path, pose_weight=0.0)
    seed_everything(1, verbose=False)
    fresh = I2FETTask(**SMALL | {"pose_weight": 0.0})
    make_trainer(tmp_path, 0).fit(fresh, datamodule=FakePairs())
    decoder = task.generator.model.pose_vae.decoder.state_dict()
    for name, value in fresh.generator.model.pose_vae.decoder.state_dict().items():
        assert torch.equal(decoder[name], value)


def test_diversity_shows_a_collapsed_posterior(tmp_path: Path) -> None:
    _, collapsed = fit(tmp_path, 15, kl_factor=50.0)
    _, free = fit(tmp_path, 15, kl_factor=0.01)
    assert collapsed.callback_metrics["val/diversity"] < 0.2
    assert free.callback_metrics["val/diversity"] > 0.35
    assert collapsed.callback_metrics["val/acc1_nearest_mean"] > 0.9


@pytest.mark.parametrize(
    "options",
    [
        {"exchange": "symmetric"},
        {"use_ifed": False},
        {"share_ifed": False},
        {"prior": "flow", "kl_factor": 0.01, "flow_starts": 3, "temperature": 1.2},
        {"kl_warmup": 2, "free_bits": 0.1},
        {"scale": "raw"},
        {"caft_layers": 2, "face_encoders": 1},
    ],
)
def test_every_option_trains_and_reloads(tmp_path: Path, options: dict[str, Any]) -> None:
    task, trainer = fit(tmp_path, **options)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = I2FETTask.from_checkpoint(tmp_path / "a.ckpt")
    for name, value in again.state_dict().items():
        assert torch.equal(value, task.state_dict()[name])
    standardised = not torch.equal(again.generator.scaler.expression_std, torch.ones(50))
    assert standardised is (options.get("scale") != "raw")


@pytest.mark.parametrize("name", ["latent", "hidden", "caft_layers", "flow_starts"])
def test_there_is_one_of_everything(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} is 0; give a number from 1 on"):
        fit(tmp_path, **{name: 0})


def test_the_flow_moves_itself_and_the_text_alone(tmp_path: Path) -> None:
    task, trainer = fit(tmp_path, prior="flow")
    assert trainer.callback_metrics["val/flow"] > 0
    batch, sources = FakePairs().batches[0], [torch.Generator().manual_seed(0)]
    task.zero_grad()
    task._terms(batch, task._reconstruct(batch, sources), sources)["flow"].backward()
    model = task.generator.model
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    text = ("prior.", "ifed.project_text.", "ifed.caft.text_encoders.")
    assert moved == {name for name, _ in model.named_parameters() if name.startswith(text)}


def test_temperature_widens_what_is_generated(trained: Trained) -> None:
    generator = ExpressionGenerator.from_checkpoint(trained[2])
    spread = {}
    for temperature in (0.5, 1.0, 2.0):
        generator.temperature = temperature
        faces, _ = generator.generate(*sentences(), 64, torch.Generator().manual_seed(0))
        spread[temperature] = float(faces.std(dim=1).mean())
    assert spread[0.5] < spread[1.0] < spread[2.0]


def test_the_kl_term_warms_up_in_training_alone(tmp_path: Path) -> None:
    task, _ = fit(tmp_path, kl_factor=1.0, kl_warmup=3)
    terms = {name: torch.ones(()) for name in ("expression", "kl_expression", "pose", "kl_pose")}
    assert float(task.train()._weighted(terms)["kl_pose"]) < 2
    assert float(task.eval()._weighted(terms)["kl_pose"]) == 2


def test_generation_has_its_shapes_and_range(trained: Trained) -> None:
    tokens, mask = sentences()
    expression, pose = trained[0].generate(tokens, mask, 5, torch.Generator().manual_seed(0))
    assert expression.shape == (4, 5, 2, 50)
    assert pose.shape == (4, 5, 2, 6)
    assert expression.min() >= 0
    assert expression.max() <= 1
    assert (expression.std(dim=1) > 0).any()


def test_generation_depends_on_the_seed_alone(trained: Trained) -> None:
    def generate(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return trained[0].generate(*sentences(), 3, generator)[0]

    first = generate(1)
    torch.manual_seed(99)
    assert torch.equal(generate(1), first)
    assert not torch.equal(generate(2), first)


def test_checkpoint_alone_generates_the_same(trained: Trained) -> None:
    task, _, path = trained
    loaded = I2FETTask.from_checkpoint(path)
    assert loaded.provenance == task.provenance
    assert loaded.provenance.emotions == ("anger", "contempt", "disgust")
    assert loaded.provenance.text_width == WIDTH
    assert loaded.card() == "I2FET trained on invented pairs"
    results = [
        model.generate(*sentences(), 2, torch.Generator().manual_seed(3))
        for model in (task, loaded)
    ]
    torch.testing.assert_close(*results)


def test_generator_needs_neither_lightning_nor_the_task(trained: Trained) -> None:
    script = (
        "import sys, torch; from i2fet.nn.generator import ExpressionGenerator; "
        "model = ExpressionGenerator.from_checkpoint(sys.argv[1]); "
        "tokens, mask = torch.ones(1, 3, 16), torch.ones(1, 3, dtype=torch.bool); "
        "expression, _ = model.generate(tokens, mask, 2, torch.Generator().manual_seed(5)); "
        "print('lightning' in sys.modules, model.card(), round(expression.sum().item(), 3))"
    )
    command = [sys.executable, "-c", script, str(trained[2])]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    tokens, mask = torch.ones(1, 3, WIDTH), torch.ones(1, 3, dtype=torch.bool)
    expression, _ = trained[0].generate(tokens, mask, 2, torch.Generator().manual_seed(5))
    assert printed[:-1] == ["False", *trained[0].card().split()]
    assert float(printed[-1]) == pytest.approx(expression.sum().item(), abs=0.01)


def test_checkpoint_holds_plain_values_only(trained: Trained) -> None:
    content = torch.load(trained[2], weights_only=True)
    assert content["hyper_parameters"]["provenance"]["synthetic"] is True
    assert not any(key.startswith("vertex_loss") for key in content["state_dict"])


def test_loaded_task_is_tested_with_the_training_means(trained: Trained, tmp_path: Path) -> None:
    _, trainer, path = trained
    loaded = I2FETTask.from_checkpoint(path)
    (result,) = make_trainer(tmp_path).test(loaded, datamodule=FakePairs(), verbose=False)
    for name in ("loss", "acc1_nearest_mean", "diversity"):
        assert result[f"test/{name}"] == pytest.approx(
            float(trainer.callback_metrics[f"val/{name}"])
        )


def test_loaded_task_measures_vertices_as_in_training(tmp_path: Path) -> None:
    _, trainer = fit(tmp_path, vertex_weight=10.0)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    loaded = I2FETTask.from_checkpoint(tmp_path / "last.ckpt")
    (result,) = make_trainer(tmp_path).test(loaded, datamodule=FakePairs(), verbose=False)
    assert result["test/vertices"] == pytest.approx(
        float(trainer.callback_metrics["val/vertices"]), rel=1e-4
    )


def test_prediction_gives_one_pair_a_row(trained: Trained, tmp_path: Path) -> None:
    predictions = make_trainer(tmp_path).predict(trained[0], datamodule=FakePairs())
    assert predictions is not None
    batch = predictions[0]
    assert isinstance(batch, dict)
    assert batch["expression"].shape == (32, 2, 50)
    assert batch["pose"].shape == (32, 2, 6)


def test_resumed_training_equals_uninterrupted_training(tmp_path: Path) -> None:
    whole, _ = fit(tmp_path, epochs=2)
    _, half = fit(tmp_path, epochs=1)
    half.save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(12345)
    resumed = I2FETTask(**SMALL)
    make_trainer(tmp_path, 2).fit(
        resumed, datamodule=FakePairs(), ckpt_path=tmp_path / "half.ckpt", weights_only=True
    )
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_another_label_set_is_refused_by_name(trained: Trained, tmp_path: Path) -> None:
    loaded = I2FETTask.from_checkpoint(trained[2])
    with pytest.raises(CheckpointError, match=r"emotions anger, contempt, disgust but .*, fear"):
        make_trainer(tmp_path).validate(loaded, datamodule=FakePairs(emotions=4))


def test_another_head_is_refused_when_resuming(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("i2fet.tasks.base.load_head", lambda name: load_head("arkit"))
    data = FakePairs()
    data.head_name = "flame2020"
    with pytest.raises(CheckpointError, match="head 'arkit' but the data has 'flame2020'"):
        make_trainer(tmp_path).fit(I2FETTask(**SMALL), datamodule=data, ckpt_path=trained[2])


def test_another_encoder_is_a_warning(trained: Trained, tmp_path: Path) -> None:
    data = FakePairs()
    data.encoder_name = "deca"
    loaded = I2FETTask.from_checkpoint(trained[2])
    with pytest.warns(UserWarning, match="encoder truth and now meets deca"):
        make_trainer(tmp_path).validate(loaded, datamodule=data, verbose=False)


def test_a_new_task_needs_a_data_module(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="data module"):
        make_trainer(tmp_path).fit(
            I2FETTask(**SMALL), train_dataloaders=FakePairs().train_dataloader()
        )


class OtherTask(I2FETTask):
    def configure_models(self) -> None:
        super().configure_models()
        self.extra = torch.nn.Linear(2, 2)


def test_bad_checkpoints_are_one_sentence(trained: Trained, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.ckpt"
    garbage.write_text("not a checkpoint", encoding="utf-8")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    cases: list[tuple[type[I2FETTask | ExpressionGenerator], Path, str]] = [
        (ExpressionGenerator, tmp_path / "no.ckpt", "cannot be read"),
        (ExpressionGenerator, garbage, "broken or not a checkpoint of I2FETTask"),
        (I2FETTask, tmp_path / "no.ckpt", "cannot be read"),
        (I2FETTask, garbage, "broken or not a checkpoint of I2FETTask"),
        (I2FETTask, tmp_path / "other.ckpt", "broken or not a checkpoint of I2FETTask"),
        (OtherTask, trained[2], "not a checkpoint of OtherTask"),
    ]
    for kind, path, message in cases:
        with pytest.raises(CheckpointError, match=message):
            kind.from_checkpoint(path)


def test_command_line_overrides_and_its_checkpoint_reloads(tmp_path: Path) -> None:
    arguments = [
        "fit",
        "--model=i2fet.tasks.I2FETTask",
        "--model.hidden=32",
        "--model.vertex_weight=0",
        "--model.optimizer=torch.optim.AdamW",
        "--model.optimizer.lr=0.002",
        "--model.scheduler=torch.optim.lr_scheduler.StepLR",
        "--model.scheduler.step_size=1",
        "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu",
        "--trainer.logger=false",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        f"--trainer.default_root_dir={tmp_path}",
    ]
    cli = LightningCLI(
        BaseTask,
        FakePairs,
        subclass_mode_model=True,
        auto_configure_optimizers=False,
        save_config_callback=None,
        args=arguments,
    )
    (optimizer,) = cli.trainer.optimizers
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["initial_lr"] == 0.002
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0002)
    (path,) = tmp_path.rglob("*.ckpt")
    loaded = I2FETTask.from_checkpoint(path)
    assert loaded.hparams["hidden"] == 32
    assert loaded.provenance.head == "arkit"


def test_default_optimiser_is_the_papers() -> None:
    cli = LightningCLI(
        BaseTask,
        FakePairs,
        subclass_mode_model=True,
        auto_configure_optimizers=False,
        run=False,
        save_config_callback=None,
        args=["--model=i2fet.tasks.I2FETTask"],
    )
    cli.model._meet(cli.datamodule)
    optimizer = cli.model.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["lr"] == 8e-4
