from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fake_faces import FakeFaces
from lightning import Trainer, seed_everything
from lightning.pytorch.cli import LightningCLI

from datamodules.expression import ExpressionDataModule
from i2fet.coefficients import FaceCoefficients
from i2fet.errors import CheckpointError
from i2fet.heads import load_head
from i2fet.heads.base import HeadModel
from i2fet.judge import ExpressionJudge, TrainingPart
from i2fet.nn.imbalance import ClassBalancedFocalLoss
from i2fet.rendering.shape_images import draw_shape_images, rotate_images
from i2fet.tasks import BaseTask, ExpressionClassifierTask
from tests.quiet_trainer import make_trainer

CONFIGS = Path(__file__).parents[2] / "experiments"
Trained = tuple[ExpressionClassifierTask, Trainer, Path]
SMALL: dict[str, Any] = {
    "backbone": "resnet18",
    "image_size": 32,
    "optimizer": lambda p: torch.optim.Adam(p, lr=1e-3),
}


def fit(folder: Path, epochs: int = 1, **options: Any) -> tuple[ExpressionClassifierTask, Trainer]:
    seed_everything(1, verbose=False)
    task = ExpressionClassifierTask(**SMALL | options)
    trainer = make_trainer(folder, epochs, check_val_every_n_epoch=epochs, num_sanity_val_steps=0)
    trainer.fit(task, datamodule=FakeFaces())
    return task, trainer


def some_faces(data: FakeFaces) -> tuple[FaceCoefficients, torch.Tensor]:
    batch = data.make_batch("test")
    names = ("shape", "expression", "pose", "camera")
    return FaceCoefficients(**{name: batch[name] for name in names}), batch["emotion"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("classifier")
    task, trainer = fit(folder, epochs=40)
    trainer.save_checkpoint(folder / "judge.ckpt")
    return task, trainer, folder / "judge.ckpt"


def test_it_learns_to_name_expressions_of_new_people(trained: Trained) -> None:
    metrics = trained[1].callback_metrics
    assert metrics["val/acc1"] == 1
    assert metrics["val/gmean"] == 1
    assert 0 <= metrics["val/ece"] < 0.5
    assert metrics["val/loss"] < 1  # before training it is 1.9


def test_testing_measures_turned_images_too(trained: Trained, tmp_path: Path) -> None:
    task, _, path = trained
    loaded = ExpressionClassifierTask.from_checkpoint(path)
    (result,) = make_trainer(tmp_path).test(loaded, datamodule=FakeFaces(), verbose=False)
    faces, emotion = some_faces(FakeFaces())
    images = draw_shape_images(load_head(), faces, 32)
    for angle in (10, 15, 30):
        with torch.no_grad():
            named = [
                task.eval().judge(rotate_images(images, degrees)).argmax(dim=1)
                for degrees in (angle, -angle)
            ]
        expected = torch.stack([each == emotion for each in named]).float().mean()
        assert result[f"test/acc1_rotated_{angle}"] == pytest.approx(float(expected))
        assert 0 <= result[f"test/gmean_rotated_{angle}"] <= 1
    assert {"test/acc1", "test/gmean", "test/ece"} <= set(result)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "cross_entropy"},
        {"loss": "mek"},
        {"flip": True, "rotation": 20.0},
        {"identity": "shuffled"},
        {"identity": "reshuffled"},
    ],
)
def test_every_option_trains_and_reloads(tmp_path: Path, options: dict[str, Any]) -> None:
    task, trainer = fit(tmp_path, **options)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = ExpressionClassifierTask.from_checkpoint(tmp_path / "a.ckpt")
    assert again.hparams["loss"] == options.get("loss", "focal")
    for name, value in again.state_dict().items():
        assert torch.equal(value, task.state_dict()[name]), name


