"""Photos to coefficients."""

from __future__ import annotations

from i2fet.errors import AssetError
from i2fet.heads import ArkitHead, HeadModel, load_head
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

ENCODERS = (LearnedFaceEncoder.name, LandmarkFaceEncoder.name)


def load_face_encoder(
    name: str = LearnedFaceEncoder.name, head: HeadModel | str = "arkit", refine: bool = True
) -> FaceEncoder:
    """Load a face encoder by its name.

    Args:
        name: "learned", or "landmarks" for the plain landmark fit.
        head: The head whose coefficients it gives, or that head's name.
        refine: As for `LearnedFaceEncoder`; the landmark fit is nothing but refinement.

    Raises:
        AssetError: If there is no such encoder, or none for the head, or a file is missing.
    """
    if name not in ENCODERS:
        available = " and ".join(map(repr, ENCODERS))
        raise AssetError(f"there is no face encoder {name!r}; the available ones are {available}")
    model = load_head(head) if isinstance(head, str) else head
    if not isinstance(model, ArkitHead):
        raise AssetError(
            f"the face encoder {name!r} cannot fit the head {model.name!r}; use 'arkit'"
        )
    if name == LandmarkFaceEncoder.name:
        return LandmarkFaceEncoder(model)
    return LearnedFaceEncoder(model, refine=refine)
