"""What a checkpoint file can hold: whatever ``torch.load(weights_only=True)`` gives back, and numpy's values.

Loading only weights is what keeps a checkpoint from running code. numpy's arrays and scalars are not among
them, though best-so-far values and random states come as such; they travel as bytes and come back as numpy.
"""

from __future__ import annotations

import copy
import io
import sys
from typing import Any

import torch
from torch import Tensor

_NUMPY = "__trainguard_numpy__"
_SMALL = 4096


def encoded(value: Any) -> Any:
    """The same tree with numpy's values written as dictionaries; containers are made anew, tensors shared."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        if value.dtype.hasobject or value.dtype.names:
            return value  # Python objects, or fields whose names would be lost: left, to be named as the offender
        # frombuffer refuses a buffer of no bytes, and the reader refuses Python's own bytes.
        raw = torch.frombuffer(bytearray(value.tobytes()), dtype=torch.uint8) if value.nbytes else torch.empty(0)
        is_scalar = isinstance(value, numpy.generic)
        return {_NUMPY: value.dtype.str, "shape": list(value.shape), "is_scalar": is_scalar, "bytes": raw}
    if isinstance(value, dict):
        twin = {} if type(value) is dict else copy.copy(value)
        for key, item in value.items():
            twin[key] = encoded(item)
        return twin
    if type(value) in (list, tuple):
        return type(value)(encoded(item) for item in value)
    return value


def decoded(value: Any) -> Any:
    """Undo `encoded`. Where numpy is missing, a numpy value stays a dictionary."""
    if isinstance(value, dict):
        if _NUMPY in value:
            return _numpy_value(value)
        twin = {} if type(value) is dict else copy.copy(value)
        for key, item in value.items():
            twin[key] = decoded(item)
        return twin
    if type(value) in (list, tuple):
        return type(value)(decoded(item) for item in value)
    return value


def _numpy_value(value: dict[str, Any]) -> Any:
    numpy = sys.modules.get("numpy")  # torch itself imports it wherever it is installed
    if numpy is None:
        return value
    data = value["bytes"].numpy().tobytes()
    array = numpy.frombuffer(data, dtype=numpy.dtype(value[_NUMPY])).reshape(value["shape"]).copy()
    return array[()] if value["is_scalar"] else array


def round_trip(value: Any) -> Any:
    """Write and read back in memory, as a checkpoint would be. Large tensors are replaced by empty ones.

    Raises:
        Exception: whatever writing, or reading with ``weights_only=True``, raises.
    """
    buffer = io.BytesIO()
    torch.save(_without_large_tensors(encoded(value)), buffer)
    buffer.seek(0)
    return decoded(torch.load(buffer, weights_only=True, map_location="cpu"))


def find_unstorable(value: Any, path: str) -> str | None:
    """Where in the tree something stands that cannot be stored, in words; ``None`` if all can."""
    try:
        round_trip(value)
    except Exception as error:  # of any kind: that it does not come back is the whole finding
        children: list[tuple[str, Any]] = []
        if isinstance(value, dict):
            children = [(f"{path}[{key!r}]", item) for key, item in value.items()]
        elif isinstance(value, (list, tuple)):
            children = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
        for child_path, child in children:
            found = find_unstorable(child, child_path)
            if found is not None:
                return found
        kind = type(value)
        reason = str(error).split("\n", 1)[0][:200]
        return f"{path} is a {kind.__module__}.{kind.__qualname__} ({type(error).__name__}: {reason})"
    return None


def _without_large_tensors(value: Any) -> Any:
    if type(value) is Tensor:
        return value.new_empty(0) if value.numel() > _SMALL else value
    if isinstance(value, dict):
        twin = {} if type(value) is dict else copy.copy(value)
        for key, item in value.items():
            twin[key] = _without_large_tensors(item)
        return twin
    if type(value) in (list, tuple):
        return type(value)(_without_large_tensors(item) for item in value)
    return value
