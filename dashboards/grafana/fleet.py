"""All runs at once: which need a person, and what goes wrong how often."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

from dashboards.grafana.vocabulary import (
    GREEN,
    OF_PROJECT,
    PER_RUN,
    RED,
    YELLOW,
    Query,
    chart,
    choice,
    listing,
    number,
    open_incidents,
    page,
    thresholds,
)


def _numbers(board: dashboard.Dashboard) -> None:
    calm_then_red = thresholds((None, GREEN), (1, RED))
    board.with_row(dashboard.Row("Now"))
    board.with_panel(
        number(
            "Runs",
            "Runs in the chosen projects that are going on.",
            Query(f"count(max by ({PER_RUN}) (trainguard_run_step{{{OF_PROJECT}}}))", "runs"),
            width=6,
            decimals=0,
        )
    )
    board.with_panel(
        number(
            "Runs with an open incident",
            "Runs of which at least one incident is not closed.",
            Query(
                f"count(max by ({PER_RUN}) (trainguard_run_active_incidents{{{OF_PROJECT}}}) > 0) or vector(0)",
                "runs",
            ),
            colours=calm_then_red,
            width=6,
            decimals=0,
        )
    )
    board.with_panel(
        number(
            "Silent runs",
            "Nothing heard for five minutes, and no goodbye.",
            Query(
                f"count(time() - max by ({PER_RUN}) "
                f"(trainguard_run_last_observation_timestamp_seconds{{{OF_PROJECT}}} > 0) > 300) or vector(0)",
                "runs",
            ),
            colours=calm_then_red,
            width=6,
            decimals=0,
        )
    )
    board.with_panel(
        number(
            "Rollbacks",
            "In the chosen time.",
            Query(
                f"sum(max by ({PER_RUN}) (increase(trainguard_run_rollbacks_total{{{OF_PROJECT}}}[$__range])))",
                "rollbacks",
            ),
            colours=thresholds((None, GREEN), (1, YELLOW)),
            width=6,
            decimals=0,
        )
    )


def _runs(board: dashboard.Dashboard) -> None:
    def column(expression: str, heading: str) -> Query:
        return Query(f"max by ({PER_RUN}) ({expression})", heading)

    board.with_row(dashboard.Row("Runs"))
    board.with_panel(
        listing(
            "Runs",
            "Click a run to see it.",
            [
                column(f"trainguard_run_step{{{OF_PROJECT}}}", "step"),
                column(f"trainguard_run_loss{{{OF_PROJECT}}}", "loss"),
                column(f"trainguard_run_attempt{{{OF_PROJECT}}}", "attempt"),
                column(f"trainguard_run_lr_scale{{{OF_PROJECT}}}", "rate multiplier"),
                Query(open_incidents(OF_PROJECT), "open incidents"),
                column(f"trainguard_run_rollbacks_total{{{OF_PROJECT}}}", "rollbacks"),
                column(f"trainguard_run_escalations_total{{{OF_PROJECT}}}", "escalations"),
                Query(
                    f"time() - max by ({PER_RUN}) "
                    f"(trainguard_run_last_observation_timestamp_seconds{{{OF_PROJECT}}} > 0)",
                    "last seen",
                ),
            ],
            height=12,
        )
        .override_by_name("last seen", [models.DynamicConfigValue(id_val="unit", value="s")])
        .override_by_name(
            "run",
            [
                models.DynamicConfigValue(
                    id_val="links",
                    value=[
                        {
                            "title": "Show this run",
                            "url": "/d/trainguard-run?var-project=${__data.fields.project:percentencode}"
                            "&var-run=${__data.fields.run:percentencode}"
                            "&var-run_id=${__data.fields.run_id:percentencode}",
                        }
                    ],
                )
            ],
        )
    )


def _troubles(board: dashboard.Dashboard) -> None:
    board.with_row(dashboard.Row("Troubles"))
    for panel in (
        chart(
            "Open incidents by kind",
            "Over all runs of the chosen projects. Empty is good.",
            [
                Query(
                    f"sum by (kind) (max by ({PER_RUN}, kind) (trainguard_run_active_incidents{{{OF_PROJECT}}}))",
                    "{{kind}}",
                )
            ],
            stairs=True,
        ),
        chart(
            "Findings by kind",
            "Of severity warning and critical.",
            [
                Query(
                    f"sum by (kind) (max by ({PER_RUN}, kind, severity) "
                    f'(increase(trainguard_run_findings_total{{{OF_PROJECT}, severity!="info"}}[$__rate_interval])))',
                    "{{kind}}",
                )
            ],
            bars=True,
        ),
        chart(
            "Rollbacks and escalations",
            "Over all runs of the chosen projects.",
            [
                Query(
                    f"sum(max by ({PER_RUN}) "
                    f"(increase(trainguard_run_rollbacks_total{{{OF_PROJECT}}}[$__rate_interval])))",
                    "rollbacks",
                ),
                Query(
                    f"sum(max by ({PER_RUN}) "
                    f"(increase(trainguard_run_escalations_total{{{OF_PROJECT}}}[$__rate_interval])))",
                    "escalations",
                ),
            ],
            bars=True,
        ),
        chart(
            "Lost observations",
            "Dropped in the trainers because the service was away; the ten worst runs.",
            [
                Query(
                    f"topk(10, max by ({PER_RUN}) "
                    f"(increase(trainguard_run_observations_lost_total{{{OF_PROJECT}}}[$__rate_interval])))",
                    "{{project}} {{run}}",
                )
            ],
            bars=True,
        ),
    ):
        board.with_panel(panel)


def build() -> dashboard.Dashboard:
    """The dashboard "Fleet"."""
    board = page("trainguard-fleet", "trainguard / Fleet", "All runs: which need a person, what goes wrong.")
    board.with_variable(choice("project", "Project", "label_values(trainguard_run_step, project)", everything=True))
    _numbers(board)
    _runs(board)
    _troubles(board)
    return board
