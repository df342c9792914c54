from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from examples.char_gpt.report import judge, report_of, tables_of, write_report
from tests.examples.char_gpt.facts import outcome_of


@pytest.mark.parametrize(
    ("scenario", "healthy", "unprotected", "protected", "rollbacks", "recovered"),
    [
        ("lr-bug", 1.7, 2.5, 1.75, 1, True),
        ("lr-bug", 1.7, math.nan, 1.75, 1, True),
        ("lr-bug", 1.7, math.inf, 1.65, 2, True),
        ("lr-bug", 1.7, 2.5, 1.88, 1, False),
        ("lr-bug", 1.7, 2.5, math.nan, 1, False),
        ("lr-bug", 1.7, 2.2, 1.7, 1, False),
        ("lr-bug", 1.7, 2.5, 1.75, 0, False),
        ("lr-bug", math.nan, 2.5, 1.75, 1, False),
        ("bad-data", 1.7, 2.5, 1.9, 2, True),
        ("bad-data", 1.7, math.nan, 1.9, 2, True),
        ("bad-data", 1.7, 2.5, 2.2, 2, False),
        ("bad-data", 1.7, 1.8, 1.72, 1, False),
        ("bad-data", 1.7, math.nan, math.nan, 1, False),
    ],
)
def test_only_a_real_recovery_counts(
    scenario: str, healthy: float, unprotected: float, protected: float, rollbacks: int, recovered: bool
) -> None:
    verdict = judge(scenario, healthy=healthy, unprotected=unprotected, protected=protected, rollbacks=rollbacks)
    assert verdict.recovered is recovered
    assert verdict.sentence.endswith(".")


def test_the_report_holds_the_facts_of_the_service() -> None:
    report = report_of("lr-bug", outcome_of(1.7, 2.5, 1.75))
    assert report["healthy"]["final_loss"] == 1.7
    protected = report["protected"]
    assert protected["recovered"] is True
    assert protected["rollbacks"] == 1
    assert (protected["onset_step"], protected["detected_step"], protected["checkpoint_step"]) == (60, 63, 50)
    assert protected["steps_lost"] == 16
    assert protected["lr_scale"] == 0.03125
    assert protected["decisions"] == [
        "act: Roll back to the confirmed checkpoint of step 50, because the loss left its band."
    ]


def test_a_number_that_is_none_is_spelt_in_the_report(tmp_path: Path) -> None:
    report = report_of("lr-bug", outcome_of(1.7, math.nan, math.inf, rollbacks=False))
    write_report(report, tmp_path / "report.json")

    def no_constant(name: str) -> float:
        pytest.fail(f"{name} is no JSON")

    read = json.loads((tmp_path / "report.json").read_text(), parse_constant=no_constant)
    assert read == report
    assert read["unprotected"]["final_loss"] == "NaN"
    assert read["protected"]["final_loss"] == "Infinity"
    assert read["protected"]["recovered"] is False
    assert read["protected"]["checkpoint_step"] is None


def test_the_table_tells_the_whole_story() -> None:
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(tables_of(outcome_of(1.7, 2.5, 1.75)))
    words = captured.get()
    for expected in ("healthy twin", "1.7000", "+47.1 %", "divergence", "60", "63", "50", "16", "0.03125", "Roll back"):
        assert expected in words
