from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.heads.base import HeadData, HeadModel
from i2fet.rendering.mesh import (
    Lighting,
    fit_camera,
    render_shape,
    render_vertices,
    vertex_normals,
)

OVERHEAD = Lighting(torch.zeros(3), torch.tensor([[0.0, 0.0, 1.0]]), torch.ones(1, 3), wrap=0)
FLAT = Lighting(torch.ones(3), torch.zeros(0, 3), torch.zeros(0, 3))


def sphere(rings: int = 24, segments: int = 48) -> tuple[Tensor, Tensor]:
    """A unit sphere without its poles: (1, V, 3) vertices and (F, 3) faces."""
    polar = torch.linspace(0.1, torch.pi - 0.1, rings)[:, None]
    around = torch.arange(segments) * (2 * torch.pi / segments)
    x, z = polar.sin() * around.sin(), polar.sin() * around.cos()
    vertices = torch.stack([x, polar.cos().expand_as(x), z], -1).view(1, -1, 3)
    index = torch.arange(rings * segments).view(rings, segments)
    a, c = index[:-1].flatten(), index[1:].flatten()
    b, d = index[:-1].roll(-1, 1).flatten(), index[1:].roll(-1, 1).flatten()
    return vertices, torch.cat([torch.stack([a, c, b], 1), torch.stack([b, c, d], 1)])


def toy_head() -> HeadModel:
    vertices, faces = sphere()
    count = vertices.shape[1]
    expression = torch.zeros(50, count, 3)
    expression[0, :, 0] = 0.05
    data = HeadData(
        template=vertices[0] * 0.1,
        shape_basis=torch.zeros(100, count, 3),
        expression_basis=expression,
        joints=torch.zeros(5, 3),
        joint_shape_basis=torch.zeros(100, 5, 3),
        skinning_weights=functional.one_hot(torch.zeros(count, dtype=torch.long), 5).float(),
        faces=faces,
        uv=torch.zeros(1, 2),
        faces_uv=torch.zeros_like(faces),
        landmark_faces=torch.zeros(1, dtype=torch.long),
        landmark_barycentrics=torch.ones(1, 3) / 3,
    )
    return HeadModel("toy", data, tuple(f"action{i}" for i in range(50)), (0.0, 1.0))


def draw(vertices: Tensor, faces: Tensor, size: int = 64, **options: Any) -> np.ndarray:
    pixels = project(vertices, fit_camera(vertices), size, size)
    colors = options.pop("vertex_colors", torch.ones(vertices.shape[1], 3))
    return render_vertices(pixels, vertices, faces, colors, size, size, **options)


class TestVertexNormals:
    def test_sphere(self) -> None:
        vertices, faces = sphere()
        normals = vertex_normals(vertices, faces)
        inner = vertices[0, :, 1].abs() < 0.9
        torch.testing.assert_close(normals[0, inner], vertices[0, inner], atol=0.02, rtol=0)

    def test_agrees_with_a_loop_over_faces(self) -> None:
        vertices, faces = torch.randn(2, 12, 3), torch.randint(12, (20, 3))
        expected = np.zeros((2, 12, 3))
        for image, points in enumerate(vertices.double().numpy()):
            for a, b, c in faces.numpy():
                for corner in (a, b, c):
                    expected[image, corner] += np.cross(
                        points[b] - points[a], points[c] - points[a]
                    )
        length = np.linalg.norm(expected, axis=-1, keepdims=True)
        expected = np.divide(expected, length, where=length > 0, out=np.zeros_like(expected))
        np.testing.assert_allclose(vertex_normals(vertices, faces), expected, atol=1e-4)

    def test_a_vertex_of_no_face_has_none(self) -> None:
        normals = vertex_normals(torch.rand(1, 4, 3), torch.tensor([[0, 1, 2]]))
        assert (normals[0, 3] == 0).all()
        torch.testing.assert_close(normals[0, :3].norm(dim=-1), torch.ones(3))

    def test_wrong_faces(self) -> None:
        with pytest.raises(ValueError, match="outside the mesh's 4 vertices"):
            vertex_normals(torch.rand(1, 4, 3), torch.tensor([[0, 1, 4]]))


class TestLighting:
    def test_lambert(self) -> None:
        normals = torch.tensor([[[0.0, 0, 1], [0, 0.6, 0.8], [0, 1, 0], [0, 0, -1]]])
        light = OVERHEAD.shade(normals)
        torch.testing.assert_close(light[0, :, 0], torch.tensor([1.0, 0.8, 0, 0]))

    def test_one_for_each_picture(self) -> None:
        both = Lighting(
            torch.zeros(2, 3), torch.tensor([[[0.0, 0, 1]], [[0.0, 0, -1]]]), torch.ones(2, 1, 3)
        )
        light = both.shade(torch.tensor([0.0, 0, 1]).expand(2, 5, 3))
        assert (light[0] == 1).all()
        assert (light[1] == 0).all()


