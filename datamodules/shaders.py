"""The Warp kernel that colours the pixels of textured heads."""

# mypy: ignore-errors
# ruff: noqa: UP018, RUF046
# Warp compiles these functions from their source: the types are Warp's, not Python's, and
# `float(0.0)` declares a variable where `0.0` is a constant.

from __future__ import annotations

import warp as wp

from i2fet.rendering.kernels import EMPTY, LOW_BITS

wp.set_module_options({"enable_backward": False})

SKIN = wp.constant(0)
EYE = wp.constant(1)
TOOTH = wp.constant(3)
REDDENING = wp.constant(0.14)
FLOOR_LIGHT = wp.constant(0.55)
EYE_CENTRE = wp.constant(wp.vec2(0.125, 1.125))
EYE_EXTENT = wp.constant(0.115)
IRIS_EXTENT = wp.constant(0.4)
CORNEA = wp.constant(0.8)


@wp.struct
class Light:
    """Lamps and the light of the room."""

    directions: wp.array(dtype=wp.vec3)
    colors: wp.array(dtype=wp.vec3)
    ambient: wp.vec3
    wrap: wp.float32


@wp.struct
class Point:
    """What a pixel shows of one material."""

    material: wp.int32
    uv: wp.vec2
    normal: wp.vec3
    openness: wp.float32


@wp.func
def fetch(texture: wp.array2d(dtype=wp.vec4), uv: wp.vec2) -> wp.vec4:
    """Bilinear look-up; the unit of both coordinates is the texture's width."""
    width = texture.shape[1]
    x = wp.clamp(uv[0] * float(width) - 0.5, 0.0, float(width) - 1.001)
    y = wp.clamp(uv[1] * float(width) - 0.5, 0.0, float(texture.shape[0]) - 1.001)
    column = int(x)
    row = int(y)
    across = x - float(column)
    upper = wp.lerp(texture[row, column], texture[row, column + 1], across)
    lower = wp.lerp(texture[row + 1, column], texture[row + 1, column + 1], across)
    return wp.lerp(upper, lower, y - float(row))


@wp.func
def fetch_relief(relief: wp.array3d(dtype=wp.float32), image: wp.int32, uv: wp.vec2) -> wp.vec3:
    """A height and its differences between neighbouring texels, to the right and down."""
    width = relief.shape[2]
    x = wp.clamp(uv[0] * float(width) - 0.5, 0.0, float(width) - 1.001)
    y = wp.clamp(uv[1] * float(width) - 0.5, 0.0, float(relief.shape[1]) - 1.001)
    column = int(x)
    row = int(y)
    across = x - float(column)
    down = y - float(row)
    a = relief[image, row, column]
    b = relief[image, row, column + 1]
    c = relief[image, row + 1, column]
    d = relief[image, row + 1, column + 1]
    height = wp.lerp(wp.lerp(a, b, across), wp.lerp(c, d, across), down)
    return wp.vec3(height, wp.lerp(b - a, d - c, down), wp.lerp(c - a, d - b, across))


@wp.func
def reach(facing: wp.float32, wrap: wp.float32) -> wp.float32:
    """Share of a lamp's light that falls on a surface."""
    return wp.max((facing + wrap) / (1.0 + wrap), 0.0)


@wp.func
def light_point(
    point: Point,
    light: Light,
    texture: wp.array2d(dtype=wp.vec4),
    relief: wp.array3d(dtype=wp.float32),
    image: wp.int32,
    turn: wp.mat33,
    arc: wp.float32,
    texel_size: wp.float32,
) -> wp.vec3:
    """Linear colour that a point sends to the viewer."""
    texel = fetch(texture, point.uv)
    albedo = wp.vec3(texel[0], texel[1], texel[2])
    gloss = texel[3]
    normal = wp.normalize(point.normal)
    redder = float(0.0)
    floor = float(0.3)
    strength = float(0.8)
    if point.material >= EYE and point.material <= TOOTH:
        floor = 0.0
    if point.material == EYE:
        # The mesh has no cornea, whose stronger curve draws reflections into the iris.
        strength = 2.5
        offset = (point.uv - EYE_CENTRE) / EYE_EXTENT
        if wp.length(offset) < IRIS_EXTENT:
            bulge = turn * wp.vec3(offset[0], -offset[1], 0.0)
            normal = wp.normalize(normal + bulge * CORNEA)
    if point.material == SKIN:
        height = fetch_relief(relief, image, point.uv)
        angle = (point.uv[0] - 0.5) * arc
        along = turn * wp.vec3(wp.cos(angle), 0.0, -wp.sin(angle))
        down = turn * wp.vec3(0.0, -1.0, 0.0)
        slope = along * height[1] + down * height[2]
        normal = wp.normalize(normal - slope / texel_size)
        groove = wp.min(height[0], 0.0) * 900.0
        albedo = wp.cw_mul(albedo, wp.vec3(wp.exp(groove * 0.7), wp.exp(groove), wp.exp(groove)))
        redder = REDDENING
    sky = wp.lerp(FLOOR_LIGHT, 1.0, 0.5 + 0.5 * normal[1])
    diffuse = light.ambient * (sky * point.openness)
    shine = wp.vec3(0.0, 0.0, 0.0)
    power = 6.0 + 300.0 * gloss * gloss * gloss
    for lamp in range(light.directions.shape[0]):
        direction = light.directions[lamp]
        color = light.colors[lamp] * wp.lerp(floor, 1.0, point.openness)
        facing = wp.dot(normal, direction)
        soft = reach(facing, light.wrap)
        red = reach(facing, light.wrap + redder)
        diffuse += wp.vec3(color[0] * red, color[1] * soft, color[2] * soft)
        half = wp.normalize(direction + wp.vec3(0.0, 0.0, 1.0))
        glint = wp.pow(wp.max(wp.dot(normal, half), 0.0), power)
        shine += color * (glint * wp.clamp(4.0 * facing, 0.0, 1.0))
    return wp.cw_mul(albedo, diffuse) + shine * (gloss * gloss * strength)


