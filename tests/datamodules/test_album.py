from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from datamodules import album
from datamodules.album import FACES, AlbumDataModule, AlbumDataset, Page, Tensors, read_page
from datamodules.cache import is_current
from experiments import ship_encoder
from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.heads import ArkitHead
from i2fet.perception.crop import CROP_SIZE, STEADY, Aligner
from i2fet.perception.descriptor import descriptor_size, mirrored_places
from i2fet.perception.mirror import Mirror
from i2fet.perception.network import load_face_network
from i2fet.tasks import FaceEncoderTask
from tests.quiet_trainer import make_trainer

PEOPLE = 3


@pytest.fixture(scope="module", autouse=True)
def small_pages() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(album, "PAGE_PEOPLE", PEOPLE)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("album")


@pytest.fixture(scope="module")
def page(folder: Path) -> Tensors:
    return read_page(Page(folder, 0, 1))


def faces_of(tensors: Tensors) -> FaceCoefficients:
    return FaceCoefficients(*(tensors[name] for name in album.COEFFICIENTS))


def test_a_page_holds_people_who_begin_at_rest(page: Tensors) -> None:
    assert page["descriptors"].shape == (PEOPLE * FACES, descriptor_size())
    assert page["descriptors"].dtype == torch.uint8
    people = page["shape"].unflatten(0, (PEOPLE, FACES))
    assert (people == people[:, :1]).all()
    amount = page["expression"].abs().sum(1).unflatten(0, (PEOPLE, FACES))
    assert (amount[:, 0] < amount[:, 1:].mean(1)).all()


def test_crops_show_eyes_and_nose_in_their_place(page: Tensors, head: ArkitHead) -> None:
    faces = faces_of(page)
    points = head.landmarks(project(head.vertices(faces), faces.camera, *CROP_SIZE))
    away = (points[:, list(STEADY), :2] - Aligner(head).targets).norm(dim=-1)
    frontal = faces.pose[:, 1].abs() < 0.2
    assert away[frontal].mean() < 4


def test_the_same_page_again(page: Tensors, folder: Path, tmp_path: Path) -> None:
    for again in (read_page(Page(folder, 0, 1)), read_page(Page(tmp_path, 0, 1))):
        assert all((again[name] == values).all() for name, values in page.items())
    other = read_page(Page(tmp_path, 0, 2))
    assert not (other["shape"] == page["shape"]).all()


def test_an_album_of_another_version_is_photographed_anew(
    folder: Path, page: Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = AlbumDataModule(people=1, val_people=1, folder=str(tmp_path), workers=1)
    for number in range(2):
        shutil.copy(Page(folder, 0, 1).path, Page(tmp_path, 0, number).path)
    kept = Page(tmp_path, 0, 1)
    before = kept.path.stat().st_mtime_ns
    data.prepare_data()
    assert kept.path.stat().st_mtime_ns == before
    monkeypatch.setattr(album, "ALBUM_VERSION", "another")
    data.prepare_data()
    assert all(is_current(made.path, made.key) for made in (Page(tmp_path, 0, 0), kept))


def test_batches_hold_each_person_at_rest_and_others(page: Tensors) -> None:
    dataset = AlbumDataset([page], faces=3)
    batch = dataset[[2, 0]]
    assert len(dataset) == PEOPLE
    assert batch["neutral"].tolist() == [0, 0, 0, 3, 3, 3]
    for name in album.COEFFICIENTS:
        assert (batch[name][0] == page[name][2 * FACES]).all()
        assert (batch[name][3] == page[name][0]).all()
    assert (batch["shape"][:3] == page["shape"][2 * FACES]).all()


def test_half_of_the_people_are_mirrored(page: Tensors, head: ArkitHead) -> None:
    mirror, places = Mirror(head), torch.from_numpy(mirrored_places())
    dataset = AlbumDataset([page], faces=2, mirror=mirror)
    torch.manual_seed(0)
    batches = [dataset[[1]] for _ in range(20)]
    plain = page["descriptors"][FACES]
    same = [bool((batch["descriptors"][0] == plain).all()) for batch in batches]
    assert 3 < sum(same) < 17
    for batch, is_same in zip(batches, same, strict=True):
        expected = faces_of(page)[FACES : FACES + 1]
        if not is_same:
            assert (batch["descriptors"][0] == plain[places]).all()
            expected = mirror(expected)
        torch.testing.assert_close(batch["pose"][:1], expected.pose)
        torch.testing.assert_close(batch["expression"][:1], expected.expression)


def test_training_learns_and_ships(
    folder: Path, tmp_path: Path, head: ArkitHead, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    data = AlbumDataModule(
        people=PEOPLE, val_people=PEOPLE, batch_people=PEOPLE, folder=str(folder), workers=1
    )
    data.setup("fit")
    task = FaceEncoderTask(
        crop=[(8, 1), (16, 1)], part=[(16, 1)], features=64, hidden=32, learning_rate=1e-2
    )
    checkpoint, shipped = tmp_path / "last.ckpt", tmp_path / "network.safetensors"
    _train(task, data, checkpoint)
    ship_encoder.main([str(checkpoint), "--output", str(shipped)])
    assert "3 synthetic people" in capsys.readouterr().out
    network, numbers = load_face_network(shipped, head), data.val.tensors["descriptors"]
    expected = task.network.eval()(numbers).coefficients.expression
    seen = network(numbers).coefficients.expression
    torch.testing.assert_close(seen, expected, atol=0.1, rtol=0)
    assert network.calibration[1] != 1


def _train(task: FaceEncoderTask, data: AlbumDataModule, checkpoint: Path) -> None:
    """Training must lower the loss of the training people."""
    trainer = make_trainer(checkpoint.parent, 60)
    task.network.adopt(data.typical())
    first = _loss(task, data)
    trainer.fit(task, datamodule=data)
    assert -1 <= trainer.callback_metrics["val/r"] <= 1
    assert _loss(task, data) < 0.9 * first
    trainer.save_checkpoint(checkpoint)


@torch.no_grad()
def _loss(task: FaceEncoderTask, data: AlbumDataModule) -> float:
    tensors = data.train.tensors
    task.eval()
    reading = task.network(tensors["descriptors"])
    value = sum(task.losses(reading, faces_of(tensors)).values())
    task.train()
    return float(value)