def test_fit_camera_leaves_the_margin() -> None:
    vertices = torch.randn(3, 50, 3) * torch.tensor([0.3, 0.1, 1]) + 4
    pixels = project(vertices, fit_camera(vertices, margin=0.1), 100, 100)[..., :2]
    low, high = pixels.flatten(0, 1).aminmax(dim=0)
    torch.testing.assert_close(low + high, torch.full((2,), 100.0), atol=0.01, rtol=0)
    torch.testing.assert_close((high - low).max(), torch.tensor(80.0), atol=0.01, rtol=0)


class TestRenderVertices:
    def test_flat_light_keeps_colours_and_background(self) -> None:
        vertices, faces = sphere()
        color = torch.tensor([0.2, 0.4, 0.8])
        picture = draw(
            vertices, faces, lighting=FLAT, vertex_colors=color.expand(vertices.shape[1], 3)
        )[0]
        np.testing.assert_array_equal(picture[32, 32], [51, 102, 204])
        np.testing.assert_array_equal(picture[0, 0], [242, 242, 245])

    def test_a_sphere_is_bright_where_it_faces_the_light(self) -> None:
        vertices, faces = sphere()
        picture = draw(vertices, faces, lighting=OVERHEAD, background=(0.0, 0.0, 0.0))[0, :, :, 0]
        assert picture[32, 32] == 255
        ray = picture[32, 32:59].astype(int)
        assert (np.diff(ray) <= 1).all()
        assert ray[-1] < 130

    def test_background_pictures(self) -> None:
        vertices, faces = sphere()
        pair = vertices.repeat(2, 1, 1)
        backgrounds = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
        pictures = draw(pair, faces, background=backgrounds)
        np.testing.assert_array_equal(pictures[:, :4], backgrounds[:, :4])
        assert (pictures[:, 32, 32] == pictures[0, 32, 32]).all()
        shared = draw(pair, faces, background=backgrounds[0])
        np.testing.assert_array_equal(shared[1, :4], backgrounds[0, :4])

    def test_supersampling_smooths_only_the_outline(self) -> None:
        vertices, faces = sphere()
        options: dict[str, Any] = {"lighting": FLAT, "background": (0.0, 0.0, 0.0)}
        hard = draw(vertices, faces, **options)[0, ..., 0]
        soft = draw(vertices, faces, supersample=4, **options)[0, ..., 0]
        assert set(np.unique(hard)) == {0, 255}
        between = (soft > 0) & (soft < 255)
        assert 0 < between.mean() < 0.1
        # Averaged in linear light, the covered area is that of the disc.
        area = (soft.astype(float) / 255) ** 2
        assert area.sum() == pytest.approx(np.pi * (0.42 * 64) ** 2, rel=0.02)

    def test_long_clips_are_drawn_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        vertices, faces = sphere()
        clip = vertices * torch.linspace(0.5, 1, 7)[:, None, None]
        whole = draw(clip, faces)
        monkeypatch.setattr("i2fet.rendering.mesh.MAX_PIXELS", 64 * 64 * 2)
        np.testing.assert_array_equal(draw(clip, faces), whole)


class TestRenderShape:
    def test_expression_moves_the_picture(self) -> None:
        head = toy_head()
        coefficients = FaceCoefficients.zeros(2)
        coefficients.expression[1, 0] = 1
        camera = torch.tensor([5.0, 0, 0])
        pictures = render_shape(head, coefficients, 64, camera)
        assert pictures.shape == (2, 64, 64, 3)
        assert pictures.dtype == np.uint8
        shifted = np.roll(pictures[0], 8, axis=1)  # 0.05 m * 5 * 32 pixels
        np.testing.assert_allclose(pictures[1].astype(int), shifted, atol=2)

    def test_uses_the_coefficients_camera(self) -> None:
        head = toy_head()
        coefficients = FaceCoefficients.zeros(1)
        coefficients.camera[:] = torch.tensor([4.0, 0.03, 0.01])
        own = render_shape(head, coefficients, 48)
        given = render_shape(head, FaceCoefficients.zeros(1), 48, coefficients.camera)
        np.testing.assert_array_equal(own, given)
        assert len(np.unique(own)) > 10
