"""Showing answers to a person, as tables."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

MAY_WRAP = ("run", "project", "incident", "what happened")

STATE_COLOURS = {
    "running": "green",
    "resolved": "green",
    "recovering": "yellow",
    "watching": "yellow",
    "silent": "yellow",
    "open": "red",
    "escalated": "red bold",
    "failed": "red",
    "halted": "red",
}


def print_json(answer: dict[str, Any]) -> None:
    """The answer as it came: one document on standard output, uncoloured."""
    print(json.dumps(answer, indent=2, ensure_ascii=False))


def tell_runs(console: Console, runs: Sequence[dict[str, Any]], *, now: float | None = None) -> None:
    """One line per run; ``now`` in seconds since 1970."""
    if not runs:
        console.print("No runs yet. A trainer appears here when its hook is attached with this server.")
        return
    table = _table("run", "project", "id", "state", ">step", ">attempt", ">loss", ">lr ×", "incident", "last seen")
    for run in runs:
        incident = run.get("active_incident")
        table.add_row(
            escape(run["run"]),
            escape(run["project"]),
            run["run_id"][:8],
            _state(run["state"]),
            _number(run["step"]),
            str(run["attempt"]),
            _number(run["loss"]),
            _number(run["lr_scale"]),
            f"{_state(incident['state'])} {incident['kind']}" if incident else "",
            ago(run["last_seen_at"], time.time() if now is None else now),
        )
    console.print(table)


def tell_incidents(console: Console, incidents: Sequence[dict[str, Any]], *, now: float | None = None) -> None:
    """One line per incident, and what came of it."""
    if not incidents:
        console.print("No incidents.")
        return
    table = _table("id", "run", "kind", "state", ">onset", ">seen at", ">lost", "opened", "what happened")
    for one in incidents:
        table.add_row(
            one["incident_id"][:8],
            escape(one["run"]),
            one["kind"],
            _state(one["state"]),
            str(one["onset_step"]),
            str(one["detected_step"]),
            str(one["steps_lost"]),
            ago(one["opened_at"], time.time() if now is None else now),
            escape(one["outcome"] or one["summary"]),
        )
    console.print(table)


def tell_incident(console: Console, answer: dict[str, Any]) -> None:
    """One incident, as a story."""
    one = answer["incident"]
    console.print(f"[bold]{escape(one['run'])}[/] ({escape(one['project'])}): {one['kind']}, {_state(one['state'])}")
    console.print(escape(one["summary"]), soft_wrap=True)
    if one["outcome"]:
        console.print(escape(one["outcome"]), soft_wrap=True)
    if answer["proposal"]:
        console.print(f"[yellow]Waits for a yes or no:[/] trainguard incidents approve {one['incident_id'][:8]}")
    if one["acknowledged_by"]:
        console.print(f"Seen by {escape(one['acknowledged_by'])}.")
    for cause in one["diagnosis"]:
        console.print(f"[bold]{cause['support']} support:[/] {escape(cause['statement'])}", soft_wrap=True)
        console.print(f"  {escape(cause['next_step'])}", soft_wrap=True)
    lines = [(found["recorded_at"], "finding", found["message"]) for found in answer["findings"]]
    lines += [(made["decided_at"], "decision", made["reason"]) for made in answer["decisions"]]
    lines += [(given["issued_at"], "command", _ordered(given)) for given in answer["commands"]]
    lines += [(told["handled_at"], told["status"], told["reason"]) for told in answer["acknowledgements"]]
    lines += [(said["made_at"], said["kind"], f"{said['made_by']}: {said['comment']}") for said in answer["remarks"]]
    table = _table("when", "what", "what happened")
    for at, what, words in sorted(lines, key=lambda line: line[0]):
        table.add_row(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)), what, escape(words))
    console.print(table)


def tell_commands(
    console: Console,
    commands: Sequence[dict[str, Any]],
    answers: Sequence[dict[str, Any]] = (),
    *,
    now: float | None = None,
) -> None:
    """One line per command, and what became of it, in the trainer's words where it has answered."""
    if not commands:
        console.print("No commands.")
        return
    said = {answer["command_id"]: answer["reason"] for answer in answers}
    table = _table("id", "state", "issued", "by", "what happened")
    for one in commands:
        issued = ago(one["issued_at"], time.time() if now is None else now)
        words = "\n".join(filter(None, (_ordered(one), said.get(one["command_id"]))))
        table.add_row(one["command_id"][:8], _state(one["state"]), issued, escape(one["issued_by"]), escape(words))
    console.print(table)


def tell_audit(console: Console, entries: Sequence[dict[str, Any]]) -> None:
    """One line per thing done."""
    if not entries:
        console.print("Nothing was commanded yet.")
        return
    table = _table("when", "by", "action", "project", "id", "what happened")
    for one in entries:
        said = one["document"]
        words = _ordered(said) if said.get("orders") else str(said.get("reason") or said.get("name") or "")
        table.add_row(
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one["done_at"])),
            escape(f"{one['actor']} ({one['actor_kind']})"),
            one["action"].replace("_", " "),
            escape(one["project"] or "all"),
            one["run_id"][:8] if one["run_id"] else "",
            escape(words),
        )
    console.print(table)


def tell_silences(console: Console, silences: Sequence[dict[str, Any]]) -> None:
    """One line per silence."""
    if not silences:
        console.print("No silences: everybody is told.")
        return
    table = _table("id", "of", "until", "by", "what happened")
    for one in silences:
        covered = [
            one["kind"],
            one["project"] and f"project {one['project']}",
            one["run_id"] and f"run {one['run_id'][:8]}",
        ]
        table.add_row(
            one["silence_id"][:8],
            escape(", ".join(part for part in covered if part)),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(one["ends_at"])),
            escape(one["created_by"]),
            escape(one["reason"]),
        )
    console.print(table)


def _ordered(command: dict[str, Any]) -> str:
    orders = []
    for order in command["orders"]:
        told = [f"{name} {value}" for name, value in order.items() if name != "action" and value is not None]
        words = f" ({', '.join(told)})" if told else ""
        orders.append(order["action"].replace("_", " ") + words)
    return ", then ".join(orders) + (f": {command['reason']}" if command.get("reason") else "")


def tell_advice(console: Console, answer: dict[str, Any]) -> None:
    """What there is to say about a run's set-up, and what to do about it."""
    if not answer["advice"]:
        console.print(f"Nothing to say about the set-up of {escape(answer['run'])}.")
    for one in answer["advice"]:
        colour = "red" if one["weight"] == "warning" else "yellow"
        console.print(f"[{colour}]{one['weight']}[/] [bold]{one['setting']}[/]: {escape(one['statement'])}")
        console.print(f"  {escape(one['remedy'])}")


def ago(then: float, now: float) -> str:
    """How long since, in the largest unit that says it.

    >>> ago(0, 59), ago(0, 7200), ago(10, 9)
    ('59 s ago', '2 h ago', '0 s ago')
    """
    seconds = max(0.0, now - then)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _table(*headings: str) -> Table:
    """``>`` in front of a heading sets its column to the right. Only words for people are broken into lines."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        name = heading.removeprefix(">")
        table.add_column(name, justify="right" if name != heading else "left", no_wrap=name not in MAY_WRAP)
    return table


def _state(state: str) -> str:
    colour = STATE_COLOURS.get(state)
    return f"[{colour}]{state}[/]" if colour else state


def _number(value: Any) -> str:
    if value is None:
        return "–"
    # NaN and the infinities travel as strings.
    return f"{float(value):.4g}" if not isinstance(value, int) else str(value)
