"""Panels that ask PostgreSQL: what Prometheus cannot hold, the sentences and the single steps.

The SDK has no query of PostgreSQL, so `Sql` is one. Queries read the service's own tables (``monitor_server/storage/
tables.py``) and are all run against a real database by the tests; a reader's role is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, stat, table, timeseries, trend
from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

from dashboards.grafana.vocabulary import GREY, thresholds

PLUGIN = "grafana-postgresql-datasource"
DATABASE = models.DataSourceRef(type_val=PLUGIN, uid="${database}")


class _Query(variants.Dataquery):
    def __init__(self, sql: str, ref_id: str, shape: str) -> None:
        self.sql, self.ref_id, self.shape = sql, ref_id, shape

    def to_json(self) -> dict[str, Any]:
        """As Grafana keeps a query that was written by hand."""
        return {
            "datasource": DATABASE.to_json(),
            "editorMode": "code",
            "format": self.shape,
            "rawQuery": True,
            "rawSql": self.sql,
            "refId": self.ref_id,
        }


class Sql(builder.Builder[variants.Dataquery]):
    """One statement; ``shape`` is ``table``, or ``time_series`` where the first column is ``time``."""

    def __init__(self, sql: str, *, ref_id: str = "A", shape: str = "table") -> None:
        self._query = _Query(_one_line(sql), ref_id, shape)

    def build(self) -> variants.Dataquery:
        """See `Builder.build`."""
        return self._query


def sql_number(title: str, description: str, sql: str, *, unit: str = "short", width: int = 4) -> stat.Panel:
    """One value, large."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATABASE)
        .unit(unit)
        .span(width)
        .height(4)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .color_mode(common_models.BigValueColorMode.VALUE)
        .thresholds(thresholds((None, GREY)))
        .with_target(Sql(sql))
    )


def sql_listing(title: str, description: str, sql: str, *, width: int = 24, height: int = 8) -> table.Panel:
    """The statement's rows, its columns as headings."""
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATABASE)
        .span(width)
        .height(height)
        .filterable(True)
        .with_target(Sql(sql))
    )


def sql_chart(title: str, description: str, sql: str, *, unit: str = "short", width: int = 12) -> timeseries.Panel:
    """Curves over time: the first column is ``time``, a text column ``metric`` names the curve."""
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATABASE)
        .unit(unit)
        .span(width)
        .height(9)
        .line_width(1)
        .show_points(common_models.VisibilityMode.NEVER)
        .with_target(Sql(sql, shape="time_series"))
    )


def sql_steps(title: str, description: str, statements: Sequence[str], *, width: int = 12) -> trend.Panel:
    """Curves over steps: the first column is ``step``."""
    panel = (
        trend.Panel()
        .title(title)
        .description(description)
        .datasource(DATABASE)
        .span(width)
        .height(9)
        .x_field("step")
        .line_width(1)
        .show_points(common_models.VisibilityMode.NEVER)
    )
    for index, sql in enumerate(statements):
        panel.with_target(Sql(sql, ref_id=chr(ord("A") + index)))
    return panel


def database_variable() -> dashboard.DatasourceVariable:
    """Which database; the first of its kind to begin with."""
    return dashboard.DatasourceVariable("database").label("Database").type(PLUGIN)


def sql_choice(name: str, label: str, sql: str, *, everything: bool = False) -> dashboard.QueryVariable:
    """A variable filled by a statement: one column, or ``__text`` and ``__value``."""
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATABASE)
        .query(_one_line(sql))
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.DISABLED)
    )
    if everything:
        variable.include_all(True).multi(True)
        variable.current(models.VariableOption(selected=True, text="All", value="$__all"))
    return variable


def attempt_choice(runs: str) -> dashboard.QueryVariable:
    """The variable ``attempt``: those of the runs that the condition ``runs`` is true of."""
    return sql_choice(
        "attempt",
        "Attempt",
        f"""
        SELECT told.attempt::text
        FROM (SELECT DISTINCT generate_series(0, attempt) AS attempt FROM runs WHERE {runs}) AS told
        ORDER BY told.attempt
        """,
        everything=True,
    )


def sql_annotation(name: str, colour: str, sql: str) -> dashboard.AnnotationQuery:
    """Marks at ``time`` (and up to ``timeend``) with ``text``; `generate` makes a query of the expression."""
    return (
        dashboard.AnnotationQuery().name(name).datasource(DATABASE).enable(True).icon_color(colour).expr(_one_line(sql))
    )


def _one_line(sql: str) -> str:
    return " ".join(sql.split())
