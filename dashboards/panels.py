"""Panels in this project's style, each of one kind: a title, a sentence, questions, a unit.

What all have in common is said here once, so a dashboard says only what it is about.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal, Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

PROMETHEUS = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
WHOLE = 24
"""Columns of Grafana's grid."""
MOST_ABREAST = 3

Panel = Builder[dashboard.Panel]
Colours = Mapping[float | None, str]
"""By the value from which on it holds, None for the lowest: a colour."""
TEXT: Colours = {None: "text"}
GOOD, BAD, WARN, CALM, QUIET = "green", "red", "orange", "blue", "#8E8E8E"
STABLE_COLOUR, CANARY_COLOUR = "#5794F2", "#FF9830"


@dataclass(frozen=True, slots=True)
class Ask:
    """One expression, and what its answer is called: labels in `{{…}}`."""

    expr: str
    legend: str = ""


class _Common(Protocol):
    """What the builders of all kinds of panels can do."""

    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def datasource(self, datasource: common.DataSourceRef) -> Self: ...
    def targets(self, targets: list[Builder[Dataquery]]) -> Self: ...
    def span(self, w: int) -> Self: ...
    def height(self, h: int) -> Self: ...
    def unit(self, unit: str) -> Self: ...
    def no_value(self, no_value: str) -> Self: ...
    def thresholds(self, thresholds: Builder[dashboard.ThresholdsConfig]) -> Self: ...
    def mappings(self, mappings: list[dashboard.ValueMapping]) -> Self: ...
    def repeat(self, repeat: str) -> Self: ...
    def repeat_direction(self, repeat_direction: Literal["h", "v"]) -> Self: ...
    def max_per_row(self, max_per_row: float) -> Self: ...


