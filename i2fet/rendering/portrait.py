"""The portrait renderer: the photo itself, moved by the mesh.

Each target pixel looks up the photo where the same point of the head was seen. The photo is split
into three layers, each continued beyond its own edge, so that what an expression uncovers has a
colour: skin (closing lids show skin, not eye), eyes (widening lids show sclera, not lid) and the
inside of the mouth (opening lips show a dark inside, not lips). Skin that turns towards the photo's
light brightens, and folds darken, as in a ratio image. Beside the head the movement of its outline
fades out, so hair and background stay whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from i2fet.camera import project
from i2fet.coefficients import FaceCoefficients
from i2fet.heads.base import HeadModel
from i2fet.rendering.mesh import vertex_normals
from i2fet.rendering.rasterizer import interpolate, rasterize

SKIN, EYES, MOUTH, BESIDE = 0, 1, 2, 3
MOUTH_COLOR = np.array((38, 14, 14), np.uint8)
CROP_MARGIN = 1.2
"""Side of the crop in head heights."""
OCCLUSION = 0.004
"""Metres by which something must lie in front of a point to hide it."""
FACE_MARGIN = 0.01
"""Metres around the landmarks that count as face."""
LANDMARK_REACH = 0.02
"""Metres over which the mesh follows a landmark's residual."""
TEETH_FADE = 0.004
"""Metres over which teeth seen in the photo fade into the dark of the mouth."""
STILL = 1e-4
"""Metres; vertices that no expression moves further show how the skull moves."""
MOBILE = 0.01
"""Metres; vertices that an expression moves that far follow the expression alone."""
FADE_DISTANCE = 0.2
"""Share of the picture over which movement fades out beside the face."""
EDGE_SOFTNESS = 0.0025
"""Standard deviation of the edge between two layers, as a share of the picture."""
LID_RIM = 0.0014
"""Metres beside the lids where the picture of an eye moves with them, as lashes and shadow do."""
LIP_RIM = 0.0015
"""Metres around an open mouth that its picture may reach."""
LIP_GAP = 0.002
"""Metres; between lips less than this far apart no teeth show, and twice as far apart they do."""
RELIEF = (0.6, 1.1)
"""Least and largest factor on the brightness of skin that folds; brightened skin soon looks wet."""
RELIEF_SOFTNESS = 0.0015
"""Standard deviation in metres by which that factor is smoothed, which hides the triangles."""
DARKEST = 0.08
"""Share of white below which no skin is thought to be lit."""
GRAZING = 0.3
"""Least cosine between a surface and the line of sight at which the photo shows it well."""

UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""Landmarks along the inner edges of the lips, from corner to corner."""

THREADS = 2
MAX_PIXELS = 2**22
"""Pixels rasterised at once, which bounds the memory of large pictures."""

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Crop:
    """A square of the photo, resampled.

    Attributes:
        image: (size, size, 3).
        camera: (1, 3), of the crop.
        matrix: (2, 3) photo pixels to crop pixels, both continuous.
    """

    image: Image
    camera: Tensor
    matrix: Floats


@dataclass(frozen=True)
class Portrait:
    """A photo prepared for rendering.

    Attributes:
        crop: The square around the head.
        source: (1,) coefficients of the photo.
        offset: (V, 3) pixels from the projected mesh to where the photo shows it.
        seen_at: (V, 4) pixel where the crop shows each vertex, its depth, and the cosine between
            its surface and the line of sight.
        light: (4,) as `fit_light` tells it.
        brightness: (V,) of each vertex in that light.
        depth: (size, size) of the mesh in the crop, -inf beside it.
        layers: Skin, eyes and mouth, each (size, size, 3) and complete.
        box: Rows and columns that hold eyes and mouth in every expression.
        parted: Whether the photo's lips are, so far that teeth show.
    """

    crop: Crop
    source: FaceCoefficients
    offset: Tensor
    seen_at: Tensor
    light: Tensor
    brightness: Tensor
    depth: Floats
    layers: tuple[Image, Image, Image]
    box: tuple[slice, slice]
    parted: bool

    @property
    def size(self) -> int:
        return len(self.depth)

    @property
    def metre(self) -> float:
        """Length of a metre in pixels."""
        return float(self.crop.camera[0, 0]) * self.size / 2

    @property
    def softness(self) -> float:
        """Of the edges between layers, pixels."""
        return EDGE_SOFTNESS * self.size


@dataclass(frozen=True)
class View:
    """What a frame shows where.

    Attributes:
        labels: (size, size) layer of each pixel.
        depth: (size, size), -inf beside it.
        seen_at: (size, size, 4) pixel, depth and cosine in the photo of the same point.
        relief: (size, size) factor on its brightness in the photo.
        lips: (P, 2) pixels of the line in which the lips meet.
        motion: (4, 2) the skull's motion, an affine map of pixels and depth into the photo (exact
            in weak perspective). Upper teeth keep their place by it, whatever the jaw does.
    """

    labels: Labels
    depth: Floats
    seen_at: Floats
    relief: Floats
    lips: Floats
    motion: Floats


def face_layers(head: HeadModel) -> Labels:
    """(F,) layer of each triangle: skin of the face, eyes, inside of the mouth, or beside the face.

    Neck, ears and scalp are beside it: they follow the face's outline, for which their own small
    movements would tear under a rising chin.
    """
    empty = torch.zeros(head.num_vertices)
    mask = {EYES: ("sclera", "iris", "pupil"), MOUTH: ("mouth_interior", "tongue")}
    parts = {k: sum((head.regions.get(n, empty) for n in v), empty) for k, v in mask.items()}
    points = head.landmarks(head.template[None])[0]
    away = torch.cdist(head.template, points).amin(1)[head.faces].amax(1)
    layers = torch.where(away < FACE_MARGIN, SKIN, BESIDE)
    layers[parts[EYES][head.faces].amin(1) > 0.5] = EYES
    layers[parts[MOUTH][head.faces].amax(1) > 0.5] = MOUTH
    return layers.numpy()


def landmark_operator(head: HeadModel) -> Tensor:
    """(V, L) smooth extension of offsets at the landmarks to all vertices, fading beyond them.

    Distances are those of an open mouth, so that each lip has offsets of its own.
    """
    opened = FaceCoefficients.zeros(1)
    opened.jaw[:, 0] = head.jaw_open_angle
    vertices = head.vertices(opened)
    points = head.landmarks(vertices)[0]
    kernel = torch.exp(-torch.cdist(points, points).square() / LANDMARK_REACH**2)
    reach = torch.exp(-torch.cdist(vertices[0], points).square() / LANDMARK_REACH**2)
    ridge = 0.3 * torch.eye(len(points))
    return torch.linalg.solve(kernel + ridge, reach.T).T


def crop_head(photo: Image, vertices: Tensor, camera: Tensor, size: int) -> Crop:
    """The square around a head, `size` pixels wide, within the photo.

    Args:
        photo: (H, W, 3).
        vertices: (1, V, 3) metres.
        camera: (1, 3) of the photo.
        size: Of the crop, pixels.
    """
    height, width = photo.shape[:2]
    pixels = project(vertices, camera, height, width)[0, :, :2]
    low, high = pixels.amin(0), pixels.amax(0)
    side = min(CROP_MARGIN * float((high - low).amax()), height, width)
    corner = [
        float(np.clip(middle - side / 2, 0, extent - side))
        for middle, extent in zip(((low + high) / 2).tolist(), (width, height), strict=True)
    ]
    return crop_square(photo, camera, corner, side, size)


def crop_square(
    photo: Image, camera: Tensor, corner: Sequence[float], side: float, size: int
) -> Crop:
    """A square of a photo, `size` pixels wide; beyond the photo, its edges.

    Args:
        photo: (H, W, 3).
        camera: (1, 3) of the photo.
        corner: Left and top, pixels of the photo.
        side: Pixels of the photo.
        size: Of the crop, pixels.
    """
    height, width = photo.shape[:2]
    scale = size / side
    matrix = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]], np.float32)
    centre = torch.tensor([width / 2 - corner[0] - side / 2, side / 2 + corner[1] - height / 2])
    shift = centre / (camera[:, :1] * max(height, width) / 2)
    zoom = max(height, width) / side
    cropped = torch.cat([camera[:, :1] * zoom, camera[:, 1:] + shift], dim=1)
    return Crop(resample(photo, matrix, size), cropped, matrix)


def resample(photo: Image, matrix: Floats, size: int) -> Image:
    """Scale and move a photo into a square, smoothed first where it shrinks."""
    matrix = matrix.copy()
    while matrix[0, 0] < 0.5:
        photo = cv2.pyrDown(photo)
        matrix[:, :2] *= 2
    matrix[:, 2] += matrix[0, 0] / 2 - 0.5  # OpenCV counts from the first pixel's centre
    return cv2.warpAffine(
        photo, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def continue_beyond(values: Floats, known: Floats) -> Floats:
    """Push-pull: continue (H, W, C > 1) values smoothly from where `known` (H, W) is one."""
    if min(known.shape) <= 2:
        return values / np.maximum(known, 1e-6)[..., None]
    half = (known.shape[1] // 2, known.shape[0] // 2)
    coarse_known = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(values, half, interpolation=cv2.INTER_AREA)
    # Pixels with any known neighbour count nearly fully, or the far field would bleed in.
    gain = np.minimum(1, 2 * coarse_known) / np.maximum(coarse_known, 1e-6)
    coarse = continue_beyond(coarse * gain[..., None], coarse_known * gain)
    fine = cv2.resize(coarse, known.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return values + (1 - known)[..., None] * fine


def split_layers(image: Image, labels: Labels, metre: float) -> tuple[Image, Image, Image]:
    """Skin, eyes and mouth of a picture, each continued over all of it.

    Args:
        image: (H, W, 3).
        labels: (H, W) layer of each pixel.
        metre: Length of a metre in pixels.
    """
    eyeballs = inside_lids(labels, metre)
    open_mouth = (labels == MOUTH).astype(np.float32)
    around = cv2.dilate(open_mouth, disc(2 * math.ceil(LIP_RIM * metre) + 1))
    hole = np.maximum(eyeballs, around).astype(np.uint8)
    skin = cv2.inpaint(image, hole, 3, cv2.INPAINT_TELEA)
    inner = cv2.erode(eyeballs, disc(3))
    eyes = continue_beyond(image * inner[..., None], inner)
    teeth = continue_beyond(image * open_mouth[..., None], open_mouth)
    away = cv2.distanceTransform((labels != MOUTH).astype(np.uint8), cv2.DIST_L2, 5) / (
        TEETH_FADE * metre
    )
    fade = (1 - away).clip(0, 1)[..., None] * open_mouth.any()
    mouth = fade * teeth + (1 - fade) * MOUTH_COLOR
    return skin, eyes.clip(0, 255).astype(np.uint8), mouth.clip(0, 255).astype(np.uint8)


def inside_lids(labels: Labels, metre: float) -> Floats:
    """(H, W) one where an eye is seen, but for the rim beside its lids."""
    return cv2.erode((labels == EYES).astype(np.float32), disc(2 * round(LID_RIM * metre) + 1))


def sample(image: Image, positions: Floats) -> Image:
    """Colours at continuous pixel positions (H, W, 2); outside, those of the nearest edge."""
    return cv2.remap(
        image, positions - 0.5, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


class PortraitRenderer:
    """Renders photos of heads with any expression.

    Args:
        head: The head whose coefficients move the photo; on the CPU.
    """

    def __init__(self, head: HeadModel) -> None:
        self.head = head
        self.face_layers = face_layers(head)
        self.skin = torch.zeros(head.num_vertices, dtype=torch.bool)
        self.skin[head.faces[torch.from_numpy(self.face_layers == SKIN)]] = True
        self.operator = landmark_operator(head)
        reach = head.expression_basis.norm(dim=-1).amax(0)
        self.skull = reach < STILL
        self.mobility = (reach / MOBILE).clamp(max=1)[:, None]

    @torch.no_grad()
    def prepare(
        self,
        photo: Image,
        source: FaceCoefficients,
        landmarks: Tensor | None = None,
        size: int = 256,
    ) -> Portrait:
        """Cut out the head and its layers.

        Args:
            photo: (H, W, 3).
            source: (1,) coefficients of the head in the photo.
            landmarks: (L, 2) pixels at which the head's landmarks were seen; the mesh is pulled
                onto them.
            size: Of the pictures to render, pixels.
        """
        vertices = self.head.vertices(source)
        crop = crop_head(photo, vertices, source.camera, size)
        pixels = project(vertices, crop.camera, size, size)
        offset = torch.zeros(self.head.num_vertices, 3)
        if landmarks is not None:
            matrix = torch.from_numpy(crop.matrix)
            seen = landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
            offset[:, :2] = self.operator @ (seen - self.head.landmarks(pixels)[0, :, :2])
        pixels = pixels[0] + offset
        fragments = rasterize(pixels[None], self.head.faces, size, size)
        metre = float(crop.camera[0, 0]) * size / 2
        labels = self._labels(fragments.pix_to_face[0].numpy(), self._lips(pixels), metre)
        layers = split_layers(crop.image, labels, metre)
        depth = fragments.depth[0].numpy()
        normals = vertex_normals(vertices, self.head.faces)[0]
        clear = self.skin & (normals[:, 2] > GRAZING)
        light = fit_light(crop.image, pixels[clear, :2], normals[clear])
        box = self._feature_box(pixels, size)
        seen_at = torch.cat([pixels, normals[:, 2:]], dim=1)
        brightness = shade(normals, light)
        parted = mouth_opening(labels) > 2 * LIP_GAP * metre
        return Portrait(
            crop, source, offset, seen_at, light, brightness, depth, layers, box, parted
        )

    @torch.no_grad()
    def render(self, portrait: Portrait, trajectory: FaceCoefficients) -> Image:
        """(T, size, size, 3) pictures of (T,) coefficients, seen by the portrait's camera."""
        frames: list[Image] = []
        step = max(MAX_PIXELS // portrait.size**2, 1)
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(trajectory), step):
                views = self._views(portrait, trajectory[start : start + step])
                frames += pool.map(lambda view: self._compose(portrait, view), views)
        return np.stack(frames)

    def _views(self, portrait: Portrait, trajectory: FaceCoefficients) -> Iterator[View]:
        size = portrait.size
        vertices = self.head.vertices(trajectory)
        camera = portrait.crop.camera.expand(len(vertices), -1)
        pixels = project(vertices, camera, size, size) + self._offsets(portrait, trajectory)
        fragments = rasterize(pixels, self.head.faces, size, size)
        normals = vertex_normals(vertices, self.head.faces)
        relief = (shade(normals, portrait.light) / portrait.brightness).clamp(*RELIEF)
        attributes = [portrait.seen_at.expand(len(pixels), -1, -1), relief[..., None]]
        spread = interpolate(torch.cat(attributes, dim=2), self.head.faces, fragments).numpy()
        skull = functional.pad(pixels[:, self.skull], (0, 1), value=1)
        still = portrait.seen_at[self.skull, :2].expand(len(pixels), -1, -1)
        motion = torch.linalg.lstsq(skull, still).solution
        edges = [self._lips(each) for each in pixels]
        shown = zip(fragments.pix_to_face.numpy(), edges, strict=True)
        labels = [self._labels(faces, lips, portrait.metre) for faces, lips in shown]
        depth, lips = fragments.depth.numpy(), np.mean(edges, axis=1)
        return map(View, labels, depth, spread[..., :4], spread[..., 4], lips, motion.numpy())

    def _offsets(self, portrait: Portrait, trajectory: FaceCoefficients) -> Tensor:
        """(T, V, 3) pixels.

        What the landmarks show beyond the fit is, where expressions move the face, more of the
        source's own expression: it fades as that does.
        """
        source, moved = (
            torch.cat([c.expression, c.jaw / self.head.jaw_open_angle], dim=-1)
            for c in (portrait.source, trajectory)
        )
        kept = (moved @ source[0] / source.square().sum().clamp(min=1e-6)).clamp(0, 1)
        return portrait.offset * (1 - self.mobility * (1 - kept[:, None, None]))

    def _lips(self, pixels: Tensor) -> Floats:
        """(2, P, 2) inner edges of the upper and the lower lip of a head of (V, 3) pixels."""
        edges: Floats = self.head.landmarks(pixels[None])[0, [UPPER_LIP, LOWER_LIP], :2].numpy()
        return edges

    def _labels(self, pix_to_face: Labels, lips: Floats, metre: float) -> Labels:
        labels = np.where(pix_to_face >= 0, self.face_layers[pix_to_face], BESIDE)
        # In strong expressions the mesh's gums and tongue reach through its lips.
        pierced = (labels == MOUTH) & ~between_lips(labels.shape, lips, LIP_RIM * metre)
        return np.where(pierced, SKIN, labels)

    def _feature_box(self, pixels: Tensor, size: int) -> tuple[slice, slice]:
        """Landmarks and their jaw-open reach bound everything that eyes and mouth can cover."""
        points = self.head.landmarks(pixels[None])[0, :, :2]
        low, high = points.amin(0), points.amax(0)
        margin = (high - low) * torch.tensor([0.05, 0.3])
        x0, y0 = (low - margin).clamp(0, size).int().tolist()
        x1, y1 = (high + margin).clamp(0, size).int().tolist()
        return slice(y0, y1), slice(x0, x1)

    def _compose(self, portrait: Portrait, view: View) -> Image:
        grid = pixel_centres(len(view.labels))
        shift = view.seen_at[..., :2] - grid
        known = (view.labels == SKIN) & ~is_hidden(portrait, view.seen_at)
        frame = sample(portrait.layers[SKIN], grid + fade_out(shift, known))
        relight(frame, portrait, view, known)
        draw_eyes(frame, portrait, view, shift)
        draw_mouth(frame, portrait, view)
        return frame


