"""Photos to coefficients."""

from __future__ import annotations

from i2fet.errors import AssetError
from i2fet.heads import ArkitHead, HeadModel, load_head
from i2fet.perception.encoder import (
    EncodedFaces,
    FaceEncoder,
    LandmarkFaceEncoder,
    PerceivedFace,
    perceive,
)
from i2fet.perception.images import Photo, Picture, load_photo

__all__ = [
    "EncodedFaces",
    "FaceEncoder",
    "LandmarkFaceEncoder",
    "PerceivedFace",
    "Photo",
    "Picture",
    "load_face_encoder",
    "load_photo",
    "perceive",
]


def load_face_encoder(name: str = "landmarks", head: HeadModel | str = "arkit") -> FaceEncoder:
    """Load a face encoder by its name.

    Args:
        name: "landmarks".
        head: The head whose coefficients it gives, or that head's name.

    Raises:
        AssetError: If there is no such encoder, or none for the head, or a file is missing.
    """
    if name != "landmarks":
        raise AssetError(f"there is no face encoder {name!r}; the available one is 'landmarks'")
    model = load_head(head) if isinstance(head, str) else head
    if not isinstance(model, ArkitHead):
        raise AssetError(
            f"the face encoder 'landmarks' cannot fit the head {model.name!r}; use 'arkit'"
        )
    return LandmarkFaceEncoder(model)
