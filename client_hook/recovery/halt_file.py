"""The report of a halt as a file beside the checkpoints: for whoever finds the job dead in the morning."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from client_hook.durable_file import write_bytes_durably


def write_halt_report(folder: Path, report: Mapping[str, Any], *, now: float) -> Path:
    """Write ``report`` (`client_hook.TrainingHalted.report`) into ``folder`` in words, as data at its end; its path.

    ``now`` in seconds since 1970 (UTC). Raises ``OSError`` where the disk refuses; then there is no file.
    """
    name = f"halted-step-{report['step']:08d}-attempt-{report['attempt']}-{str(report['run_id'])[:8]}.md"
    text = "\n".join(_lines(report, now)).encode()
    path = folder / name
    write_bytes_durably(path, text)
    return path.absolute()


def _lines(report: Mapping[str, Any], now: float) -> Iterator[str]:
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    yield f"# Run {report['run']!r} was halted at step {report['step']}"
    yield ""
    yield f"{when}. Run {report['run_id']}, attempt {report['attempt']}; the learning rate was multiplied by "
    yield f"{report['lr_scale']:.4g}. Checkpoints are as they were; nothing was restored or thrown away."
    yield ""
    yield str(report["reason"])
    if report["story"]:
        yield ""
        yield "## What was tried, and what may be behind it"
        yield ""
        yield from report["story"]
    yield ""
    yield "## As data"
    yield ""
    yield "```json"
    yield json.dumps(report, indent=1, default=str)
    yield "```"
    yield ""
