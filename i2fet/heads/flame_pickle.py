"""Pickled dictionaries of arrays, read without running any code of theirs, and without chumpy."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.core import multiarray
from scipy import sparse


class _StandIn:
    """Takes an object's place and keeps its state, without any of its code."""

    state: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, *_: object) -> None:
        """The state follows."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.state = state


class _Chumpy(_StandIn):
    """A chumpy array, or a selection of its elements."""

    def array(self) -> np.ndarray:
        if "a" not in self.state:
            return as_array(self.state["x"])
        chosen = as_array(self.state["a"]).ravel()[as_array(self.state["idxs"])]
        return chosen.reshape(self.state.get("preferred_shape", chosen.shape))


class _Compressed(_StandIn):
    """A sparse matrix in compressed rows or columns."""

    layout: Callable[..., Any]

    def array(self) -> np.ndarray:
        parts = tuple(self.state[name] for name in ("data", "indices", "indptr"))
        matrix = self.layout(parts, shape=self._shape())
        matrix.check_format(full_check=True)
        return matrix.toarray()

    def _shape(self) -> tuple[int, int]:
        return self.state["_shape"] if "_shape" in self.state else self.state["shape"]


class _Csc(_Compressed):
    layout = staticmethod(sparse.csc_matrix)


class _Csr(_Compressed):
    layout = staticmethod(sparse.csr_matrix)


def _reconstruct(kind: type, base: type, state: object) -> _StandIn:
    """What `copyreg` does for objects of old protocols, for stand-ins alone."""
    if not issubclass(kind, _StandIn) or base is not object or state is not None:
        raise pickle.UnpicklingError("it rebuilds an object that is no array")
    return kind()


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 puts the bytes of an array in old protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding!r}")
    return text.encode("latin1")


ALLOWED: dict[str, object] = {
    **{f"{python}.object": object for python in ("__builtin__", "builtins")},
    **{f"{python}.set": set for python in ("__builtin__", "builtins")},
    **{f"{python}._reconstructor": _reconstruct for python in ("copy_reg", "copyreg")},
    "_codecs.encode": _encode,
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    **{
        f"numpy.{core}.multiarray.{name}": getattr(multiarray, name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    },
    **{f"scipy.sparse.{module}.csc_matrix": _Csc for module in ("csc", "_csc")},
    **{f"scipy.sparse.{module}.csr_matrix": _Csr for module in ("csr", "_csr")},
}
"""All that a file may name beside chumpy's classes, and what stands for it here."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("chumpy."):
            return _Chumpy
        known = f"{module}.{name}"
        if known not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {known}, which is no array and may be hostile")
        return ALLOWED[known]


def as_array(value: object) -> np.ndarray:
    """An array that was pickled as such, as chumpy's or as a sparse matrix.

    Raises:
        TypeError: If it is none of these.
    """
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, _Chumpy | _Compressed):
        return value.array()
    raise TypeError(f"it holds a {type(value).__name__} where an array should be")


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Some arrays of a pickled dictionary.

    Raises:
        UnpicklingError: If the file is no pickle or names anything but arrays.
        TypeError: If it is not a dictionary, or a value no array.
        KeyError: If one is missing.
    """
    content = read_pickle(path)
    if not isinstance(content, dict):
        raise TypeError(f"it holds a {type(content).__name__}, not a dictionary")
    return {name: as_array(content[name]) for name in names}


def read_pickle(path: Path) -> Any:
    """Plain values, and arrays for `as_array`.

    Raises:
        UnpicklingError: If the file is no pickle or names anything but arrays.
    """
    with path.open("rb") as file:
        return _Unpickler(file, encoding="latin1").load()
