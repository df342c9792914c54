"""The same metrics to others: MLflow's tracking server by `log_batch`, and trackio. Runs in an environment of its own.

`python -m benchmarks.server.peers mlflow|trackio SECONDS` prints one line of JSON: values of metrics a second. The
client is in the same process as the measurement, the server in one of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NAMES = ("loss", "grad_norm", "param_norm", "update_norm", "update_ratio", "learning_rate", "lr_scale", "step_seconds")
STEPS_A_BATCH = 50
CLIENTS = 4
RUNS = 16


def main() -> None:
    name, seconds = sys.argv[1], float(sys.argv[2])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        print(json.dumps({"mlflow": _mlflow, "trackio": _trackio}[name](Path(folder), seconds)))


def _mlflow(folder: Path, seconds: float) -> dict[str, Any]:
    import mlflow
    from mlflow.entities import Metric

    with _mlflow_server(folder) as url:
        client = mlflow.MlflowClient(tracking_uri=url)
        experiment = client.create_experiment("load")
        runs = [client.create_run(experiment).info.run_id for _ in range(RUNS)]

        def send(worker: int, turn: int) -> None:
            first = turn // (RUNS // CLIENTS) * STEPS_A_BATCH
            run = runs[worker + CLIENTS * (turn % (RUNS // CLIENTS))]
            now = int(1000 * time.time())
            metrics = [
                Metric(name, 1.0 + 0.001 * step, now, step)
                for step in range(first, first + STEPS_A_BATCH)
                for name in NAMES
            ]
            client.log_batch(run, metrics=metrics)

        batches, took = _hammer(send, seconds)
    return _told(mlflow.__version__, batches, took)


def _trackio(folder: Path, seconds: float) -> dict[str, Any]:
    os.environ["TRACKIO_DIR"] = str(folder)
    import trackio

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        trackio.init(project="load", name="run")
        began = time.perf_counter()
        steps = 0
        while time.perf_counter() - began < seconds:
            for _ in range(STEPS_A_BATCH):
                trackio.log(dict.fromkeys(NAMES, 1.0 + 0.001 * steps), step=steps)
                steps += 1
        # Everything that was noted has to arrive.
        trackio.finish()
        took = time.perf_counter() - began
    return _told(trackio.__version__, steps // STEPS_A_BATCH, took)


def _told(version: str, batches: int, seconds: float) -> dict[str, Any]:
    observations = batches * STEPS_A_BATCH
    return {"version": version, "observations": observations, "seconds": seconds, "per_second": observations / seconds}


def _hammer(send: Callable[[int, int], None], seconds: float) -> tuple[int, float]:
    done = [0] * CLIENTS
    began = time.perf_counter()

    def work(worker: int) -> None:
        while time.perf_counter() - began < seconds:
            send(worker, done[worker])
            done[worker] += 1

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done), time.perf_counter() - began


@contextlib.contextmanager
def _mlflow_server(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--default-artifact-root",
        f"{folder}/artifacts",
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 90
    try:
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{url}/health", timeout=5).read()
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("MLflow did not start: " + (folder / "log").read_text()[-500:])
            time.sleep(0.2)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.wait(30)


if __name__ == "__main__":
    main()
