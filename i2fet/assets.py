"""Optional files: what each is for, where it is, and how to get it.

None of them comes with the package. A file is looked for in `$I2FET_ASSETS`, then in
`$XDG_DATA_HOME/i2fet` (`~/.local/share/i2fet` by default); `i2fet assets add` checks one completely
and installs it there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from i2fet.errors import AssetError, OutputError
from i2fet.files import replacing

Converter = Callable[[Path, Path], None]
"""Reads the first path completely, and writes what is used of it to the second.

Raises AssetError if the file is not what it should be.
"""

GIT_LFS = b"version https://git-lfs"
BLOCK = 1 << 20
LANDMARK_HEADS = 32
"""Rendered to find where MediaPipe's landmarks lie on a head."""

HUB_FILES = ["config.json", "model.safetensors"]

HTML = (b"<!doctype html", b"<html")
BROKEN = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    UnpicklingError,
    ValueError,
    zipfile.BadZipFile,
)
"""What readers of files in the formats below raise for broken ones."""


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


@dataclass(frozen=True)
class Asset:
    """An optional file.

    Attributes:
        name: As `i2fet assets add` takes it.
        file: Its name once it is installed.
        source: What its makers call it.
        purpose: What it is for; ends a sentence that begins with "for".
        licence: In a few words.
        page: Where to get it.
        convert: Checks it and writes the installed file.
        releases: SHA-256 of the sources that are known, and which release each is.
        hub: Repository of the Hugging Face hub whose name serves as the source as well.
    """

    name: str
    file: str
    source: str
    purpose: str
    licence: str
    page: str
    convert: Converter = _copy
    releases: Mapping[str, str] = field(default_factory=dict)
    hub: str | None = None


def asset_folders() -> tuple[Path, ...]:
    """Where optional files are looked for, in this order; the first is where they are installed."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    given = os.environ.get("I2FET_ASSETS")
    return (*([Path(given)] if given else []), data / "i2fet")


def find_asset(name: str) -> Path:
    """The installed file of an asset.

    Raises:
        AssetError: If it is not there; says what it is for and how to get it.
    """
    asset = known_asset(name)
    path = locate(asset)
    if path is None:
        folders = " or ".join(map(str, asset_folders()))
        raise AssetError(
            f"the optional file {asset.file!r} for {asset.purpose} is not in {folders}; get "
            f"{asset.source} ({asset.licence}) from {asset.page} and run "
            f"`i2fet assets add {asset.name} PATH`"
        )
    return path


def locate(asset: Asset) -> Path | None:
    """The installed file of an asset, or None."""
    paths = (folder / asset.file for folder in asset_folders())
    return next((path for path in paths if path.is_file()), None)


def known_asset(name: str) -> Asset:
    """The asset of a name.

    Raises:
        AssetError: If there is none.
    """
    if name not in ASSETS:
        raise AssetError(
            f"there is no optional file named {name!r}; the known ones are {', '.join(ASSETS)}"
        )
    return ASSETS[name]


def add_asset(name: str, source: Path, folder: Path | None = None) -> Path:
    """Check a file completely and install it.

    Args:
        name: Of the asset.
        source: The file, or for some the folder or its name on the hub, as its makers publish it.
        folder: Where to; the first of `asset_folders` by default.

    Returns:
        The installed file.

    Raises:
        AssetError: If there is no such asset, or the file is not what it should be.
        OutputError: If it cannot be written.
    """
    asset = known_asset(name)
    if str(source) == asset.hub and not source.exists():
        source = _fetch(asset.hub)
    refuse_placeholder(source)
    folder = folder or asset_folders()[0]
    target = folder / asset.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder} ({error.strerror})") from error
    with replacing(target) as unfinished:
        asset.convert(source, unfinished)
    with replacing(_note(target)) as unfinished:
        unfinished.write_text(json.dumps({"source": source.name, "sha256": digest(source)}))
    return target


def _fetch(repository: str) -> Path:
    """The folder of a repository of the Hugging Face hub, from there or from its own cache.

    Raises:
        AssetError: If there is no network.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=HUB_FILES))
    except OSError as error:
        reason = str(error).strip().split("\n")[0]
        raise AssetError(
            f"{repository} cannot be fetched from the Hugging Face hub ({reason}); "
            "give the path of a folder with the same files"
        ) from error


