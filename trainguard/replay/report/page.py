"""The page: a verdict, the curves, every incident with what would have been done and why, and what if."""

from __future__ import annotations

import base64
import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from trainguard import __version__
from trainguard.replay.past_run import PastRun
from trainguard.replay.replaying import PastIncident, Replay
from trainguard.replay.report.charts import Band, Mark, chart
from trainguard.replay.report.markup import Markup, joined, tag
from trainguard.replay.what_if import Alternative
from trainguard.wire import Hypothesis

BEFORE, AFTER = 60, 90
"""Points around an onset in its close-up."""
WIDEST = 240
MOST_INCIDENTS = 30
"""Incidents with a card of their own; the rest is counted."""
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M1 12 5 6l3 3 3-7"
    " 4 9' fill='none' stroke='%232a78d6' stroke-width='2'/%3E%3C/svg%3E"
)
_WORDS = {
    "non_finite": "non-finite value",
    "grad_explosion": "gradient explosion",
    "grad_vanishing": "vanishing gradient",
}
_CURVES = (
    (("loss", "val_loss"), "loss"),
    (("grad_norm",), "gradient norm"),
    (("learning_rate",), "learning rate"),
    (("update_ratio",), "update/parameter ratio"),
    (("loss_scale",), "loss scale"),
)


def report(judged: Sequence[tuple[Replay, Sequence[Alternative]]]) -> str:
    """One HTML document about replays, each with its alternatives as `what_if` gives them."""
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    title = judged[0][0].run.path.name if len(judged) == 1 else f"{len(judged)} runs"
    # The very text of the style is allowed, and nothing else: no script, no network.
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{allowed}'; img-src data:; base-uri 'none'; form-action 'none'"
    head = joined(
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        Markup(f'<link rel="icon" href="{_ICON}">'),
        tag("title", f"{title} · trainguard replay"),
        tag("style", Markup(style)),
    )
    sections = [_section(replay, alternatives, number) for number, (replay, alternatives) in enumerate(judged, start=1)]
    header = tag("header", tag("strong", "trainguard"), " replay", _contents(judged) if len(judged) > 1 else None)
    footer = tag(
        "footer",
        f"Made by trainguard {__version__}. What a remedy would have changed nobody can know: the log goes on as it did"
        " without one. The run is taken to have had a checkpoint every so many steps, and the default playbook.",
    )
    body = tag("body", header, tag("main", *sections), footer)
    return f'<!doctype html>\n<html lang="en">{tag("head", head)}{body}</html>\n'


def _contents(judged: Sequence[tuple[Replay, Sequence[Alternative]]]) -> Markup:
    links = [
        tag("a", replay.run.path.name, href=f"#run-{number}", class_="quiet" if not replay.incidents else None)
        for number, (replay, _) in enumerate(judged, start=1)
    ]
    return tag("nav", *links)


def _section(replay: Replay, alternatives: Sequence[Alternative], number: int) -> Markup:
    run = replay.run
    incidents = sorted(replay.incidents, key=lambda one: (one.report.attempt, one.report.onset_step))
    bands = [_band(run, incident, place) for place, incident in enumerate(incidents, start=1)]
    cards = [
        _incident(run, incident, band, place)
        for place, (incident, band) in enumerate(zip(incidents, bands), start=1)
        if place <= MOST_INCIDENTS
    ]
    more = len(incidents) - len(cards)
    return tag(
        "section",
        tag("h1", run.path.name),
        tag("p", _facts(run), class_="facts"),
        [tag("p", note, class_="facts") for note in run.notes],
        _verdict(replay),
        tag("div", _curves(run, bands), class_="card curves"),
        _remarks(replay),
        tag("h2", "Incidents") if cards else None,
        cards,
        tag("p", f"And {more} more; trainguard replay --json tells them all.", class_="facts") if more > 0 else None,
        tag("h2", "What if the sensitivity were another one?"),
        _table(alternatives),
        id=f"run-{number}",
    )


def _facts(run: PastRun) -> str:
    steps = f"steps {min(run.steps):,} to {max(run.steps):,}"
    read = ", ".join(
        name if run.sources.get(name) in (name, None) else f"{name} from “{run.sources[name]}”" for name in run.columns
    )
    return f"{len(run):,} points, {steps} · {run.format} · {read}"


def _verdict(replay: Replay) -> Markup:
    acts = [act for one in replay.incidents if (act := one.would_have_acted) is not None]
    if not replay.incidents:
        words = "Nothing went wrong that trainguard would have called an incident."
        return tag("p", words, class_="verdict healthy")
    count = len(replay.incidents)
    many = "One incident" if count == 1 else f"{count} incidents"
    if not acts:
        return tag("p", f"{many}; none of them called for a remedy.", class_="verdict warning")
    first = min(acts, key=lambda act: (act.attempt, act.step))
    words = f"{many}. In mode act trainguard would have stepped in at step {first.step:,}."
    return tag("p", words, class_="verdict critical")


def _curves(run: PastRun, bands: Sequence[Band]) -> list[Markup]:
    shown: list[Markup] = []
    restarts = [Mark(index, "restart", f"restarted at step {run.steps[index]:,}") for index in run.attempts[1:]]
    for signals, words in _CURVES:
        there = [signal for signal in signals if signal in run.columns]
        if signals[0] not in run.columns:
            continue
        legend = [tag("span", tag("i", class_=f"s{number}"), name) for number, name in enumerate(there)]
        shown.append(
            tag(
                "figure",
                tag("figcaption", tag("b", words), legend if len(there) > 1 else None),
                chart(run, there, bands=bands, marks=restarts, title=words, height=220 if not shown else 130),
            )
        )
    return shown


