"""Fixtures shared by all tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from i2fet.heads import ArkitHead, load_head

# Sums are rounded alike in the processes that tests start and in the one that runs them.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def head() -> ArkitHead:
    head = load_head("arkit")
    assert isinstance(head, ArkitHead)
    return head


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    from skimage.data import astronaut

    return astronaut()


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