def refuse_placeholder(path: Path) -> None:
    """Tell a missing or empty file, a git-LFS pointer or a web page from a real file.

    Raises:
        AssetError: If it is one of these.
    """
    if path.is_dir():
        return
    if not path.is_file():
        raise AssetError(f"there is no file {path}; give the path of the downloaded file")
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise AssetError(f"{path} is empty; download it again")
    if start.startswith(GIT_LFS):
        raise AssetError(f"{path} is a git-LFS pointer, not the file; run `git lfs pull` first")
    if start.lstrip().lower().startswith(HTML):
        raise AssetError(
            f"{path} is a web page, not the file; download it in a browser, signed in if need be"
        )


@contextmanager
def reading_asset(path: Path, kind: str) -> Iterator[None]:
    """Turn what goes wrong while a file is read into one sentence.

    Args:
        path: Of the file.
        kind: What it should be.

    Raises:
        AssetError: If the file is missing, broken or something else.
    """
    refuse_placeholder(path)
    try:
        yield
    except BROKEN as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        if isinstance(error, KeyError):
            # A missing key is its bare name, a missing part of an archive a sentence.
            key = str(error.args[0])
            reason = key if " " in key else f"it has no {reason}"
        raise AssetError(f"{path} is broken or not {kind} ({reason}); get it again") from error


def load_weights(path: Path, kind: str, ignored: Collection[str] = ()) -> dict[str, Any]:
    """Read a dictionary that `torch.save` wrote, on the CPU, without running any code of it.

    Args:
        path: Of the file.
        kind: What it should be, for the error.
        ignored: How the names of classes begin whose objects may be in it; nothing of them is kept.

    Raises:
        AssetError: If the file is missing, broken, or holds anything but tensors and plain values.
    """
    with reading_asset(path, kind):
        named = get_unsafe_globals_in_checkpoint(path) if ignored else []
        harmless: list[Any] = [(_Nothing, n) for n in named if n.startswith(tuple(ignored))]
        try:
            with safe_globals(harmless), warnings.catch_warnings():
                # Of pickles that are none of PyTorch's, which are refused in a sentence below.
                warnings.simplefilter("ignore")
                content = torch.load(path, map_location="cpu", weights_only=True)
        except UnpicklingError as error:
            # PyTorch's own message is an essay about how to run the code all the same.
            raise UnpicklingError("it holds more than tensors and plain values") from error
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}, not a dictionary")
    return content


class _Nothing:
    """Takes the place of an object that is not wanted."""

    def __init__(self, *_: object, **__: object) -> None:
        """Whatever it was made from."""

    def __setstate__(self, state: object) -> None:
        """Whatever it was."""


