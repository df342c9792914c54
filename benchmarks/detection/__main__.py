"""Command line of the detection benchmark."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.detection.contestants import OURS, contestants
from benchmarks.detection.cost import read_signals
from benchmarks.detection.curves import read_curves
from benchmarks.detection.measure import measure
from benchmarks.detection.peers import PEERS
from benchmarks.detection.report import write_report

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results"
RECORDED = REPOSITORY / "tests" / "detectors" / "recorded"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    folder = os.environ.get("TRAINGUARD_CURVES")
    parser.add_argument("--curves", default=folder, help="folder with index.jsonl (default: TRAINGUARD_CURVES)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write detection.md and .json to")
    parser.add_argument("--only", help="only the contestants whose name contains this; nothing is written")
    options = parser.parse_args()
    if not options.curves:
        parser.error("give --curves FOLDER or set TRAINGUARD_CURVES")
    chosen = {name: listen for name, listen in contestants().items() if not options.only or options.only in name}
    signals = read_signals(RECORDED / "signals")
    curves, recorded = read_curves(Path(options.curves)), read_curves(RECORDED)
    report = measure(curves, recorded, signals, chosen, names=[] if options.only else [OURS, *PEERS])
    text = write_report(report, None if options.only else options.results)
    print(text)


if __name__ == "__main__":
    main()
