"""Writes a stand-in for CelebV-HQ: synthetic people in the wild, as clips."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from safetensors.torch import save_file

from datamodules.celebvhq import CLIPS, INFO, MIN_EXPRESSIONS, TRUTH
from datamodules.corpus import Settings, claim, corpus_head, record_missing
from datamodules.motion import FPS, sample_clip
from datamodules.people import photograph, sample_person
from datamodules.prototypes import CONFUSABLE
from datamodules.scenes import film, sample_scene
from i2fet.emotions import CELEBVHQ_EMOTIONS, Emotion
from i2fet.files import replacing
from i2fet.rendering.video import write_video

CELEBVHQ_SUBJECTS = 614

SHARES: dict[Emotion, float] = {
    Emotion.NEUTRAL: 0.33,
    Emotion.HAPPINESS: 0.27,
    Emotion.SADNESS: 0.11,
    Emotion.ANGER: 0.10,
    Emotion.SURPRISE: 0.08,
    Emotion.DISGUST: 0.04,
    Emotion.FEAR: 0.04,
    Emotion.CONTEMPT: 0.03,
}
"""How often each emotion is drawn; a subject's first three differ, which evens the counts."""

TWO_SPANS = 0.3
TALKING = 0.4
TURNED = 0.7
WRONG_LABELS = 0.03
EXTRA_CLIPS = (1, 3)


