from __future__ import annotations

import csv
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from pygltflib import GLTF2
from scipy.spatial.transform import Rotation

from i2fet.coefficients import FaceCoefficients
from i2fet.errors import OutputError
from i2fet.export import arkit_curves, export, write_arkit_csv, write_gltf, write_obj
from i2fet.export.arkit import BLENDSHAPES, HEADER, timecode
from i2fet.export.weights import blendshape_weights
from i2fet.heads import HeadModel, load_head
from i2fet.heads.base import HeadData

FORMATS = {5126: np.float32, 5125: np.uint32, 5121: np.uint8}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("arkit")


@pytest.fixture(scope="module")
def flame_like(head: HeadModel) -> HeadModel:
    data = HeadData(**{key: getattr(head, key) for key in HeadData.__dataclass_fields__})
    names = tuple(f"expression{i}" for i in range(50))
    return HeadModel("flame", data, names, (-3.0, 3.0))


def clip(length: int = 5) -> FaceCoefficients:
    """Random expressions of one person whose head turns and whose jaw opens."""
    generator = torch.Generator().manual_seed(0)
    coefficients = FaceCoefficients.zeros(length)
    coefficients.shape[:] = torch.randn(100, generator=generator) * 0.5
    coefficients.expression[:] = torch.rand(length, 50, generator=generator) * 0.4
    coefficients.pose[:, :3] = torch.randn(length, 3, generator=generator) * 0.3
    coefficients.pose[:, 3] = torch.linspace(0, 0.3, length)
    return coefficients


class Glb:
    """What a viewer would make of a file, read by pygltflib."""

    def __init__(self, path: Path) -> None:
        self.document = GLTF2().load(path)
        self.blob = self.document.binary_blob()
        self.mesh = self.document.meshes[0]
        self.primitive = self.mesh.primitives[0]

    def array(self, index: int) -> np.ndarray:
        accessor = self.document.accessors[index]
        view = self.document.bufferViews[accessor.bufferView]
        width = WIDTHS[accessor.type]
        values = np.frombuffer(
            self.blob, FORMATS[accessor.componentType], accessor.count * width, view.byteOffset
        )
        return values.reshape(-1, width)

    def curve(self, path: str) -> np.ndarray:
        animation = self.document.animations[0]
        channel = next(c for c in animation.channels if c.target.path == path)
        return self.array(animation.samplers[channel.sampler].output)

    def frame(self, index: int) -> np.ndarray:
        """Vertices of a frame after morphing and the two nodes' transforms."""
        targets = [self.array(target["POSITION"]) for target in self.primitive.targets]
        weights = self.curve("weights").reshape(-1, len(targets))[index]
        morphed = self.array(self.primitive.attributes.POSITION) + np.tensordot(
            weights, np.stack(targets), axes=1
        )
        turning, mesh = self.document.nodes
        turn = Rotation.from_quat(self.curve("rotation")[index])
        return turn.apply(morphed + mesh.translation) + turning.translation


@pytest.fixture(scope="module")
def glb(head: HeadModel, tmp_path_factory: pytest.TempPathFactory) -> Glb:
    path = tmp_path_factory.mktemp("gltf") / "clip.glb"
    write_gltf(path, head, clip(), fps=25, description="anger to fear")
    return Glb(path)


def split(head: HeadModel, glb: Glb) -> np.ndarray:
    """The head's vertex that each of the file's vertices is a copy of, from the faces alone."""
    copies = np.zeros(len(glb.array(glb.primitive.attributes.POSITION)), dtype=int)
    copies[glb.array(glb.primitive.indices).ravel()] = head.faces.flatten().numpy()
    return copies


