"""The numbers as a page."""

from __future__ import annotations

from typing import Any


def as_markdown(report: dict[str, Any]) -> str:
    """Tables of the caller's cost, the step ratio and the footprint."""
    steps, footprint = report["steps"], report["footprint"]
    lines = ["# What the hook costs", ""]
    peers = ", ".join(f"{name} {version}" for name, version in report["peers"].items())
    lines += [f"`make bench-hook`, all in one run: {report['machine']}; {peers}.", ""]
    lines += ["## Noting four ready numbers, µs of the caller", ""]
    lines += [
        "At full speed (2,000 steps without a pause), and at 1,000 steps a second with the logger's own worker busy.",
        "",
        "| | full speed: median | 1,000/s: median | mean | p99 | max | steps lost |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, cost in report["callers"].items():
        if "missing" in cost:
            lines.append(f"| {name} | not measured: {cost['missing']} | | | | | |")
            continue
        free, paced, lost = cost["free"], cost["paced"], cost["lost"]
        numbers = [free["median_us"], paced["median_us"], paced["mean_us"], paced["p99_us"], paced["max_us"]]
        cells = [f"{number:.1f}" for number in numbers] + ["unknown" if lost is None else str(lost)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "## A step of a GPT", ""]
    if "missing" in steps:
        lines += [f"Not measured: {steps['missing']}"]
    else:
        lines += [
            f"{steps['parameters'] / 1e6:.1f} M parameters, 6 layers, 384 wide, batch 8 × 128, AdamW, two threads. "
            f"{steps['rounds']} rounds in which all trainings take turns in shuffled order; the ratio is the median of "
            "each round's own.",
            "",
            "| | step / bare | median ms | least ms |",
            "|---|---:|---:|---:|",
        ]
        for name, row in steps["rows"].items():
            lines.append(f"| {name} | {row['ratio']:.3f} | {row['median_ms']:.1f} | {row['least_ms']:.1f} |")
        lines += [f"| {name} | not measured: {why} | | |" for name, why in steps["not_installed"].items()]
    lines += ["", "## Footprint", ""]
    if "missing" in footprint:
        lines += [f"Not measured: {footprint['missing']}"]
    else:
        course, dead = (
            ", ".join(str(value) for value in footprint[key]) for key in ("extra_mib", "extra_mib_service_dead")
        )
        lines += [
            f"- Extra memory over {footprint['observations']:,} observations, MiB after each tenth: {course}.",
            f"- The same with the service dead, when up to 8,000 observations wait for it: {dead}.",
            f"- Import of `client_hook` after torch, median of seven processes: {footprint['import_ms']:.0f} ms, "
            f"and `attach` after it: {footprint['attach_ms']:.1f} ms; "
            f"threads started: {footprint['threads_started']}; "
            f"httpx loaded: {'yes' if footprint['httpx_loaded'] else 'no'}.",
        ]
    return "\n".join([*lines, ""])
