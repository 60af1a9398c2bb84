"""The Warp kernels: draw triangles, resolve and colour pixels, sum the normals of faces."""

# mypy: ignore-errors
# Warp compiles these functions from their source: the types are Warp's, not Python's.

from __future__ import annotations

import warp as wp

wp.set_module_options({"enable_backward": False})

Point = wp.types.vector(length=2, dtype=wp.int64)

# Corners are snapped to a grid, so that edge functions are exact integers: neighbouring triangles
# then agree about every pixel on their shared edge, and no hole can open between them.
SUBPIXELS = wp.constant(wp.int64(4096))
HALF_PIXEL = wp.constant(wp.int64(2048))
MAX_COORDINATE = wp.constant(32768.0)
EMPTY = wp.constant(wp.int64(-(2**63) + 1))
LOW_BITS = wp.constant(wp.int64(2**31 - 1))
ZERO = wp.constant(wp.int64(0))


@wp.func
def snap(value: wp.float32) -> wp.int64:
    """Pixels to grid units."""
    return wp.int64(wp.floor(wp.float64(value) * wp.float64(SUBPIXELS) + wp.float64(0.5)))


@wp.func
def snap_corner(corner: wp.vec3) -> Point:
    """Grid position of a corner."""
    return Point(snap(corner[0]), snap(corner[1]))


@wp.func
def pixel_centre(x: wp.int32, y: wp.int32) -> Point:
    """Grid position of a pixel's centre."""
    return Point(wp.int64(x) * SUBPIXELS + HALF_PIXEL, wp.int64(y) * SUBPIXELS + HALF_PIXEL)


@wp.func
def edge(a: Point, b: Point, p: Point) -> wp.int64:
    """Twice the signed area of the triangle a, b, p."""
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


@wp.func
def is_drawable(corner: wp.vec3) -> wp.bool:
    """Whether a corner is finite and near enough for the grid; false for NaN."""
    return (
        wp.abs(corner[0]) < MAX_COORDINATE
        and wp.abs(corner[1]) < MAX_COORDINATE
        and wp.isfinite(corner[2])
    )


@wp.func
def sort_key(depth: wp.float32, face: wp.int32) -> wp.int64:
    """Grows with the depth; at equal depth the face with the lower index has the larger key."""
    bits = wp.cast(depth, wp.int32)
    if bits < 0:
        bits = bits ^ 0x7FFFFFFF
    return (wp.int64(bits) << wp.int64(32)) | (LOW_BITS - wp.int64(face))


@wp.func
def first_pixel(a: wp.float32, b: wp.float32, c: wp.float32) -> wp.int32:
    """First column or row that three corners can touch."""
    return wp.max(int(wp.floor(wp.min(a, wp.min(b, c)) - 0.5)), 0)


@wp.func
def last_pixel(a: wp.float32, b: wp.float32, c: wp.float32, size: wp.int32) -> wp.int32:
    """One past the last column or row that three corners can touch."""
    return wp.min(int(wp.ceil(wp.max(a, wp.max(b, c)) + 0.5)), size)


@wp.kernel
def draw(
    pixels: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    cull_backfaces: wp.bool,
    keys: wp.array3d(dtype=wp.int64),
) -> None:
    """Raise the key of each pixel that a triangle covers; one thread per image and face."""
    image, face = wp.tid()
    corners = faces[face]
    a = pixels[image, corners[0]]
    b = pixels[image, corners[1]]
    c = pixels[image, corners[2]]
    if not (is_drawable(a) and is_drawable(b) and is_drawable(c)):
        return
    left = first_pixel(a[0], b[0], c[0])
    right = last_pixel(a[0], b[0], c[0], keys.shape[2])
    top = first_pixel(a[1], b[1], c[1])
    bottom = last_pixel(a[1], b[1], c[1], keys.shape[1])
    if left >= right or top >= bottom:
        return
    corner_a = snap_corner(a)
    corner_b = snap_corner(b)
    corner_c = snap_corner(c)
    area = edge(corner_a, corner_b, corner_c)
    # Pixel rows run downwards, so a front face, counter-clockwise with y up, has a negative area.
    if area == ZERO or (cull_backfaces and area > ZERO):
        return
    sign = wp.where(area > ZERO, wp.int64(1), wp.int64(-1))
    step_a = (corner_c - corner_b) * (SUBPIXELS * sign)
    step_b = (corner_a - corner_c) * (SUBPIXELS * sign)
    step_c = (corner_b - corner_a) * (SUBPIXELS * sign)
    start = pixel_centre(left, top)
    row_a = edge(corner_b, corner_c, start) * sign
    row_b = edge(corner_c, corner_a, start) * sign
    row_c = edge(corner_a, corner_b, start) * sign
    depths = wp.vec3(a[2], b[2], c[2]) / float(area * sign)
    for y in range(top, bottom):
        weight_a = row_a
        weight_b = row_b
        weight_c = row_c
        for x in range(left, right):
            if (weight_a | weight_b | weight_c) >= ZERO:
                weights = wp.vec3(float(weight_a), float(weight_b), float(weight_c))
                wp.atomic_max(keys, image, y, x, sort_key(wp.dot(weights, depths), face))
            weight_a -= step_a[1]
            weight_b -= step_b[1]
            weight_c -= step_c[1]
        row_a += step_a[0]
        row_b += step_b[0]
        row_c += step_c[0]