class TestGltf:
    def test_accessors_are_aligned_inside_the_blob_and_bounded(self, glb: Glb) -> None:
        assert glb.document.buffers[0].byteLength == len(glb.blob)
        end = 0
        for view in glb.document.bufferViews:
            assert view.byteOffset % 4 == 0
            assert view.byteOffset >= end
            end = view.byteOffset + view.byteLength
        assert end <= len(glb.blob)
        for index, accessor in enumerate(glb.document.accessors):
            values = glb.array(index)
            assert np.isfinite(values).all()
            np.testing.assert_array_equal(np.float32(accessor.min), values.min(axis=0))
            np.testing.assert_array_equal(np.float32(accessor.max), values.max(axis=0))

    def test_chunks(self, head: HeadModel, tmp_path: Path) -> None:
        write_gltf(tmp_path / "a.glb", head, clip(1))
        content = (tmp_path / "a.glb").read_bytes()
        magic, number, length = struct.unpack_from("<4sII", content)
        json_length, json_type = struct.unpack_from("<I4s", content, 12)
        binary_length, binary_type = struct.unpack_from("<I4s", content, 20 + json_length)
        assert (magic, number, length) == (b"glTF", 2, len(content))
        assert (json_type, binary_type) == (b"JSON", b"BIN\0")
        assert json_length % 4 == binary_length % 4 == 0
        assert 28 + json_length + binary_length == len(content)
        json.loads(content[20 : 20 + json_length])

    def test_says_synthetic(self, glb: Glb) -> None:
        assert glb.document.asset.extras == {
            "synthetic": True,
            "description": "anger to fear",
            "head": "arkit",
        }

    def test_targets_are_named(self, head: HeadModel, glb: Glb) -> None:
        names = glb.mesh.extras["targetNames"]
        assert names == [*head.expression_names, "jawOpen"]
        assert len(glb.primitive.targets) == len(glb.mesh.weights) == len(names) == 51

    def test_surface(self, head: HeadModel, glb: Glb) -> None:
        attributes, copies = glb.primitive.attributes, split(head, glb)
        neutral = FaceCoefficients.zeros(1)
        neutral.shape[:] = clip(1).shape
        expected = head.vertices(neutral)[0].numpy()[copies]
        np.testing.assert_allclose(glb.array(attributes.POSITION), expected, atol=1e-6)
        np.testing.assert_allclose(
            np.linalg.norm(glb.array(attributes.NORMAL), axis=1), 1, atol=1e-4
        )
        uv = glb.array(attributes.TEXCOORD_0)[glb.array(glb.primitive.indices).ravel()]
        expected = head.uv[head.faces_uv].view(-1, 2).numpy()
        np.testing.assert_allclose(uv, expected * [1, -1] + [0, 1], atol=1e-6)
        assert len(copies) == 5780

    def test_frames_agree_with_the_head(self, head: HeadModel, glb: Glb) -> None:
        vertices, copies = head.vertices(clip()).numpy(), split(head, glb)
        np.testing.assert_allclose(glb.frame(0), vertices[0][copies], atol=1e-5)
        for index in range(1, 5):
            distance = np.linalg.norm(glb.frame(index) - vertices[index][copies], axis=1)
            assert np.sqrt(np.square(distance).mean()) < 1e-3
            assert distance.max() < 6e-3

    def test_jaw_open_is_exact_at_its_angle(self, head: HeadModel, tmp_path: Path) -> None:
        coefficients = FaceCoefficients.zeros(1)
        coefficients.pose[:, 3] = head.jaw_open_angle
        write_gltf(tmp_path / "a.glb", head, coefficients)
        glb = Glb(tmp_path / "a.glb")
        vertices = head.vertices(coefficients)[0].numpy()[split(head, glb)]
        np.testing.assert_allclose(glb.frame(0), vertices, atol=1e-6)

    def test_animation(self, head: HeadModel, glb: Glb) -> None:
        animation = glb.document.animations[0]
        for sampler in animation.samplers:
            assert sampler.interpolation == "LINEAR"
            times = glb.array(sampler.input).ravel()
            np.testing.assert_allclose(times, np.arange(5) / 25, atol=1e-7)
        weights = glb.curve("weights").reshape(5, 51)
        np.testing.assert_allclose(weights, blendshape_weights(head, clip()), atol=1e-6)

    def test_quaternions_never_jump(self, head: HeadModel, tmp_path: Path) -> None:
        coefficients = FaceCoefficients.zeros(20)
        coefficients.pose[:, 1] = torch.linspace(0, 6, 20)
        write_gltf(tmp_path / "a.glb", head, coefficients)
        quaternions = Glb(tmp_path / "a.glb").curve("rotation")
        np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1, atol=1e-6)
        assert ((quaternions[:-1] * quaternions[1:]).sum(axis=1) > 0.9).all()

    def test_other_heads(self, flame_like: HeadModel, tmp_path: Path) -> None:
        write_gltf(tmp_path / "a.glb", flame_like, clip(1))
        assert Glb(tmp_path / "a.glb").mesh.extras["targetNames"][0] == "expression0"

    def test_no_frames(self, head: HeadModel, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="0 frames"):
            write_gltf(tmp_path / "a.glb", head, clip(1)[:0])