@pytest.mark.parametrize(
    ("identity", "times", "others"),
    [("own", 1, False), ("shuffled", 1, True), ("reshuffled", 2, True)],
)
def test_training_faces_are_drawn_on_other_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identity: str, times: int, others: bool
) -> None:
    drawn: list[FaceCoefficients] = []

    def draw(head: HeadModel, faces: FaceCoefficients, size: int) -> torch.Tensor:
        drawn.append(faces)
        return draw_shape_images(head, faces, size)

    monkeypatch.setattr("i2fet.judge.draw_shape_images", draw)
    fit(tmp_path, epochs=2, identity=identity)
    batch = FakeFaces().make_batch("train")
    training = [faces for faces in drawn if len(faces) == len(batch["row"])]
    assert len(training) == times
    for faces in training:
        assert torch.equal(faces.expression, batch["expression"])
        assert torch.equal(faces.shape.sort(dim=0).values, batch["shape"].sort(dim=0).values)
        assert torch.equal(faces.shape, batch["shape"]) is not others


def test_losses_are_weighed_by_the_training_part(trained: Trained) -> None:
    task = trained[0]
    assert task.judge.training_part.counts == (4, 4, 4)
    assert isinstance(task.loss, ClassBalancedFocalLoss)
    assert task.loss.weights.tolist() == pytest.approx([1, 1, 1])


def test_the_judge_alone_names_the_same(trained: Trained) -> None:
    task, _, path = trained
    judge = ExpressionJudge.from_checkpoint(path)
    faces, emotion = some_faces(FakeFaces())
    images = draw_shape_images(load_head(), faces, 32)
    with torch.no_grad():
        logits = task.eval().judge(images)
        torch.testing.assert_close(judge(images), logits)
    assert judge.judge(faces).tolist() == logits.argmax(dim=1).tolist()
    assert (judge.judge(faces) == emotion).float().mean() > 0.6


def test_the_judge_can_be_restricted_to_some_labels(trained: Trained) -> None:
    judge = ExpressionJudge.from_checkpoint(trained[2])
    faces, _ = some_faces(FakeFaces())
    labels = judge.judge(faces, among=["anger", "disgust"])
    with torch.no_grad():
        logits = judge(judge.draw(faces))
    assert labels.tolist() == (2 * (logits[:, 2] > logits[:, 0])).tolist()


def test_prediction_names_every_face(trained: Trained, tmp_path: Path) -> None:
    (batch,) = make_trainer(tmp_path).predict(trained[0], datamodule=FakeFaces()) or []
    assert isinstance(batch, dict)
    judge = ExpressionJudge.from_checkpoint(trained[2])
    assert batch["logits"].shape == (6, 3)
    assert batch["emotion"].tolist() == judge.judge(some_faces(FakeFaces())[0]).tolist()


def test_checkpoint_says_whom_it_has_seen(trained: Trained) -> None:
    part = ExpressionJudge.from_checkpoint(trained[2]).training_part
    assert part == TrainingPart("fakes", ("S0", "S1", "S2", "S3"), (4, 4, 4))
    content = torch.load(trained[2], weights_only=True)
    assert all(key.startswith("judge.classifier.") for key in content["state_dict"])


def test_known_people_are_refused(trained: Trained, tmp_path: Path) -> None:
    loaded = ExpressionClassifierTask.from_checkpoint(trained[2])
    data = FakeFaces()
    data.subjects["test"] = ["S3", "S6"]
    with pytest.raises(CheckpointError, match=r"1 of the 2 subjects .*\(S3 of fakes\)"):
        make_trainer(tmp_path).test(loaded, datamodule=data, verbose=False)


def test_people_of_another_population_are_new(trained: Trained) -> None:
    part = ExpressionJudge.from_checkpoint(trained[2]).training_part
    part.check_unseen("others", ["S3", "S6"])
    part.check_unseen("fakes", ["S6"])
    with pytest.raises(CheckpointError, match="4 of the 4 subjects"):
        part.check_unseen("fakes", ["S0", "S1", "S2", "S3"])


