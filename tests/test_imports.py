"""Imports run one way, and the service and the brain need no torch: shown in a process that cannot have it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import importlib, pkgutil, sys

class Unimportable:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is made unimportable here", name=name)

sys.meta_path.insert(0, Unimportable())
for root in {packages!r}:
    package = importlib.import_module(root)
    for module in pkgutil.walk_packages(package.__path__, root + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            print(module.name)
assert not {blocked!r} & set(sys.modules), {blocked!r} & set(sys.modules)
"""


def _import_all(packages: list[str], *, without: set[str]) -> list[str]:
    code = WITHOUT.format(packages=packages, blocked=without)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_brain_and_service_import_where_torch_cannot_be_imported() -> None:
    imported = _import_all(["trainguard", "monitor_server"], without={"torch", "client_hook"})
    assert "trainguard.policy.decision" in imported
    assert "monitor_server.app" in imported


def test_the_brain_needs_pydantic_only() -> None:
    blocked = {"torch", "numpy", "httpx", "fastapi", "sqlalchemy", "typer", "rich", "yaml", "prometheus_client"}
    assert _import_all(["trainguard"], without=blocked)


def test_the_hook_needs_pydantic_and_httpx_only_besides_torch() -> None:
    blocked = {"fastapi", "uvicorn", "sqlalchemy", "alembic", "prometheus_client", "typer", "rich", "yaml", "structlog"}
    assert "client_hook.hook" in _import_all(["client_hook"], without=blocked)


def test_importing_the_hook_starts_nothing_and_loads_neither_httpx_nor_yaml() -> None:
    code = (
        "import sys, threading, client_hook\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert not {'httpx', 'yaml'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", ["enable", "disable"])
def test_importing_the_hook_leaves_the_search_for_cycles_as_it_was(verb: str) -> None:
    code = f"import gc\ngc.{verb}()\nimport client_hook\nassert gc.isenabled() == ({verb!r} == 'enable')\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


LATE = """
import sys, torch, client_hook

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
hook = client_hook.attach(
    model, optimizer, run="late", mode="act", checkpoints=sys.argv[1], checkpoint_every=20, synchronous=True
)
known, actions = set(sys.modules), []
while hook.next_step < 200 and not hook.is_closed:
    optimizer.zero_grad()
    loss = (model(torch.ones(8, 4)) - 1.0).square().mean() + 0.1 * torch.rand(())
    loss.backward()
    optimizer.step()
    if hook.next_step == 120 and not actions:
        with torch.no_grad():
            model.weight.fill_(float("nan"))
    actions += filter(None, [hook.observe(loss).action])
hook.close()
assert "rollback" in actions, actions
ours = ("client_hook", "trainguard", "pydantic")
late = {name for name in set(sys.modules) - known if name.startswith(ours)}
assert not late, late
"""


def test_no_step_of_a_training_waits_for_an_import_of_ours(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LATE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
