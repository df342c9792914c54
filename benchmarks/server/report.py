"""The numbers as a page."""

from __future__ import annotations

from typing import Any


def as_markdown(report: dict[str, Any]) -> str:
    """A table a part; a part that could not be measured says why."""
    size = report["size"]
    lines = ["# What the service bears", ""]
    lines += [
        f"`make bench-server`, all in one run of {report['seconds']:.0f} s: {report['machine']}. The load generator is "
        "a process of its own on the same cores. An envelope holds 50 observations of 8 signals, gzipped as the hook "
        "does it; detection is on, and the database syncs before every receipt. The losses fall: runs whose losses "
        "stand still would all open an incident in the same seconds, and that costs more. PostgreSQL writes over files "
        "of its log as a server in use does, not into new ones.",
        "",
    ]
    for name, tell in _TELLERS.items():
        part = report.get(name)
        if part is None:
            continue
        if "missing" in part:
            lines += [f"## {name.replace('_', ' ').capitalize()}", "", f"Not measured: {part['missing']}", ""]
        else:
            lines += [*tell(part, size, report), ""]
    return "\n".join(lines)


def _throughput(part: dict[str, Any], size: dict[str, Any], _report: dict[str, Any]) -> list[str]:
    kinds = [part["sqlite"], part["postgresql"]]
    return [
        f"## Durable observations, {size['runs']:,} runs, one process",
        "",
        *_load_table(kinds),
        f"| the bare database, executemany / COPY | {' | '.join(_bare(one) for one in kinds)} | |",
        f"| share of that | {' | '.join(_of_bare(one) for one in kinds)} | |",
    ]


def _compiled(part: dict[str, Any], _size: dict[str, Any], _report: dict[str, Any]) -> list[str]:
    return [
        "## The same with the detectors compiled (`make compiled`)",
        "",
        *_load_table([part["sqlite"], part["postgresql"]]),
    ]


def _load_table(kinds: list[dict[str, Any]]) -> list[str]:
    rows: list[tuple[str, list[str], str]] = [
        (
            "a second, the median of three windows",
            [f"{one['full']['per_second']:,.0f}" for one in kinds],
            "≥ 20,000 / ≥ 15,000",
        ),
        ("each of the three", ["; ".join(f"{window:,.0f}" for window in one["full_per_second"]) for one in kinds], ""),
        ("per CPU-second of the service", [f"{one['full']['per_cpu_second']:,.0f}" for one in kinds], ""),
        ("CPU-seconds of PostgreSQL for one of the service", ["", _share(kinds[1]["full"])], ""),
        ("envelope to receipt at half that load, p50 ms", [f"{one['half']['p50_ms']:.1f}" for one in kinds], ""),
        ("the same, p99 ms, the median of three windows", [f"{one['half']['p99_ms']:.1f}" for one in kinds], "≤ 100"),
        ("each of the three", [", ".join(f"{window:.0f}" for window in one["half_p99_ms"]) for one in kinds], ""),
        ("memory of the service, MiB", [f"{one['half']['memory_mib']:.0f}" for one in kinds], ""),
        ("acknowledged / in the database", [f"{one['acknowledged']:,} / {one['stored']:,}" for one in kinds], "equal"),
    ]
    table = [f"| {name} | {' | '.join(cells)} | {goal} |" for name, cells, goal in rows]
    return ["| | SQLite | PostgreSQL | goal |", "|---|---:|---:|---:|", *table]


def _bare(told: dict[str, Any]) -> str:
    return f"{told['bare']['per_second']:,.0f}"


def _of_bare(told: dict[str, Any]) -> str:
    return f"{told['full']['per_second'] / told['bare']['per_second']:.0%}"


def _share(told: dict[str, Any]) -> str:
    return f"{told['database_cpu_seconds'] / told['service_cpu_seconds']:.2f}"