def test_another_head_label_set_or_size_is_refused(trained: Trained) -> None:
    judge = ExpressionJudge.from_checkpoint(trained[2])
    judge.check("arkit", ["anger", "contempt"])
    with pytest.raises(CheckpointError, match="head 'arkit' but the faces belong to 'flame2020'"):
        judge.check("flame2020", ["anger"])
    with pytest.raises(CheckpointError, match=r"knows anger, .* but should judge anger, neutral"):
        judge.check("arkit", ["anger", "neutral"])
    with pytest.raises(CheckpointError, match=r"32 x 32 pixels and now meets 48 x 48"):
        judge(torch.zeros(1, 3, 48, 48, dtype=torch.uint8))


def test_data_with_other_labels_is_refused(trained: Trained, tmp_path: Path) -> None:
    loaded = ExpressionClassifierTask.from_checkpoint(trained[2])
    with pytest.raises(CheckpointError, match=r"anger, contempt, disgust but .*, fear"):
        make_trainer(tmp_path).validate(loaded, datamodule=FakeFaces(emotions=4))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"image_size": 48}, "trained with image_size 32, not 48"),
        ({"backbone": "histograms"}, "trained with backbone resnet18, not histograms"),
    ],
)
def test_resuming_with_another_network_or_image_size_is_refused(
    trained: Trained, tmp_path: Path, option: dict[str, Any], message: str
) -> None:
    task = ExpressionClassifierTask(**SMALL | option)
    with pytest.raises(CheckpointError, match=message):
        make_trainer(tmp_path).fit(task, datamodule=FakeFaces(), ckpt_path=trained[2])


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": {"hidden": 3}}, tmp_path / "other.ckpt")
    for kind in (ExpressionJudge, ExpressionClassifierTask):
        with pytest.raises(CheckpointError, match="not a checkpoint of ExpressionClassifierTask"):
            kind.from_checkpoint(tmp_path / "other.ckpt")


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*/classifier*.yaml")), ids=lambda p: p.stem)
def test_shipped_configurations_are_valid(config: Path) -> None:
    cli = LightningCLI(
        BaseTask,
        ExpressionDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        save_config_callback=None,
        run=False,
        args=["--config", str(config), "--data.root", "elsewhere"],
    )
    assert isinstance(cli.model, ExpressionClassifierTask)
    assert isinstance(cli.datamodule, ExpressionDataModule)
    assert cli.datamodule.view == "faces"
    assert cli.datamodule.root == Path("elsewhere")


def run_command(command: str, folder: Path, *arguments: str) -> ExpressionClassifierTask:
    cli = LightningCLI(
        BaseTask,
        FakeFaces,
        subclass_mode_model=True,
        auto_configure_optimizers=False,
        save_config_callback=None,
        args=[
            command,
            "--model=i2fet.tasks.ExpressionClassifierTask",
            "--model.backbone=resnet18",
            "--model.image_size=32",
            "--trainer.accelerator=cpu",
            "--trainer.logger=false",
            "--trainer.enable_progress_bar=false",
            f"--trainer.default_root_dir={folder}",
            *arguments,
        ],
    )
    assert isinstance(cli.model, ExpressionClassifierTask)
    return cli.model


def test_the_command_line_reads_no_yaml_in_a_checkpoint(tmp_path: Path) -> None:
    task = run_command("fit", tmp_path, "--trainer.max_epochs=1")
    (path,) = tmp_path.rglob("*.ckpt")
    loaded = run_command("test", tmp_path, f"--ckpt_path={path}")
    assert loaded.provenance == task.provenance
    assert loaded.provenance.encoder == "true"
    assert loaded.provenance.description == "fakes: invented faces"
    assert loaded.judge.training_part == task.judge.training_part


def test_default_optimiser_is_the_papers() -> None:
    task = ExpressionClassifierTask(backbone="resnet18", image_size=32)
    task._meet(FakeFaces())
    optimizer = task.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["lr"] == 1e-4
