"""A real PostgreSQL for the tests: a cluster of its own in a temporary folder, on a free port."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

START_SECONDS = 60.0


def find_programs() -> Path:
    """The folder of initdb and postgres. Where there is none the test is skipped; in CI it fails."""
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if found := shutil.which("initdb"):
        folders.append(Path(found).resolve().parent)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    reason = "PostgreSQL is not installed (on Debian: apt install postgresql)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.contextmanager
def running_cluster(*wishes: str, syncs: bool = False) -> Iterator[str]:
    """A server, until the block ends; its address without a database's name. It loses all in a power cut, unless it
    ``syncs``; ``wishes`` are settings of PostgreSQL (``name=value``)."""
    programs = find_programs()
    # Not below pytest's own folder: PostgreSQL refuses to be root, and nobody else may look in there.
    folder = Path(tempfile.mkdtemp(prefix="trainguard-pg-"))
    as_user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data, log = folder / "data", folder / "log"
    try:
        subprocess.run(
            [*as_user, str(programs / "initdb"), "-D", str(data), "-U", "trainguard", "--auth=trust", "--no-sync",
             "--encoding=UTF8", "--locale=C"],
            check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        port = _free_port()
        options = (f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}")
        options += (f"fsync={'on' if syncs else 'off'}", *wishes)
        settings = [part for option in options for part in ("-c", option)]
        with log.open("wb") as output:
            server = subprocess.Popen(
                [*as_user, str(programs / "postgres"), "-D", str(data), *settings],
                stdout=output, stderr=subprocess.STDOUT, cwd=folder,
            )  # fmt: skip
        try:
            address = f"trainguard@127.0.0.1:{port}"
            _wait_until_ready(address, server, log)
            yield address
        finally:
            server.send_signal(signal.SIGINT)  # "fast": it does not wait for connections that were left open
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def create_database(address: str, name: str, template: str = "template0") -> str:
    """Make a database; its address as `trainguard` takes it."""
    with psycopg.connect(f"postgresql://{address}/postgres", autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
    return f"postgresql+psycopg://{address}/{name}"


def drop_database(address: str, name: str) -> None:
    """Remove a database, whoever is still connected to it."""
    with psycopg.connect(f"postgresql://{address}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline, pause = time.monotonic() + START_SECONDS, threading.Event()
    while True:
        try:
            psycopg.connect(f"postgresql://{address}/postgres", connect_timeout=5).close()
            return
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start: {error}\n{log.read_text(errors='replace')[-2000:]}")
        pause.wait(0.05)
