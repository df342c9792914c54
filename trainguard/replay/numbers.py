"""Numbers as people and programs spell them, NaN and infinity above all."""

from __future__ import annotations

import re
from math import inf, nan

_MISSING = frozenset({"", "-", "--", "na", "n/a", "null", "none", "nil", "missing", "#n/a"})
_ODD = {
    "1.#qnan": nan,
    "1.#ind": nan,
    "1.#snan": nan,
    "1.#inf": inf,
    "#num!": nan,
    "#div/0!": nan,
    "nan(ind)": nan,
    "nan(snan)": nan,
    "infty": inf,
    "∞": inf,
}
"""What C runtimes, spreadsheets and people write for what is no number; Python's ``float`` reads the rest."""
_TENSOR = re.compile(r"^(?:tensor|array|np\.float\d+)\(\s*([^,()]+?)\s*(?:,.*)?\)$")


def number(cell: object) -> float | None:
    """The number in a cell, or ``None`` where nothing was measured; ``ValueError`` where it is neither.

    >>> number("2.5"), number(" -Infinity "), number("1.#QNAN"), number("tensor(nan, device='cuda:0')"), number("NA")
    (2.5, -inf, nan, nan, None)
    """
    if not isinstance(cell, str):
        if cell is None:
            return None
        if isinstance(cell, (int, float)):
            return _float(cell)
        raise ValueError(f"{cell!r} is no number")
    if not cell:
        return None
    try:
        # Python reads 1_000 as a number; in a log it is a name.
        if "_" not in cell:
            return float(cell)
    except ValueError:
        pass
    word = cell.strip().lower()
    if word in _MISSING:
        return None
    sign = -1.0 if word[:1] == "-" else 1.0
    odd = _ODD.get(word.lstrip("+-").rstrip("0") if "#" in word else word.lstrip("+-"))
    if odd is not None:
        return sign * odd
    inside = _TENSOR.match(word)
    if inside is not None:
        return number(inside[1])
    raise ValueError(f"{cell!r} is no number")


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf
