"""What all dashboards say alike: the data source, the labels of a run, and a few shapes of panel.

Needs `grafana-foundation-sdk==1769699379!11.6.0` (extra ``dashboards``; Python 3.11 or later).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATA_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

OF_RUN = 'project=~"$project", run=~"$run", run_id=~"$run_id"'
OF_PROJECT = 'project=~"$project"'

PER_RUN = "project, run, run_id"
"""Every replica of the service tells of every run; every query folds them with ``max`` into one series, counters
too: a sum would count one rollback once per replica."""

GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "text"


class Query(NamedTuple):
    """A PromQL expression and the words for its series."""

    expr: str
    legend: str


def of_run(metric: str, selector: str = OF_RUN) -> str:
    """A gauge of a run, one series per run, with the first characters of its id as label ``id``.

    A run's name may have been used before and its id is long: eight characters tell them apart in a legend.
    """
    return f'label_replace(max by ({PER_RUN}) ({metric}{{{selector}}}), "id", "$1", "run_id", "(.{{0,8}}).*")'


def open_incidents(selector: str = OF_RUN) -> str:
    """Incidents of all kinds per run; 0 where there is none, of which the metric itself says nothing."""
    return (
        f"sum by ({PER_RUN}) (max by ({PER_RUN}, kind) (trainguard_run_active_incidents{{{selector}}})) "
        f"or 0 * max by ({PER_RUN}) (trainguard_run_attempt{{{selector}}})"
    )


def thresholds(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Colours from a value on; the first value is ``None``, which means minus infinity."""
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=colour) for value, colour in steps])
    )


def _target(query: Query, index: int) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + index))


def chart(
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str = "short",
    log: bool = False,
    stairs: bool = False,
    bars: bool = False,
    width: int = 12,
    height: int = 8,
) -> timeseries.Panel:
    """Curves over time. ``log`` for what spans decades, ``stairs`` for what jumps, ``bars`` for events."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATA_SOURCE)
        .unit(unit)
        .span(width)
        .height(height)
        .line_width(1)
        .fill_opacity(70 if bars else 0)
        .show_points(common_models.VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.LIST)
            .placement(common_models.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    if log:
        panel.scale_distribution(common.ScaleDistributionConfig().type(common_models.ScaleDistribution.LOG).log(10))
    if stairs:
        panel.line_interpolation(common_models.LineInterpolation.STEP_AFTER)
    if bars:
        panel.draw_style(common_models.GraphDrawStyle.BARS)
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    for index, query in enumerate(queries):
        panel.with_target(_target(query, index))
    return panel


def number(
    title: str,
    description: str,
    query: Query,
    *,
    colours: dashboard.ThresholdsConfig | None = None,
    unit: str = "short",
    decimals: int | None = None,
    width: int = 3,
) -> stat.Panel:
    """The latest value, large, with its short history behind it.

    The latest sample is taken as it is, also when it is NaN: a value from before the NaN would be a lie.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATA_SOURCE)
        .unit(unit)
        .span(width)
        .height(4)
        .reduce_options(common.ReduceDataOptions().calcs(["last"]).values(False))
        .graph_mode(common_models.BigValueGraphMode.AREA)
        .color_mode(common_models.BigValueColorMode.VALUE)
        .thresholds(colours or thresholds((None, GREY)))
        .with_target(_target(query, 0))
    )
    return panel if decimals is None else panel.decimals(decimals)


def listing(
    title: str, description: str, columns: Sequence[Query], *, hidden: Sequence[str] = (), height: int = 10
) -> table.Panel:
    """One row per set of labels, one column per query (its legend is the heading); ``hidden`` labels are dropped."""
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATA_SOURCE)
        .span(24)
        .height(height)
        .filterable(True)
    )
    for index, query in enumerate(columns):
        panel.with_target(_target(query, index).instant().format(PromQueryFormat.TABLE))
    single = len(columns) == 1
    headings = {
        "Value" if single else f"Value #{chr(ord('A') + index)}": query.legend for index, query in enumerate(columns)
    }
    panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize",
            options={"excludeByName": dict.fromkeys(["Time", *hidden], True), "renameByName": headings},
        )
    )
    return panel


def page(uid: str, title: str, description: str) -> dashboard.Dashboard:
    """An empty dashboard with what all have: data source, time range, links to its siblings."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["trainguard"])
        .editable()
        .timezone("browser")
        .refresh("10s")
        .time("now-1h", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("trainguard")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["trainguard"])
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )


def choice(name: str, label: str, query: str, *, everything: bool) -> dashboard.QueryVariable:
    """A variable filled from a label's values; ``everything`` offers All and begins with it."""
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATA_SOURCE)
        .query(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    )
    if everything:
        variable.include_all(True).all_value(".*").multi(True)
        variable.current(models.VariableOption(selected=True, text="All", value="$__all"))
    return variable
