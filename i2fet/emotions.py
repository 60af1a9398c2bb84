"""The vocabulary of expressions and the label sets of the datasets."""

from __future__ import annotations

from enum import Enum


class Emotion(str, Enum):
    """The expressions of the paper (Table I), by the word that names them in instructions."""

    ANGER = "anger"
    CONTEMPT = "contempt"
    DISGUST = "disgust"
    FEAR = "fear"
    HAPPINESS = "happiness"
    SADNESS = "sadness"
    SURPRISE = "surprise"
    NEUTRAL = "neutral"

    def __str__(self) -> str:
        return self.value


CKPLUS_EMOTIONS: tuple[Emotion, ...] = tuple(e for e in Emotion if e is not Emotion.NEUTRAL)
"""CK+'s seven labels; label i of its files is element i - 1."""

CELEBVHQ_EMOTIONS: tuple[Emotion, ...] = tuple(Emotion)
"""CelebV-HQ's eight labels."""

LABEL_SETS: dict[str, tuple[Emotion, ...]] = {
    "ckplus": CKPLUS_EMOTIONS,
    "celebvhq": CELEBVHQ_EMOTIONS,
}

SYNONYMS: dict[Emotion, tuple[str, ...]] = {
    Emotion.ANGER: ("angry", "anger", "furious", "rage", "mad", "enraged", "irate", "annoyed"),
    Emotion.CONTEMPT: ("contempt", "contemptuous", "scorn", "scornful", "disdain", "disdainful"),
    Emotion.DISGUST: ("disgust", "disgusted", "revolted", "repulsed", "grossed out", "revulsion"),
    Emotion.FEAR: ("fear", "afraid", "scared", "fearful", "frightened", "terrified", "terror"),
    Emotion.HAPPINESS: (
        "happiness",
        "happy",
        "joy",
        "joyful",
        "delighted",
        "cheerful",
        "smile",
        "smiling",
    ),
    Emotion.SADNESS: ("sadness", "sad", "sorrow", "sorrowful", "unhappy", "miserable", "grief"),
    Emotion.SURPRISE: ("surprise", "surprised", "astonished", "amazed", "amazement", "shocked"),
    Emotion.NEUTRAL: ("neutral", "expressionless", "relaxed", "calm", "blank"),
}
"""Words by which an instruction may name each expression."""
