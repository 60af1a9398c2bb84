"""The whole way: a photo and an instruction become a transition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2fet.coefficients import FaceCoefficients
from i2fet.emotions import Emotion
from i2fet.errors import CheckpointError, InstructionError, OptionError
from i2fet.export import EXPORTERS, export
from i2fet.heads import HeadModel, load_head
from i2fet.instructions import Step, canonical_instruction
from i2fet.nn import NeutralGenerator, PairGenerator, load_generator
from i2fet.nn.generator import SHIPPED_GENERATOR
from i2fet.perception import FaceEncoder, PerceivedFace, Photo, load_face_encoder, perceive
from i2fet.rendering.mesh import fit_camera, render_shape
from i2fet.rendering.photo import PhotoRenderer, load_photo_renderer
from i2fet.rendering.video import contact_sheet, write_image, write_video
from i2fet.text import TextEncoder, load_text_encoder
from i2fet.text.listener import Listener, load_listener
from i2fet.transition import Easing, HeadPose, anchor_frames, interpolate, make_anchors

Renderer = Literal["portrait", "mesh", "rome", "cvthead"]
Image = NDArray[np.uint8]

SHEET_ENDING = ".png"
EXPORT_ENDINGS = (*EXPORTERS, SHEET_ENDING)
SHEET_TILE = 256
FRAMES_AT_ONCE = 32
MIN_SIZE = 64
MAX_INTENSITY = 3


@dataclass(frozen=True, repr=False)
class Transition:
    """A face that moves between the expressions of an instruction.

    Attributes:
        instruction: As given.
        steps: What was heard, in order.
        face: The photo's face as it was read.
        labels: Name of each anchor, the first being the photo's own expression.
        anchors: (A,) coefficients of the anchors.
        coefficients: (T,) of the frames; shape and camera are the photo's.
        anchor_frames: Frame at which each anchor is reached.
        head: The head they belong to.
        model: One line about the model that generated the expressions.
        neutral: One line about where neutral faces come from; "" if none was put in.
        photo_renderer: Gives the renderers of the photo's head by their names.
    """

    instruction: str
    steps: tuple[Step, ...]
    face: PerceivedFace
    labels: tuple[str, ...]
    anchors: FaceCoefficients
    coefficients: FaceCoefficients
    anchor_frames: tuple[int, ...]
    head: HeadModel
    model: str
    neutral: str
    photo_renderer: Callable[[str], PhotoRenderer]

    def render(self, renderer: Renderer = "portrait", size: int = 512) -> Image:
        """(T, size, size, 3) pictures: the photo's person moved, or the shaded mesh.

        Raises:
            AssetError: If a file of the renderer is missing or broken, or made for another head.
            OptionError: If the size is below 64, or the head is not the one that read the photo,
                for all but the mesh.
        """
        return np.stack(list(self.pictures(renderer, size)))

    def pictures(self, renderer: Renderer = "portrait", size: int = 512) -> Iterator[Image]:
        """The same one by one, so that long clips need little memory.

        Raises:
            AssetError: As `render`.
            OptionError: As `render`.
        """
        draw = self._drawing(renderer, size)
        for start in range(0, len(self.coefficients), FRAMES_AT_ONCE):
            yield from draw(self.coefficients[start : start + FRAMES_AT_ONCE])

    def _drawing(self, renderer: Renderer, size: int) -> Callable[[FaceCoefficients], Image]:
        if size < MIN_SIZE:
            raise OptionError(f"the size of pictures is {size}; give at least {MIN_SIZE} pixels")
        if renderer == "mesh":
            camera = fit_camera(self.head.vertices(self.anchors))[:1]
            return lambda part: render_shape(self.head, part, size, camera)
        photo_renderer = self.photo_renderer(renderer)
        if self.head is not photo_renderer.head:
            raise OptionError(
                f"a portrait cannot be moved by the head {self.head.name!r}, which did not read "
                "the photo; use the renderer 'mesh'"
            )
        portrait = photo_renderer.prepare(
            self.face.image, self.face.coefficients, self.face.landmarks, size
        )
        return partial(photo_renderer.render, portrait)

    def on_head(self, head: HeadModel) -> Transition:
        """The same expressions on the mean face of another head; it can be drawn as a mesh.

        Raises:
            OptionError: If its expression coefficients mean something else.
        """
        if head.expression_names != self.head.expression_names:
            raise OptionError(
                f"the expressions of the head {self.head.name!r} are not those of {head.name!r}; "
                "use a head with the same expressions, as 'arkit' and 'ict' are"
            )
        anchors, frames = (
            replace(faces, shape=torch.zeros_like(faces.shape))
            for faces in (self.anchors, self.coefficients)
        )
        return replace(self, head=head, anchors=anchors, coefficients=frames)

    def write_video(
        self, path: str | Path, renderer: Renderer = "portrait", size: int = 512, fps: float = 30
    ) -> None:
        """Write an .mp4 or .gif, marked as synthetic.

        Raises:
            OutputError: If the file cannot be written or has another ending.
        """
        write_video(path, self.pictures(renderer, size), fps, self.description)

    def export(
        self, path: str | Path, renderer: Renderer = "portrait", size: int = 512, fps: float = 30
    ) -> None:
        """Write what the ending says: .glb, .csv (ARKit), .obj (last frame), .png (contact sheet).

        Raises:
            OutputError: If the file cannot be written or has another ending.
        """
        if Path(path).suffix.lower() == SHEET_ENDING:
            write_image(path, self.contact_sheet(renderer), self.description)
        else:
            export(path, self.head, self.coefficients, fps, self.description)

    def contact_sheet(self, renderer: Renderer = "portrait", between: int = 1) -> Image:
        """One picture of the anchors, named, with `between` frames between any two."""
        shares = np.linspace(0, 1, between + 1, endpoint=False)
        ends = pairwise(self.anchor_frames)
        frames = [round(a + share * (b - a)) for a, b in ends for share in shares]
        frames.append(self.anchor_frames[-1])
        names = dict(zip(self.anchor_frames, self.labels, strict=True))
        few = replace(self, coefficients=self.coefficients[frames])
        captions = [names.get(frame, "") for frame in frames]
        tile = (SHEET_TILE, SHEET_TILE)
        pictures = [
            cv2.resize(picture, tile, interpolation=cv2.INTER_AREA)
            for picture in few.pictures(renderer, 2 * SHEET_TILE)
        ]
        return contact_sheet(pictures, captions, columns=len(frames))

    @property
    def description(self) -> str:
        """What metadata of generated pictures say."""
        return f"synthetic expression by i2fet: {self.instruction}"

    def __repr__(self) -> str:
        return f"<Transition {self._path}>"

    @property
    def _path(self) -> str:
        return f"{' -> '.join(self.labels)} in {len(self.coefficients)} frames"

    def summary(self) -> str:
        """What was done, in words."""
        number = f"{self.face.faces} faces, the largest taken" if self.face.faces > 1 else "1 face"
        neutral = [f"neutral {self.neutral}"] if self.neutral else []
        return "\n".join(
            [
                f"heard   {', then '.join(map(str, self.steps))}",
                f"photo   {number}; landmarks fit to {self.face.residual_percent:.2f} % of the "
                "distance between the eyes",
                f"path    {self._path}",
                f"model   {self.model}",
                *neutral,
            ]
        )


class TransitionPipeline:
    """Photo and instruction to `Transition`; keeps its models loaded.

    Args:
        generator: A trained model.
        encoder: What reads photos; by default the first for the model's head.
        ned: What tells the neutral face of the photo's person; by default the head's own neutral
            face serves.

    Raises:
        CheckpointError: If `ned` was trained for another head than the generator.
    """

    def __init__(
        self,
        generator: PairGenerator,
        encoder: FaceEncoder | None = None,
        ned: NeutralGenerator | None = None,
    ) -> None:
        if ned is not None and ned.provenance.head != generator.provenance.head:
            raise CheckpointError(
                f"the neutral faces are for head {ned.provenance.head!r} but the model is for "
                f"{generator.provenance.head!r}; use a NED of the same head"
            )
        self.generator = generator
        self.ned = ned
        self.known = tuple(Emotion(name) for name in generator.provenance.emotions)
        self.head = load_head(generator.provenance.head)
        self.encoder = encoder or load_face_encoder(head=generator.provenance.head)
        self._photo_renderers: dict[str, PhotoRenderer] = {}

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path = SHIPPED_GENERATOR,
        encoder: str | None = None,
        ned: str | Path | None = None,
        temperature: float | None = None,
    ) -> TransitionPipeline:
        """Load a trained model.

        Args:
            path: Of its checkpoint; by default the shipped one.
            encoder: Name of what reads photos; by default the first for the model's head.
            ned: A checkpoint of `NEDTask`.
            temperature: As for `load_generator`.

        Raises:
            OptionError: As `load_generator`.
            CheckpointError: If a file is missing, broken or of another kind, or the two are for
                different heads.
            AssetError: If there is no such encoder, or a file of it is missing.
        """
        generator = load_generator(path, temperature)
        neutral = None if ned is None else NeutralGenerator.from_checkpoint(ned)
        return cls(generator, load_face_encoder(encoder, generator.provenance.head), neutral)

    @cached_property
    def text_encoder(self) -> TextEncoder:
        return load_text_encoder(self.generator.provenance.text)

    @cached_property
    def listener(self) -> Listener:
        return load_listener()

    def photo_renderer(self, name: str) -> PhotoRenderer:
        """The renderer of a name, which stays loaded.

        Raises:
            OptionError: If there is none.
            AssetError: If a file of it is missing or broken, or made for another head.
        """
        if name not in self._photo_renderers:
            self._photo_renderers[name] = load_photo_renderer(name, self.head)
        return self._photo_renderers[name]

    def __call__(
        self,
        photo: Photo,
        instruction: str,
        frames: int = 60,
        through_neutral: bool = False,
        head_pose: HeadPose = "source",
        easing: Easing = "linear",
        hold: int = 0,
        intensity: float = 1.0,
        seed: int = 0,
        neutral: Photo | None = None,
    ) -> Transition:
        """Read a photo, generate the expressions, and move between them (eq. 16).

        Args:
            photo: A path, a picture array or a PIL image.
            instruction: Which expressions to show, in which order.
            frames: T, of the whole transition.
            through_neutral: Whether to pass a neutral face between two expressions.
            head_pose: Keep the photo's head rotation, or take the model's.
            easing: Of the movement between two expressions.
            hold: Frames for which each generated expression stays.
            intensity: Factor on the generated expressions and the jaw's opening, 0 to 3.
            seed: Of the generated expressions.
            neutral: A photo of the same person at rest, by which the photo is read better.

        Raises:
            InstructionError: If no expression is asked for, or it is unclear which.
            OptionError: If there are too few frames to show every expression, another option is
                none of its values, or the encoder has no use for a neutral photo.
            PhotoError: If a photo cannot be read or shows no usable face.
        """
        if not 0 <= intensity <= MAX_INTENSITY:
            raise OptionError(f"intensity is {intensity}; give a number from 0 to {MAX_INTENSITY}")
        steps = self._listen(instruction)
        face = perceive(photo, self.encoder, neutral)
        generated = self.generate([instruction], seed=seed)[0, 0]
        generated = self._intensify(generated, intensity)
        emotions = [step.emotion for step in steps]
        labels = tuple(map(str, emotions))
        source = face.coefficients[0]
        at_rest = self._relax(source)
        unknown = torch.tensor([emotion not in self.known for emotion in emotions])
        generated = put_in(generated, at_rest, unknown)
        if through_neutral:
            generated, labels = with_neutrals(generated, emotions, at_rest)
        put = len(labels) > len(emotions) or bool(unknown.any())
        anchors = make_anchors(source, generated.expression, generated.pose, head_pose)
        return Transition(
            instruction=instruction,
            steps=steps,
            face=face,
            labels=("photo", *labels),
            anchors=anchors,
            coefficients=interpolate(anchors, frames, easing, hold=hold),
            anchor_frames=tuple(anchor_frames(len(anchors), frames, hold)),
            head=self.head,
            model=self.generator.card(),
            neutral=self._neutral_card() if put else "",
            photo_renderer=self.photo_renderer,
        )

    def generate(
        self, instructions: Sequence[str], samples: int = 1, seed: int = 0
    ) -> FaceCoefficients:
        """Expressions for instructions, without a photo.

        The model knows pairs of expressions, worded as in Table I: each instruction is read for the
        expressions that it asks for, and longer ones chain pairs that share an expression. Each is
        multiplied by its intensity. An expression outside the model's label set can only be
        neutral: the head's own.

        Args:
            instructions: N sentences that ask for equally many expressions.
            samples: S, drawn for each.
            seed: Same seed, same faces.

        Returns:
            (N, S, steps) coefficients of mean-shaped heads.

        Raises:
            InstructionError: If a sentence asks for no expression or it is unclear for which, or
                the sentences ask for different numbers, or there is none.
        """
        if not instructions:
            raise InstructionError("there is no instruction; give one or several sentences")
        heard = [self._listen(instruction) for instruction in instructions]
        if len({len(steps) for steps in heard}) > 1:
            raise InstructionError(
                "the instructions ask for different numbers of expressions "
                f"({', '.join(str(len(steps)) for steps in heard)}); generate them apart"
            )
        noise = torch.Generator().manual_seed(seed)
        return FaceCoefficients.stack([self._sample(steps, samples, noise) for steps in heard])

    def _relax(self, source: FaceCoefficients) -> FaceCoefficients:
        """(1,) the neutral face of the photo's person."""
        if self.ned is None:
            return FaceCoefficients.zeros(1)
        return self.ned.relax(source[None])

    def _neutral_card(self) -> str:
        return "the head's own zero expression" if self.ned is None else self.ned.card()

    def _intensify(self, faces: FaceCoefficients, factor: float | Tensor) -> FaceCoefficients:
        expression = (factor * faces.expression).clamp(*self.head.expression_range)
        pose = torch.cat([faces.global_rotation, factor * faces.jaw], dim=-1)
        return replace(faces, expression=expression, pose=pose)

    def _listen(self, instruction: str) -> tuple[Step, ...]:
        steps = self.listener(instruction)
        can_show = {*self.known, Emotion.NEUTRAL}
        if unknown := [step.emotion for step in steps if step.emotion not in can_show]:
            raise InstructionError(
                f"this model cannot show {unknown[0]}; it can show {', '.join(sorted(can_show))}"
            )
        return steps

    def _sample(
        self, steps: Sequence[Step], samples: int, noise: torch.Generator
    ) -> FaceCoefficients:
        """(samples, steps) coefficients."""
        faces = FaceCoefficients.zeros(samples, len(steps))
        drawn: dict[tuple[Emotion, Emotion], tuple[Tensor, Tensor]] = {}
        emotions = [step.emotion for step in steps]
        for step, emotion in enumerate(emotions):
            if emotion not in self.known:
                continue
            pair, column = self._pair(emotions, step)
            if pair not in drawn:
                text = self.text_encoder.encode([canonical_instruction(*pair)])
                drawn[pair] = self.generator.generate(text.tokens, text.mask, samples, noise)
            faces.expression[:, step] = drawn[pair][0][0, :, column]
            faces.pose[:, step] = drawn[pair][1][0, :, column]
        return self._intensify(faces, torch.tensor([[step.intensity] for step in steps]))

    def _pair(self, emotions: Sequence[Emotion], step: int) -> tuple[tuple[Emotion, Emotion], int]:
        """The pair that the model is asked for to get a step, and the step's place in it.

        A step comes with the one before it, the first with the one after it; one that has no other
        expression beside it comes with any.
        """
        emotion = emotions[step]
        before = emotions[step - 1] if step else None
        if before in self.known and before is not emotion:
            return (before, emotion), 1
        after = emotions[step + 1] if step + 1 < len(emotions) else None
        if after in self.known and after is not emotion:
            return (emotion, after), 0
        return (next(other for other in self.known if other is not emotion), emotion), 1


def put_in(faces: FaceCoefficients, one: FaceCoefficients, where: Tensor) -> FaceCoefficients:
    """(N,) faces, but (1,) another one where (N,) a mask is true."""
    rows = torch.arange(len(faces)).masked_fill(where, len(faces))
    return FaceCoefficients.cat([faces, one])[rows]


def with_neutrals(
    faces: FaceCoefficients, emotions: Sequence[Emotion], neutral: FaceCoefficients
) -> tuple[FaceCoefficients, tuple[str, ...]]:
    """Put a neutral face between any two expressions, and name the result.

    Args:
        faces: (steps,) generated.
        emotions: What each shows.
        neutral: (1,) face.
    """
    parts: list[FaceCoefficients] = []
    labels: list[str] = []
    for step, emotion in enumerate(emotions):
        if step and Emotion.NEUTRAL not in emotions[step - 1 : step + 1]:
            parts.append(neutral)
            labels.append(str(Emotion.NEUTRAL))
        parts.append(faces[step : step + 1])
        labels.append(str(emotion))
    return FaceCoefficients.cat(parts), tuple(labels)
