"""One training run: what it does now, its curves, its troubles, and the service behind it."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from dashboards.grafana.service import envelope_seconds, envelopes_by_answer, notifications
from dashboards.grafana.sql import attempt_choice, database_variable, sql_listing, sql_steps
from dashboards.grafana.vocabulary import (
    BLUE,
    DATA_SOURCE,
    GREEN,
    OF_RUN,
    ORANGE,
    PER_RUN,
    RED,
    YELLOW,
    Query,
    chart,
    choice,
    listing,
    number,
    of_run,
    open_incidents,
    page,
    thresholds,
)


def _now(board: dashboard.Dashboard) -> None:
    calm_then_red = thresholds((None, GREEN), (1, RED))
    board.with_row(dashboard.Row("Now"))
    board.with_panel(
        number("Step", "Goes back at a rollback.", Query(of_run("trainguard_run_step"), "{{id}}"), decimals=0)
    )
    board.with_panel(number("Loss", "Of the last step.", Query(of_run("trainguard_run_loss"), "{{id}}"), decimals=4))
    board.with_panel(
        number(
            "Last seen",
            "Time since the last observation.",
            Query(
                f"time() - max by ({PER_RUN}) (trainguard_run_last_observation_timestamp_seconds{{{OF_RUN}}} > 0)",
                "{{run}}",
            ),
            unit="s",
            colours=thresholds((None, GREEN), (60, YELLOW), (300, RED)),
        )
    )
    board.with_panel(
        number(
            "Attempt",
            "0 until the first rollback or restart; each one raises it.",
            Query(of_run("trainguard_run_attempt"), "{{id}}"),
            colours=thresholds((None, GREEN), (1, YELLOW), (3, ORANGE)),
            decimals=0,
        )
    )
    board.with_panel(
        number(
            "Rate multiplier",
            "What trainguard multiplies the scheduled learning rate by.",
            Query(of_run("trainguard_run_lr_scale"), "{{id}}"),
            colours=thresholds((None, ORANGE), (1, GREEN)),
        )
    )
    board.with_panel(
        number(
            "Open incidents",
            "Incidents of all kinds that are not closed.",
            Query(open_incidents(), "{{run}}"),
            colours=calm_then_red,
            decimals=0,
        )
    )
    board.with_panel(
        number(
            "Rollbacks",
            "Since the run registered.",
            Query(of_run("trainguard_run_rollbacks_total"), "{{id}}"),
            colours=thresholds((None, GREEN), (1, YELLOW), (3, RED)),
            decimals=0,
        )
    )
    board.with_panel(
        number(
            "Escalations",
            "Times that trainguard gave up and called a person.",
            Query(of_run("trainguard_run_escalations_total"), "{{id}}"),
            colours=calm_then_red,
            decimals=0,
        )
    )


def _training(board: dashboard.Dashboard) -> None:
    board.with_row(dashboard.Row("Training"))
    board.with_panel(
        chart(
            "Loss",
            "Training loss of the last step before each scrape. A gap is a loss that was not finite.",
            [Query(of_run("trainguard_run_loss"), "loss {{id}}")],
            log=True,
            width=24,
            height=10,
        )
    )
    board.with_panel(
        chart(
            "Gradient norm",
            "Global L2 norm before clipping.",
            [Query(of_run("trainguard_run_grad_norm"), "gradient norm {{id}}")],
            log=True,
        )
    )
    board.with_panel(
        chart(
            "Update ratio",
            "Norm of the step's change over the norm of the parameters; about 1e-3 is usual.",
            [Query(of_run("trainguard_run_update_ratio"), "update ratio {{id}}")],
            log=True,
        )
    )
    board.with_panel(
        chart(
            "Learning rate: scheduled and applied",
            "They part where trainguard lowered the rate.",
            [
                Query(of_run("trainguard_run_learning_rate"), "scheduled {{id}}"),
                Query(of_run("trainguard_run_learning_rate_applied"), "applied {{id}}"),
            ],
            log=True,
            stairs=True,
        )
    )
    board.with_panel(
        chart(
            "Learning-rate multiplier",
            "1 until a remedy lowers it.",
            [Query(of_run("trainguard_run_lr_scale"), "multiplier {{id}}")],
            stairs=True,
        )
    )
    board.with_panel(
        chart(
            "Step",
            "A fall is a rollback; the attempt rises with it.",
            [Query(of_run("trainguard_run_step"), "step {{id}}")],
            width=8,
        )
    )
    board.with_panel(
        chart(
            "Attempt",
            "Raised by every rollback and restart.",
            [Query(of_run("trainguard_run_attempt"), "attempt {{id}}")],
            stairs=True,
            width=8,
        )
    )
    board.with_panel(
        chart(
            "Step time",
            "Wall time of the last step before each scrape.",
            [Query(of_run("trainguard_run_step_seconds"), "step {{id}}")],
            unit="s",
            width=8,
        )
    )


def _troubles(board: dashboard.Dashboard) -> None:
    board.with_row(dashboard.Row("Troubles"))
    board.with_panel(
        chart(
            "Open incidents by kind",
            "Open, recovering or watching. Empty is good.",
            [
                Query(
                    f"sum by (kind) (max by ({PER_RUN}, kind) (trainguard_run_active_incidents{{{OF_RUN}}}))",
                    "{{kind}}",
                )
            ],
            stairs=True,
        )
    )
    board.with_panel(
        chart(
            "Findings",
            "What the detectors said, by kind and severity.",
            [
                Query(
                    f"sum by (kind, severity) (max by ({PER_RUN}, kind, severity) "
                    f"(increase(trainguard_run_findings_total{{{OF_RUN}}}[$__rate_interval])))",
                    "{{kind}} {{severity}}",
                )
            ],
            bars=True,
        )
    )
    board.with_panel(
        chart(
            "Rollbacks, failed remedies and escalations",
            "Counted since the run registered.",
            [
                Query(of_run("trainguard_run_rollbacks_total"), "rollbacks {{id}}"),
                Query(of_run("trainguard_run_failed_recoveries_total"), "failed remedies {{id}}"),
                Query(of_run("trainguard_run_escalations_total"), "escalations {{id}}"),
            ],
            stairs=True,
        )
    )
    board.with_panel(
        chart(
            "Observations",
            "Received per second, and lost ones (dropped in the trainer because the service was away).",
            [
                Query(
                    f"max by ({PER_RUN}) (rate(trainguard_run_observations_total{{{OF_RUN}}}[$__rate_interval]))",
                    "received {{run}}",
                ),
                Query(
                    f"max by ({PER_RUN}) (rate(trainguard_run_observations_lost_total{{{OF_RUN}}}[$__rate_interval]))",
                    "lost {{run}}",
                ),
            ],
            unit="ops",
        )
    )
    board.with_panel(
        listing(
            "Latest decision",
            "What was decided last, and why.",
            [Query(f"max by ({PER_RUN}, decision) (trainguard_run_decision_info{{{OF_RUN}}})", "count")],
            hidden=["count", "Value", "run_id", "project"],
            height=5,
        )
    )
    board.with_panel(
        listing(
            "Alerts",
            "Alerts of this run that fired or were about to in the chosen time. "
            "Empty is good, and empty too where the rule file is not loaded.",
            [
                Query(
                    f"max by (alertname, severity, alertstate, {PER_RUN}) "
                    f'(last_over_time(ALERTS{{alertname=~"Trainguard.*", {OF_RUN}}}[$__range]))',
                    "count",
                )
            ],
            hidden=["count", "Value"],
            height=7,
        )
    )


THESE_RUNS = "name IN (${run:sqlstring}) AND run_id::text ~ '^(${run_id:regex})$'"
OF_ATTEMPTS = f"run_id IN (SELECT run_id FROM runs WHERE {THESE_RUNS}) AND attempt::text IN (${{attempt:sqlstring}})"


def _attempts(board: dashboard.Dashboard) -> None:
    """Step by step and by attempt: a Prometheus has neither, so these ask PostgreSQL."""
    # As wide as leaves some thousands of points, of the widths that the service keeps (32, 128, 512, ...).
    width = (
        "(SELECT (32 * 4 ^ floor(log(4.0, greatest(1, max(last_step) / 64000)::numeric)))::int "
        f"FROM runs WHERE {THESE_RUNS})"
    )
    latest = f"(SELECT max(attempt) FROM attempts WHERE {OF_ATTEMPTS})"
    board.with_row(dashboard.Row("Attempts (from PostgreSQL)"))
    board.with_panel(
        sql_steps(
            "Loss over steps, by attempt",
            "Of the chosen attempts: the latest one, and those before it, each point a mean of 32 steps or more.",
            [
                f"""
                SELECT first_step AS step, avg(loss_mean) FILTER (WHERE attempt = {latest}) AS "latest attempt",
                  avg(loss_mean) FILTER (WHERE attempt < {latest}) AS "earlier attempts"
                FROM rollups WHERE {OF_ATTEMPTS} AND width = {width} GROUP BY 1 ORDER BY 1 LIMIT 10000
                """
            ],
            width=16,
        )
    )
    board.with_panel(
        sql_listing(
            "Attempts",
            "The branches of the run's history, the latest first.",
            f"""
            SELECT attempt, reason, start_step AS "from step", to_timestamp(began_at) AS began,
              left(run_id::text, 8) AS id
            FROM attempts WHERE {OF_ATTEMPTS} ORDER BY began_at DESC
            """,
            width=8,
            height=9,
        )
    )


def build() -> dashboard.Dashboard:
    """The dashboard "Training run": choose project and run; a name used twice shows both ids."""
    board = page(
        "trainguard-run",
        "trainguard / Training run",
        "One run: its curves, its troubles, and what was done about them.",
    )
    board.with_variable(choice("project", "Project", "label_values(trainguard_run_step, project)", everything=True))
    board.with_variable(
        choice("run", "Run", 'label_values(trainguard_run_step{project=~"$project"}, run)', everything=False)
    )
    board.with_variable(
        choice(
            "run_id",
            "Id",
            'label_values(trainguard_run_step{project=~"$project", run=~"$run"}, run_id)',
            everything=True,
        )
    )
    board.with_variable(database_variable())
    board.with_variable(attempt_choice(THESE_RUNS))
    for name, colour, expr in (
        (
            "Rollbacks and restarts",
            BLUE,
            f"max by ({PER_RUN}) (changes(trainguard_run_attempt{{{OF_RUN}}}[1m])) > 0",
        ),
        (
            "Critical findings",
            RED,
            f'sum by (kind) (increase(trainguard_run_findings_total{{{OF_RUN}, severity="critical"}}[1m])) > 0',
        ),
        (
            "Escalations",
            ORANGE,
            f"max by ({PER_RUN}) (increase(trainguard_run_escalations_total{{{OF_RUN}}}[1m])) > 0",
        ),
    ):
        board.annotation(
            dashboard.AnnotationQuery().name(name).datasource(DATA_SOURCE).enable(True).icon_color(colour).expr(expr)
        )
    _now(board)
    _training(board)
    _attempts(board)
    _troubles(board)
    board.with_row(dashboard.Row("Service"))
    for panel in (envelopes_by_answer(), envelope_seconds(), notifications()):
        board.with_panel(panel.span(8))
    return board
