"""`trainguard replay`: a contract that other programs are written against."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor_server.cli.program import program
from tests.replay.logs import WRITERS, write_csv

RECORDED = Path(__file__).parents[2] / "detectors" / "recorded"
KEYS = ["step", "onset_step", "kind", "severity", "signal", "message"]


def ask(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(program, [str(one) for one in arguments], env={"COLUMNS": "160"})
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("is_packed", [False, True], ids=["csv", "csv.gz"])
def test_json_is_one_object_per_finding_with_the_agreed_keys(tmp_path: Path, is_packed: bool) -> None:
    path = tmp_path / ("curve.csv.gz" if is_packed else "curve.csv")
    text = gzip.decompress((RECORDED / "rate_times_32.csv.gz").read_bytes())
    path.write_bytes(gzip.compress(text) if is_packed else text)
    status, said, complaints = ask("replay", "--json", path)
    assert (status, complaints) == (0, "")
    findings = [json.loads(line) for line in said.splitlines()]
    assert [list(one)[:6] for one in findings] == [KEYS] * len(findings)
    assert [(one["step"], one["onset_step"], one["kind"], one["severity"]) for one in findings][-1] == (
        306, 300, "divergence", "critical",
    )  # fmt: skip
    assert all(one["severity"] in ("info", "warning", "critical") for one in findings)
    assert findings[-1]["decision"]["verdict"] == "propose"


def test_nan_is_valid_json(tmp_path: Path) -> None:
    status, said, _ = ask("replay", "--json", write_csv(tmp_path))
    assert status == 0

    def refuse(word: str) -> None:
        raise AssertionError(word)

    [finding] = [json.loads(line, parse_constant=refuse) for line in said.splitlines()]
    assert (finding["kind"], finding["value"], finding["signal"]) == ("non_finite", "NaN", "loss")


def test_a_person_reads_what_was_found_decided_and_why(tmp_path: Path) -> None:
    status, said, _ = ask("replay", RECORDED / "rate_times_32.csv.gz")
    words = " ".join(said.split())
    assert status == 0
    assert "600 points, steps 0 to 599" in words
    assert "learning_rate from 'lr'" in words
    assert "step 306: Would do in mode act: roll back to the confirmed checkpoint of step 200" in words
    assert "cause 1 (strong): The learning rate was raised" in words
    assert "end of the log: it was never over." in words


def test_a_healthy_run_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("step,loss\n" + "".join(f"{step},{2.0 + 0.05 * (step % 4)}\n" for step in range(80)))
    assert "Nothing found" in ask("replay", path)[1]
    assert ask("replay", "--json", path) == (0, "", "")


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_read_by_the_command(name: str, tmp_path: Path) -> None:
    status, said, _ = ask("replay", "--json", WRITERS[name](tmp_path))
    assert status == 0
    assert json.loads(said.splitlines()[0])["kind"] == "non_finite"


def test_a_pipe_is_read_as_a_file_is(tmp_path: Path) -> None:
    path = write_csv(tmp_path)
    piped = CliRunner().invoke(program, ["replay", "--json", "-"], input=path.read_bytes())
    assert (piped.exit_code, piped.stdout) == (0, ask("replay", "--json", path)[1])
    empty = CliRunner().invoke(program, ["replay", "-"], input=b"")
    assert (empty.exit_code, empty.stderr) == (
        1,
        "trainguard: standard input: it is empty; give a log with at least a few steps\n",
    )
    fifo = tmp_path / "run.fifo"
    os.mkfifo(fifo)
    with ThreadPoolExecutor(1) as other:
        writing = other.submit(fifo.write_bytes, path.read_bytes())
        assert ask("replay", "--json", fifo)[1] == piped.stdout
        writing.result()


def test_one_bad_file_among_several_is_told_and_the_others_are_judged(tmp_path: Path) -> None:
    good, bad = write_csv(tmp_path), tmp_path / "bad.csv"
    bad.write_text("step,loss\n0,2.0\n1,oops\n")
    status, said, complaints = ask("replay", "--json", bad, tmp_path / "none.csv", good)
    assert status == 1
    assert "bad.csv, line 3: loss is 'oops', which is no number" in complaints
    assert "none.csv: there is no such file" in complaints
    assert [json.loads(line)["file"] for line in said.splitlines()] == [str(good)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--sensitivity", "extreme"], "use one of low, normal, high"),
        (["--set", "loss_spikes.z=9"], "no detector 'loss_spikes'; known are non_finite, loss_spike"),
        (["--set", "loss_spike.zz=9"], "loss_spike has no 'zz'; known are z, rise"),
        (["--set", "loss_spike.z=much"], "give a number above 0, as in loss_spike.z=9"),
        (["--set", "loss_spike.z"], "give a number above 0"),
        (["--column", "train/ce"], "write signal=column, as in loss=train/ce"),
        (["--column", "losses=ce"], "Signals: "),
    ],
    ids=["sensitivity", "detector", "threshold", "word", "nothing", "column", "signal"],
)
def test_a_wrong_option_is_refused_with_the_remedy(tmp_path: Path, options: list[str], words: str) -> None:
    status, said, complaints = ask("replay", *options, write_csv(tmp_path))
    assert (status, said) == (2, "")
    assert words in complaints


def test_options_change_what_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    losses = [2.0 + 0.05 * (step % 4) for step in range(100)] + [5.0, 5.0] + [2.0, 2.1] * 20
    path.write_text("t,ce\n" + "".join(f"{step},{loss}\n" for step, loss in enumerate(losses)))
    named = ("--column", "loss=ce", "--column", "step=t")
    assert "loss_spike" in ask("replay", "--json", path, *named)[1]
    assert (
        ask("replay", "--json", path, *named, "--set", "loss_spike.z=1e6", "--set", "loss_spike.together=1e6")[1] == ""
    )


def test_without_rich_the_extra_is_named(run_without: Callable[..., tuple[int, str]]) -> None:
    status, said = run_without("rich", "replay", "x.csv")
    assert (status, said) == (
        1,
        "trainguard: this command needs the package rich; run: pip install 'trainguard[cli]'\n",
    )


def test_replaying_needs_no_library_of_the_service(run_without: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    assert run_without("sqlalchemy", "replay", str(write_csv(tmp_path))) == (0, "")