def fit_light(image: Image, pixels: Tensor, normals: Tensor) -> Tensor:
    """(4,) light from everywhere, and towards x, y and z, under which grey skin looks as it does.

    Args:
        image: (H, W, 3).
        pixels: (N, 2) where it shows some points.
        normals: (N, 3) of the surface there.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    seen = torch.from_numpy(sample(grey, pixels[None].numpy())[0] / np.float32(255))
    directions = functional.pad(normals, (1, 0), value=1)
    return torch.linalg.lstsq(directions, seen[:, None]).solution[:, 0]


def shade(normals: Tensor, light: Tensor) -> Tensor:
    """(...) brightness of grey skin with (..., 3) normals, as a share of white."""
    return (normals @ light[1:] + light[0]).clamp(min=DARKEST)


def relight(frame: Image, portrait: Portrait, view: View, known: NDArray[np.bool_]) -> None:
    """Brighten and darken the known skin of a frame, in place, as it turns in the photo's light."""
    relief = np.where(known, view.relief, np.float32(1))
    relief = cv2.GaussianBlur(relief, (0, 0), RELIEF_SOFTNESS * portrait.metre)
    frame[:] = (frame * relief[..., None] + 0.5).clip(0, 255)


def draw_eyes(frame: Image, portrait: Portrait, view: View, shift: Floats) -> None:
    """Draw the eyes over a frame, in place."""
    box = portrait.box
    seen = (view.labels[box] == EYES).astype(np.float32)
    seen_at = pixel_centres(portrait.size)[box] + continue_beyond(
        shift[box] * seen[..., None], seen
    )
    mask = inside_lids(view.labels[box], portrait.metre)
    blend(frame[box], sample(portrait.layers[EYES], seen_at), mask, portrait.softness)


