"""Hold the dashboards' JSON against Grafana's own TypeScript types, with the compiler that Grafana uses.

python -m dashboards.grafana.check_types FOLDER    # FOLDER has node_modules with typescript and @grafana/schema

`make check-dashboards` installs both and runs this. It is no test of the suite, because it needs Node and a registry.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dashboards.grafana.generate import TARGET_FOLDER

# JSON knows no enums, and TypeScript takes no plain string for one: each becomes the union of its values, and what the
# types leave to each data source (its targets, its annotations) stays open.
HEAD = """
import type { AnnotationQuery, Dashboard, Panel, RowPanel } from "@grafana/schema";

type Plain<T> = T extends string ? `${T}` : T extends number ? (`${T}` extends `${infer N extends number}` ? N : T)
  : T extends boolean | null | undefined ? T
  : T extends Array<infer U> ? Array<Plain<U>>
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;

type Annotation = Omit<Plain<AnnotationQuery>, "target"> & {
  target?: Record<string, unknown>; expr?: string; titleFormat?: string; textFormat?: string; step?: string;
};
type File = Omit<Plain<Dashboard>, "panels" | "annotations"> & {
  panels: Array<Plain<Panel> | Plain<RowPanel>>; annotations?: { list?: Array<Annotation> };
};
"""


def program(name: str) -> str:
    """A module that holds one dashboard to be a `Dashboard`."""
    text = (TARGET_FOLDER / f"{name}.json").read_text(encoding="utf-8")
    return f"{HEAD}\nexport const dashboard = {text.rstrip()} satisfies File;\n"


def main() -> int:
    """Write a module per dashboard, compile them without output, and pass on what the compiler says."""
    folder = Path(sys.argv[1]) if len(sys.argv) == 2 else None
    if folder is None or not (folder / "node_modules" / "typescript").is_dir():
        print(__doc__)
        return 2
    modules = []
    for path in sorted(TARGET_FOLDER.glob("*.json")):
        module = folder / f"{path.stem}.ts"
        module.write_text(program(path.stem), encoding="utf-8")
        modules.append(module.name)
    compiler = folder / "node_modules" / "typescript" / "bin" / "tsc"
    options = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext"]
    done = subprocess.run(["node", str(compiler.resolve()), *options, *modules], cwd=folder, check=False)
    if done.returncode == 0:
        print(f"{len(modules)} dashboards are what @grafana/schema says: {', '.join(modules)}")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
