"""What /metrics says: of this process from its own counters, of the runs from the database at every scrape.

The figures of runs are read, not kept: so they are right at once after a restart, every replica says the same,
a counter exists at 0 from the moment its run registers (one born at 1 would never make ``increase()`` rise), and
what has ended is simply not there any more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from monitor_server.settings import Settings
from monitor_server.storage import Database, RunRow, incidents, reports, runs
from trainguard import __version__

RUN_LABELS = ("project", "run", "run_id")
ALARMING: Mapping[str, tuple[str, ...]] = {
    "non_finite": ("warning", "critical"),
    "loss_spike": ("warning", "critical"),
    "divergence": ("warning", "critical"),
    "grad_explosion": ("warning", "critical"),
    "plateau": ("info", "warning"),
}
"""The findings that alert rules count: these counters are there at 0 from the start, so that the first finding is an
increase. Of every other kind and severity a counter appears with the first one: all of them for every run would be four
times as many series as a run has for the rest."""
RUN_STATES = ("running", "silent", "finished", "halted", "failed")
ENVELOPE_STATUSES = ("recorded", "duplicate", "refused", "failed")
"""refused: the sender's mistake; failed: ours, and it will come again."""
LONGEST_DECISION = 300
"""Characters of a decision in its label."""
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_GAUGES: Mapping[str, tuple[str, Callable[[RunRow], float | None]]] = {
    "loss": ("Training loss of the last step.", lambda run: run.last_signals.get("loss")),
    "grad_norm": ("Gradient norm before clipping.", lambda run: run.last_signals.get("grad_norm")),
    "update_ratio": ("Norm of the last update over the norm.", lambda run: run.last_signals.get("update_ratio")),
    "learning_rate": ("As the schedule set it.", lambda run: run.last_signals.get("learning_rate")),
    "learning_rate_applied": ("With the multiplier.", lambda run: _applied_rate(run)),
    "lr_scale": ("The learning-rate multiplier in force.", lambda run: run.lr_scale),
    "step": ("The last step of the attempt in force.", lambda run: run.last_step),
    "attempt": ("Raised by every rollback and restart.", lambda run: run.attempt),
    "step_seconds": ("Wall time of the last step.", lambda run: run.last_signals.get("step_seconds")),
    "last_observation_timestamp_seconds": (
        "When the last observation was made; 0 before the first.",
        lambda run: run.last_observed_at or 0.0,
    ),
}
_COUNTERS: Mapping[str, tuple[str, Callable[[RunRow], float]]] = {
    "rollbacks": ("Attempts that began with a rollback.", lambda run: run.rollbacks_total),
    "escalations": ("Incidents that only a person can end.", lambda run: run.escalations_total),
    "observations": ("Observations recorded.", lambda run: run.observations_total),
    "observations_lost": ("Observations the trainer had to drop.", lambda run: run.observations_lost),
}
_NO_FINDINGS = {f"{kind}/{severity}": 0 for kind, severities in ALARMING.items() for severity in severities}


class Telemetry:
    """A registry of its own, and the few things that this process counts itself."""

    def __init__(self, database: Database, settings: Settings, *, clock: Callable[[], float]) -> None:
        registry = CollectorRegistry()
        self._envelopes = Counter("trainguard_envelopes", "Envelopes answered.", ("status",), registry=registry)
        self._seconds = Histogram(
            "trainguard_envelope_seconds",
            "From the arrival of an envelope to its answer.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._notifications = Counter(
            "trainguard_notifications", "Notifications that arrived or failed.", ("outcome",), registry=registry
        )
        build = Gauge(
            "trainguard_build_info", "What is running.", ("version",), registry=registry, multiprocess_mode="max"
        )
        build.labels(__version__).set(1)
        for status in ENVELOPE_STATUSES:
            self._envelopes.labels(status)
        for outcome in ("delivered", "failed"):
            self._notifications.labels(outcome)
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            # One of several workers: all of them write into that folder, and whoever is asked adds them up.
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(RunCollector(database, settings, clock=clock))
        self.registry = registry

    def envelope(self, status: str, seconds: float) -> None:
        """One envelope was answered with one of `ENVELOPE_STATUSES`."""
        self._envelopes.labels(status).inc()
        self._seconds.observe(seconds)

    def notification(self, outcome: str) -> None:
        """One notification was ``delivered`` or ``failed``."""
        self._notifications.labels(outcome).inc()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The page for a scraper that accepts ``accept``, and its media type.

        Raises `DatabaseUnavailable`: a service without its database is down, and ``up`` should say so.
        """
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type


class RunCollector(Collector):
    """Metrics of the runs, read from the database by every scrape.

    Gauges of a run are there while it lives, its counters a little longer, so that its last escalation is scraped.
    """

    def __init__(self, database: Database, settings: Settings, *, clock: Callable[[], float]) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not read the database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every family of run metrics."""
        now = self._clock()
        ended_after = now - self._settings.metrics_linger_seconds
        with self._database.read() as connection:
            told, left_out = runs.reporting(
                connection,
                ended_after=ended_after,
                heard_after=now - self._settings.metrics_forget_after_seconds,
                first=incidents.troubled(),
                most=self._settings.metrics_runs,
            )
            active = incidents.active_counts(connection)
            failed = reports.failed_recoveries(connection, ended_after=ended_after)
            states = runs.count_by_state(connection)
        living = [row for row in told if row.state in runs.LIVING_STATES]
        yield _runs_by_state(states)
        yield GaugeMetricFamily("trainguard_runs_left_out", "Runs without metrics of their own.", value=left_out)
        yield from _gauges(living)
        yield _active_incidents(living, active)
        yield _decisions(living)
        yield from _counters(told)
        yield _failed_recoveries(told, failed)
        yield _findings(told)