@wp.kernel
def resolve(
    pixels: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    keys: wp.array3d(dtype=wp.int64),
    pix_to_face: wp.array3d(dtype=wp.int64),
    barycentrics: wp.array3d(dtype=wp.vec3),
    depth: wp.array3d(dtype=wp.float32),
) -> None:
    """Turn the keys into fragments; one thread per pixel."""
    image, y, x = wp.tid()
    key = keys[image, y, x]
    if key == EMPTY:
        pix_to_face[image, y, x] = wp.int64(-1)
        barycentrics[image, y, x] = wp.vec3(0.0, 0.0, 0.0)
        depth[image, y, x] = -wp.inf
        return
    face = LOW_BITS - (key & LOW_BITS)
    corners = faces[int(face)]
    a = pixels[image, corners[0]]
    b = pixels[image, corners[1]]
    c = pixels[image, corners[2]]
    corner_a = snap_corner(a)
    corner_b = snap_corner(b)
    corner_c = snap_corner(c)
    point = pixel_centre(x, y)
    area = float(edge(corner_a, corner_b, corner_c))
    weights = wp.vec3(
        float(edge(corner_b, corner_c, point)) / area,
        float(edge(corner_c, corner_a, point)) / area,
        float(edge(corner_a, corner_b, point)) / area,
    )
    pix_to_face[image, y, x] = face
    barycentrics[image, y, x] = weights
    depth[image, y, x] = wp.dot(weights, wp.vec3(a[2], b[2], c[2]))


@wp.kernel
def average_colors(
    colors: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    pix_to_face: wp.array3d(dtype=wp.int64),
    barycentrics: wp.array3d(dtype=wp.vec3),
    samples: wp.int32,
    averages: wp.array3d(dtype=wp.vec4),
) -> None:
    """Colour and coverage of each pixel, over its samples x samples fragments."""
    image, y, x = wp.tid()
    total = wp.vec4(0.0, 0.0, 0.0, 0.0)
    for row in range(y * samples, (y + 1) * samples):
        for column in range(x * samples, (x + 1) * samples):
            face = int(pix_to_face[image, row, column])
            if face >= 0:
                corners = faces[face]
                weights = barycentrics[image, row, column]
                color = (
                    weights[0] * colors[image, corners[0]]
                    + weights[1] * colors[image, corners[1]]
                    + weights[2] * colors[image, corners[2]]
                )
                total += wp.vec4(color[0], color[1], color[2], 1.0)
    averages[image, y, x] = total / float(samples * samples)


@wp.kernel
def add_face_normals(
    vertices: wp.array2d(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    sums: wp.array2d(dtype=wp.vec3),
) -> None:
    """Add each face's normal, as long as twice its area, to its corners' sums."""
    image, face = wp.tid()
    corners = faces[face]
    a = vertices[image, corners[0]]
    b = vertices[image, corners[1]]
    c = vertices[image, corners[2]]
    normal = wp.cross(b - a, c - a)
    wp.atomic_add(sums, image, corners[0], normal)
    wp.atomic_add(sums, image, corners[1], normal)
    wp.atomic_add(sums, image, corners[2], normal)