def _two_workers(part: dict[str, Any], _size: dict[str, Any], _report: dict[str, Any]) -> list[str]:
    one, two = part["1"], part["2"]
    ratio = two["full"]["per_cpu_second"] / one["full"]["per_cpu_second"]
    lines = ["## Two worker processes on PostgreSQL", "", "| | one | two | goal |", "|---|---:|---:|---:|"]
    both = [one, two]
    rows = [
        ("observations a second", [f"{told['full']['per_second']:,.0f}" for told in both], ""),
        ("per CPU-second of the service", [f"{told['full']['per_cpu_second']:,.0f}" for told in both], ""),
        ("of that of one process", ["", f"{ratio:.0%}"], "85 % or more"),
        (
            "acknowledged / stored",
            [f"{told['acknowledged']:,} / {told['stored']:,}" for told in both],
            "equal",
        ),
    ]
    lines += [f"| {name} | {' | '.join(cells)} | {goal} |" for name, cells, goal in rows]
    return lines


def _fleet(part: dict[str, Any], size: dict[str, Any], _report: dict[str, Any]) -> list[str]:
    lines = [
        f"## {size['registered']:,} registered runs, {size['active']:,} active",
        "",
        "| | SQLite | PostgreSQL | goal |",
        "|---|---:|---:|---:|",
    ]
    kinds = [part["sqlite"], part["postgresql"]]
    memory = " | ".join(f"{one['memory_mib']:.0f}" for one in kinds)
    lines.append(f"| memory, MiB | {memory} | ≤ 1,024 |")
    for name in kinds[0]["answers_ms"]:
        goal = "" if name == "metrics" else "≤ 100"
        took = " | ".join(f"{one['answers_ms'][name]:.0f}" for one in kinds)
        lines.append(f"| {name}, ms | {took} | {goal} |")
    return lines


def _charts(part: dict[str, Any], size: dict[str, Any], _report: dict[str, Any]) -> list[str]:
    lines = [
        f"## Charts of a run of {size['chart_steps']:,} steps, 2,000 points, over HTTP",
        "",
        "| | SQLite, ms | PostgreSQL, ms | goal |",
        "|---|---:|---:|---:|",
    ]
    sqlite, postgresql = part["sqlite"]["answers_ms"], part["postgresql"]["answers_ms"]
    return lines + [f"| {name} | {sqlite[name]:.0f} | {postgresql.get(name, 0):.0f} | ≤ 100 |" for name in sqlite]


def _kills(part: dict[str, Any], _size: dict[str, Any], _report: dict[str, Any]) -> list[str]:
    lines = [
        "## Killed by SIGKILL under load",
        "",
        "| | kills | envelopes acknowledged | sent again | lost | commands issued | twice | runs out of order |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in part.items():
        cells = [
            one["kills"], one["acknowledged_envelopes"], one["sent_again"], one["observations_lost"],
            one["commands_issued"], one["commands_twice"], one["runs_out_of_order"],
        ]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |")
        lines += [f"\nUnexpected answers: {one['unexpected_answers']}"] if one["unexpected_answers"] else []
    return lines


def _peers(part: dict[str, Any], _size: dict[str, Any], report: dict[str, Any]) -> list[str]:
    lines = ["## The same metrics to others", "", "| | observations a second | ours is |", "|---|---:|---:|"]
    ours = report.get("throughput", {}).get("sqlite", {}).get("full", {}).get("per_second")
    if ours:
        lines.append(f"| trainguard on SQLite | {ours:,.0f} | |")
    for name, one in part.items():
        if "missing" in one:
            lines.append(f"| {name} | not measured: {one['missing']} | |")
            continue
        times = f"{ours / one['per_second']:.0f} ×" if ours else ""
        how = "tracking server on SQLite, `log_batch` of 400 values, 4 clients" if name == "mlflow" else "local"
        lines.append(f"| {name} {one['version']} ({how}) | {one['per_second']:,.0f} | {times} |")
    return lines


def _cold_start(part: dict[str, Any], _size: dict[str, Any], _report: dict[str, Any]) -> list[str]:
    seconds = part["seconds"]
    return [
        "## Cold start",
        "",
        f"From the start of the process to the first 200 of `/readyz`, on a new SQLite file: median "
        f"{seconds[len(seconds) // 2]:.2f} s, longest {seconds[-1]:.2f} s (goal: ≤ 2 s).",
    ]


_TELLERS = {
    "throughput": _throughput,
    "compiled": _compiled,
    "two_workers": _two_workers,
    "fleet": _fleet,
    "charts": _charts,
    "kills": _kills,
    "peers": _peers,
    "cold_start": _cold_start,
}