def _runs_by_state(states: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily("trainguard_runs", "Runs in each state.", labels=("state",))
    for state in RUN_STATES:
        family.add_metric((state,), states.get(state, 0))
    return family


def _gauges(living: list[RunRow]) -> Iterator[Metric]:
    for name, (words, value_of) in _GAUGES.items():
        family = GaugeMetricFamily(f"trainguard_run_{name}", words, labels=RUN_LABELS)
        for run in living:
            value = value_of(run)
            if value is not None:
                family.add_metric(_labels(run), value)
        yield family


def _counters(told: list[RunRow]) -> Iterator[Metric]:
    for name, (words, value_of) in _COUNTERS.items():
        family = CounterMetricFamily(f"trainguard_run_{name}", words, labels=RUN_LABELS)
        for run in told:
            family.add_metric(_labels(run), value_of(run))
        yield family


def _active_incidents(living: list[RunRow], active: Mapping[tuple[UUID, str], int]) -> Metric:
    """Of the kinds that there are: a gauge need not begin at 0."""
    family = GaugeMetricFamily(
        "trainguard_run_active_incidents", "Incidents whose life goes on.", labels=(*RUN_LABELS, "kind")
    )
    runs_by_id = {run.run_id: run for run in living}
    for (run_id, kind), count in sorted(active.items()):
        if run_id in runs_by_id:
            family.add_metric((*_labels(runs_by_id[run_id]), kind), count)
    return family


def _failed_recoveries(told: list[RunRow], failed: Mapping[UUID, int]) -> Metric:
    family = CounterMetricFamily(
        "trainguard_run_failed_recoveries", "Remedies that the trainer could not carry out.", labels=RUN_LABELS
    )
    for run in told:
        family.add_metric(_labels(run), failed.get(run.run_id, 0))
    return family


def _decisions(living: list[RunRow]) -> Metric:
    """The latest decision in a label: alerts quote it. One series per run at a time, a new one per decision."""
    family = GaugeMetricFamily(
        "trainguard_run_decision_info",
        "Always 1; the label holds the latest decision.",
        labels=(*RUN_LABELS, "decision"),
    )
    for run in living:
        sentence = run.last_decision
        if len(sentence) > LONGEST_DECISION:
            sentence = sentence[: LONGEST_DECISION - 1] + "…"
        family.add_metric((*_labels(run), sentence), 1)
    return family


def _findings(told: list[RunRow]) -> Metric:
    family = CounterMetricFamily(
        "trainguard_run_findings", "What the service's detectors said.", labels=(*RUN_LABELS, "kind", "severity")
    )
    for run in told:
        for name, count in {**_NO_FINDINGS, **run.finding_counts}.items():
            kind, _, severity = name.partition("/")
            family.add_metric((*_labels(run), kind, severity), count)
    return family


def _labels(run: RunRow) -> tuple[str, str, str]:
    return run.project, run.name, str(run.run_id)


def _applied_rate(run: RunRow) -> float | None:
    rate = run.last_signals.get("learning_rate")
    return None if rate is None else rate * run.lr_scale
