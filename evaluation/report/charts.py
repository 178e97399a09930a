"""Charts as inline SVG that follows the page's colours."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluation.dubbed_clip import RATE
from evaluation.metrics.base import Better, Metric
from evaluation.tables import Cell

PALETTE = 8
"""Systems have as many colours, then they come again."""

# Stand-ins that no chart uses otherwise: the page's style sheet says what they look like, by day and night.
_VARIABLES = {
    "#010100": "ink",
    "#010101": "faint",
    "#010102": "rule",
    **{f"#0102{k:02x}": f"s{k}" for k in range(PALETTE)},
}
_COLOURS = {name: colour for colour, name in _VARIABLES.items()}
# Any: newer releases list every key of theirs as a type, older ones do not.
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "font.size": 11,
    "text.parse_math": False,
    "axes.unicode_minus": True,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_LONGEST_LABEL = 18

Curve = Sequence[float | None]


def system_class(index: int) -> str:
    """The name of a system's colour in the style sheet."""
    return f"s{index % PALETTE}"


@contextmanager
def _settings(salt: str) -> Iterator[None]:
    with warnings.catch_warnings(), matplotlib.rc_context(_SETTINGS | {"svg.hashsalt": salt}):
        # Browsers have letters that matplotlib's own font lacks; here they are only measured.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


def _plain_axes(axes: Axes) -> None:
    axes.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_COLOURS["rule"])
    axes.tick_params(length=0, colors=_COLOURS["faint"], labelsize=10)
    axes.grid(color=_COLOURS["rule"], linewidth=0.6)
    axes.set_axisbelow(True)


def _svg(figure: Figure, label: str) -> Markup:
    """The figure without what inline SVG must not have: name spaces, a style sheet for the whole page, ids
    that come again in the next chart."""
    figure.patch.set_visible(False)
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata=_NO_METADATA)
    root = ET.fromstring(stream.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("style", "metadata"):
                parent.remove(child)
    used = set(re.findall(r"#([\w-]+)", " ".join(v for e in root.iter() for v in e.attrib.values())))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        kept = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        if kept.get("id") not in used:
            kept.pop("id", None)
        if "d" in kept:
            kept["d"] = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.1f}", kept["d"])
        if "style" in kept:
            kept["style"] = _themed(kept["style"])
        element.attrib.clear()
        element.attrib.update(kept)
        element.tail = None
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib.update({"class": "chart", "role": "img", "aria-label": label})
    return Markup(ET.tostring(root, encoding="unicode"))


def _themed(style: str) -> str:
    style = re.sub(r"font-family:[^;]*;?", "", style)
    for colour, name in _VARIABLES.items():
        style = style.replace(colour, f"var(--{name})")
    return style


def dot_chart(metric: Metric, systems: Sequence[tuple[str, Sequence[float], Cell | None]]) -> Markup:
    """Clips as faint dots, means as large ones with their intervals as whiskers; one line per system.

    Args:
        systems: (name, value of each clip, mean); None where there is none.
    """
    height = 34 + 26 * len(systems)
    with _settings(metric.key):
        figure = Figure(figsize=(320 / 72, height / 72), dpi=72)
        axes = figure.add_axes((0.36, 22 / height, 0.61, 1 - 26 / height))
        _plain_axes(axes)
        for place, (_, values, cell) in enumerate(systems):
            colour = _COLOURS[system_class(place)]
            axes.plot(values, [place] * len(values), "o", color=colour, alpha=0.3, markersize=5, mew=0)
            if cell is None:
                continue
            if cell.interval is not None:
                axes.plot(cell.interval, [place, place], color=colour, linewidth=2.2)
            axes.plot([cell.value], [place], "o", color=colour, markersize=9, mew=0)
        if metric.better in (Better.zero, Better.one):
            axes.axvline(0.0 if metric.better is Better.zero else 1.0, color=_COLOURS["faint"], dashes=(3, 3))
        axes.set_ylim(len(systems) - 0.5, -0.5)
        axes.set_yticks(range(len(systems)), [_short(name) for name, _, _ in systems])
        axes.tick_params(axis="y", labelcolor=_COLOURS["ink"], labelsize=11)
        axes.grid(False, axis="y")
        axes.margins(x=0.06)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        return _svg(figure, f"{metric.title}: means with intervals, and every clip")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else name[: _LONGEST_LABEL - 1] + "…"


def curve_chart(known: Mapping[str, Curve], made: Sequence[tuple[int, Curve]], salt: str) -> Markup:
    """Mouth openings over time.

    Args:
        known: "source", "driver" and "truth", as far as there are.
        made: (place of the system, its curve).
        salt: differs between the charts of a page.
    """
    with _settings(salt):
        figure = Figure(figsize=(920 / 72, 170 / 72), dpi=72)
        axes = figure.add_axes((0.045, 0.13, 0.945, 0.83))
        _plain_axes(axes)
        # The right answers are dark, what went in is pale, what came out is coloured.
        looks: dict[str, dict[str, Any]] = {
            "source": {"color": _COLOURS["faint"], "linewidth": 1.2},
            "driver": {"color": _COLOURS["ink"], "linewidth": 1.2, "linestyle": (0, (1.5, 1.5))},
            "truth": {"color": _COLOURS["ink"], "linewidth": 1.4},
        }
        for name, curve in known.items():
            _draw(axes, curve, **looks[name])
        for place, curve in made:
            _draw(axes, curve, color=_COLOURS[system_class(place)], linewidth=1.8)
        axes.margins(x=0)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g} s")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        return _svg(figure, "Mouth opening over time")


def _draw(axes: Axes, curve: Curve, **look: Any) -> None:
    values = np.array([np.nan if value is None else value for value in curve], dtype=np.float64)
    axes.plot(np.arange(len(values)) / RATE, values, **look)
