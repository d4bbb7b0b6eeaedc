"""Pictures that can be compared: a figure, and under it a caption computed from the same data.

nbval compares the caption and skips the picture, so the caption must say what matters and hold no
value that differs from run to run. Colours are those of Okabe and Ito, which colour-blind people
can tell apart, always together with a line style, a marker or a word. Faces are opaque: a figure
stays a white card in the dark theme.
"""

import io
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from IPython.display import display

# before the import, which on a new machine warns that it builds a font cache: outputs are compared
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


class Chart:
    """A figure with its caption (compared, printed under it) and alternative text.

    alt says in one sentence what the picture shows; the default is the caption. The figure is
    drawn and closed here, so that it is shown once and holds no memory.
    """

    def __init__(self, figure: Figure, caption: str, alt: str | None = None) -> None:
        self.caption = caption
        self.alt = alt or caption
        self.png = _png(figure)

    def __repr__(self) -> str:
        return f"[chart] {self.alt}"

    def _ipython_display_(self) -> None:
        metadata = {"image/png": {"alt": self.alt}}
        bundle = {"image/png": self.png, "text/plain": repr(self)}
        display(bundle, raw=True, metadata=metadata)
        print(self.caption)


def _png(figure: Figure) -> bytes:
    figure.patch.set_alpha(1.0)
    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=100, facecolor="white", metadata={"Software": None})
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(figure)  # else the inline backend shows it a second time
    return raw.getvalue()


def axes(title: str, *, width: float = 7.0, height: float = 3.2) -> tuple[Figure, Axes]:
    """An empty figure in house style, without pyplot's global list of figures; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    subplot = figure.add_subplot()
    subplot.set_title(title, loc="left", fontsize=11)
    subplot.grid(visible=True, color="#dddddd", linewidth=0.6)
    subplot.spines[["top", "right"]].set_visible(False)
    return figure, subplot


def look(index: int) -> dict[str, Any]:
    """Colour, line style and marker of the index-th curve, as keywords for Axes.plot."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "linestyle": STYLES[index % len(STYLES)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 3.5,
    }


def curves(
    title: str,
    seconds: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    unit: str = "",
    limit: float | None = None,
    caption: str | None = None,
) -> Chart:
    """Curves over time with an optional limit line.

    seconds are the x values; each series has as many y values, in `unit`. The default caption says
    for each series whether it ever went above the limit.
    """
    figure, subplot = axes(title)
    for index, (name, values) in enumerate(series.items()):
        subplot.plot(
            seconds, values, label=name, markevery=max(len(values) // 20, 1), **look(index)
        )
    if limit is not None:
        subplot.axhline(limit, color="black", linewidth=1.6, linestyle=(0, (6, 2)), label="limit")
    subplot.set_xlabel("seconds")
    subplot.set_ylabel(unit)
    subplot.set_ylim(bottom=0)
    subplot.legend(loc="best", fontsize=9)
    text = caption or _against(series, limit, unit)
    return Chart(figure, text, alt=f"{title}, over time: {', '.join(series)}")


def _against(series: Mapping[str, Sequence[float]], limit: float | None, unit: str) -> str:
    if limit is None:
        return f"curves over time: {', '.join(series)}"
    words = {name: "no" if max(values) > limit else "yes" for name, values in series.items()}
    stays = "; ".join(f"{name} stays within it: {word}" for name, word in words.items())
    return f"limit {limit:g} {unit}".rstrip() + f"; {stays}"


def bars(title: str, values: Mapping[str, float], *, unit: str = "") -> Chart:
    """One horizontal bar for each value, with the value in words; the caption names them only."""
    figure, subplot = axes(title, height=0.9 + 0.4 * len(values))
    names = list(values)
    for index, (name, value) in enumerate(values.items()):
        subplot.barh(name, value, color=PALETTE[index % len(PALETTE)], height=0.6)
        subplot.annotate(f" {value:g} {unit}".rstrip(), (value, index), va="center", fontsize=9)
    subplot.invert_yaxis()
    subplot.margins(x=0.2)
    return Chart(figure, f"{title}: {', '.join(names)}")