def check_state(state: Mapping[str, Any], module: nn.Module) -> None:
    """Make sure that tensors are the parameters of a module; counters of batches may be missing.

    Raises:
        ValueError: Naming the first that is not as it should be.
    """
    expected = module.state_dict()
    for name, values in expected.items():
        if name not in state and not name.endswith("num_batches_tracked"):
            raise ValueError(f"{name} is missing")
        found = state.get(name, values)
        if not isinstance(found, Tensor) or found.shape != values.shape:
            raise ValueError(f"{name} is not {' x '.join(map(str, values.shape))}")
        if found.is_floating_point() and not found.is_meta and not found.isfinite().all():
            raise ValueError(f"{name} has values that are not finite")
    if unknown := sorted(set(state) - set(expected)):
        raise ValueError(f"{unknown[0]} does not belong there")


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the files of a folder in the order of their names."""
    whole = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                whole.update(block)
        return whole.hexdigest()
    for part in sorted(path.rglob("*")):
        if part.is_file():
            whole.update(part.relative_to(path).as_posix().encode() + digest(part).encode())
    return whole.hexdigest()


def describe_asset(asset: Asset) -> str:
    """What an asset is for and where it is, in a few lines."""
    path = locate(asset)
    where = ", ".join(str(folder / asset.file) for folder in asset_folders())
    state = f"found    {path}; {_origin(asset, path)}" if path else f"missing  looked for {where}"
    return "\n".join(
        [
            f"{asset.name}: {asset.purpose}",
            f"  {state}",
            f"  source   {asset.source}; {asset.licence}; {asset.page}",
            *([f"  network  i2fet assets add {asset.name} {asset.hub}"] if asset.hub else []),
        ]
    )


def _origin(asset: Asset, path: Path) -> str:
    """What is known of where an installed file came from."""
    note = _note(path)
    if not note.is_file():
        return "not checked, as it was not installed by `i2fet assets add`"
    made_from = json.loads(note.read_text())
    sha256 = made_from["sha256"]
    release = asset.releases.get(sha256)
    known = f"known as {release}" if release else "not among the known ones"
    return f"made from {made_from['source']}, SHA-256 {sha256}, {known}"


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _convert_flame(source: Path, target: Path) -> None:
    from i2fet.heads.flame import FlameHead, read_flame, save_flame
    from i2fet.perception.landmark_embedding import embed_landmarks

    head = FlameHead(read_flame(source))
    head.landmark_faces, head.landmark_barycentrics, _ = embed_landmarks(head, LANDMARK_HEADS)
    save_flame(target, head)


def _convert_flame_uv(source: Path, target: Path) -> None:
    from i2fet.heads.flame import convert_texture

    convert_texture(source, target)


def _convert_clip(source: Path, target: Path) -> None:
    from i2fet.text.clip import convert_clip

    convert_clip(source, target)


def _convert_task(source: Path, target: Path) -> None:
    from i2fet.perception.blendshapes import convert_task

    convert_task(source, target)


def _convert_rome(source: Path, target: Path) -> None:
    from i2fet.rendering.neural.rome import convert_rome

    convert_rome(source, target)


def _convert_cvthead(source: Path, target: Path) -> None:
    from i2fet.rendering.neural.cvthead import convert_cvthead

    convert_cvthead(source, target)


def _convert_deca(source: Path, target: Path) -> None:
    from i2fet.perception.deca import convert_deca

    convert_deca(source, target)


def _convert_emoca(source: Path, target: Path) -> None:
    from i2fet.perception.deca import convert_emoca

    convert_emoca(source, target)


def _convert_ict(source: Path, target: Path) -> None:
    from i2fet.heads.ict import read_ict, save_ict
    from i2fet.perception.landmark_embedding import embed_landmarks

    head = read_ict(source)
    head.landmark_faces, head.landmark_barycentrics, _ = embed_landmarks(head, LANDMARK_HEADS)
    save_ict(target, head)


ASSETS = {
    asset.name: asset
    for asset in (
        Asset(
            "flame",
            "flame.safetensors",
            "generic_model.pkl of FLAME 2020, or flame2023.pkl of FLAME 2023",
            "the paper's own head 'flame'",
            "non-commercial; FLAME 2023 Open is CC-BY-4.0",
            "https://flame.is.tue.mpg.de",
            _convert_flame,
        ),
        Asset(
            "flame_uv",
            "flame_uv.safetensors",
            "head_template.obj",
            "FLAME's own texture coordinates",
            "as FLAME's",
            "https://github.com/yfeng95/DECA",
            _convert_flame_uv,
            releases={
                "dd5bfbce75adb99b1963f43bca7ec3557bd4a7321f8fc515f4100599e80d99f2": "DECA's",
            },
        ),
        Asset(
            "deca",
            "deca.safetensors",
            "deca_model.tar",
            "the paper's own face encoder 'deca'",
            "non-commercial",
            "https://github.com/yfeng95/DECA",
            _convert_deca,
        ),
        Asset(
            "emoca",
            "emoca.safetensors",
            "the .ckpt of EMOCA or EMOCA v2",
            "the face encoder 'emoca'",
            "non-commercial",
            "https://github.com/radekd91/emoca",
            _convert_emoca,
        ),
        Asset(
            "clip",
            "clip.safetensors",
            "ViT-L/14 of CLIP, as OpenAI's or open_clip's file or as the folder of transformers",
            "the paper's own text encoder 'clip'",
            "MIT",
            "https://huggingface.co/openai/clip-vit-large-patch14",
            _convert_clip,
            releases={
                "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "OpenAI's",
            },
            hub="openai/clip-vit-large-patch14",
        ),
        Asset(
            "ict",
            "ict.safetensors",
            "the folder FaceXModel, or it packed as .npz",
            "the head 'ict'",
            "MIT",
            "https://github.com/ICT-VGL/ICT-FaceKit",
            _convert_ict,
        ),
        Asset(
            "mediapipe_tasks",
            "face_landmarker.task",
            "face_landmarker.task",
            "the face encoder 'mediapipe'",
            "Apache-2.0",
            "https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker",
            convert=_convert_task,
            releases={
                "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff": "version 1",
            },
        ),
        Asset(
            "rome",
            "rome.safetensors",
            "its folder data with rome.pth and linear_hair.pth in it",
            "the renderer 'rome'",
            "research only",
            "https://github.com/SamsungLabs/rome",
            _convert_rome,
        ),
        Asset(
            "cvthead",
            "cvthead.safetensors",
            "its folder data with cvthead.pt in it",
            "the renderer 'cvthead'",
            "no licence stated",
            "https://github.com/HowieMa/CVTHead",
            _convert_cvthead,
        ),
    )
}
