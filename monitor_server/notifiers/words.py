"""A message in words: a title and a few lines, for receivers that people read."""

from __future__ import annotations

from typing import Any

from monitor_server.storage.notifications import Notification

EVENT_WORDS = {
    "opened": "incident opened",
    "needs_approval": "needs your approval",
    "recovering": "remedy applied",
    "recovered": "recovered",
    "resolved": "resolved by itself",
    "escalated": "needs a person",
    "silent": "silent",
    "test": "test",
}


def title(letter: Notification) -> str:
    """One line: which run, and what.

    >>> from uuid import UUID
    >>> told = {"project": "demo", "run": "@everyone", "sentence": "", "link": ""}
    >>> title(Notification(UUID(int=0), UUID(int=0), "chat", "opened", 0.0, told)).replace("\\u200b", "|")
    'demo/@|everyone: incident opened'
    """
    told = letter.document
    return defused(f"{told['project']}/{told['run']}: {EVENT_WORDS.get(letter.event, letter.event)}")


def body(letter: Notification) -> str:
    """The sentence, the likeliest cause, and where to look."""
    told = letter.document
    lines = [defused(str(told["sentence"]))]
    cause = _likeliest_cause(told.get("incident"))
    if cause:
        lines.append(defused(f"Likely cause: {cause}"))
    return "\n".join([*lines, str(told["link"])])


def defused(words: str) -> str:
    """Words of which a chat makes no mention and no mark-up of its own: a run named ``@everyone`` calls nobody."""
    return words.replace("@", "@\u200b").replace("<", "<\u200b")


def _likeliest_cause(incident: Any) -> str:
    # From the outbox it comes as JSON; straight from the pipeline it is a report.
    diagnosis = incident.get("diagnosis", ()) if isinstance(incident, dict) else getattr(incident, "diagnosis", ())
    if not diagnosis:
        return ""
    first = diagnosis[0]
    return str(first["statement"] if isinstance(first, dict) else first.statement)