class TestWeights:
    def test_mouth_close_is_scaled_by_the_jaw(self, head: HeadModel) -> None:
        coefficients = FaceCoefficients.zeros(3)
        index = head.action_names.index("mouthClose")
        coefficients.expression[:, index] = 0.8
        coefficients.pose[:, 3] = torch.tensor([-0.1, 0.5, 2.0]) * head.jaw_open_angle
        weights = blendshape_weights(head, coefficients)
        torch.testing.assert_close(weights[:, -1], torch.tensor([0, 0.5, 2.0]))
        torch.testing.assert_close(weights[:, index], torch.tensor([0, 0.4, 0.8]))


class TestArkitCsv:
    def rows(self, path: Path) -> list[dict[str, str]]:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    def test_layout(self, head: HeadModel, tmp_path: Path) -> None:
        write_arkit_csv(tmp_path / "a.csv", head, clip(), fps=25)
        lines = (tmp_path / "a.csv").read_text().splitlines()
        assert len(lines) == 6
        assert lines[0].startswith("Timecode,BlendshapeCount,EyeBlinkLeft,EyeLookDownLeft,")
        assert lines[0].endswith(
            "NoseSneerRight,TongueOut,HeadYaw,HeadPitch,HeadRoll,"
            "LeftEyeYaw,LeftEyePitch,LeftEyeRoll,"
            "RightEyeYaw,RightEyePitch,RightEyeRoll"
        )
        assert {line.count(",") for line in lines} == {62}
        assert [row["Timecode"] for row in self.rows(tmp_path / "a.csv")] == [
            f"00:00:00:0{i}.000" for i in range(5)
        ]
        assert {row["BlendshapeCount"] for row in self.rows(tmp_path / "a.csv")} == {"61"}

    def test_every_action_has_its_column(self, head: HeadModel, tmp_path: Path) -> None:
        assert len(set(BLENDSHAPES)) == 52
        coefficients = FaceCoefficients.zeros(50)
        coefficients.expression[:] = torch.eye(50) * 0.7
        coefficients.pose[:, 3] = head.jaw_open_angle
        write_arkit_csv(tmp_path / "a.csv", head, coefficients)
        for name, row in zip(head.expression_names, self.rows(tmp_path / "a.csv"), strict=True):
            on = {key for key in BLENDSHAPES if float(row[key]) > 0}
            assert on == {name[0].upper() + name[1:], "JawOpen"}
            assert float(row[name[0].upper() + name[1:]]) == pytest.approx(0.7)

    def test_weights_stay_in_range(self, head: HeadModel) -> None:
        coefficients = clip()
        coefficients.pose[:, 3] = torch.linspace(-1, 1, 5)
        weights = arkit_curves(head, coefficients)[:, :52]
        assert weights.min() == 0
        assert weights.max() == 1

    @pytest.mark.parametrize(
        ("axis", "column"), [(1, "HeadYaw"), (0, "HeadPitch"), (2, "HeadRoll")]
    )
    def test_head_rotation(self, head: HeadModel, axis: int, column: str) -> None:
        coefficients = FaceCoefficients.zeros(1)
        coefficients.pose[:, axis] = 0.4
        curves = arkit_curves(head, coefficients)[0]
        at = HEADER.index(column) - 2
        assert curves[at] == pytest.approx(0.4)
        assert np.abs(np.delete(curves, at)).max() == pytest.approx(0, abs=1e-7)

    def test_rotation_composes(self, head: HeadModel) -> None:
        yaw, pitch, roll = arkit_curves(head, clip())[:, 52:55].T
        cos, sin, zero, one = np.cos, np.sin, np.zeros(5), np.ones(5)
        about_y = np.array(
            [[cos(yaw), zero, sin(yaw)], [zero, one, zero], [-sin(yaw), zero, cos(yaw)]]
        )
        about_x = np.array(
            [[one, zero, zero], [zero, cos(pitch), -sin(pitch)], [zero, sin(pitch), cos(pitch)]]
        )
        about_z = np.array(
            [[cos(roll), -sin(roll), zero], [sin(roll), cos(roll), zero], [zero, zero, one]]
        )
        composed = np.einsum("ijt,jkt,klt->til", about_y, about_x, about_z)
        expected = Rotation.from_rotvec(clip().global_rotation.numpy()).as_matrix()
        np.testing.assert_allclose(composed, expected, atol=1e-6)

    @pytest.mark.parametrize(
        ("frame", "fps", "expected"),
        [
            (0, 30, "00:00:00:00.000"),
            (29, 30, "00:00:00:29.000"),
            (30, 30, "00:00:01:00.000"),
            (60 * 60, 60, "00:01:00:00.000"),
            (25 * 3600 + 1, 25, "01:00:00:01.000"),
            (30, 29.97, "00:00:01:00.030"),
            (5, 12.5, "00:00:00:04.800"),
            (1, 0.5, "00:00:02:00.000"),
        ],
    )
    def test_timecode(self, frame: int, fps: float, expected: str) -> None:
        assert timecode(frame, fps) == expected

    def test_other_heads_are_refused(self, flame_like: HeadModel, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"the flame head's expressions are not ARKit's"):
            write_arkit_csv(tmp_path / "a.csv", flame_like, clip())
        assert not list(tmp_path.iterdir())

    def test_fps(self, head: HeadModel, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="fps is 0"):
            write_arkit_csv(tmp_path / "a.csv", head, clip(), fps=0)


