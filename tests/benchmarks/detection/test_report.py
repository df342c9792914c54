"""The page, the figures and the picture, from a small folder of curves made here."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

from benchmarks.detection.contestants import contestants
from benchmarks.detection.curves import read_curves
from benchmarks.detection.measure import measure
from benchmarks.detection.report import write_report
from benchmarks.detection.trade_off import STRICTNESSES
from tests.detectors.streams import healthy, scaled
from trainguard.wire import Observation


def written(folder: Path, name: str, stream: list[Observation], events: list[dict[str, object]]) -> str:
    with gzip.open(folder / f"{name}.csv.gz", "wt", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("step", "loss", "grad_norm", "lr"))
        rows.writerows((one.step, one.signals["loss"], one.signals["grad_norm"], 1e-3) for one in stream)
    return json.dumps(
        {"id": name, "repo": name, "domain": "llm", "n_points": len(stream), "label": "made", "events": events}
    )


def test_one_run_writes_page_figures_and_picture(tmp_path: Path) -> None:
    spiky = scaled(scaled(healthy(400), 297, 302, grad_norm=40.0), 300, 304, loss=4.0)
    event = {"kind": "spike", "start_step": 300, "end_step": 304, "note": "made"}
    lines = [written(tmp_path, "spiky", spiky, [event]), written(tmp_path, "calm", healthy(1120, seed=1), [])]
    (tmp_path / "index.jsonl").write_text("\n".join(lines))
    curves = read_curves(tmp_path)
    chosen = {name: one for name, one in contestants().items() if name in ("trainguard", "InternEvo")}

    report = measure(curves, curves, {"calm": healthy(300)}, chosen, names=list(chosen))
    page = write_report(report, tmp_path / "results")

    facts = json.loads((tmp_path / "results" / "detection.json").read_text())
    assert facts["rules"]["trainguard"]["real"]["found"] == 1
    assert [(one["points"], one["gradient"], one["is_announced"]) for one in facts["leads"]] == [(4, 4, True)] * 2
    assert [one["strictness"] for one in facts["trade_off"]["InternEvo"]] == list(STRICTNESSES)
    assert facts["healthy"]["trainguard"]["alarms"] == 0
    assert all(row["figure"] in page and row["measured"] in page for row in facts["goals"])
    assert (tmp_path / "results" / "detection.png").read_bytes().startswith(b"\x89PNG")