def _index_of(run: PastRun, attempt: int, step: int) -> int:
    start = run.attempts[attempt] if attempt < len(run.attempts) else 0
    end = run.attempts[attempt + 1] if attempt + 1 < len(run.attempts) else len(run)
    return min(bisect_left(run.steps, step, lo=start, hi=end), len(run) - 1)


def _band(run: PastRun, incident: PastIncident, number: int) -> Band:
    report = incident.report
    first = _index_of(run, report.attempt, report.onset_step)
    last = len(run) - 1 if incident.ended_step is None else _index_of(run, report.attempt, incident.ended_step)
    return Band(first, max(last, first), report.severity, f"{number}: {_kind(report.kind)}")


def _incident(run: PastRun, incident: PastIncident, band: Band, number: int) -> Markup:
    report = incident.report
    seen = _index_of(run, report.attempt, report.detected_step)
    act = incident.would_have_acted
    marks = [Mark(seen, "seen", f"seen at step {report.detected_step:,}")]
    if act is not None:
        marks.append(Mark(_index_of(run, act.attempt, act.step), "act", f"a remedy at step {act.step:,}"))
    last_moment = max(seen, *(mark.index for mark in marks))
    first = max(0, band.first - BEFORE)
    last = min(len(run) - 1, max(last_moment, min(band.last, band.first + WIDEST)) + AFTER)
    close_ups = [
        tag("figure", tag("figcaption", words), chart(run, signals, first=first, last=last, width=510, height=170,
                                                      bands=[band], marks=marks))
        for signals, words in _CURVES[:2]
        if signals[0] in run.columns
    ]  # fmt: skip
    return tag(
        "article",
        tag(
            "h3",
            tag("span", number, class_=f"badge {report.severity}"),
            _kind(report.kind),
            tag("span", report.severity, class_=f"chip {report.severity}"),
            tag("small", _when(incident)),
        ),
        tag("p", report.summary, class_="summary"),
        tag("div", *close_ups, class_="close-ups"),
        tag(
            "p",
            tag("i", class_="seen"),
            "seen",
            joined(" ", tag("i", class_="act"), "a remedy would have been applied") if act is not None else None,
            class_="key",
        ),
        tag(
            "div",
            tag("div", tag("h4", "What would have been done"), _decisions(incident)),
            tag("div", tag("h4", "What may be behind it"), _diagnosis(report.diagnosis)),
            class_="two",
        ),
        class_="card incident",
    )


def _when(incident: PastIncident) -> str:
    report = incident.report
    onset, seen = f"{report.onset_step:,}", f"{report.detected_step:,}"
    began = f"from step {onset}, seen at once" if onset == seen else f"from step {onset}, seen at step {seen}"
    if incident.ended_step is None:
        return f"{began}, to the end of the log"
    return f"{began}, over at step {incident.ended_step:,}"


def _decisions(incident: PastIncident) -> Markup:
    items = [
        tag("li", tag("b", f"step {one.step:,}"), " ", one.reason, class_=one.verdict) for one in incident.decisions
    ]
    if incident.ended_step is not None:
        items.append(tag("li", tag("b", f"step {incident.ended_step:,}"), " ", incident.report.outcome, class_="over"))
    return tag("ol", *items, class_="timeline") if items else tag("p", "Nothing was decided.")


def _diagnosis(diagnosis: Sequence[Hypothesis]) -> Markup:
    items = [
        tag(
            "li",
            tag("p", tag("span", one.support, class_=f"support {one.support}"), tag("b", one.statement)),
            tag("p", " ".join(one.evidence), class_="evidence") if one.evidence else None,
            tag("p", tag("b", "Next: "), one.next_step),
        )
        for one in diagnosis
    ]
    return tag("ol", *items, class_="causes") if items else tag("p", "Nothing that was logged explains it.")


def _remarks(replay: Replay) -> Markup | None:
    """Findings that are worth a line and no incident."""
    said = [finding for finding in replay.findings if finding.severity == "info"]
    if not said:
        return None
    lines = [tag("li", tag("b", f"step {one.step:,}"), f" {_kind(one.kind)}: {one.message}") for one in said[:12]]
    more = [tag("li", f"… and {len(said) - 12} more.")] if len(said) > 12 else []
    return tag("div", tag("h2", "Worth a line"), tag("ul", *lines, *more, class_="remarks"))


def _table(alternatives: Sequence[Alternative]) -> Markup:
    heads = ("sensitivity", "critical", "warnings", "lines", "incidents", "first seen", "remedies", "first remedy")
    rows = [
        tag(
            "tr",
            tag("th", one.sensitivity, tag("small", "this report") if one.is_chosen else None, scope="row"),
            *(tag("td", one.severities.get(severity, 0)) for severity in ("critical", "warning", "info")),
            tag("td", len(one.incidents)),
            tag("td", _step(one.first_seen)),
            tag("td", len(one.remedies)),
            tag("td", _step(min((act.step for act in one.remedies), default=None))),
            class_="chosen" if one.is_chosen else None,
        )
        for one in alternatives
    ]
    header = tag("tr", *(tag("th", head, scope="col") for head in heads))
    return tag("div", tag("table", tag("thead", header), tag("tbody", *rows)), class_="card table")


def _step(step: int | None) -> str:
    return "–" if step is None else f"step {step:,}"


def _kind(kind: str) -> str:
    return _WORDS.get(kind, kind.replace("_", " "))
