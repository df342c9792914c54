"""The command line with a library made unimportable."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

WITHOUT = """
import sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)

sys.meta_path.insert(0, Nowhere())
sys.argv = ["trainguard", *{arguments!r}]
from monitor_server.cli import main
main()
"""


@pytest.fixture
def run_without() -> Callable[..., tuple[int, str]]:
    """Runs the command without a package; its exit status and what it said to standard error."""

    def run(missing: str, *arguments: str) -> tuple[int, str]:
        code = WITHOUT.format(missing=missing, arguments=list(arguments))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stderr

    return run
