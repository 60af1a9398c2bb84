from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.spatial.transform import Rotation

from i2fet.coefficients import FaceCoefficients
from i2fet.errors import AssetError, NoFaceError
from i2fet.heads import ArkitHead
from i2fet.nn.face_network import FaceNetwork
from i2fet.perception import EncodedFaces, LearnedFaceEncoder, load_face_encoder
from i2fet.perception.crop import CROP_SIZE
from i2fet.perception.descriptor import descriptor_size
from i2fet.perception.encoder import find_faces
from i2fet.perception.network import (
    NETWORK_FILE,
    build_face_network,
    load_face_network,
    save_face_network,
)

CONFIG = {"crop": [[8, 1], [16, 1]], "part": [[16, 1]], "features": 64, "hidden": 48}


@pytest.fixture(scope="module")
def network(head: ArkitHead) -> FaceNetwork:
    """Untrained: it reads something else from every crop, near a frontal face."""
    torch.manual_seed(0)
    network = build_face_network(**CONFIG)
    typical = FaceCoefficients.zeros(64)
    typical.expression[:] = 0.3 * torch.rand(64, 50)
    typical.pose[:] = 0.05 * torch.randn(64, 6)
    typical.pose[:, 3] += 0.1 * head.jaw_open_angle
    typical.camera[:] = torch.tensor([10.0, 0.0, -0.13]) * (1 + 0.02 * torch.randn(64, 1))
    network.adopt(typical)
    with torch.no_grad():
        network.head.layers[-1].weight.mul_(10)
        for _ in range(30):
            network(torch.randint(256, (16, descriptor_size())))
    return network.eval()


@pytest.fixture(scope="module")
def encoder(head: ArkitHead, network: FaceNetwork) -> LearnedFaceEncoder:
    return LearnedFaceEncoder(head, network)


@pytest.fixture(scope="module")
def plain(head: ArkitHead, network: FaceNetwork) -> LearnedFaceEncoder:
    return LearnedFaceEncoder(head, network, refine=False)


@pytest.fixture(scope="module")
def encoded(plain: LearnedFaceEncoder, astronaut: np.ndarray) -> EncodedFaces:
    return plain.encode([astronaut, np.zeros((64, 80, 3), np.uint8)])


