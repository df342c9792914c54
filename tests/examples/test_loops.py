from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from examples import epoch_loop, minimal, while_loop


@pytest.mark.parametrize(
    ("train", "is_good"),
    [
        (minimal.train, lambda loss: loss < 0.01),
        (while_loop.train, lambda right: right > 0.95),
        (epoch_loop.train, lambda right: right > 0.93),
    ],
    ids=["minimal", "while_loop", "epoch_loop"],
)
@pytest.mark.parametrize("fault", [False, True], ids=["healthy", "fault"])
def test_an_example_ends_well_with_and_without_its_fault(
    train: Callable[..., float],
    is_good: Callable[[float], bool],
    fault: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert is_good(train(str(tmp_path), fault=fault))
    said = capsys.readouterr().out
    assert ("Rolled back to the checkpoint of step" in said) is fault


def test_an_example_runs_as_it_is_written(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.minimal", "--fault", "--checkpoints", str(tmp_path / "new" / "folder")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "Rolled back" in done.stdout
    assert "Traceback" not in done.stderr