def test_obj(head: HeadModel, tmp_path: Path) -> None:
    write_obj(tmp_path / "a.obj", head, clip()[3])
    parts: dict[str, list[list[str]]] = {}
    for line in (tmp_path / "a.obj").read_text().splitlines():
        keyword, *rest = line.split()
        parts.setdefault(keyword, []).append(rest)
    assert "synthetic;" in parts["#"][0]
    assert parts["s"] == [["1"]], "one smooth surface"
    np.testing.assert_allclose(
        np.array(parts["v"], dtype=float), head.vertices(clip())[3], atol=1e-6
    )
    np.testing.assert_allclose(np.array(parts["vt"], dtype=float), head.uv, atol=1e-6)
    corners = np.array([[corner.split("/") for corner in face] for face in parts["f"]], dtype=int)
    np.testing.assert_array_equal(corners[..., 0] - 1, head.faces)
    np.testing.assert_array_equal(corners[..., 1] - 1, head.faces_uv)


class TestExport:
    @pytest.mark.parametrize("name", ["a.glb", "a.csv", "a.obj", "a.GLB"])
    def test_by_ending(self, head: HeadModel, tmp_path: Path, name: str) -> None:
        export(tmp_path / name, head, clip(2), fps=24)
        assert [path.name for path in tmp_path.iterdir()] == [name]
        assert (tmp_path / name).stat().st_size > 100

    def test_an_obj_holds_the_last_frame(self, head: HeadModel, tmp_path: Path) -> None:
        export(tmp_path / "a.obj", head, clip())
        write_obj(tmp_path / "b.obj", head, clip()[-1])
        assert (tmp_path / "a.obj").read_text() == (tmp_path / "b.obj").read_text()

    @pytest.mark.parametrize("name", ["a.fbx", "a", "a.glb.zip"])
    def test_unknown_ending(self, head: HeadModel, tmp_path: Path, name: str) -> None:
        with pytest.raises(OutputError, match=r"must end in one of \.glb, \.csv, \.obj"):
            export(tmp_path / name, head, clip())

    @pytest.mark.parametrize("ending", [".glb", ".csv", ".obj"])
    def test_missing_folder(self, head: HeadModel, tmp_path: Path, ending: str) -> None:
        with pytest.raises(OutputError, match="there is no folder"):
            export(tmp_path / "nowhere" / f"a{ending}", head, clip())