P = TypeVar("P", bound=_Common)


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What a panel looks like beside its kind."""

    unit: str
    """As Grafana calls it: s, percent (0 to 100), percentunit (0 to 1), reqps, none."""
    width: int = 8
    height: int = 8
    colours: Colours | None = None
    """From which values on which; lines draw the upper ones."""
    words: Mapping[str, tuple[str, str]] | None = None
    """By value: what is shown in its place, and its colour."""
    empty: str | None = None
    """What is shown where there is nothing."""
    low: float | None = None
    high: float | None = None
    repeat: str | None = None
    """Variable for each of whose values there is one such panel: beside each other where it is as
    wide as the dashboard, otherwise below each other."""


def figure(title: str, says: str, *asks: Ask, style: Style, names: bool = False) -> Panel:
    """Return one large figure, or the name of the series instead of it."""
    shown = common.BigValueTextMode.NAME if names else common.BigValueTextMode.AUTO
    panel = (
        stat.Panel()
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .text_mode(shown)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return _finished(panel, title, says, asks, style, instant=True)


def lines(
    title: str, says: str, *asks: Ask, style: Style, steps: bool = False,
    dashes: Mapping[str, str] | None = None,
) -> timeseries.Panel:  # fmt: skip
    """Return lines over time.

    `steps`: the value stays until the next. `dashes`: by a regular expression of names, the colour
    of lines that only bound others.
    """
    through = common.LineInterpolation.STEP_AFTER if steps else common.LineInterpolation.LINEAR
    panel = (
        timeseries.Panel()
        .draw_style(common.GraphDrawStyle.LINE)
        .line_width(2)
        .fill_opacity(0)
        .show_points(common.VisibilityMode.NEVER)
        .span_nulls(False)
        .line_interpolation(through)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    if style.colours:
        drawn = common_builders.GraphThresholdsStyleConfig()
        panel.thresholds_style(drawn.mode(common.GraphThresholdsStyleMode.DASHED))
    for names, colour in (dashes or {}).items():
        panel.override_by_regexp(
            f"/{names}/",
            [
                _set("color", {"mode": "fixed", "fixedColor": colour}),
                _set("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
            ],
        )
    if style.low is not None:
        panel.min(style.low)
    if style.high is not None:
        panel.max(style.high)
    return _finished(panel, title, says, asks, style)


def stacked(title: str, says: str, *asks: Ask, style: Style) -> Panel:
    """Return areas over time, one on another."""
    panel = lines(title, says, *asks, style=style, steps=True)
    return panel.fill_opacity(40).stacking(
        common_builders.StackingConfig().mode(common.StackingMode.NORMAL)
    )


def states(title: str, says: str, *asks: Ask, style: Style) -> Panel:
    """Return a band for each series, coloured by the words for its values."""
    panel = (
        statetimeline.Panel()
        .fill_opacity(80)
        .line_width(0)
        .show_value(common.VisibilityMode.AUTO)
        .merge_values(True)
    )
    return _finished(panel, title, says, asks, style)


def bars(title: str, says: str, *asks: Ask, style: Style) -> Panel:
    """Return a bar for each series, at this moment."""
    panel = bargauge.Panel().orientation(common.VizOrientation.HORIZONTAL)
    if style.low is not None:
        panel.min(style.low)
    if style.high is not None:
        panel.max(style.high)
    return _finished(panel, title, says, asks, style, instant=True)


def histogram(title: str, says: str, *asks: Ask, bins: str, style: Style) -> Panel:
    """Return bars beside each other by the label `bins`, a colour for each question."""
    panel = barchart.Panel().x_field(bins).fill_opacity(80).line_width(0).min(0)
    panel.transformations(
        [
            dashboard.DataTransformerConfig(
                id_val="joinByField", options={"byField": bins, "mode": "outer"}
            ),
            _without("Time", *(f"Time {number}" for number in range(1, len(asks) + 1))),
        ]
    )
    # A bin is a word: with the panel's unit, bin 1 would be called 100 %.
    panel.override_by_name(bins, [_set("unit", "string")])
    for ref, ask in zip(ascii_uppercase, asks, strict=False):
        # Where only the first question has an answer, its figures go by no letter.
        optional = "?" if ref == "A" else ""
        panel.override_by_regexp(f"/^Value( #{ref}){optional}$/", [_set("displayName", ask.legend)])
    return _finished(panel, title, says, asks, style, as_table=True)


def rows(
    title: str, says: str, *asks: Ask, style: Style, columns: Mapping[str, str],
    links: Mapping[str, Mapping[str, str]] | None = None,
    looks: Mapping[str, Sequence[dashboard.DynamicConfigValue]] | None = None,
    descending: str | None = None,
) -> Panel:  # fmt: skip
    """Return a table: a row for all answers that have the same labels.

    `columns`: by field (a label, or `Value #A` for the figure of the first question), its heading,
    in their order; other fields are left out. `links` and `looks` are by field, too.
    """
    panel = table.Panel().show_header(True).cell_height(common.TableCellHeight.SM)
    order = {name: place for place, name in enumerate(columns)}
    hidden = [
        "Time",
        *(
            value
            for ref, _ in zip(ascii_uppercase, asks, strict=False)
            if (value := _value(ref, asks)) not in columns
        ),
    ]
    merged = dashboard.DataTransformerConfig(id_val="merge", options={})
    panel.transformations([merged, _without(*hidden, order=order)])
    for name, heading in columns.items():
        panel.override_by_name(
            name,
            [
                _set("displayName", heading),
                # A label is a word, whatever the panel's unit makes of numbers.
                *([] if name.startswith("Value") else [_set("unit", "string")]),
                *([_set("links", [links[name]])] if links and name in links else []),
                *(looks or {}).get(name, ()),
            ],
        )
    if descending:
        # By its heading: that is what Grafana sorts by.
        panel.sort_by(
            [common_builders.TableSortByFieldState().display_name(columns[descending]).desc(True)]
        )
    return _finished(panel, title, says, asks, style, as_table=True)


def look(
    *, unit: str | None = None, words: Mapping[str, tuple[str, str]] | None = None,
    colours: Colours | None = None,
) -> list[dashboard.DynamicConfigValue]:  # fmt: skip
    """Return what a column of a table looks like."""
    found = []
    if unit:
        found.append(_set("unit", unit))
    if words:
        found.append(_set("mappings", _mappings(words)))
    if colours:
        found.append(_set("thresholds", thresholds(colours).build()))
    if words or colours:
        found.append(_set("custom.cellOptions", {"type": "color-text"}))
    return found


def row(title: str) -> Builder[dashboard.RowPanel]:
    """Return a heading above panels."""
    return builders.Row(title)


def thresholds(colours: Colours) -> builders.ThresholdsConfig:
    """Return from which value on which colour holds."""
    return (
        builders.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps(
            [dashboard.Threshold(value=value, color=colour) for value, colour in colours.items()]
        )
    )


def _finished(
    panel: P, title: str, says: str, asks: Iterable[Ask], style: Style, *,
    instant: bool = False, as_table: bool = False,
) -> P:  # fmt: skip
    panel.title(title).description(says).datasource(PROMETHEUS)
    panel.span(style.width).height(style.height).unit(style.unit)
    panel.targets(
        [
            _query(ref, ask, instant=instant, as_table=as_table)
            for ref, ask in zip(ascii_uppercase, asks, strict=False)
        ]
    )
    if style.colours:
        panel.thresholds(thresholds(style.colours))
    if style.words:
        panel.mappings([_mappings(style.words)[0]])
    if style.empty:
        panel.no_value(style.empty)
    if style.repeat:
        panel.repeat(style.repeat).repeat_direction("h" if style.width == WHOLE else "v")
        panel.max_per_row(MOST_ABREAST)
    return panel


def _query(ref: str, ask: Ask, *, instant: bool, as_table: bool) -> prometheus.Dataquery:
    query = (
        prometheus.Dataquery()
        .datasource(PROMETHEUS)
        .editor_mode(QueryEditorMode.CODE)
        .expr(ask.expr)
        .legend_format(ask.legend)
        .ref_id(ref)
    )
    if as_table:
        query.format(PromQueryFormat.TABLE)
    return query.instant() if instant or as_table else query.range()


def _value(ref: str, asks: Sequence[Ask]) -> str:
    """Return what Grafana calls the figures of one question of a table."""
    return f"Value #{ref}" if len(asks) > 1 else "Value"


def _mappings(words: Mapping[str, tuple[str, str]]) -> list[dashboard.ValueMapping]:
    results = {
        value: dashboard.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(words.items())
    }
    return [dashboard.ValueMap(options=results)]


def _without(
    *names: str, order: Mapping[str, int] | None = None
) -> dashboard.DataTransformerConfig:
    options = {
        "excludeByName": dict.fromkeys(names, True),
        "indexByName": dict(order or {}),
        "renameByName": {},
    }
    return dashboard.DataTransformerConfig(id_val="organize", options=options)


def _set(name: str, value: object) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(id_val=name, value=value)
