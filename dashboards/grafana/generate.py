"""Write the dashboards' JSON, or say which files are not what the Python says.

python -m dashboards.grafana.generate            # from the project's root
python -m dashboards.grafana.generate --check    # changes nothing; exit status 1 where a file differs
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.grafana import fleet, incident, service, sql, training_run

DASHBOARDS: dict[str, Callable[[], dashboard.Dashboard]] = {
    "training-run": training_run.build,
    "fleet": fleet.build,
    "incident": incident.build,
    "service": service.build,
}
"""File name (without .json) → builder. A new dashboard is one file and one line here."""

TARGET_FOLDER = Path(__file__).parent / "dashboards"


def rendered(name: str) -> str:
    """The JSON text of one dashboard: sorted keys, stable panel ids, a newline at the end.

    The SDK leaves panel ids to Grafana, which would number them anew at each load, and has no field for an
    annotation's title nor for its SQL; all are added here.
    """
    board = json.loads(JSONEncoder().encode(DASHBOARDS[name]().build()))
    for number, panel in enumerate(board["panels"], start=1):
        panel["id"] = number
    for variable in board["templating"]["list"]:
        for option in ("auto", "auto_count", "auto_min"):  # an interval's, which the SDK gives to every kind
            variable.pop(option, None)
    for annotation in board.get("annotations", {}).get("list", []):
        if annotation["datasource"]["type"] == sql.PLUGIN:
            statement = annotation.pop("expr")
            annotation["target"] = {"editorMode": "code", "format": "table", "rawQuery": True, "rawSql": statement,
                                    "refId": "annotation"}  # fmt: skip
        else:
            annotation.update(titleFormat=annotation["name"], textFormat="{{run}} {{kind}}", step="10s")
    return json.dumps(board, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def differing(folder: Path = TARGET_FOLDER) -> list[str]:
    """Names of files in ``folder`` that are missing, old, or that no builder makes."""
    wanted = {f"{name}.json": rendered(name) for name in DASHBOARDS}
    present = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    return sorted(name for name in {*wanted, *present} if wanted.get(name) != present.get(name))


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare")
    if parser.parse_args().check:
        stale = differing()
        for name in stale:
            print(f"{name} differs from its Python; run: python -m dashboards.grafana.generate")
        return 1 if stale else 0
    TARGET_FOLDER.mkdir(exist_ok=True)
    for name in DASHBOARDS:
        (TARGET_FOLDER / f"{name}.json").write_text(rendered(name), encoding="utf-8")
        print(f"{name}.json written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