@wp.kernel
def shade(
    pixels: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    keys: wp.array3d(dtype=wp.int64),
    normals: wp.array2d(dtype=wp.vec3),
    openness: wp.array2d(dtype=wp.float32),
    corners: wp.array2d(dtype=wp.vec2),
    materials: wp.array(dtype=wp.int32),
    texture: wp.array2d(dtype=wp.vec4),
    relief: wp.array3d(dtype=wp.float32),
    turns: wp.array(dtype=wp.mat33),
    arc: wp.float32,
    texel_size: wp.float32,
    light: Light,
    samples: wp.int32,
    background: wp.array2d(dtype=wp.vec3),
    picture: wp.array4d(dtype=wp.uint8),
) -> None:
    """Colour of each pixel, lit once for each material it shows.

    Samples of one face are averaged before anything is interpolated, which changes nothing: all
    that is interpolated is linear within a face.
    """
    image, y, x = wp.tid()
    count = samples * samples
    total = wp.vec4(0.0, 0.0, 0.0, 0.0)
    point = Point()
    point.material = -1
    lit = float(0.0)
    face = int(-1)
    seen = float(0.0)
    place = wp.vec2(0.0, 0.0)
    row = y * samples
    column = x * samples
    for sample in range(count + 1):
        next_face = int(-1)
        if sample < count:
            key = keys[image, row, column]
            if key != EMPTY:
                next_face = int(LOW_BITS - (key & LOW_BITS))
        if next_face != face or sample == count:
            if face >= 0:
                ids = faces[face]
                a = pixels[image, ids[0]]
                b = pixels[image, ids[1]]
                c = pixels[image, ids[2]]
                p = place / seen
                area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
                wb = ((p[0] - a[0]) * (c[1] - a[1]) - (p[1] - a[1]) * (c[0] - a[0])) / area
                wc = ((b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])) / area
                wa = 1.0 - wb - wc
                if materials[face] != point.material:
                    if lit > 0.0:
                        color = light_point(
                            point, light, texture, relief, image, turns[image], arc, texel_size
                        )
                        total += wp.vec4(color[0], color[1], color[2], 1.0) * lit
                    point.material = materials[face]
                    point.uv = wp.vec2(0.0, 0.0)
                    point.normal = wp.vec3(0.0, 0.0, 0.0)
                    point.openness = 0.0
                    lit = 0.0
                uv = wa * corners[face, 0] + wb * corners[face, 1] + wc * corners[face, 2]
                opening = (
                    wa * openness[image, ids[0]]
                    + wb * openness[image, ids[1]]
                    + wc * openness[image, ids[2]]
                )
                normal = (
                    wa * normals[image, ids[0]]
                    + wb * normals[image, ids[1]]
                    + wc * normals[image, ids[2]]
                )
                lit += seen
                point.uv += (uv - point.uv) * (seen / lit)
                point.openness += (opening - point.openness) * (seen / lit)
                point.normal += normal * seen
            face = next_face
            seen = 0.0
            place = wp.vec2(0.0, 0.0)
        seen += 1.0
        place += wp.vec2(float(column) + 0.5, float(row) + 0.5)
        column += 1
        if column == (x + 1) * samples:
            column = x * samples
            row += 1
    if lit > 0.0:
        color = light_point(point, light, texture, relief, image, turns[image], arc, texel_size)
        total += wp.vec4(color[0], color[1], color[2], 1.0) * lit
    behind = background[y, x] * (float(count) - total[3])
    for channel in range(3):
        linear = wp.clamp((total[channel] + behind[channel]) / float(count), 0.0, 1.0)
        picture[image, y, x, channel] = wp.uint8(wp.sqrt(linear) * 255.0 + 0.5)
