"""Reading a saved state back, with an error that names the field where it is damaged.

Everything that remembers something here has ``state_dict()``, which is plain JSON without NaN, and
``load_state_dict(state)``. A state that was cut or edited must say so at once, not judge wrongly for hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TypeAlias

from pydantic import JsonValue

State: TypeAlias = dict[str, JsonValue]

_REMEDY = "save it again with state_dict(), or call reset()"


def _field(state: Mapping[str, JsonValue], name: str) -> JsonValue:
    if name not in state:
        raise ValueError(f"the saved state has no field {name!r}; {_REMEDY}")
    return state[name]


def _as_number(value: JsonValue, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise ValueError(f"field {name!r} of the saved state is {value!r}, not a finite number; {_REMEDY}")
    return float(value)


def number_in(state: Mapping[str, JsonValue], name: str) -> float:
    """The finite number under ``name``; ``ValueError`` where there is none.

    >>> number_in({"center": 2}, "center")
    2.0
    """
    return _as_number(_field(state, name), name)


def optional_number_in(state: Mapping[str, JsonValue], name: str) -> float | None:
    """The finite number under ``name``, or ``None`` where ``None`` was saved."""
    value = _field(state, name)
    return None if value is None else _as_number(value, name)


def whole_in(state: Mapping[str, JsonValue], name: str) -> int:
    """The integer under ``name``."""
    value = _field(state, name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"field {name!r} of the saved state is {value!r}, not a whole number; {_REMEDY}")
    return value


def flag_in(state: Mapping[str, JsonValue], name: str) -> bool:
    """The boolean under ``name``."""
    value = _field(state, name)
    if not isinstance(value, bool):
        raise ValueError(f"field {name!r} of the saved state is {value!r}, not true or false; {_REMEDY}")
    return value


def text_in(state: Mapping[str, JsonValue], name: str) -> str:
    """The string under ``name``."""
    value = _field(state, name)
    if not isinstance(value, str):
        raise ValueError(f"field {name!r} of the saved state is {value!r}, not a string; {_REMEDY}")
    return value


def list_in(state: Mapping[str, JsonValue], name: str) -> list[JsonValue]:
    """The list under ``name``."""
    value = _field(state, name)
    if not isinstance(value, list):
        raise ValueError(f"field {name!r} of the saved state is {value!r}, not a list; {_REMEDY}")
    return value


def numbers_in(state: Mapping[str, JsonValue], name: str) -> list[float]:
    """The list of finite numbers under ``name``."""
    return [_as_number(value, name) for value in list_in(state, name)]


def mapping_in(state: Mapping[str, JsonValue], name: str) -> Mapping[str, JsonValue]:
    """The object under ``name``."""
    value = _field(state, name)
    if not isinstance(value, dict):
        raise ValueError(f"field {name!r} of the saved state is {value!r}, not an object; {_REMEDY}")
    return value
