"""MediaPipe's 478 face landmarks, for faces of any size in photos of any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from i2fet.perception.images import Picture
from i2fet.quiet import native_stderr_silenced

LANDMARKS = 478
VIEW_SIZE = 384
"""Side of what the networks are shown; both then reduce it to 192 themselves."""

ZOOM_OUT = 1.6
TILE_SHARES = (1 / 2, 1 / 4)
"""Of the photo's longer side: faces below 5 % of a view are not found in it."""

CROP_SIDES = (2.0, 1.5, 3.0)
"""Side of a face's crop in face widths; the second and third when nothing is found in the first."""

OVERLAP = 0.3
CANDIDATES = 3
SIDES = (234, 454)
"""Landmarks in front of the two ears."""


@dataclass(frozen=True)
class Window:
    """A square of a photo, which may reach beyond it; pixels."""

    left: int
    top: int
    side: int

    def cut(self, photo: Picture) -> Picture:
        """(384, 384, 3), black beyond the photo."""
        height, width = photo.shape[:2]
        right, bottom = self.left + self.side, self.top + self.side
        x0, x1 = np.clip([self.left, right], 0, width)
        y0, y1 = np.clip([self.top, bottom], 0, height)
        part = np.zeros((self.side, self.side, 3), np.uint8)
        part[y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left] = photo[y0:y1, x0:x1]
        method = cv2.INTER_AREA if self.side > VIEW_SIZE else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(part, (VIEW_SIZE, VIEW_SIZE), interpolation=method), np.uint8)


@dataclass(frozen=True)
class FaceBox:
    """Where a face is: centre and width in pixels, and how sure the detector is, 0 to 1."""

    x: float
    y: float
    width: float
    score: float

    def window(self, share: float) -> Window:
        """A square around the face whose side is `share` face widths."""
        side = max(round(self.width * share), 1)
        return Window(round(self.x - side / 2), round(self.y - side / 2), side)


@dataclass(frozen=True)
class DetectedFace:
    """The largest face of a photo.

    Attributes:
        points: (478, 3) pixel x and y, continuous (the first pixel's centre is at 0.5), and depth
            in the same unit, larger nearer the viewer.
        faces: How many faces the photo shows.
    """

    points: NDArray[np.float32]
    faces: int

    @property
    def width(self) -> float:
        """Pixels from one side of the face to the other, whichever way it is turned."""
        left, right = self.points[list(SIDES)]
        return float(np.linalg.norm(left - right))


class _Graphs:
    """One detector and one face mesh, which serve one thread at a time."""

    def __init__(self) -> None:
        # Imported here, since it takes seconds.
        from mediapipe.python.solutions.face_detection import FaceDetection
        from mediapipe.python.solutions.face_mesh import FaceMesh

        self._warned = False
        with native_stderr_silenced():
            self._detection = FaceDetection(model_selection=1)
            self._mesh = FaceMesh(
                static_image_mode=True, refine_landmarks=True, max_num_faces=CANDIDATES
            )
            # A graph opens its models in threads of its own, and is idle after a first picture.
            blank = np.zeros((VIEW_SIZE, VIEW_SIZE, 3), np.uint8)
            self._detection.process(blank)
            self._mesh.process(blank)

    def _process(self, graph: Any, view: Picture) -> Any:
        # The last part of the graph to warn does so when it sees its first face.
        with nullcontext() if self._warned else native_stderr_silenced():
            return graph.process(view)

    def boxes(self, photo: Picture, window: Window) -> list[FaceBox]:
        """Faces in a window, in pixels of the photo."""
        boxes = []
        for detection in self._process(self._detection, window.cut(photo)).detections or ():
            box = detection.location_data.relative_bounding_box
            x, y = box.xmin + box.width / 2, box.ymin + box.height / 2
            boxes.append(
                FaceBox(
                    window.left + x * window.side,
                    window.top + y * window.side,
                    box.width * window.side,
                    detection.score[0],
                )
            )
        return boxes

    def mesh(self, photo: Picture, window: Window) -> NDArray[np.float32] | None:
        """(478, 3) as in `DetectedFace` of the face nearest a window's middle."""
        faces = self._process(self._mesh, window.cut(photo)).multi_face_landmarks
        if not faces:
            return None
        self._warned = True
        points = np.array([[(p.x, p.y, -p.z) for p in f.landmark] for f in faces], np.float32)
        distance = np.linalg.norm(points[..., :2].mean(1) - 0.5, axis=1)
        offset = np.array([window.left, window.top, 0], np.float32)
        return offset + points[distance.argmin()] * np.float32(window.side)


class LandmarkDetector:
    """Finds the largest face of a photo and its landmarks; threads may share one."""

    def __init__(self) -> None:
        self._idle: list[_Graphs] = []

    @contextmanager
    def _graphs(self) -> Iterator[_Graphs]:
        graphs = self._idle.pop() if self._idle else _Graphs()
        try:
            yield graphs
        finally:
            self._idle.append(graphs)

    def __call__(self, photo: Picture) -> DetectedFace | None:
        """The largest face of (H, W, 3) RGB, or None where there is none."""
        with self._graphs() as graphs:
            boxes = _find(graphs, photo)
            for box in boxes:
                points = _read(graphs, photo, box)
                if points is not None:
                    return DetectedFace(points, len(boxes))
        return None


def _find(graphs: _Graphs, photo: Picture) -> list[FaceBox]:
    """Faces, the largest first, of the first set of windows that shows any."""
    for windows in _searches(*photo.shape[:2]):
        boxes = [box for window in windows for box in graphs.boxes(photo, window)]
        if boxes:
            return sorted(_distinct(boxes), key=lambda box: -box.width)
    return []


def _read(graphs: _Graphs, photo: Picture, box: FaceBox) -> NDArray[np.float32] | None:
    for share in CROP_SIDES:
        points = graphs.mesh(photo, box.window(share))
        if points is not None:
            return points
    return None


def _searches(height: int, width: int) -> Iterator[list[Window]]:
    """The whole photo, then more around it for a face that fills it, then tiles for small faces."""
    longer = max(height, width)
    for share in (1, ZOOM_OUT):
        side = round(longer * share)
        yield [Window((width - side) // 2, (height - side) // 2, side)]
    for share in TILE_SHARES:
        side = round(longer * share)
        if side > 1:
            tops, lefts = _starts(height, side), _starts(width, side)
            yield [Window(left, top, side) for top in tops for left in lefts]


def _starts(length: int, side: int) -> Sequence[int]:
    """Where windows of a side begin that cover a length and overlap by half or more."""
    count = max(int(np.ceil((length - side) / (side / 2))), 0) + 1
    return np.linspace(0, max(length - side, 0), count).round().astype(int).tolist()


def _distinct(boxes: list[FaceBox]) -> list[FaceBox]:
    """Without the second sightings of a face in overlapping windows."""
    corners = [(b.x - b.width / 2, b.y - b.width / 2, b.width, b.width) for b in boxes]
    kept = cv2.dnn.NMSBoxes(corners, [b.score for b in boxes], 0.0, OVERLAP)
    return [boxes[int(i)] for i in np.ravel(kept)]
