"""The service's own health: is it up, does it answer, how fast, does it tell people."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, timeseries

from dashboards.grafana.vocabulary import GREEN, PER_RUN, RED, Query, chart, listing, number, page, thresholds


def envelopes_by_answer() -> timeseries.Panel:
    """Envelopes per second by what they were answered."""
    return chart(
        "Envelopes",
        "By answer. Duplicates are normal after a lost receipt; anything but recorded and duplicate is a refusal.",
        [Query("sum by (status) (rate(trainguard_envelopes_total[$__rate_interval]))", "{{status}}")],
        unit="ops",
    )


def envelope_seconds() -> timeseries.Panel:
    """Quantiles of the time from an envelope's arrival to its receipt."""
    return chart(
        "Time to a receipt",
        "From an envelope's arrival to its receipt, which leaves after the commit.",
        [
            Query(
                f"histogram_quantile({quantile}, "
                "sum by (le) (rate(trainguard_envelope_seconds_bucket[$__rate_interval])))",
                legend,
            )
            for quantile, legend in ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))
        ],
        unit="s",
    )


def notifications() -> timeseries.Panel:
    """Notifications by outcome."""
    return chart(
        "Notifications",
        "By outcome; failed ones stay in the outbox table.",
        [Query("sum by (outcome) (increase(trainguard_notifications_total[$__rate_interval]))", "{{outcome}}")],
        bars=True,
    )


def build() -> dashboard.Dashboard:
    """The dashboard "Service"."""
    board = page("trainguard-service", "trainguard / Service", "Health of the service itself, all replicas together.")
    board.with_row(dashboard.Row("Now"))
    board.with_panel(
        number(
            "Replicas up",
            "Processes that Prometheus could scrape.",
            Query('sum(up{job="trainguard"})', "up"),
            colours=thresholds((None, RED), (1, GREEN)),
            width=6,
            decimals=0,
        )
    )
    board.with_panel(
        number(
            "Runs watched",
            "Runs that are going on.",
            Query('sum(max by (state) (trainguard_runs{state="running"}))', "running"),
            width=6,
            decimals=0,
        )
    )
    board.with_panel(
        number(
            "Observations per second",
            "Of all runs.",
            Query(
                f"sum(max by ({PER_RUN}) (rate(trainguard_run_observations_total[$__rate_interval])))", "observations"
            ),
            unit="ops",
            width=6,
        )
    )
    board.with_panel(
        number(
            "Refused envelopes",
            "Share of envelopes that were neither recorded nor duplicates.",
            Query(
                '(sum(rate(trainguard_envelopes_total{status!~"recorded|duplicate"}[$__rate_interval])) or vector(0))'
                " / sum(rate(trainguard_envelopes_total[$__rate_interval]))",
                "refused",
            ),
            unit="percentunit",
            colours=thresholds((None, GREEN), (0.01, RED)),
            width=6,
        )
    )
    board.with_row(dashboard.Row("Over time"))
    for panel in (
        envelopes_by_answer(),
        envelope_seconds(),
        notifications(),
        chart(
            "Runs by state",
            "As the service knows them.",
            [
                Query("max by (state) (trainguard_runs)", "{{state}}"),
                Query("max(trainguard_runs_left_out)", "without metrics of their own"),
            ],
            stairs=True,
        ),
        chart(
            "Scrapes",
            "1 while Prometheus reaches a replica.",
            [Query('up{job="trainguard"}', "{{instance}}")],
            stairs=True,
        ),
        chart(
            "Scrape time",
            "Grows with the number of running runs.",
            [Query('scrape_duration_seconds{job="trainguard"}', "{{instance}}")],
            unit="s",
        ),
        listing(
            "Versions",
            "What each replica runs.",
            [Query('trainguard_build_info * on (job, instance) group_left () (up{job="trainguard"})', "up")],
            hidden=["__name__"],
            height=5,
        ),
    ):
        board.with_panel(panel)
    return board
