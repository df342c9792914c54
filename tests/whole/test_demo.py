"""``make demo``, smaller: the same program, the same service, the same claims."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.char_gpt.faults import FAULTS
from examples.char_gpt.service import Service

DEMO = [sys.executable, "-m", "examples.char_gpt.demo", "--recipe", "small", "--folder"]

# Whoever runs the tests in the background of a shell passes on that SIGINT is ignored.
HEARING = [
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])",
]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", sorted(FAULTS))
def test_the_protected_run_recovers(scenario: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, str(tmp_path), "--scenario", scenario], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "demo-report.json").read_text())
    healthy, unprotected, protected = (report[name] for name in ("healthy", "unprotected", "protected"))

    assert report["scenario"] == scenario
    assert protected["recovered"] is True
    assert protected["same_as_twin_before_fault"] is True, "watching changes nothing"
    assert unprotected["final_loss"] == "NaN" or unprotected["final_loss"] > 1.3 * healthy["final_loss"]
    assert protected["final_loss"] < 1.1 * healthy["final_loss"]

    # The facts hang together: what began is seen, and what is seen is gone back from.
    fault = report["fault"]["onset_step"]
    assert protected["checkpoint_step"] <= protected["onset_step"] <= fault + 5
    assert fault <= protected["detected_step"] <= fault + 40
    assert protected["rollbacks"] == len(report["rollbacks"]) == protected["attempts"] - 1
    assert protected["steps_lost"] == sum(one["steps_lost"] for one in report["rollbacks"]) > 0
    assert 0 < protected["lr_scale"] < 1
    assert all(one["decision"].startswith(("Roll back", "Go back")) for one in report["rollbacks"])
    assert all(one["decided_by"] == "server" for one in report["rollbacks"])

    assert (tmp_path / "demo-output" / "demo.png").stat().st_size > 10_000
    for word in ("healthy twin", "Recovered", "Decision 1"):
        assert word in done.stdout
    _abandoned_steps_stay_readable(tmp_path, report)


def _abandoned_steps_stay_readable(folder: Path, report: dict[str, Any]) -> None:
    with Service(folder / "demo-output" / "trainguard.db", folder / "again.log") as service:
        (run,) = service.get("/runs")["runs"]
        at = f"/runs/{run['run_id']}"
        attempts = service.get(f"{at}/attempts")["attempts"]
        for before, after, rollback in zip(attempts, attempts[1:], report["rollbacks"]):
            assert after["start_step"] == rollback["checkpoint_step"]
            rows = service.get(f"{at}/observations/rows", attempt=before["attempt"], from_step=after["start_step"])
            # A rollback beyond the beginning of its attempt also throws away what earlier attempts had made.
            first = max(before["start_step"], after["start_step"])
            beyond = rollback["checkpoint_step"] + rollback["steps_lost"]
            assert [row["step"] for row in rows["rows"]] == list(range(first, beyond))
        assert run["state"] == "finished"
        assert run["rollbacks"] == report["protected"]["rollbacks"]


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_no_service_behind(by: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen([*HEARING, *DEMO, str(tmp_path)], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        url = next(line for line in demo.stdout if "http://" in line).split()[-1]
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == httpx.codes.OK
        demo.send_signal(by)
        said = demo.stdout.read()
    assert demo.returncode == 130
    assert "Traceback" not in said
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_the_service_stays_up_when_asked_to(tmp_path: Path) -> None:
    with Service(tmp_path / "trainguard.db", tmp_path / "service.log") as service:
        process = service.leave_running()
    assert process is not None
    try:
        assert httpx.get(f"{service.url}/readyz", trust_env=False).status_code == httpx.codes.OK
    finally:
        process.terminate()
        process.wait()


def test_an_unknown_scenario_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, str(tmp_path), "--scenario", "earthquake"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "earthquake" in done.stderr
    assert not (tmp_path / "demo-report.json").exists()
