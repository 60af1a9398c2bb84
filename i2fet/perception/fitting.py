"""Landmarks to coefficients: bounded, regularised least squares over a batch of faces."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch.nn import functional

from i2fet.coefficients import EXPRESSION_SIZE, SHAPE_SIZE, FaceCoefficients
from i2fet.errors import AssetError
from i2fet.heads.arkit import ArkitHead
from i2fet.heads.base import JAW
from i2fet.heads.skinning import rotation_matrices
from i2fet.perception.box_qp import solve_box_qp

BIAS_FILE = Path(__file__).with_name("landmark_bias.safetensors")
IRISES = (468, 473)
"""MediaPipe's centres of the irises, the one on the picture's left first."""

EYE_CORNERS = ((33, 133), (362, 263))
LINEAR_SIZE = SHAPE_SIZE + EXPRESSION_SIZE
CAMERA_SIZE = 4
MOTION_SIZE = 3 + CAMERA_SIZE
UNKNOWNS = LINEAR_SIZE + 3 + MOTION_SIZE
"""Shape, expression, jaw; then a step of the head's rotation, scale and place."""

SIDED = ("mouthLeft", "jawLeft")
"""Names that end in Left without being the left half of a pair."""

JAW_STEP = 1e-3


@dataclass(frozen=True)
class FitSettings:
    """What the fit believes before it sees the landmarks.

    Attributes:
        noise: Metres by which a landmark of median lifting spread is expected to be off.
        depth_weight: Of a landmark's depth, relative to its place in the picture.
        shape_ridge: Precision of shape, in standard deviations.
        expression_ridge: Precision of each action.
        mirror_ridge: Precision of the difference between an action's left and right.
        jaw_ridge: Precision of the jaw, in fractions of jawOpen at 1.
        shape_limit: Largest deviation from the mean, in standard deviations.
        jaw_opening: Largest opening, in jawOpen at 1.
        jaw_sway: Largest rotation of the jaw about its other axes, radians.
        steps: Gauss-Newton steps.
    """

    noise: float = 0.004
    depth_weight: float = 0.3
    shape_ridge: float = 0.6
    expression_ridge: float = 3.0
    mirror_ridge: float = 10.0
    jaw_ridge: float = 1.0
    shape_limit: float = 3.0
    jaw_opening: float = 1.2
    jaw_sway: float = 0.03
    steps: int = 5


@dataclass(frozen=True)
class Belief:
    """What is known of N faces before their landmarks are looked at.

    Attributes:
        faces: (N,) their most likely coefficients, from which the fit starts.
        precision: (N, 156) of shape, expression, jaw and head rotation, 1 / variance about those
            coefficients; radians for the last two.
    """

    faces: FaceCoefficients
    precision: Tensor


@dataclass(frozen=True)
class Estimate:
    """A head whose points p, jaw turned, are seen at scale R p + shift, in half picture sides.

    Attributes:
        linear: (N, 150) shape and expression.
        jaw: (N, 3) axis-angle.
        rotation: (N, 3, 3) R.
        scale: (N,) half picture sides a metre.
        shift: (N, 3).
    """

    linear: Tensor
    jaw: Tensor
    rotation: Tensor
    scale: Tensor
    shift: Tensor

    def place(self, points: Tensor) -> Tensor:
        """(N, P, 3) points already turned by R, as seen."""
        return self.scale[:, None, None] * points + self.shift[:, None]

    def lift(self) -> Tensor:
        """(N, 6, 3) from points of `LandmarkBasis` to points turned by R."""
        open_jaw = rotation_matrices(self.jaw) - torch.eye(3, device=self.jaw.device)
        return torch.cat([self.rotation.mT, open_jaw.mT @ self.rotation.mT], dim=1)


