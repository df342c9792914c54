from __future__ import annotations

from math import inf, isnan

import pytest

from trainguard.replay.numbers import number


@pytest.mark.parametrize(
    "spelled",
    ["nan", "NaN", "NAN", "-nan", "+NaN", " nan ", "1.#QNAN", "-1.#IND", "-1.#IND00", "1.#QNAN0", "nan(ind)",
     "-nan(ind)", "#NUM!", "#DIV/0!", "tensor(nan)", "tensor(nan, device='cuda:0')", "np.float64(nan)"],
)  # fmt: skip
def test_nan_is_read_in_every_spelling(spelled: str) -> None:
    value = number(spelled)
    assert value is not None
    assert isnan(value)


@pytest.mark.parametrize("spelled", ["inf", "Infinity", "+INF", "1.#INF", "1.#INF00", "∞", "1e999", "tensor(inf)"])
def test_infinity_is_read_in_every_spelling(spelled: str) -> None:
    assert number(spelled) == inf
    if "tensor" not in spelled:
        assert number(f"-{spelled.lstrip('+')}") == -inf


@pytest.mark.parametrize("spelled", ["", " ", "-", "NA", "n/a", "null", "None", None])
def test_what_was_not_measured_is_no_number(spelled: str | None) -> None:
    assert number(spelled) is None


@pytest.mark.parametrize("spelled", ["abc", "1_000", "2,5", "0x10", [1.0], {}])
def test_anything_else_is_refused(spelled: object) -> None:
    with pytest.raises(ValueError, match="is no number"):
        number(spelled)


def test_a_whole_number_beyond_all_floats_is_infinite() -> None:
    assert number(10**400) == inf
    assert number(-(10**400)) == -inf