def draw_mouth(frame: Image, portrait: Portrait, view: View) -> None:
    """Draw the inside of the mouth over a frame, in place.

    As lips close, teeth fade into one dark line in which the lips meet. Photos of closed lips show
    one themselves.
    """
    box = portrait.box
    gap = LIP_GAP * portrait.metre
    mask = (view.labels[box] == MOUTH).astype(np.float32)
    shown = float(np.clip(mouth_opening(view.labels[box]) / gap - 1, 0, 1))
    line = np.maximum(mask, lip_line(portrait, view)) if portrait.parted else mask
    depth = np.nan_to_num(view.depth[box], neginf=0)
    points = np.dstack([pixel_centres(portrait.size)[box], depth])
    teeth = sample(portrait.layers[MOUTH], points @ view.motion[:3] + view.motion[3])
    inside = (1 - shown) * MOUTH_COLOR + shown * teeth
    blend(frame[box], inside, mask + (1 - shown) * (line - mask), portrait.softness)


def mouth_opening(labels: Labels) -> float:
    """Pixels by which lips are apart."""
    mask = (labels == MOUTH).astype(np.uint8)
    return 2 * float(cv2.distanceTransform(mask, cv2.DIST_L2, 5).max())


def lip_line(portrait: Portrait, view: View) -> Floats:
    """(H, W) in the portrait's box, one along the line in which lips meet."""
    rows, columns = portrait.box
    line = np.zeros(view.labels[portrait.box].shape, np.uint8)
    points = view.lips - (columns.start + 0.5, rows.start + 0.5)  # OpenCV counts from centres
    fine = (points * 2**4).round().astype(np.int32)
    width = max(round(LIP_GAP / 4 * portrait.metre), 1)
    cv2.polylines(line, [fine], False, 255, width, cv2.LINE_AA, shift=4)
    return line / np.float32(255)


def between_lips(shape: tuple[int, ...], lips: Floats, rim: float) -> NDArray[np.bool_]:
    """(H, W) whether a pixel lies between the edges of the lips, or at most `rim` pixels beside."""
    inside = np.zeros(shape, np.uint8)
    outline = np.concatenate([lips[0], lips[1][::-1]]).round().astype(np.int32)
    cv2.fillPoly(inside, [outline], 1)
    return cv2.dilate(inside, disc(2 * math.ceil(rim) + 1)) > 0


def pixel_centres(size: int) -> Floats:
    """(size, size, 2) continuous positions of a square's pixels."""
    axis = np.arange(size, dtype=np.float32) + 0.5
    return np.dstack(np.meshgrid(axis, axis))


def is_hidden(portrait: Portrait, seen_at: Floats) -> NDArray[np.bool_]:
    """Which points, `View.seen_at`, lay behind something in the photo, or edge-on."""
    nearest = cv2.remap(portrait.depth, seen_at[..., :2] - 0.5, None, cv2.INTER_NEAREST)
    return (nearest > seen_at[..., 2] + OCCLUSION * portrait.metre) | (seen_at[..., 3] < GRAZING)


def fade_out(shift: Floats, known: NDArray[np.bool_]) -> Floats:
    """Continue shifts (H, W, 2) from the known pixels, to zero far beside the face."""
    firm = cv2.morphologyEx(known.astype(np.uint8), cv2.MORPH_OPEN, disc(3))
    still = cv2.distanceTransform(1 - firm, cv2.DIST_L2, 3) > FADE_DISTANCE * len(shift)
    return continue_beyond(shift * firm[..., None], (firm | still).astype(np.float32))


def disc(pixels: int) -> Image:
    """A round structuring element of odd width."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (pixels, pixels))


def blend(frame: Image, colors: Image, mask: Floats, softness: float) -> None:
    """Draw colours over a frame, in place, with an edge of a standard deviation in pixels."""
    weight = cv2.GaussianBlur(mask, (0, 0), softness)[..., None]
    frame[:] = frame + weight * (colors.astype(np.float32) - frame) + 0.5
