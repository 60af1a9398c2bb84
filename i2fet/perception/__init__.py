"""Photos to coefficients."""

from __future__ import annotations

import torch

from i2fet.errors import AssetError
from i2fet.heads import ArkitHead, FlameHead, HeadModel, load_head
from i2fet.perception.blendshapes import BlendshapeFaceEncoder
from i2fet.perception.encoder import (
    EncodedFaces,
    FaceEncoder,
    LandmarkFaceEncoder,
    PerceivedFace,
    encode_photo,
    perceive,
)
from i2fet.perception.images import Photo, Picture, load_photo
from i2fet.perception.learned import LearnedFaceEncoder

__all__ = [
    "ENCODERS",
    "BlendshapeFaceEncoder",
    "EncodedFaces",
    "FaceEncoder",
    "LandmarkFaceEncoder",
    "LearnedFaceEncoder",
    "PerceivedFace",
    "Photo",
    "Picture",
    "encode_photo",
    "load_face_encoder",
    "load_photo",
    "perceive",
]

ENCODERS = {
    LearnedFaceEncoder.name: ArkitHead,
    LandmarkFaceEncoder.name: ArkitHead,
    BlendshapeFaceEncoder.name: ArkitHead,
    "deca": FlameHead,
    "emoca": FlameHead,
}
"""Which head each encoder reads the coefficients of; the first of a head's is its default."""


def load_face_encoder(
    name: str | None = None, head: HeadModel | str = "arkit", refine: bool = True
) -> FaceEncoder:
    """Load a face encoder by its name.

    Args:
        name: "learned", "landmarks" for the plain landmark fit, "mediapipe" for MediaPipe Tasks'
            scores, or with FLAME "deca" or "emoca"; the first of these that fits the head by
            default.
        head: The head whose coefficients it gives, or that head's name.
        refine: As for `LearnedFaceEncoder`; the landmark fits are nothing but refinement, and DECA
            and EMOCA know none.

    Raises:
        AssetError: If there is no such encoder, or none for the head, or a file is missing.
    """
    model = load_head(head) if isinstance(head, str) else head
    fitting = [known for known, kind in ENCODERS.items() if isinstance(model, kind)]
    if name is not None and name not in ENCODERS:
        available = ", ".join(map(repr, ENCODERS))
        raise AssetError(f"there is no face encoder {name!r}; the available ones are {available}")
    if name not in (None, *fitting) or not fitting:
        wanted = "there is no face encoder" if name is None else f"the face encoder {name!r} is not"
        able = f"use {' or '.join(map(repr, fitting))}" if fitting else "use another head"
        raise AssetError(f"{wanted} for the head {model.name!r}; {able}")
    name = name or fitting[0]
    if isinstance(model, ArkitHead):
        if name == LandmarkFaceEncoder.name:
            return LandmarkFaceEncoder(model)
        if name == BlendshapeFaceEncoder.name:
            return BlendshapeFaceEncoder(model)
        return LearnedFaceEncoder(model, refine=refine)
    # Imported here, since torchvision's models take a while.
    from i2fet.perception.deca import DecaFaceEncoder

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return DecaFaceEncoder(model, emoca=name == "emoca", device=device)