def test_a_saved_network_reads_nearly_alike(
    head: ArkitHead, network: FaceNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "network.safetensors"
    save_face_network(network, CONFIG, path, head, seed="3")
    loaded = load_face_network(path, head)
    numbers = torch.randint(256, (2, descriptor_size()), dtype=torch.uint8)
    one, other = network(numbers), loaded(numbers)
    torch.testing.assert_close(
        other.coefficients.expression, one.coefficients.expression, atol=0.05, rtol=0
    )
    assert not loaded.training
    stored = load_file(path)
    packed = stored["gather.weight"]
    assert packed.dtype == torch.int8
    assert packed.shape == network.gather.weight.shape
    assert stored["head.layers.0.weight"].dtype == torch.float16
    assert path.stat().st_size < 2 * sum(weights.numel() for weights in network.parameters())


def test_a_missing_network_is_named(head: ArkitHead, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"none\.safetensors is missing; `make train-encoder`"):
        load_face_network(tmp_path / "none.safetensors", head)


@pytest.mark.parametrize(
    "config",
    [None, "", "{", "{}", '{"depth": 3}', '{"crop": 3, "part": 3}', '{"crop": [], "part": []}'],
)
def test_a_broken_network_is_refused(head: ArkitHead, tmp_path: Path, config: str | None) -> None:
    path = tmp_path / "network.safetensors"
    if config is None:
        path.write_bytes(b"no network")
    else:
        save_file({"mean": torch.zeros(3)}, path, {"config": config} if config else {})
    with pytest.raises(AssetError, match=r"is broken .*`make train-encoder`"):
        load_face_network(path, head)


def test_a_network_for_other_landmarks_is_refused(
    head: ArkitHead, network: FaceNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "network.safetensors"
    metadata = {"config": json.dumps(CONFIG), "embedding": "another"}
    save_file(network.state_dict(), path, metadata)
    with pytest.raises(AssetError, match="other landmarks"):
        load_face_network(path, head)


def test_mirrored_crops_give_the_mirrored_face(plain: LearnedFaceEncoder) -> None:
    rng = np.random.default_rng(1)
    crops = list(rng.integers(0, 256, (3, *CROP_SIZE, 3), np.uint8))
    at_rest = plain._features(crops[:1])
    with torch.no_grad():
        seen = plain.read_crops(crops, at_rest)
        other = plain.read_crops([crop[:, ::-1].copy() for crop in crops], at_rest.flip(0))
    mirrored = plain.mirror(seen.coefficients)
    for name in ("expression", "pose", "camera"):
        values = getattr(other.coefficients, name)
        torch.testing.assert_close(values, getattr(mirrored, name), atol=1e-3, rtol=1e-3)
        assert not torch.equal(values, getattr(seen.coefficients, name))
    torch.testing.assert_close(other.sigma, plain.mirror.swap(seen.sigma), atol=1e-3, rtol=1e-3)


def test_faces_are_read_within_bounds(
    plain: LearnedFaceEncoder, encoded: EncodedFaces, head: ArkitHead
) -> None:
    assert encoded.found.tolist() == [True, False]
    face = encoded.coefficients[:1]
    assert 0 <= face.expression.min() <= face.expression.max() <= 1
    assert face.expression.std() > 0
    assert 0 <= face.jaw[0, 0] <= 1.2 * head.jaw_open_angle
    assert ((encoded.confidence[0] > 0) & (encoded.confidence[0] < 1)).all()
    assert encoded.confidence[1].isnan().all()
    assert encoded.residual_percent[0] > 0
    assert encoded.residual_percent[1].isnan()


def test_several_photos_are_read_like_single_ones(
    plain: LearnedFaceEncoder, encoded: EncodedFaces, astronaut: np.ndarray
) -> None:
    half = np.ascontiguousarray(astronaut[:256, 100:400])
    both = plain.encode([half, astronaut])
    torch.testing.assert_close(
        both.coefficients.expression[1], encoded.coefficients.expression[0], atol=1e-4, rtol=0
    )


def test_refinement_puts_the_mesh_on_the_photo(
    encoder: LearnedFaceEncoder,
    encoded: EncodedFaces,
    astronaut: np.ndarray,
) -> None:
    refined = encoder.encode([astronaut])
    assert refined.residual_percent[0] < encoded.residual_percent[0] / 2


def test_a_neutral_photo_changes_the_reading(
    plain: LearnedFaceEncoder, encoded: EncodedFaces, astronaut: np.ndarray
) -> None:
    neutral = np.ascontiguousarray(astronaut[:, ::-1])
    informed = plain.encode([astronaut], neutral)
    change = informed.coefficients.expression[0] - encoded.coefficients.expression[0]
    assert change.abs().max() > 1e-3


def test_a_neutral_photo_without_a_face_is_refused(
    plain: LearnedFaceEncoder, astronaut: np.ndarray
) -> None:
    with pytest.raises(NoFaceError, match="neutral photo, 80 x 60 pixels"):
        plain.encode([astronaut], np.zeros((60, 80, 3), np.uint8))


def test_no_pictures_give_no_faces(plain: LearnedFaceEncoder) -> None:
    assert plain.encode([]).coefficients.batch_shape == (0,)


def test_fingerprint_depends_on_the_network_and_the_refinement(
    head: ArkitHead, plain: LearnedFaceEncoder, encoder: LearnedFaceEncoder
) -> None:
    again = LearnedFaceEncoder(head, plain.network, refine=False)
    assert again.fingerprint == plain.fingerprint != encoder.fingerprint
    torch.manual_seed(9)
    other = LearnedFaceEncoder(head, build_face_network(**CONFIG).eval(), refine=False)
    assert other.fingerprint != plain.fingerprint


@pytest.fixture(scope="module")
def shipped(head: ArkitHead) -> LearnedFaceEncoder:
    return LearnedFaceEncoder(head)


def test_a_refined_reading_is_the_mean_of_two_crops(
    shipped: LearnedFaceEncoder, astronaut: np.ndarray
) -> None:
    alignment = shipped.aligner.align(find_faces(shipped.detector, [astronaut]).landmarks)
    with torch.no_grad():
        first = shipped._look([astronaut], alignment)
        nearer = shipped._nearer(first.coefficients)
        second = shipped._look([astronaut], nearer.after(alignment))
    one, other = first.coefficients.expression, second.coefficients.expression
    assert (one - other).abs().max() > 0.02
    seen = shipped.encode([astronaut]).coefficients.expression
    torch.testing.assert_close(seen, ((one + other) / 2).clamp(0, 1), atol=0.01, rtol=0)


def test_faces_upside_down_are_read_alike(
    encoder: LearnedFaceEncoder, astronaut: np.ndarray
) -> None:
    """Their rotations are half a turn, where angles jump from one sign to the other."""
    upright = find_faces(encoder.detector, [astronaut])
    turned = replace(
        upright,
        coefficients=FaceCoefficients.zeros(1),
        landmarks=upright.landmarks * torch.tensor([-1, -1, 1])
        + torch.tensor([*astronaut.shape[1::-1], 0]),
    )
    with torch.no_grad():
        encoder._read([astronaut], None, [0], upright)
        encoder._read([np.ascontiguousarray(np.rot90(astronaut, 2))], None, [0], turned)
    one, other = upright.coefficients, turned.coefficients
    torch.testing.assert_close(one.expression, other.expression, atol=0.02, rtol=0)
    half_turn = Rotation.from_rotvec([0, 0, np.pi])
    expected = half_turn * Rotation.from_rotvec(one.global_rotation.numpy())
    difference = expected.inv() * Rotation.from_rotvec(other.global_rotation.numpy())
    assert difference.magnitude().max() < 0.02


def test_reading_again_mends_the_alignment(
    shipped: LearnedFaceEncoder, astronaut: np.ndarray
) -> None:
    """Where all landmarks are off together, the second crop lies nearer to where it should."""
    landmarks = find_faces(shipped.detector, [astronaut]).landmarks
    astray = torch.tensor([[0, 0], [1, 1], [1, -1], [-1, 1], [-1, -1]]) * torch.tensor([1.5, 1.0])
    first, second = [], []
    for x, y in astray.tolist():
        alignment = shipped.aligner.align(landmarks + torch.tensor([x, y, 0.0]))
        with torch.no_grad():
            reading = shipped._look([astronaut], alignment)
        first.append(alignment.shift)
        second.append(shipped._nearer(reading.coefficients).after(alignment).shift)
    once, twice = (torch.cat(shifts[1:]) - shifts[0] for shifts in (first, second))
    assert twice.norm(dim=1).mean() < once.norm(dim=1).mean() * 2 / 3


def test_the_shipped_network_is_small_and_the_default(shipped: LearnedFaceEncoder) -> None:
    assert NETWORK_FILE.stat().st_size <= 8 * 2**20
    assert load_face_encoder().fingerprint == shipped.fingerprint


def test_the_shipped_network_sees_a_smile(
    shipped: LearnedFaceEncoder, astronaut: np.ndarray
) -> None:
    names = shipped.fitter.head.expression_names
    faces = shipped.encode([astronaut])
    expression = dict(zip(names, faces.coefficients.expression[0].tolist(), strict=True))
    smiles = [expression[f"mouthSmile{side}"] for side in ("Left", "Right")]
    others = [
        expression[f"{name}{side}"]
        for name in ("mouthFrown", "browDown")
        for side in ("Left", "Right")
    ]
    assert min(smiles) > max(others) + 0.2
    assert faces.residual_percent[0] < 2.5
