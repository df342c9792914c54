"""The service dies by SIGKILL in the middle of a protected training, at every awkward moment around the incident."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from examples.char_gpt.corpus import read_corpus
from examples.char_gpt.service import Service
from examples.char_gpt.training import train
from tests.whole.cutting_proxy import CuttingProxy, Document, Moment
from tests.whole.gated_training import CORPUS_CHARACTERS, FAULT, RECIPE

MOMENTS = {
    "before the onset": Moment("before", lambda envelope, receipt: _last_step(envelope) > FAULT.onset_step // 2),
    "when the finding comes": Moment("before", lambda envelope, receipt: _is_alarm(envelope)),
    "when the command is on its way": Moment("after", lambda envelope, receipt: bool(receipt["commands"])),
    "when the acknowledgement comes": Moment("before", lambda envelope, receipt: _is_answer(envelope)),
    "when the acknowledgement is recorded": Moment("after", lambda envelope, receipt: _is_answer(envelope)),
}
PATIENCE_SECONDS = 60.0


def _last_step(envelope: Document) -> int:
    return max((block["steps"][-1] for block in envelope["blocks"]), default=-1)


def _is_alarm(envelope: Document) -> bool:
    return any(finding["severity"] == "critical" for finding in envelope["findings"])


def _is_answer(envelope: Document) -> bool:
    return bool(envelope["acknowledgements"])


@pytest.fixture(scope="module")
def healthy_loss() -> float:
    return train(RECIPE, read_corpus(CORPUS_CHARACTERS)).final_loss


@pytest.mark.slow
@pytest.mark.parametrize("name", MOMENTS)
def test_a_killed_service_costs_the_run_nothing(
    name: str, healthy_loss: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINGUARD_FLUSH_SECONDS", "0.1")
    (tmp_path / "checkpoints").mkdir()
    with (
        Service(tmp_path / "trainguard.db", tmp_path / "service.log") as service,
        CuttingProxy(service.url, MOMENTS[name], service.kill) as proxy,
    ):
        trained, end = _training(service, proxy, tmp_path)
        story = _Story(service, end["run_id"])
    assert proxy.has_struck, f"the moment {name!r} never came"

    # The run recovered all the same.
    assert end["halted"] == ""
    assert end["final_loss"] < 1.1 * healthy_loss
    rollbacks = [one for one in story.acknowledgements if one["status"] == "applied" and one["action"] == "rollback"]
    assert rollbacks

    # No command was applied twice, nor answered in two ways.
    commands = [one["command_id"] for one in story.acknowledgements]
    assert len(commands) == len(set(commands))
    revisions = [one["revision"] for one in story.acknowledgements if one["status"] == "applied"]
    assert revisions == list(range(1, len(revisions) + 1))
    assert [one["command_id"] for one in story.attempts[1:]] == [one["command_id"] for one in rollbacks]
    journal = json.loads((tmp_path / "checkpoints" / "journal.json").read_text())
    assert [one["command_id"] for one in journal["handled"]] == commands
    assert journal["revision"] == revisions[-1]

    # Every acknowledged observation is there, and in the end every step that was made, abandoned or not.
    assert _observed(proxy.acknowledged) <= story.observed
    assert story.observed == trained
    assert story.run["observations_lost"] == 0
    abandoned = {step for attempt, step in story.observed if attempt == 0 and step >= story.attempts[1]["start_step"]}
    assert abandoned >= set(range(story.attempts[1]["start_step"], FAULT.onset_step))


def _training(service: Service, proxy: CuttingProxy, folder: Path) -> tuple[set[tuple[int, int]], Document]:
    """Let it train to its end, with the service started again whenever it is down: (steps made, last words)."""
    command = [sys.executable, "-m", "tests.whole.gated_training", proxy.url, str(folder / "checkpoints")]
    with (
        (folder / "training.log").open("w") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as trainer,
    ):
        assert trainer.stdin is not None
        assert trainer.stdout is not None
        steps: set[tuple[int, int]] = set()
        for line in trainer.stdout:
            told = json.loads(line)
            if "final_loss" in told:
                return steps, told
            steps.add((told["attempt"], told["step"]))
            if service.pid is None:
                heard = len(proxy.acknowledged)
                service.start()
                assert proxy.await_delivery(heard, PATIENCE_SECONDS), "the trainer does not come back to the service"
            print(file=trainer.stdin, flush=True)
    raise AssertionError((folder / "training.log").read_text()[-2000:])


def _observed(envelopes: list[Document]) -> set[tuple[int, int]]:
    return {
        (block["attempt"], step) for envelope in envelopes for block in envelope["blocks"] for step in block["steps"]
    }


class _Story:
    """What the service that was killed and started again has to tell."""

    def __init__(self, service: Service, run_id: str) -> None:
        at = f"/runs/{run_id}"
        self.run: Document = service.get(at)
        self.attempts: list[Any] = service.get(f"{at}/attempts")["attempts"]
        self.acknowledgements: list[Any] = service.get(f"{at}/acknowledgements")["acknowledgements"]
        rows = service.get(f"{at}/observations/rows", limit=1000)
        assert rows["next"] is None
        self.observed = {(row["attempt"], row["step"]) for row in rows["rows"]}
        with sqlite3.connect(service.database) as database:
            (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
        database.close()
        assert verdict == "ok"