class LandmarkBasis(nn.Module):
    """The landmarks and irises of a head, linear in shape and expression even as the jaw turns.

    With the jaw turned by J a landmark is rest + (J - 1) hinged, where hinged is its offset from
    the joint times the jaw's skinning weight. Both are linear, and are kept side by side.

    Attributes:
        mean: (P, 6) rest and hinged points of the mean head, metres.
        slopes: (150, P, 6) their derivatives.
    """

    mean: Tensor
    slopes: Tensor

    def __init__(self, head: ArkitHead) -> None:
        super().__init__()
        codes = torch.cat([torch.zeros(1, LINEAR_SIZE), torch.eye(LINEAR_SIZE)])
        shape, expression = codes.split([SHAPE_SIZE, EXPRESSION_SIZE], dim=1)
        rest = head.rest_vertices(shape, expression)
        offset = rest - head.joint_positions(shape)[:, JAW, None]
        hinged = head.skinning_weights[:, JAW, None] * offset
        points = torch.cat([fitted_points(head, rest), fitted_points(head, hinged)], dim=-1)
        self.register_buffer("mean", points[0], persistent=False)
        self.register_buffer("slopes", points[1:] - points[0], persistent=False)

    def forward(self, linear: Tensor) -> Tensor:
        """(N, P, 6) for (N, 150)."""
        return self.mean + (linear @ self.slopes.flatten(1)).unflatten(1, (-1, 6))


def fitted_points(head: ArkitHead, vertices: Tensor) -> Tensor:
    """(N, 470, 3) landmarks and iris centres on (N, V, 3) vertices."""
    pupils = head.regions["pupil"]
    right = head.template[:, 0] > 0
    weights = torch.stack([pupils * ~right, pupils * right])
    irises = (weights / weights.sum(1, keepdim=True)) @ vertices
    return torch.cat([head.landmarks(vertices), irises], dim=1)


def embedding_hash(head: ArkitHead) -> str:
    """Changes whenever a head's landmarks lie elsewhere."""
    points = fitted_points(head, head.template[None])
    return hashlib.sha256((points * 1e5).round().int().numpy().tobytes()).hexdigest()


