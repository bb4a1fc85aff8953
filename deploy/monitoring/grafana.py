"""Boards as Grafana's JSON, with the Grafana foundation SDK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as model_common
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.monitoring.panels import CALIBRATED, WIDTH, Board, Panel, Row

TAG: Final = "telecom-segmenter"
_SOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="$datasource")
_NO_STEPS: Final = ((None, "green"),)


def to_json(board: Board) -> str:
    """The board as JSON, the same for the same board."""
    return JSONEncoder(sort_keys=True, indent=2).encode(_board(board).build()) + "\n"


def _board(board: Board) -> dashboard.Dashboard:
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .readonly()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("job", "Job", "label_values(segmenter_build_info, job)"))
        .with_variable(
            _variable("instance", "Instance", 'label_values(segmenter_build_info{job="$job"}, instance)')
            .include_all(True)
            .multi(True)
            .all_value(".*")
        )
        .link(
            dashboard.DashboardLink("Segmenter")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .annotation(
            dashboard.AnnotationQuery()
            .name("Calibrations")
            .datasource(_SOURCE)
            .enable(True)
            .icon_color("purple")
            .expr(CALIBRATED)
        )
    )
    for row in board.rows:
        built = built.with_row(dashboard.Row(row.title))
        for panel in _laid_out(row):
            built = built.with_panel(panel)
    return built


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(_SOURCE)
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.NATURAL_ASC)
    )


def _laid_out(row: Row) -> Sequence[Any]:
    """The panels of a row; they must fill its lines. Raises ValueError."""
    if sum(panel.width for panel in row.panels) % WIDTH:
        raise ValueError(f"the panels of {row.title!r} do not fill its lines")
    return [_panel(panel) for panel in row.panels]


def _panel(panel: Panel) -> Any:
    built = _of_kind(panel)
    built = (
        built.title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(panel.height)
        .thresholds(
            dashboard.ThresholdsConfig()
            .mode(model.ThresholdsMode.ABSOLUTE)
            .steps([model.Threshold(value, color) for value, color in panel.steps or _NO_STEPS])
        )
    )
    if panel.words:
        texts = {
            value: model.ValueMappingResult(text=text, index=place)
            for place, (value, text) in enumerate(panel.words.items())
        }
        built = built.mappings([model.ValueMap(options=texts)])
    for number, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + number)).datasource(_SOURCE)
        if panel.kind in ("stat", "table"):
            target = target.instant()
        if panel.kind == "table":
            target = target.format(PromQueryFormat.TABLE)
        if query.legend:
            target = target.legend_format(query.legend)
        built = built.with_target(target)
    return built


def _of_kind(panel: Panel) -> Any:
    if panel.kind == "stat":
        return (
            stat.Panel()
            .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            .color_mode(
                model_common.BigValueColorMode.BACKGROUND
                if panel.steps
                else model_common.BigValueColorMode.NONE
            )
            .graph_mode(model_common.BigValueGraphMode.NONE)
        )
    if panel.kind == "table":
        labels = model.DataTransformerConfig(
            id_val="organize", options={"excludeByName": {"Time": True, "__name__": True, "job": True}}
        )
        merge = model.DataTransformerConfig(id_val="merge", options={})
        return tables.Panel().filterable(True).with_transformation(merge).with_transformation(labels)
    if panel.kind == "timeline":
        return statetimeline.Panel().merge_values(True).row_height(0.8)
    if panel.kind == "heatmap":
        return heatmap.Panel()
    built = (
        timeseries.Panel()
        .fill_opacity(8)
        .line_width(1)
        .show_points(model_common.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(model_common.LegendDisplayMode.LIST)
            .placement(model_common.LegendPlacement.BOTTOM)
        )
        .tooltip(common.VizTooltipOptions().mode(model_common.TooltipDisplayMode.MULTI))
    )
    if panel.kind == "stacked":
        built = built.fill_opacity(40).stacking(
            common.StackingConfig().mode(model_common.StackingMode.NORMAL)
        )
    if panel.steps:
        built = built.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(model_common.GraphThresholdsStyleMode.DASHED)
        )
    return built
