"""The report: one file, nothing from outside, nothing that a log could smuggle in."""

from __future__ import annotations

import re
import xml.dom.minidom
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor_server.cli.program import program
from tests.replay.logs import WRITERS, write_csv
from trainguard.replay import PastRun, read_log, replay
from trainguard.replay.report import report
from trainguard.replay.what_if import what_if

RECORDED = Path(__file__).parent.parent / "detectors" / "recorded"


def reported(*runs: PastRun) -> str:
    return report([(judged := replay(run), what_if(judged)) for run in runs])


def test_it_tells_curves_incidents_decisions_causes_and_what_if() -> None:
    page = reported(read_log(RECORDED / "rate_times_32.csv.gz"))
    for words in (
        "In mode act trainguard would have stepped in at step 306.",
        "roll back to the confirmed checkpoint of step 200",
        "The learning rate was raised, and the run did not bear it.",
        "What if the sensitivity were another one?",
        "this report",
    ):
        assert words in page
    assert page.count("<svg") == 4 + 2
    assert re.findall(r'<th scope="row">(\w+)', page) == ["low", "normal", "high"]


def test_it_needs_nothing_from_outside_and_runs_nothing() -> None:
    page = reported(read_log(RECORDED / "rate_times_32.csv.gz"))
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "style=" not in page
    links = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert all(link.startswith(("#", "data:")) for link in links)


def test_names_from_a_log_are_only_names(tmp_path: Path) -> None:
    path = tmp_path / "<img src=x onerror=alert(1)>.csv"
    path.write_text('step,<b>"ce"\n' + "".join(f"{step},{2 + 0.1 * (step % 3)}\n" for step in range(40)))
    page = reported(read_log(path, {"loss": '<b>"ce"'}))
    assert "<img" not in page
    assert "<b>&quot;" not in page
    assert "loss from “&lt;b&gt;&quot;ce&quot;”" in page


@pytest.mark.parametrize("name", WRITERS)
def test_it_is_well_formed_for_every_format(name: str, tmp_path: Path) -> None:
    page = reported(read_log(WRITERS[name](tmp_path)))
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        xml.dom.minidom.parseString(drawing.encode())
    assert 'class="lost"' in page


def test_odd_runs_can_be_drawn(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    rows = ["0,nan,1e-30", "1,inf,0", "2,-inf,1e30", "3,,1", "1,1e308,2", "2,-1e308,3"]
    path.write_text("\n".join(["step,loss,grad_norm", *rows]))
    assert "restarted at step 1" in reported(read_log(path))
    path.write_text("step,loss\n7,1.0\n")
    assert "1 points" in reported(read_log(path))
    path.write_text("step,loss\n7,nan\n8,nan\n")
    assert 'class="lost"' in reported(read_log(path))


def test_a_long_log_stays_a_small_page_with_its_spike(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    losses = [2.0 + 0.05 * (step % 4) for step in range(20_000)]
    losses[12_345] = 7.0
    path.write_text("step,loss\n" + "".join(f"{step},{loss}\n" for step, loss in enumerate(losses)))
    run = read_log(path)
    page = report([(replay(run), [])])
    assert len(page) < 120_000
    assert 'class="cut"' in page


def test_the_command_writes_it_and_says_where(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    arguments = ["replay", str(write_csv(tmp_path)), str(RECORDED / "healthy.csv.gz"), "--html", str(out)]
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 0
    assert f"The report is in {out}" in result.stderr
    page = out.read_text()
    assert page.count("<section") == 2
    assert "Nothing went wrong that trainguard would have called an incident." in page
    assert sorted(one.name for one in tmp_path.iterdir()) == ["report.html", "run.csv"]
    result = CliRunner().invoke(program, [*arguments[:-1], str(tmp_path / "nowhere" / "x.html")])
    assert result.exit_code == 1
    assert "name another place with --html" in result.stderr
