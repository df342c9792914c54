"""Incidents, from the database: what happened, why, what was decided, what it cost."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

from dashboards.grafana.sql import (
    attempt_choice,
    database_variable,
    sql_annotation,
    sql_chart,
    sql_choice,
    sql_listing,
    sql_number,
    sql_steps,
)
from dashboards.grafana.vocabulary import BLUE, RED, page

OF_PROJECTS = "runs.project IN (${project:sqlstring})"
IN_TIME = "$__timeFilter(to_timestamp(incidents.opened_at))"
CHOSEN = f"FROM incidents JOIN runs USING (run_id) WHERE {OF_PROJECTS} AND {IN_TIME}"
LOST = "COALESCE((incidents.document->>'steps_lost')::bigint, 0)"
STEP_SECONDS = "COALESCE((runs.last_signals->>'step_seconds')::float8, 0)"
THIS_RUN = "run_id = '${run}'::uuid"
THIS = f"{THIS_RUN} AND incident_id::text IN (${{incident:sqlstring}})"


def _all(board: dashboard.Dashboard) -> None:
    board.with_row(dashboard.Row("All incidents of the projects and the time"))
    for title, description, value, unit in (
        ("Incidents", "Opened in the chosen time.", "count(*)", "short"),
        (
            "Recovered",
            "Ended after a remedy.",
            "count(*) FILTER (WHERE incidents.state = 'resolved' AND (incidents.document->>'rung')::int > 0)",
            "short",
        ),
        (
            "Still going on",
            "Open, recovering or watching.",
            "count(*) FILTER (WHERE incidents.state IN ('open', 'recovering', 'watching'))",
            "short",
        ),
        ("Escalated", "Only a person can end them.", "count(*) FILTER (WHERE incidents.state = 'escalated')", "short"),
        ("Steps lost", "Trained and then gone back on.", f"COALESCE(sum({LOST}), 0)", "short"),
        (
            "Time lost",
            "Steps lost by each run's latest time for a step.",
            f"COALESCE(sum({LOST} * {STEP_SECONDS}), 0)",
            "s",
        ),
    ):
        board.with_panel(sql_number(title, description, f'SELECT {value} AS "{title.lower()}" {CHOSEN}', unit=unit))
    board.with_panel(
        sql_listing(
            "By kind and likeliest cause",
            "What goes wrong how often, and what it costs.",
            f"""
            SELECT incidents.kind, COALESCE(incidents.document->'diagnosis'->0->>'cause', '') AS "likely cause",
              count(*) AS incidents, count(DISTINCT run_id) AS runs,
              count(*) FILTER (WHERE incidents.state = 'resolved') AS resolved,
              count(*) FILTER (WHERE incidents.state = 'escalated') AS escalated, sum({LOST}) AS "steps lost"
            {CHOSEN} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
            """,
            width=10,
        )
    )
    board.with_panel(
        sql_listing(
            "Incidents",
            "The latest first; click one to see it below.",
            f"""
            SELECT to_timestamp(incidents.opened_at) AS opened, runs.project, runs.name AS run, incidents.kind,
              incidents.state, incidents.severity, (incidents.document->>'onset_step')::bigint AS onset,
              COALESCE(NULLIF(incidents.document->>'outcome', ''), incidents.document->>'summary') AS "what happened",
              run_id::text AS run_id, incident_id::text AS incident_id
            {CHOSEN} ORDER BY incidents.opened_at DESC LIMIT 200
            """,
            width=14,
        ).override_by_name(
            "kind",
            [
                models.DynamicConfigValue(
                    id_val="links",
                    value=[
                        {
                            "title": "Show this incident",
                            "url": "/d/trainguard-incident?var-project=${__data.fields.project:percentencode}"
                            "&var-run=${__data.fields.run_id:percentencode}"
                            "&var-incident=${__data.fields.incident_id:percentencode}",
                        }
                    ],
                )
            ],
        )
    )


def _run(board: dashboard.Dashboard) -> None:
    of_attempts = f"{THIS_RUN} AND attempt::text IN (${{attempt:sqlstring}})"
    in_force = f"(SELECT attempt FROM runs WHERE {THIS_RUN})"
    board.with_row(dashboard.Row("The run"))
    board.with_panel(
        sql_chart(
            "Loss over time",
            "Mean per interval, a curve per attempt; incidents and rollbacks are marked. A gap was not finite.",
            f"""
            SELECT $__timeGroup(to_timestamp(observed_at), $__interval) AS time, 'attempt ' || attempt AS metric,
              avg(loss) AS value
            FROM observations WHERE {of_attempts} AND $__timeFilter(to_timestamp(observed_at))
            GROUP BY 1, 2 ORDER BY 1
            """,
        )
    )
    board.with_panel(
        sql_steps(
            "Loss over steps",
            "Around the chosen incidents, step by step: 300 steps before the onset to 300 after it was seen.",
            [
                f"""
                SELECT step, avg(loss) FILTER (WHERE attempt = {in_force}) AS "latest attempt",
                  avg(loss) FILTER (WHERE attempt < {in_force}) AS "earlier attempts"
                FROM observations
                WHERE {of_attempts} AND step BETWEEN
                  (SELECT min((document->>'onset_step')::bigint) - 300 FROM incidents WHERE {THIS}) AND
                  (SELECT max((document->>'detected_step')::bigint) + 300 FROM incidents WHERE {THIS})
                GROUP BY step ORDER BY step LIMIT 5000
                """
            ],
        )
    )
    board.with_panel(
        sql_listing(
            "Attempts",
            "The branches of the run's history.",
            f"""
            SELECT attempt, parent, start_step AS "from step", reason, to_timestamp(began_at) AS began
            FROM attempts WHERE {THIS_RUN} ORDER BY attempt DESC
            """,
            width=12,
            height=7,
        )
    )
    board.with_panel(
        sql_listing(
            "Checkpoints",
            "What can be gone back to, the newest first.",
            f"""
            SELECT step, attempt, state, document->>'place' AS place,
              to_timestamp((document->>'saved_at')::float8) AS saved
            FROM checkpoints WHERE {THIS_RUN} AND state <> 'removed' ORDER BY attempt DESC, step DESC LIMIT 50
            """,
            width=12,
            height=7,
        )
    )


def _incident(board: dashboard.Dashboard) -> None:
    board.with_row(dashboard.Row("The incident"))
    board.with_panel(
        sql_listing(
            "What happened",
            "In sentences.",
            f"""
            SELECT kind, state, (document->>'onset_step')::bigint AS "began at step",
              (document->>'detected_step')::bigint AS "seen at step", (document->>'rung')::int AS "remedies tried",
              (document->>'steps_lost')::bigint AS "steps lost", document->>'summary' AS summary,
              document->>'outcome' AS outcome
            FROM incidents WHERE {THIS} ORDER BY opened_at DESC
            """,
            height=6,
        )
    )
    board.with_panel(
        sql_listing(
            "Likely causes",
            "The best supported first.",
            f"""
            SELECT cause->>'support' AS support, cause->>'statement' AS statement, cause->>'next_step' AS "next step"
            FROM incidents, json_array_elements(document->'diagnosis') WITH ORDINALITY AS told(cause, place)
            WHERE {THIS} ORDER BY opened_at DESC, place
            """,
            width=12,
        )
    )
    board.with_panel(
        sql_listing(
            "Decisions",
            "Each with its reason, also where it was to do nothing.",
            f"""
            SELECT to_timestamp(decided_at) AS decided, (document->>'step')::bigint AS step, decided_by AS by, verdict,
              document->>'reason' AS reason
            FROM decisions WHERE {THIS} ORDER BY decided_at
            """,
            width=12,
        )
    )
    board.with_panel(
        sql_listing(
            "Commands of the run",
            "What was ordered, and what the trainer answered.",
            f"""
            SELECT to_timestamp(commands.issued_at) AS issued, commands.document->'orders'->0->>'action' AS action,
              commands.state, commands.document->>'issued_by' AS "issued by",
              COALESCE(acknowledgements.document->>'reason', '') AS answer
            FROM commands LEFT JOIN acknowledgements USING (run_id, command_id)
            WHERE commands.{THIS_RUN} ORDER BY commands.issued_at DESC LIMIT 50
            """,
            width=12,
        )
    )
    board.with_panel(
        sql_listing(
            "Findings of the run",
            "What the service's detectors said, the latest first.",
            f"""
            SELECT step, attempt, kind, severity, onset_step AS onset, document->>'message' AS message
            FROM findings WHERE {THIS_RUN} AND source = 'server' ORDER BY attempt DESC, step DESC LIMIT 100
            """,
            width=12,
        )
    )


def build() -> dashboard.Dashboard:
    """The dashboard "Incidents": choose projects, a run, its attempts and its incidents."""
    board = page(
        "trainguard-incident",
        "trainguard / Incidents",
        "What went wrong, why, what was decided and what it cost; from PostgreSQL.",
    )
    board.with_variable(database_variable())
    board.with_variable(
        sql_choice("project", "Project", "SELECT DISTINCT project FROM runs ORDER BY project", everything=True)
    )
    board.with_variable(
        sql_choice(
            "run",
            "Run",
            f"""
            SELECT name || ' (' || left(run_id::text, 8) || ')' AS __text, run_id::text AS __value
            FROM runs WHERE {OF_PROJECTS}
            ORDER BY EXISTS (SELECT FROM incidents WHERE incidents.run_id = runs.run_id) DESC, registered_at DESC
            """,
        )
    )
    board.with_variable(attempt_choice(THIS_RUN))
    board.with_variable(
        sql_choice(
            "incident",
            "Incident",
            f"""
            SELECT kind || ' at step ' || (document->>'onset_step') AS __text, incident_id::text AS __value
            FROM incidents WHERE {THIS_RUN} ORDER BY opened_at DESC
            """,
            everything=True,
        )
    )
    board.annotation(
        sql_annotation(
            "Incidents",
            RED,
            f"""
            SELECT opened_at AS time, COALESCE(closed_at, extract(epoch FROM now())) AS timeend,
              kind || ': ' || (document->>'summary') AS text, kind AS tags
            FROM incidents WHERE {THIS_RUN} AND $__timeFilter(to_timestamp(opened_at))
            """,
        )
    )
    board.annotation(
        sql_annotation(
            "Rollbacks and restarts",
            BLUE,
            f"""
            SELECT began_at AS time, reason || ' to step ' || start_step AS text, reason AS tags
            FROM attempts WHERE {THIS_RUN} AND attempt > 0 AND $__timeFilter(to_timestamp(began_at))
            """,
        )
    )
    _all(board)
    _incident(board)
    _run(board)
    return board
