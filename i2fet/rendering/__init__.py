"""Drawing heads: rasteriser, shape images, portraits, video."""

from i2fet.rendering.mesh import (
    STUDIO,
    Lighting,
    fit_camera,
    render_shape,
    render_vertices,
    vertex_normals,
)
from i2fet.rendering.rasterizer import Fragments, interpolate, rasterize
from i2fet.rendering.video import contact_sheet, write_image, write_video

__all__ = [
    "STUDIO",
    "Fragments",
    "Lighting",
    "contact_sheet",
    "fit_camera",
    "interpolate",
    "rasterize",
    "render_shape",
    "render_vertices",
    "vertex_normals",
    "write_image",
    "write_video",
]
