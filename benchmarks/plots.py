"""Plots as SVG files, by matplotlib: the same figures give the same bytes."""

import importlib
import math
from collections.abc import Iterator
from io import BytesIO
from typing import Any, Final

from benchmarks.report import Plot

__all__ = ("svg_of",)

# No random ids, no date; text as text, which is small.
_SETTINGS: Final = {
    "svg.hashsalt": "pymule",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
}
_COLORS: Final = ("#4878a8", "#d08c4a", "#6a9f58", "#a0607a", "#777777", "#b5a642")
# What the page is about stands out among its peers.
_OURS: Final = "#4878a8"
_THEIRS: Final = "#b4b4b4"
_WIDTH_IN: Final = 7.2
_BAR_IN: Final = 0.27
_LINES_HEIGHT_IN: Final = 3.4


def svg_of(plot: Plot) -> bytes:
    """Draw *plot*.

    Raises:
        ModuleNotFoundError: There is no matplotlib; the extra ``bench`` has it.
    """
    with importlib.import_module("matplotlib").rc_context(_SETTINGS):
        figure = importlib.import_module("matplotlib.figure").Figure()
        axes = figure.subplots()
        axes.set_title(plot.title)
        if plot.kind == "bars":
            count = len(plot.labels) * len(plot.series)
            figure.set_size_inches(_WIDTH_IN, 0.9 + _BAR_IN * max(count, 2))
            _draw_bars(axes, plot)
        else:
            figure.set_size_inches(_WIDTH_IN, _LINES_HEIGHT_IN)
            _draw_lines(axes, plot)
        if len(plot.series) > 1:
            axes.legend(
                frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1)
            )
        file = BytesIO()
        nothing = dict.fromkeys(("Date", "Creator"))
        figure.savefig(file, format="svg", bbox_inches="tight", metadata=nothing)
    # It ends some lines with a space.
    lines = file.getvalue().splitlines()
    return b"\n".join(line.rstrip() for line in lines) + b"\n"


# ``Any``: matplotlib is there only when the extra ``bench`` is.
def _draw_bars(axes: Any, plot: Plot) -> None:
    thickness = 0.8 / len(plot.series)
    for at, (name, values) in enumerate(plot.series.items()):
        places = [
            row + (at - (len(plot.series) - 1) / 2) * thickness
            for row in range(len(plot.labels))
        ]
        axes.barh(
            places,
            [value or 0 for value in values],
            height=thickness * 0.9,
            color=list(_bar_colors(plot, at)),
            label=name,
        )
        for place, value in zip(places, values, strict=True):
            if value is not None:
                text = f" {_short(value)}"
                axes.text(value, place, text, va="center", fontsize=8, color="#444444")
    axes.set_yticks(range(len(plot.labels)), plot.labels)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    if plot.is_log:
        axes.set_xscale("log")
        axes.set_xlim(*_decades(plot))
        axes.minorticks_off()
    axes.xaxis.set_major_formatter(_tick)
    axes.set_xlabel(plot.unit + (", log scale" if plot.is_log else ""))
    axes.grid(axis="x")


def _bar_colors(plot: Plot, series: int) -> Iterator[str]:
    for label in plot.labels:
        if len(plot.series) > 1:
            yield _COLORS[series % len(_COLORS)]
        else:
            yield _OURS if label.startswith("pymule") else _THEIRS


def _decades(plot: Plot) -> tuple[float, float]:
    """Return powers of ten: the least value has a bar, the greatest room for text."""
    values = [value for many in plot.series.values() for value in many if value]
    least, greatest = min(values, default=1), max(values, default=1)
    return 10 ** math.floor(math.log10(least / 2)), 10 ** math.ceil(
        math.log10(greatest * 2)
    )


def _draw_lines(axes: Any, plot: Plot) -> None:
    steps = range(len(plot.labels))
    for at, (name, values) in enumerate(plot.series.items()):
        found = [float("nan") if value is None else value for value in values]
        color = _COLORS[at % len(_COLORS)]
        axes.plot(steps, found, marker="o", markersize=3.5, color=color, label=name)
    axes.set_xticks(steps, plot.labels)
    if plot.is_log:
        axes.set_yscale("log")
        axes.minorticks_off()
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_tick)
    axes.set_ylabel(plot.unit + (", log scale" if plot.is_log else ""))
    axes.grid(axis="y")


def _tick(value: float, _place: object) -> str:
    return _short(value)


def _short(value: float) -> str:
    """Return three digits of it, as in ``1.14 M`` or ``618 k``."""
    for scale, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"
