from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch

from client_hook.recovery.tensor_trees import InPlace, clone_tree, is_tensor_finite, size_in_bytes, walk_tensors

Point = namedtuple("Point", "x y")


def test_a_clone_shares_no_tensor_and_keeps_every_kind_of_container() -> None:
    tree: dict[str, Any] = {
        "list": [torch.ones(2), {"deep": torch.zeros(1)}],
        "tuple": (torch.ones(1), 3),
        "named": Point(torch.ones(1), "y"),
        "ordered": OrderedDict(b=torch.ones(1), a=1),
        "plain": "word",
    }
    twin = clone_tree(tree, None)
    assert [type(value) for value in twin.values()] == [type(value) for value in tree.values()]
    pointers = {tensor.data_ptr() for _, tensor in walk_tensors(tree)}
    assert not pointers & {tensor.data_ptr() for _, tensor in walk_tensors(twin)}
    assert list(twin["ordered"]) == ["b", "a"]


def test_tensors_are_found_with_their_paths_and_their_size() -> None:
    tree = {"a": [torch.ones(2), {"b": torch.ones(3, dtype=torch.float64)}], "c": 5}
    assert [path for path, _ in walk_tensors(tree)] == ["a.0", "a.1.b"]
    assert size_in_bytes(tree) == 8 + 24


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.float8_e4m3fn]
)
def test_one_bad_element_among_many_is_found_in_every_type(dtype: torch.dtype) -> None:
    values = torch.ones(1000).to(dtype)
    assert is_tensor_finite(values)
    values[777] = float("nan")
    assert not is_tensor_finite(values)


def test_large_finite_values_are_finite_though_their_sum_is_not() -> None:
    assert is_tensor_finite(torch.full((10,), torch.finfo(torch.float32).max))
    assert is_tensor_finite(torch.full((100_000,), 60_000.0, dtype=torch.float16))
    assert not is_tensor_finite(torch.tensor([float("inf"), float("-inf")]))


def test_what_cannot_be_non_finite_is_finite() -> None:
    assert is_tensor_finite(torch.ones(3, dtype=torch.int64))
    assert is_tensor_finite(torch.zeros(0))
    sparse = torch.sparse_coo_tensor(
        torch.tensor([[0, 2]]), torch.tensor([1.0, float("nan")]), (3,), check_invariants=True
    )
    assert not is_tensor_finite(sparse)


def test_refilling_keeps_every_object_that_fits() -> None:
    tensor, inner = torch.zeros(2), [torch.zeros(1), 1]
    current = {"tensor": tensor, "list": inner, "gone": 1, "scalar": torch.tensor(3.0)}
    stored = {"tensor": torch.ones(2), "list": [torch.ones(1), 2, 3], "scalar": 0.5, "new": {"deep": torch.ones(1)}}
    result = InPlace().restore(current, stored, torch.clone)
    assert result is current
    assert result["tensor"] is tensor
    assert result["list"] is inner
    assert tensor.tolist() == [1.0, 1.0]
    assert result["scalar"].item() == 0.5
    assert result["new"]["deep"] is not stored["new"]["deep"]  # type: ignore[index]
    assert "gone" not in result


def test_a_tensor_in_two_places_is_not_overwritten_by_the_second() -> None:
    shared = torch.zeros(())
    result = InPlace().restore(
        {"one": shared, "two": shared}, {"one": torch.tensor(1.0), "two": torch.tensor(2.0)}, torch.clone
    )
    assert result["one"] is shared
    assert (result["one"].item(), result["two"].item()) == (1.0, 2.0)