@dataclass(frozen=True)
class Take:
    """One clip to be recorded; the two numbers seed it.

    Attributes:
        subject: From 0.
        number: Of the clip among the subject's, from 0.
        emotions: What is shown: one emotion, or two with a transition between them.
        labels: What the list says of them.
        turned: Whether the head may be far from frontal.
        talking: Whether the person talks.
    """

    subject: int
    number: int
    emotions: tuple[Emotion, ...]
    labels: tuple[Emotion, ...]
    turned: bool
    talking: bool

    @property
    def video(self) -> str:
        """Name of the subject, as long as those of videos are."""
        return f"synth{self.subject + 1:06d}"

    @property
    def name(self) -> str:
        return f"{self.video}_{self.number}"

    @property
    def truth(self) -> Path:
        return Path(TRUTH, f"{self.name}.safetensors")

    def spans(self, frames: int) -> tuple[range, ...]:
        """Frames that show each emotion."""
        if len(self.emotions) == 1:
            return (range(frames),)
        return range(2 * frames // 5), range(-(-3 * frames // 5), frames)


def write_celebvhq_corpus(
    out: str | Path,
    subjects: int = CELEBVHQ_SUBJECTS,
    seed: int = 0,
    size: int = 256,
    frames: int = 10,
    pictures: bool = True,
    workers: int | None = None,
) -> Path:
    """Write synthetic people in CelebV-HQ's layout, with their true coefficients in `truth`.

    The clips are hard as real ones are: heads that turn away, faint and mixed expressions, talking,
    things before the face, clutter, bad light, and some wrong labels, which the truth corrects.
    Three expressions of each subject are about frontal, so that the subjects pass the paper's
    filter while many clips do not; a wrong label costs about one subject in a hundred. Every clip
    depends on the seed and its own number alone, so the files are the same for any number of
    workers. Calling again after an interruption writes what is missing.

    Args:
        out: Folder to write; new, empty, or begun with the same settings.
        subjects: Number of people, each with two to six clips.
        seed: Source of every draw.
        size: Width and height of the pictures, pixels; even.
        frames: Length of a clip, at 25 frames a second.
        pictures: Write clips; without them the corpus serves training on the truth only.
        workers: Processes; as many as there are cores by default.

    Returns:
        The folder.

    Raises:
        DatasetError: An option out of range.
        OutputError: The folder holds something else, or cannot be written.
    """
    out = Path(out)
    settings = Settings("celebvhq", subjects, seed, size, frames, pictures)
    takes = plan_clips(subjects, seed)
    claim(out, settings, "CelebV-HQ", len(takes), (CLIPS, TRUTH))
    with replacing(out / INFO) as unfinished:
        unfinished.write_text(json.dumps(_list_clips(takes, frames), indent=1))
    record_missing(out, settings, takes, _record_clip, workers)
    return out


def plan_clips(subjects: int, seed: int) -> list[Take]:
    """What every clip shows, in the order of subjects and clips."""
    rng = _rng(seed)
    return [take for subject in range(subjects) for take in _plan_subject(subject, rng)]


def _rng(seed: int, *key: int) -> Generator:
    """Chance of its own for each key; none is that of the other corpora, whose people differ."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def _plan_subject(subject: int, rng: Generator) -> list[Take]:
    frontal = _draw_emotions(rng, MIN_EXPRESSIONS, replace=False)
    split = 2 if rng.random() < TWO_SPANS * (MIN_EXPRESSIONS - 1) else 1
    extra = _draw_emotions(rng, int(rng.integers(*EXTRA_CLIPS, endpoint=True)), replace=True)
    shown = [tuple(frontal[:split]), *((emotion,) for emotion in (*frontal[split:], *extra))]
    return [
        Take(
            subject,
            number,
            emotions,
            tuple(_label(emotion, rng) for emotion in emotions),
            turned=number >= len(shown) - len(extra) and rng.random() < TURNED,
            talking=rng.random() < TALKING,
        )
        for number, emotions in enumerate(shown)
    ]


def _draw_emotions(rng: Generator, count: int, replace: bool) -> list[Emotion]:
    emotions = list(SHARES)
    chosen = rng.choice(len(emotions), count, replace, list(SHARES.values()))
    return [emotions[index] for index in chosen]


def _label(emotion: Emotion, rng: Generator) -> Emotion:
    if rng.random() >= WRONG_LABELS:
        return emotion
    return CONFUSABLE[emotion][rng.integers(len(CONFUSABLE[emotion]))]


def _list_clips(takes: Sequence[Take], frames: int) -> dict[str, Any]:
    """The content of `celebvhq_info.json`."""
    mappings = {"appearance_mapping": [], "action_mapping": ["talk"]}
    return {
        "meta_info": mappings,
        "clips": {take.name: _list_clip(take, frames) for take in takes},
    }


def _list_clip(take: Take, frames: int) -> dict[str, Any]:
    start = 10.0 * take.number
    return {
        "ytb_id": take.video,
        "duration": {"start_sec": start, "end_sec": start + frames / FPS},
        "bbox": {"top": 0.0, "bottom": 1.0, "left": 0.0, "right": 1.0},
        "attributes": {
            "appearance": [],
            "action": [int(take.talking)],
            "emotion": _list_emotions(take, frames),
        },
        "version": "v0.1",
    }


def _list_emotions(take: Take, frames: int) -> dict[str, Any]:
    words = ["happy" if label is Emotion.HAPPINESS else label.value for label in take.labels]
    if len(words) == 1:
        return {"sep_flag": False, "labels": words[0]}
    spans = [
        {"emotion": word, "start_sec": span.start / FPS, "end_sec": span.stop / FPS}
        for word, span in zip(words, take.spans(frames), strict=True)
    ]
    return {"sep_flag": True, "labels": spans}


def _record_clip(out: Path, settings: Settings, take: Take) -> None:
    """Write one clip; its truth comes last, as the sign that the clip is complete."""
    person = sample_person(_rng(settings.seed, take.subject))
    rng = _rng(settings.seed, take.subject, take.number)
    edges = [edge for span in take.spans(settings.frames) for edge in (span.start, span.stop - 1)]
    steps = np.repeat(np.arange(len(take.emotions)), 2)
    position = np.interp(np.arange(settings.frames), edges, steps)
    faces = sample_clip(
        take.emotions,
        position,
        person.style,
        person.shape,
        corpus_head(),
        rng,
        take.turned,
        take.talking,
    )
    if settings.pictures:
        scene = sample_scene(settings.size, rng)
        look = replace(person.look, lighting=scene.lighting)
        images = photograph(corpus_head(), look, faces, settings.size, scene.background)
        write_video(out / CLIPS / f"{take.name}.mp4", film(images, scene, rng), FPS)
    shown = [CELEBVHQ_EMOTIONS.index(emotion) for emotion in take.emotions]
    emotion = torch.tensor(shown)[torch.from_numpy(position.round()).long()]
    with replacing(out / take.truth) as unfinished:
        save_file({**vars(faces), "emotion": emotion}, unfinished)