def load_bias(head: ArkitHead, path: Path = BIAS_FILE) -> Tensor:
    """(470, 3) metres by which MediaPipe's points lie beside the head's, on average.

    Raises:
        AssetError: If the file is missing, broken, or made for other landmarks.
    """
    remedy = "`python -m experiments.landmark_bias` makes it"
    if not path.is_file():
        raise AssetError(f"the landmark bias {path} is missing; {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata, bias = file.metadata() or {}, file.get_tensor("bias")
    except SafetensorError as error:
        raise AssetError(f"the landmark bias {path} is broken ({error}); {remedy}") from error
    if metadata.get("embedding") != embedding_hash(head):
        raise AssetError(f"the landmark bias {path} is for other landmarks of the head; {remedy}")
    return bias


def align(points: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The similarity that takes points to targets, (N, P, 3), with weights (P,) (Umeyama, 1991).

    Returns:
        Rotation (N, 3, 3), scale (N,) and shift (N, 3).
    """
    weights = (weights / weights.sum())[:, None]
    mean, target_mean = (weights * points).sum(1), (weights * targets).sum(1)
    centred = points - mean[:, None]
    u, s, vh = torch.linalg.svd((targets - target_mean[:, None]).mT @ (weights * centred))
    sign = torch.ones_like(s)
    sign[:, 2] = torch.linalg.det(u @ vh)
    rotation = (u * sign[:, None]) @ vh
    scale = (s * sign).sum(1) / (weights * centred.square()).sum((1, 2))
    return rotation, scale, target_mean - scale[:, None] * (rotation @ mean[..., None])[..., 0]


def residual_percent(seen: Tensor, fitted: Tensor) -> Tensor:
    """(N,) mean picture distance of the 468 landmarks, % of that between the eyes' middles."""
    near, far = (seen[:, list(corners), :2].mean(1) for corners in EYE_CORNERS)
    count = IRISES[0]
    distance = (seen[:, :count, :2] - fitted[:, :count, :2]).norm(dim=-1).mean(1)
    return 100 * distance / (near - far).norm(dim=-1)


class LandmarkFitter(nn.Module):
    """Fits a head with ARKit actions to landmarks, many faces at a time.

    Gauss-Newton over shape, expression, jaw and camera together; each step is a quadratic program
    with bounds. Normal matrices come from products of the basis that are computed once.

    Args:
        head: The head.
        settings: Beliefs.
        bias: (470, 3) metres to add to the head's points; see `load_bias`.
    """

    weights: Tensor
    axis_weights: Tensor
    gram: Tensor
    prior: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self, head: ArkitHead, settings: FitSettings | None = None, bias: Tensor | None = None
    ) -> None:
        super().__init__()
        self.head, self.settings = head, settings or FitSettings()
        self.basis = LandmarkBasis(head)
        if bias is not None:
            self.basis.mean[:, :3] += bias
        weights = self._weights()
        low, high = self._bounds()
        buffers = {
            "weights": weights,
            "axis_weights": torch.tensor([1, 1, self.settings.depth_weight**2]),
            "gram": self._gram(weights),
            "prior": self._prior(),
            "low": low,
            "high": high,
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def _weights(self) -> Tensor:
        """(P,) precision of each point, 1/m^2."""
        spread = self.head.landmark_spread / self.head.landmark_spread.median()
        irises = torch.ones(len(IRISES))
        return 1 / (self.settings.noise**2 * torch.cat([spread.clamp(min=0.25), irises]))

    def _gram(self, weights: Tensor) -> Tensor:
        """(36, 150 * 150) weighted products of the slopes, for each pair of their six axes."""
        axes = self.basis.slopes.movedim(-1, 0)
        products = (axes * weights).flatten(0, 1) @ axes.flatten(0, 1).T
        return products.view(6, LINEAR_SIZE, 6, LINEAR_SIZE).transpose(1, 2).reshape(36, -1)

    def _prior(self) -> Tensor:
        """(160, 160) precision of the unknowns."""
        s, names = self.settings, self.head.expression_names
        diagonal = torch.zeros(UNKNOWNS)
        diagonal[:SHAPE_SIZE] = s.shape_ridge
        diagonal[SHAPE_SIZE:LINEAR_SIZE] = s.expression_ridge
        diagonal[LINEAR_SIZE : LINEAR_SIZE + 3] = s.jaw_ridge / self.head.jaw_open_angle**2
        prior = torch.diag(diagonal)
        for row, name in enumerate(names):
            mirrored = name.removesuffix("Left") + "Right"
            if name.endswith("Left") and name not in SIDED and mirrored in names:
                pair = SHAPE_SIZE + torch.tensor([row, names.index(mirrored)])
                prior[pair[:, None], pair] += s.mirror_ridge * torch.tensor([[1.0, -1], [-1, 1]])
        return prior

    def _bounds(self) -> tuple[Tensor, Tensor]:
        """(160,) lowest and highest unknowns."""
        s = self.settings
        low, high = torch.full((UNKNOWNS,), -torch.inf), torch.full((UNKNOWNS,), torch.inf)
        low[:SHAPE_SIZE], high[:SHAPE_SIZE] = -s.shape_limit, s.shape_limit
        expression = slice(SHAPE_SIZE, LINEAR_SIZE)
        low[expression], high[expression] = self.head.expression_range
        jaw = slice(LINEAR_SIZE, LINEAR_SIZE + 3)
        low[jaw] = torch.tensor([0, -s.jaw_sway, -s.jaw_sway])
        opening = s.jaw_opening * self.head.jaw_open_angle
        high[jaw] = torch.tensor([opening, s.jaw_sway, s.jaw_sway])
        return low, high

    def clamp(self, faces: FaceCoefficients) -> FaceCoefficients:
        """(N,) coefficients with shape, expression and jaw brought within the fit's bounds."""
        codes = torch.cat([faces.shape, faces.face_parameters], dim=1)
        codes = codes.clamp(self.low[: codes.shape[1]], self.high[: codes.shape[1]])
        shape, expression, jaw = codes.split([SHAPE_SIZE, EXPRESSION_SIZE, 3], dim=1)
        pose = torch.cat([faces.global_rotation, jaw], dim=1)
        return FaceCoefficients(shape, expression, pose, faces.camera)

    @torch.no_grad()
    def forward(
        self, targets: Tensor, belief: Belief | None = None
    ) -> tuple[FaceCoefficients, Tensor]:
        """Fit.

        Args:
            targets: (N, 470, 3) points in half picture sides from the middle; x right, y up,
                depth towards the viewer from any origin.
            belief: What is known of these faces, instead of the settings' ridges.

        Returns:
            (N,) coefficients, and (N, 470, 3) the fitted points in the targets' frame.
        """
        estimate = self.estimate(targets, belief)
        return self._coefficients(estimate), self.fitted(estimate)

    def estimate(self, targets: Tensor, belief: Belief | None = None) -> Estimate:
        """The fit before it is put as coefficients; see `forward`."""
        if belief is None:
            estimate, precision = self._mean_faces(targets), self.prior
            expected = None
        else:
            estimate = expected = self.as_estimate(belief.faces)
            precision = functional.pad(belief.precision, (0, CAMERA_SIZE)).diag_embed()
        for _ in range(self.settings.steps):
            estimate = self._step(estimate, targets, precision, expected)
        return estimate

    def _mean_faces(self, targets: Tensor) -> Estimate:
        """(N,) mean faces, placed on the targets."""
        count = len(targets)
        mean = self.basis.mean[None, :, :3].expand(count, -1, -1)
        linear, jaw = targets.new_zeros(count, LINEAR_SIZE), targets.new_zeros(count, 3)
        return Estimate(linear, jaw, *align(mean, targets, self.weights))

    def as_estimate(self, faces: FaceCoefficients) -> Estimate:
        """The estimate that `forward` would put as these (N,) coefficients; depth from the root."""
        rotation, scale = rotation_matrices(faces.global_rotation), faces.camera[:, 0]
        root = self.head.joint_positions(faces.shape)[:, 0]
        place = functional.pad(faces.camera[:, 1:], (0, 1))
        shift = scale[:, None] * (place + root - (rotation @ root[..., None])[..., 0])
        linear = torch.cat([faces.shape, faces.expression], dim=1)
        return Estimate(linear, faces.jaw, rotation, scale, shift)

    def fitted(self, estimate: Estimate) -> Tensor:
        """(N, 470, 3) points of an estimate, as seen."""
        points = self.basis(estimate.linear * self._gain(estimate.jaw))
        return estimate.place(points @ estimate.lift())

    def _gain(self, jaw: Tensor) -> Tensor:
        """(N, 150) by which the basis moves a unit of each coefficient at this opening."""
        pose = torch.cat([torch.zeros_like(jaw), jaw], dim=1)
        expression = self.head.effective_expression(jaw.new_ones(len(jaw), EXPRESSION_SIZE), pose)
        return torch.cat([jaw.new_ones(len(jaw), SHAPE_SIZE), expression], dim=1)

    def _step(
        self, e: Estimate, targets: Tensor, precision: Tensor, expected: Estimate | None
    ) -> Estimate:
        """One Gauss-Newton step; by the prior, the face is the mean face or the expected one."""
        gain = self._gain(e.jaw)
        points, lift = self.basis(e.linear * gain), e.lift()
        turned = points @ lift
        residual = (targets - e.place(turned)) / e.scale[:, None, None]
        columns = torch.cat([self._jaw_columns(e, points), _motion_columns(turned)], dim=1)
        hessian, gradient = self._normal_equations(columns, residual, lift, gain)
        start = _unknowns(e, e)
        gradient = gradient + (hessian @ start[..., None])[..., 0]
        if expected is not None:
            gradient = gradient + (precision @ _unknowns(expected, e)[..., None])[..., 0]
        x = solve_box_qp(hessian + precision, gradient, self.low, self.high, start)
        linear, jaw, turn, grow, move = x.split([LINEAR_SIZE, 3, 3, 1, 3], dim=1)
        rotation = rotation_matrices(turn) @ e.rotation
        scale, shift = e.scale * grow[:, 0].exp(), e.shift + e.scale[:, None] * move
        return Estimate(linear, jaw, rotation, scale, shift)

    def _jaw_columns(self, e: Estimate, points: Tensor) -> Tensor:
        """(N, 3, P, 3) derivatives of the turned points by the jaw's axis-angle."""
        steps = JAW_STEP * torch.eye(3, device=e.jaw.device)
        ahead = rotation_matrices(e.jaw[:, None] + steps)
        slopes = (ahead - rotation_matrices(e.jaw)[:, None]) / JAW_STEP
        return points[:, None, :, 3:] @ slopes.mT @ e.rotation.mT[:, None]

    def _normal_equations(
        self, columns: Tensor, residual: Tensor, lift: Tensor, gain: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(N, 160, 160) and (N, 160) of the linear unknowns and the others' (N, 10, P, 3)."""
        fields = torch.cat([columns, residual[:, None]], dim=1)
        fields = fields * self.weights[:, None] * self.axis_weights
        mixed = (fields @ lift[:, None].mT).flatten(2) @ self.basis.slopes.flatten(1).T
        mixed = mixed * gain[:, None]
        own = fields.flatten(2) @ columns.flatten(2).mT
        metric = (lift * self.axis_weights) @ lift.mT
        linear = (metric.flatten(1) @ self.gram).unflatten(1, (LINEAR_SIZE, LINEAR_SIZE))
        linear = linear * gain[:, :, None] * gain[:, None]
        cross, cross_own = mixed[:, :-1], own[:, :-1]
        upper, lower = torch.cat([linear, cross.mT], 2), torch.cat([cross, cross_own], 2)
        return torch.cat([upper, lower], 1), torch.cat([mixed[:, -1], own[:, -1]], 1)

    def _coefficients(self, e: Estimate) -> FaceCoefficients:
        shape, expression = e.linear.split([SHAPE_SIZE, EXPRESSION_SIZE], dim=1)
        turn = _axis_angle(e.rotation)
        root = self.head.joint_positions(shape)[:, 0]
        # The head turns about its root, the estimate about the origin.
        place = e.shift / e.scale[:, None] + (e.rotation @ root[..., None])[..., 0] - root
        camera = torch.cat([e.scale[:, None], place[:, :2]], dim=1)
        return FaceCoefficients(shape, expression, torch.cat([turn, e.jaw], dim=1), camera)


def _unknowns(estimate: Estimate, current: Estimate) -> Tensor:
    """(N, 160) by which a step from the current estimate reaches shape and pose of another."""
    turn = _axis_angle(estimate.rotation @ current.rotation.mT)
    codes = torch.cat([estimate.linear, estimate.jaw, turn], dim=1)
    return functional.pad(codes, (0, CAMERA_SIZE))


def _axis_angle(rotation: Tensor) -> Tensor:
    """(N, 3) radians of (N, 3, 3) rotations."""
    turns = Rotation.from_matrix(rotation.cpu().numpy())
    return torch.from_numpy(turns.as_rotvec()).to(rotation)


def _motion_columns(turned: Tensor) -> Tensor:
    """(N, 7, P, 3) derivatives of (N, P, 3) points by a rotation, a log scale and a shift."""
    axes = torch.eye(3, device=turned.device)[:, None]
    axes = axes.expand(len(turned), 3, turned.shape[1], 3)
    turns = torch.linalg.cross(axes, turned[:, None].expand_as(axes))
    return torch.cat([turns, turned[:, None], axes], dim=1)
