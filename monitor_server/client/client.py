"""The client: one method per thing that one may ask of a service."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar, Union
from urllib.parse import quote
from uuid import UUID

from pydantic import BaseModel
from typing_extensions import Self

from monitor_server.answers import (
    Acknowledgements,
    AdviceOnRun,
    Attempts,
    Audit,
    AuditEntry,
    CheckedPlaybook,
    Checkpoints,
    Commands,
    Decisions,
    Evaluations,
    Findings,
    Fleet,
    IncidentDetail,
    Incidents,
    Layers,
    NewToken,
    ObservationBuckets,
    Project,
    ProjectPlaybook,
    ProjectPlaybooks,
    Projects,
    RecordedCommand,
    RecordedFinding,
    RecordedIncident,
    RecordedSilence,
    RecordedToken,
    RunAnnotation,
    RunDetail,
    RunPage,
    RunSummary,
    Silences,
    Tokens,
)
from monitor_server.client.connection import TIMEOUT_SECONDS, Connection, NotFound
from monitor_server.client.frames import as_frame
from monitor_server.client.live import LiveEvent, follow
from trainguard.wire import Acknowledgement, AttemptReport, CheckpointReport, DecisionReport, Evaluation

DEFAULT_SERVER = "http://127.0.0.1:8321"
PAGE = 500

_Answer = TypeVar("_Answer", bound=BaseModel)

Run = Union[str, UUID, RunSummary]
"""A run by its id, its name (the latest of that name), or as an earlier answer told it."""


class Client:
    """One service. Close it, or use it as a context manager. Every method raises `ServiceError`.

    Args:
        server: the address; default ``TRAINGUARD_SERVER``, else this machine.
        token: for a service that wants one; default ``TRAINGUARD_TOKEN``.
    """

    def __init__(
        self, server: str | None = None, token: str | None = None, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        server = server or os.environ.get("TRAINGUARD_SERVER") or DEFAULT_SERVER
        token = token or os.environ.get("TRAINGUARD_TOKEN") or None
        self._connection = Connection(server, token, timeout_seconds=timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()

    # runs

    def runs(
        self,
        *,
        project: str | None = None,
        state: str | Sequence[str] = (),
        name: str | None = None,
        search: str = "",
        tags: Sequence[str] = (),
        archived: Literal["no", "only", "too"] = "no",
        sort: Literal["registered_at", "last_seen_at", "name"] = "registered_at",
        ascending: bool = False,
        limit: int | None = None,
    ) -> list[RunSummary]:
        """Runs that fit, the latest registered first unless told otherwise; ``tags`` are ``name`` or ``name=value``."""
        query = {
            "project": project,
            "state": [state] if isinstance(state, str) else list(state) or None,
            "name": name,
            "search": search or None,
            "tag": list(tags) or None,
            "archived": archived,
            "sort": sort,
            "order": "ascending" if ascending else "descending",
        }
        found: list[RunSummary] = []
        cursor: str | None = None
        while True:
            wanted = PAGE if limit is None else min(PAGE, limit - len(found))
            if wanted <= 0:
                return found
            page = self._get(RunPage, "runs", {**query, "limit": wanted, "cursor": cursor})
            found += page.runs
            cursor = page.next
            if cursor is None:
                return found

    def run(self, run: Run) -> RunDetail:
        """One run with its description."""
        return self._get(RunDetail, f"runs/{self._id(run)}")

    def annotate(
        self,
        run: Run,
        *,
        tags: Mapping[str, str] | None = None,
        notes: str | None = None,
        archived: bool | None = None,
    ) -> RunAnnotation:
        """Change tags or notes, put the run away or fetch it back; what is None stays as it is."""
        change = {"tags": None if tags is None else dict(tags), "notes": notes, "archived": archived}
        return self._send(RunAnnotation, "PATCH", f"runs/{self._id(run)}/annotations", change)

    def delete(self, run: Run) -> None:
        """Delete a run that has ended, with everything that belongs to it."""
        self._connection.request("DELETE", f"runs/{self._id(run)}")

    def advice(self, run: Run, *, task: str | None = None) -> AdviceOnRun:
        """The run's set-up checked against published ranges, warnings first; ``task`` says whose ranges apply."""
        return self._get(AdviceOnRun, f"runs/{self._id(run)}/advice", {"task": task})

    def projects(self) -> list[Project]:
        """Every project with how many runs it has, by name."""
        return self._get(Projects, "projects").projects

    def fleet(self, *, project: str | None = None, seconds: float | None = None) -> Fleet:
        """What went wrong how often over all runs, what it cost and what was kept; of the last ``seconds``."""
        return self._get(Fleet, "fleet", {"project": project, "seconds": seconds})

    # numbers

    def observations(
        self,
        run: Run,
        signals: Sequence[str] = (),
        *,
        attempt: int | None = None,
        from_step: int | None = None,
        to_step: int | None = None,
        every: int = 1,
    ) -> Any:
        """Every observation as it was recorded: columns ``attempt``, ``step``, ``observed_at`` and the signals.

        A `pandas.DataFrame` where pandas is installed, else a dictionary of lists. None (in pandas: NaN) is what was
        not measured. Without ``signals``, all that any step has.
        """
        query = {
            "format": "jsonl",
            "signals": ",".join(signals) or None,
            "attempt": attempt,
            "from_step": from_step,
            "to_step": to_step,
            "every": every,
        }
        rows: list[dict[str, Any]] = []
        with self._connection.stream(f"runs/{self._id(run)}/observations/export", query=query) as response:
            rows = [json.loads(line) for line in response.iter_lines() if line]
        names = list(signals) or list(dict.fromkeys(name for row in rows for name in row["signals"]))
        columns: dict[str, list[Any]] = {
            name: [row[name] for row in rows] for name in ("attempt", "step", "observed_at")
        }
        for name in names:
            values = (row["signals"].get(name) for row in rows)
            # NaN and the infinities travel as strings.
            columns[name] = [None if value is None else float(value) for value in values]
        return as_frame(columns)

    def chart(
        self,
        run: Run,
        signals: Sequence[str] = ("loss",),
        *,
        points: int = 500,
        attempt: int | None = None,
        from_step: int | None = None,
        to_step: int | None = None,
    ) -> Any:
        """At most about ``points`` buckets of neighbouring steps per attempt, however long the run is.

        Columns ``attempt``, ``first_step``, ``last_step``, ``count``, and for every signal ``<signal>_min``,
        ``<signal>_mean`` and ``<signal>_max``. A frame like that of `observations`.
        """
        query = {
            "signals": ",".join(signals),
            "points": points,
            "attempt": attempt,
            "from_step": from_step,
            "to_step": to_step,
        }
        told = self._get(ObservationBuckets, f"runs/{self._id(run)}/observations", query)
        columns: dict[str, list[Any]] = {"attempt": [], "first_step": [], "last_step": [], "count": []}
        for branch in told.attempts:
            columns["attempt"] += [branch.attempt] * len(branch.counts)
            columns["first_step"] += branch.first_steps
            columns["last_step"] += branch.last_steps
            columns["count"] += branch.counts
            for name, buckets in branch.signals.items():
                for suffix, values in (("min", buckets.minimum), ("mean", buckets.mean), ("max", buckets.maximum)):
                    columns.setdefault(f"{name}_{suffix}", []).extend(values)
        return as_frame(columns)

    def export(
        self,
        run: Run,
        path: str | os.PathLike[str],
        *,
        signals: Sequence[str] = (),
        attempt: int | None = None,
        from_step: int | None = None,
        to_step: int | None = None,
        every: int = 1,
    ) -> Path:
        """Write every observation to a file, ``.csv`` or ``.jsonl`` by its name, however many there are.

        Or fewer: of one attempt, of some steps (``to_step`` inclusive), of those that ``every`` divides.
        """
        target = Path(path)
        form = target.suffix.lower().removeprefix(".")
        if form not in ("csv", "jsonl"):
            raise ValueError(f"path ends with {target.suffix!r}; name a file .csv or .jsonl")
        query = {
            "format": form,
            "signals": ",".join(signals) or None,
            "attempt": attempt,
            "from_step": from_step,
            "to_step": to_step,
            "every": every,
        }
        with (
            self._connection.stream(f"runs/{self._id(run)}/observations/export", query=query) as response,
            target.open("wb") as file,
        ):
            for piece in response.iter_bytes():
                file.write(piece)
        return target

    def layers(
        self,
        run: Run,
        signal: Literal["grad_norm", "param_norm", "update_ratio", "zero_grads"] = "grad_norm",
        *,
        from_step: int | None = None,
        to_step: int | None = None,
        points: int = 120,
    ) -> Layers:
        """One signal of every layer over at most ``points`` steps per attempt."""
        query = {"signal": signal, "from_step": from_step, "to_step": to_step, "points": points}
        return self._get(Layers, f"runs/{self._id(run)}/layers", query)

    # what happened

    def incidents(
        self,
        *,
        run: Run | None = None,
        project: str | None = None,
        state: str | Sequence[str] = (),
        kind: str | Sequence[str] = (),
        limit: int = 1000,
    ) -> list[RecordedIncident]:
        """Incidents that fit, the latest first."""
        query = {
            "run_id": None if run is None else self._id(run),
            "project": project,
            "state": [state] if isinstance(state, str) else list(state) or None,
            "kind": [kind] if isinstance(kind, str) else list(kind) or None,
            "limit": limit,
        }
        return self._get(Incidents, "incidents", query).incidents

    def incident(self, incident_id: str | UUID) -> IncidentDetail:
        """One incident and everything about it."""
        return self._get(IncidentDetail, f"incidents/{incident_id}")

    def evaluations(self, run: Run, *, limit: int = 1000) -> list[Evaluation]:
        """What the latest evaluations measured, in order of (attempt, step)."""
        return self._get(Evaluations, f"runs/{self._id(run)}/evaluations", {"limit": limit}).evaluations

    def findings(self, run: Run, *, limit: int = 1000) -> list[RecordedFinding]:
        """What detectors said last, in order of (attempt, step)."""
        return self._get(Findings, f"runs/{self._id(run)}/findings", {"limit": limit}).findings

    def decisions(self, run: Run, *, limit: int = 1000) -> list[DecisionReport]:
        """What was decided last, each with its reason, in the order of time."""
        return self._get(Decisions, f"runs/{self._id(run)}/decisions", {"limit": limit}).decisions

    def attempts(self, run: Run) -> list[AttemptReport]:
        """The branches of the run's history."""
        return self._get(Attempts, f"runs/{self._id(run)}/attempts").attempts

    def checkpoints(self, run: Run, *, removed: bool = False) -> list[CheckpointReport]:
        """What the trainer can go back to, and with ``removed`` also what it could once."""
        query = {"removed": removed or None}
        return self._get(Checkpoints, f"runs/{self._id(run)}/checkpoints", query).checkpoints

    def commands(self, run: Run, *, limit: int = 1000) -> list[RecordedCommand]:
        """What was ordered last, and what became of it."""
        return self._get(Commands, f"runs/{self._id(run)}/commands", {"limit": limit}).commands

    def answers(self, run: Run, *, limit: int = 1000) -> list[Acknowledgement]:
        """What the trainer said to its commands, with what changed or was found."""
        return self._get(Acknowledgements, f"runs/{self._id(run)}/acknowledgements", {"limit": limit}).acknowledgements

    # what a person does

    def command(self, run: Run, *orders: BaseModel, reason: str = "", by: str = "") -> RecordedCommand:
        """Order something: ``client.command("gpt", LowerLearningRate(factor=0.5))``, with orders of `trainguard.wire`.

        The trainer applies them together or not at all, at its next step boundary.
        """
        body = {"orders": [order.model_dump(mode="json") for order in orders], "reason": reason, "issued_by": by}
        return self._send(RecordedCommand, "POST", f"runs/{self._id(run)}/commands", body)

    def acknowledge(self, incident_id: str | UUID, comment: str = "", *, by: str = "") -> IncidentDetail:
        """Say that somebody has seen it."""
        return self._say(incident_id, "acknowledge", comment, by)

    def comment(self, incident_id: str | UUID, comment: str, *, by: str = "") -> IncidentDetail:
        """Add a comment."""
        return self._say(incident_id, "comment", comment, by)

    def approve(
        self, incident_id: str | UUID, comment: str = "", *, by: str = "", decision_id: UUID | None = None
    ) -> IncidentDetail:
        """Let what is proposed be done; with ``decision_id`` that proposal only, and none that came later."""
        return self._say(incident_id, "approve", comment, by, decision_id)

    def decline(
        self, incident_id: str | UUID, comment: str = "", *, by: str = "", decision_id: UUID | None = None
    ) -> IncidentDetail:
        """Say no to what is proposed."""
        return self._say(incident_id, "decline", comment, by, decision_id)

    def resolve(self, incident_id: str | UUID, comment: str = "", *, by: str = "") -> IncidentDetail:
        """Close it by hand."""
        return self._say(incident_id, "resolve", comment, by)

    def silences(
        self, *, run: Run | None = None, project: str | None = None, ended: bool = False
    ) -> list[RecordedSilence]:
        """The silences in force, and with ``ended`` those that have ended; of a run or a project where it is given."""
        query = {"run_id": None if run is None else self._id(run), "project": project, "ended": ended or None}
        return self._get(Silences, "silences", query).silences

    def silence(
        self,
        seconds: float,
        *,
        run: Run | None = None,
        project: str | None = None,
        kind: str | None = None,
        reason: str = "",
        by: str = "",
    ) -> RecordedSilence:
        """Tell nobody for a while of a run, a project or a kind of trouble; of all that are given together."""
        body = {
            "run_id": None if run is None else self._id(run),
            "project": project,
            "kind": kind,
            "seconds": seconds,
            "reason": reason,
            "created_by": by,
        }
        return self._send(RecordedSilence, "POST", "silences", body)

    def lift(self, silence_id: str | UUID) -> None:
        """End a silence."""
        self._connection.request("DELETE", f"silences/{silence_id}")

    # playbooks

    def playbooks(self) -> list[ProjectPlaybook]:
        """The playbooks of all projects that have one."""
        return self._get(ProjectPlaybooks, "playbooks").playbooks

    def playbook(self, project: str) -> ProjectPlaybook:
        """A project's playbook. Raises `NotFound` where its runs go by the default."""
        return self._get(ProjectPlaybook, _playbook(project))

    def check_playbook(self, document: Mapping[str, Any]) -> CheckedPlaybook:
        """What a playbook would do, in plain words; raises `Refused` with what is wrong. Nothing is stored."""
        return self._send(CheckedPlaybook, "POST", "playbooks/check", document)

    def set_playbook(self, project: str, document: Mapping[str, Any]) -> ProjectPlaybook:
        """Let the project's runs go by this playbook from their next trouble on."""
        return self._send(ProjectPlaybook, "PUT", _playbook(project), document)

    def remove_playbook(self, project: str) -> None:
        """Let the project's runs go by the default again."""
        self._connection.request("DELETE", _playbook(project))

    # access

    def tokens(self) -> list[RecordedToken]:
        """Every token with its state and last use, never with its secret."""
        return self._get(Tokens, "tokens").tokens

    def create_token(
        self,
        name: str,
        scopes: Sequence[Literal["ingest", "read", "command", "admin"]],
        *,
        project: str | None = None,
        seconds: float | None = None,
    ) -> NewToken:
        """Make a token; its secret is in this answer, and never again in any other."""
        body = {"name": name, "scopes": list(scopes), "project": project, "seconds": seconds}
        return self._send(NewToken, "POST", "tokens", body)

    def rotate_token(self, token_id: str, *, grace_seconds: float | None = None) -> NewToken:
        """Give a token a new secret; the former one is good for ``grace_seconds`` more (the service's default)."""
        return self._send(
            NewToken, "POST", f"tokens/{quote(token_id, safe='')}/rotate", {"grace_seconds": grace_seconds}
        )

    def revoke_token(self, token_id: str) -> None:
        """Never let it in again."""
        self._connection.request("DELETE", f"tokens/{quote(token_id, safe='')}")

    def audit(
        self,
        *,
        run: Run | None = None,
        project: str | None = None,
        actor_kind: Literal["person", "policy", "local"] | None = None,
        limit: int | None = 1000,
    ) -> list[AuditEntry]:
        """What people and policies did, the latest first; all of it with ``limit=None``. It outlives the runs."""
        query = {
            "run_id": None if run is None else self._id(run),
            "project": project,
            "actor_kind": actor_kind,
        }
        found: list[AuditEntry] = []
        cursor: str | None = None
        while True:
            wanted = PAGE if limit is None else min(PAGE, limit - len(found))
            if wanted <= 0:
                return found
            page = self._get(Audit, "audit", {**query, "limit": wanted, "cursor": cursor})
            found += page.entries
            cursor = page.next
            if cursor is None:
                return found

    # live

    def events(
        self,
        *,
        run: Run | None = None,
        project: str | None = None,
        kinds: Sequence[str] = (),
        last_event_id: str = "",
    ) -> Iterator[LiveEvent]:
        """Follow what changes, until you stop: ``for event in client.events(run="gpt"): …``.

        A connection that breaks is made again, and what was missed meanwhile is told; ``reset`` says that too much was.
        """
        run_id = None if run is None else self._id(run)
        return follow(self._connection, run_id=run_id, project=project, kinds=kinds, last_event_id=last_event_id)

    def _say(
        self, incident_id: str | UUID, verb: str, comment: str, by: str, decision_id: UUID | None = None
    ) -> IncidentDetail:
        body = {"comment": comment, "by": by, "decision_id": None if decision_id is None else str(decision_id)}
        return self._send(IncidentDetail, "POST", f"incidents/{incident_id}/{verb}", body)

    def _id(self, run: Run) -> str:
        if isinstance(run, RunSummary):
            return str(run.run_id)
        try:
            return str(UUID(str(run)))
        except ValueError:
            pass
        named = self._get(RunPage, "runs", {"name": str(run), "limit": 1, "archived": "too"}).runs
        if not named:
            message = f"no run is called {str(run)!r}; client.runs() lists those there are"
            raise NotFound(message, 404, "unknown_run", {})
        return str(named[0].run_id)

    def _get(self, model: type[_Answer], path: str, query: Mapping[str, Any] | None = None) -> _Answer:
        return model.model_validate(self._connection.request("GET", path, query=query))

    def _send(self, model: type[_Answer], method: str, path: str, body: Mapping[str, Any]) -> _Answer:
        told = {name: value for name, value in body.items() if value is not None}
        return model.model_validate(self._connection.request(method, path, body=told))


def _playbook(project: str) -> str:
    # A project's name may hold a slash.
    return f"playbooks/{quote(project, safe='')}"
