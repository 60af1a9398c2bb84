from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing
from torchmetrics import MetricCollection

from i2fet.metrics import (
    DiversityRatio,
    FrechetDistance,
    GeometricMean,
    PairAccuracy,
    SingleAccuracy,
)

CLASSES, SIZE, RANKS = 3, 4, 2


def make_data() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(CLASSES, (60, 2), generator=generator)
    wrong = torch.rand(60, 2, generator=generator) < 0.3
    return {
        "target": target,
        "prediction": (target + wrong) % CLASSES,
        "real": torch.randn(60, 2, SIZE, generator=generator),
        "generated": torch.randn(60, 2, SIZE, generator=generator) * 0.7 + 1,
    }


def measure(data: dict[str, Tensor]) -> dict[str, float]:
    labelled = MetricCollection(
        [SingleAccuracy(CLASSES), PairAccuracy(CLASSES), GeometricMean(CLASSES)]
    )
    diversity, frechet = DiversityRatio(CLASSES, SIZE), FrechetDistance(SIZE)
    for start in range(0, len(data["target"]), 16):
        batch = {name: values[start : start + 16] for name, values in data.items()}
        labelled.update(batch["prediction"], batch["target"])
        for kind in ("real", "generated"):
            diversity.update(batch[kind], batch["target"], real=kind == "real")
            frechet.update(batch[kind], real=kind == "real")
    values = {**labelled.compute(), "diversity": diversity.compute(), "frechet": frechet.compute()}
    return {name: float(value) for name, value in values.items()}


def measure_on_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = Path(folder, "store").as_uri()
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS)
    share = slice(20) if rank == 0 else slice(20, None)
    values = measure({name: values[share] for name, values in make_data().items()})
    torch.save(values, Path(folder, f"{rank}.pt"))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    multiprocessing.spawn(measure_on_rank, (str(tmp_path),), nprocs=RANKS)
    expected = measure(make_data())
    assert len(expected) == 5
    for rank in range(RANKS):
        values = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(values, expected, rtol=1e-6, atol=1e-7)
