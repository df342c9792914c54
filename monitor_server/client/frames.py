"""Columns of numbers: a pandas DataFrame where there is pandas, else a plain dictionary of lists."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any


def as_frame(columns: Mapping[str, Sequence[Any]]) -> Any:
    """``columns`` as a `pandas.DataFrame`, or as ``dict[str, list]`` where pandas is not installed."""
    plain = {name: list(column) for name, column in columns.items()}
    try:
        pandas: Any = importlib.import_module("pandas")
    except ModuleNotFoundError:
        return plain
    return pandas.DataFrame(plain)
