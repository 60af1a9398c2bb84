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
MOUTH = wp.constant(2)
TOOTH = wp.constant(3)
HAIR = wp.constant(4)
REDDENING = wp.constant(0.14)
FLOOR_LIGHT = wp.constant(0.55)


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
def fetch_relief(relief: wp.array4d(dtype=wp.float32), image: wp.int32, uv: wp.vec2) -> wp.vec3:
    """Bilinear look-up of a height and its two slopes."""
    width = relief.shape[3]
    x = wp.clamp(uv[0] * float(width) - 0.5, 0.0, float(width) - 1.001)
    y = wp.clamp(uv[1] * float(width) - 0.5, 0.0, float(relief.shape[2]) - 1.001)
    column = int(x)
    row = int(y)
    across = x - float(column)
    down = y - float(row)
    value = wp.vec3(0.0, 0.0, 0.0)
    for channel in range(3):
        upper = wp.lerp(
            relief[image, channel, row, column], relief[image, channel, row, column + 1], across
        )
        lower = wp.lerp(
            relief[image, channel, row + 1, column],
            relief[image, channel, row + 1, column + 1],
            across,
        )
        value[channel] = wp.lerp(upper, lower, down)
    return value


@wp.func
def reach(facing: wp.float32, wrap: wp.float32) -> wp.float32:
    """Share of a lamp's light that falls on a surface."""
    return wp.max((facing + wrap) / (1.0 + wrap), 0.0)


@wp.func
def light_point(
    point: Point,
    light: Light,
    texture: wp.array2d(dtype=wp.vec4),
    relief: wp.array4d(dtype=wp.float32),
    image: wp.int32,
    turn: wp.mat33,
    arc: wp.float32,
) -> wp.vec3:
    """Linear colour that a point sends to the viewer."""
    texel = fetch(texture, point.uv)
    albedo = wp.vec3(texel[0], texel[1], texel[2])
    gloss = texel[3]
    normal = wp.normalize(point.normal)
    redder = float(0.0)
    floor = float(0.3)
    if point.material == MOUTH or point.material == TOOTH:
        floor = 0.0
    if point.material == SKIN:
        height = fetch_relief(relief, image, point.uv)
        angle = (point.uv[0] - 0.5) * arc
        along = turn * wp.vec3(wp.cos(angle), 0.0, -wp.sin(angle))
        down = turn * wp.vec3(0.0, -1.0, 0.0)
        normal = wp.normalize(normal - along * height[1] - down * height[2])
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
    return wp.cw_mul(albedo, diffuse) + shine * (gloss * gloss * 0.8)


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
    relief: wp.array4d(dtype=wp.float32),
    turns: wp.array(dtype=wp.mat33),
    arc: wp.float32,
    light: Light,
    samples: wp.int32,
    drawn: wp.array3d(dtype=wp.vec4),
) -> None:
    """Colour times coverage and coverage of each pixel, lit once for each material it shows."""
    image, y, x = wp.tid()
    count = samples * samples
    total = wp.vec4(0.0, 0.0, 0.0, 0.0)
    point = Point()
    point.material = -1
    weight = float(0.0)
    for sample in range(count + 1):
        material = int(-1)
        face = int(0)
        row = y * samples + sample / samples
        column = x * samples + sample % samples
        if sample < count:
            key = keys[image, row, column]
            if key != EMPTY:
                face = int(LOW_BITS - (key & LOW_BITS))
                material = materials[face]
        if material != point.material:
            if weight > 0.0:
                color = light_point(point, light, texture, relief, image, turns[image], arc)
                total += wp.vec4(color[0], color[1], color[2], 1.0) * weight
            point.material = material
            point.uv = wp.vec2(0.0, 0.0)
            point.normal = wp.vec3(0.0, 0.0, 0.0)
            point.openness = 0.0
            weight = 0.0
        if material >= 0:
            ids = faces[face]
            a = pixels[image, ids[0]]
            b = pixels[image, ids[1]]
            c = pixels[image, ids[2]]
            px = float(column) + 0.5
            py = float(row) + 0.5
            area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
            wb = ((px - a[0]) * (c[1] - a[1]) - (py - a[1]) * (c[0] - a[0])) / area
            wc = ((b[0] - a[0]) * (py - a[1]) - (b[1] - a[1]) * (px - a[0])) / area
            wa = 1.0 - wb - wc
            uv = wa * corners[face, 0] + wb * corners[face, 1] + wc * corners[face, 2]
            normal = (
                wa * normals[image, ids[0]]
                + wb * normals[image, ids[1]]
                + wc * normals[image, ids[2]]
            )
            openly = (
                wa * openness[image, ids[0]]
                + wb * openness[image, ids[1]]
                + wc * openness[image, ids[2]]
            )
            weight += 1.0
            step = 1.0 / weight
            point.uv += (uv - point.uv) * step
            point.normal += normal
            point.openness += (openly - point.openness) * step
    drawn[image, y, x] = total / float(count)
