"""An exporter with the service's metric names, to test dashboards and alerts without the service.

It is the contract in one place: `metric_names` is what queries may stand on. Each scrape
advances the trainings by ten steps, so time is counted in scrapes and nothing here needs a clock of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

RUN_LABELS = ("project", "run", "run_id")
ALARMING = {
    "non_finite": ("warning", "critical"),
    "loss_spike": ("warning", "critical"),
    "divergence": ("warning", "critical"),
    "grad_explosion": ("warning", "critical"),
    "plateau": ("info", "warning"),
}
"""What the rules count: there at 0 from the start."""
STEPS_PER_SCRAPE = 10
TROUBLED = {"project": "demo", "run": "gpt", "run_id": "0b5c7a52-8a3e-4f6e-9d53-1d3f6a3f7e01"}
HEALTHY = {"project": "demo", "run": "twin", "run_id": "f3a1c9d4-2b7e-4c1a-8e66-7a9b0c1d2e02"}

GAUGES = (
    "loss",
    "grad_norm",
    "update_ratio",
    "learning_rate",
    "learning_rate_applied",
    "lr_scale",
    "step",
    "attempt",
    "step_seconds",
    "last_observation_timestamp_seconds",
)
COUNTERS = ("rollbacks", "escalations", "failed_recoveries", "observations", "observations_lost")


class _Advance(Collector):
    """Registered before the metrics, so that each scrape moves the story on and then reads it."""

    def __init__(self, exporter: FakeTrainingExporter) -> None:
        self._exporter = exporter

    def collect(self) -> Iterator[Metric]:
        self._exporter.advance()
        return iter(())


class FakeTrainingExporter:
    """Two runs of project ``demo``: ``gpt``, which gets into trouble when told, and its healthy ``twin``."""

    def __init__(self) -> None:
        self.troubled = TROUBLED
        self.healthy = HEALTHY
        self._lock = threading.Lock()
        self.scrapes = 0
        registry = CollectorRegistry()
        registry.register(_Advance(self))
        self._gauges = {name: Gauge(f"trainguard_run_{name}", name, RUN_LABELS, registry=registry) for name in GAUGES}
        self._incidents = Gauge("trainguard_run_active_incidents", "open", (*RUN_LABELS, "kind"), registry=registry)
        self._decisions = Gauge(
            "trainguard_run_decision_info", "decision", (*RUN_LABELS, "decision"), registry=registry
        )
        self._findings = Counter(
            "trainguard_run_findings", "findings", (*RUN_LABELS, "kind", "severity"), registry=registry
        )
        self._counters = {
            name: Counter(f"trainguard_run_{name}", name, RUN_LABELS, registry=registry) for name in COUNTERS
        }
        self._envelopes = Counter("trainguard_envelopes", "envelopes", ("status",), registry=registry)
        self._seconds = Histogram("trainguard_envelope_seconds", "seconds", registry=registry)
        self._notifications = Counter("trainguard_notifications", "told", ("outcome",), registry=registry)
        self._runs = Gauge("trainguard_runs", "runs", ("state",), registry=registry)
        Gauge("trainguard_runs_left_out", "without metrics of their own", registry=registry)
        Gauge("trainguard_build_info", "build", ("version",), registry=registry).labels("0.1.0").set(1)
        for run in (self.troubled, self.healthy):
            self._register(run)
        for status in ("recorded", "duplicate", "refused"):
            self._envelopes.labels(status)
        for outcome in ("delivered", "failed"):
            self._notifications.labels(outcome)
        for state, count in {"running": 2, "finished": 0, "halted": 0, "failed": 0, "silent": 0}.items():
            self._runs.labels(state).set(count)
        self._server, self._thread = start_http_server(0, addr="127.0.0.1", registry=registry)

    def _register(self, run: dict[str, str]) -> None:
        """Every child at 0 from the start: a counter born at 1 never makes ``increase()`` rise."""
        for counter in self._counters.values():
            counter.labels(**run)
        for kind, severities in ALARMING.items():
            for severity in severities:
                self._findings.labels(**run, kind=kind, severity=severity)
        self._decisions.labels(**run, decision="").set(1)
        self._gauges["learning_rate"].labels(**run).set(3e-4)
        self._gauges["lr_scale"].labels(**run).set(1)
        self._gauges["step_seconds"].labels(**run).set(0.1)

    @property
    def target(self) -> str:
        """Host and port that Prometheus scrapes."""
        return f"127.0.0.1:{self._server.server_port}"

    def advance(self) -> None:
        """Ten steps of both runs and one envelope of each."""
        with self._lock:
            self.scrapes += 1
            for run in (self.troubled, self.healthy):
                gauge = {name: metric.labels(**run) for name, metric in self._gauges.items()}
                gauge["step"].inc(STEPS_PER_SCRAPE)
                gauge["loss"].set(4 / (1 + 0.01 * self.scrapes))
                gauge["grad_norm"].set(1 + 0.1 * (self.scrapes % 5))
                gauge["update_ratio"].set(1e-3)
                scale = self._gauges["lr_scale"].labels(**run)._value.get()
                gauge["learning_rate_applied"].set(3e-4 * scale)
                gauge["last_observation_timestamp_seconds"].set(time.time())
                self._counters["observations"].labels(**run).inc(STEPS_PER_SCRAPE)
                self._envelopes.labels("recorded").inc()
                self._seconds.observe(0.004)

    def diverge(self) -> None:
        """The detectors say so, an incident opens, somebody is told."""
        with self._lock:
            self._findings.labels(**self.troubled, kind="divergence", severity="critical").inc()
            self._incidents.labels(**self.troubled, kind="divergence").set(1)
            self._notifications.labels("delivered").inc()

    def roll_back(self) -> None:
        """Fifty steps back, a new attempt, half the rate."""
        with self._lock:
            self._counters["rollbacks"].labels(**self.troubled).inc()
            self._gauges["attempt"].labels(**self.troubled).inc()
            self._gauges["step"].labels(**self.troubled).dec(50)
            self._gauges["lr_scale"].labels(**self.troubled).set(0.5)

    def recover(self) -> None:
        """The incident closes."""
        with self._lock:
            self._incidents.remove(*self.troubled.values(), "divergence")

    def escalate(self) -> None:
        """A person is called."""
        with self._lock:
            self._counters["escalations"].labels(**self.troubled).inc()

    def fail_to_recover(self) -> None:
        """A remedy could not be carried out."""
        with self._lock:
            self._counters["failed_recoveries"].labels(**self.troubled).inc()

    def lose_observations(self) -> None:
        """The outbox overflowed, an envelope was refused."""
        with self._lock:
            self._counters["observations_lost"].labels(**self.troubled).inc(7)
            self._envelopes.labels("refused").inc()

    def __enter__(self) -> FakeTrainingExporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)


def metric_names() -> set[str]:
    """Every metric name a query may use, as it is exposed (counters with ``_total``)."""
    run = {f"trainguard_run_{name}" for name in (*GAUGES, "active_incidents", "decision_info")}
    run |= {f"trainguard_run_{name}_total" for name in ("findings", *COUNTERS)}
    service = {"trainguard_envelopes_total", "trainguard_envelope_seconds_bucket"}
    return (
        run
        | service
        | {"trainguard_notifications_total", "trainguard_runs", "trainguard_runs_left_out", "trainguard_build_info"}
    )
