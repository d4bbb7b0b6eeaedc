"""The namespace map: which processes share which namespaces, as a picture and as a text list.

Drawn from live data by Names.map(). Equal aliases of one kind are joined by a line.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from labkit.lab.chart import Chart


class NamespaceMap:
    """Processes by namespace kinds. rows: process label -> kind -> alias.

    The picture joins equal aliases of a column by a line; `text` says the same in words.
    """

    def __init__(self, rows: Mapping[str, Mapping[str, str]]) -> None:
        self.rows = rows
        self.kinds = list(next(iter(rows.values()), {}))

    def groups(self, kind: str) -> dict[str, list[str]]:
        """Alias -> labels of the processes in that namespace."""
        found: dict[str, list[str]] = {}
        for label, aliases in self.rows.items():
            found.setdefault(aliases[kind], []).append(label)
        return found

    @property
    def text(self) -> str:
        width = max(map(len, self.kinds), default=0)
        return "\n".join(f"{kind:{width}}  {self._line(kind)}" for kind in self.kinds)

    def _line(self, kind: str) -> str:
        groups = self.groups(kind)
        return " | ".join(f"{alias}: {', '.join(who)}" for alias, who in groups.items())

    def __repr__(self) -> str:
        return self.text

    def _ipython_display_(self) -> None:
        self.chart()._ipython_display_()

    def chart(self) -> "Chart":
        from labkit.lab.chart import Chart, axes  # half a second, paid when a picture is drawn

        height = 0.9 + 0.5 * len(self.rows)
        figure, subplot = axes("namespace map", width=1.6 + 1.05 * len(self.kinds), height=height)
        subplot.grid(visible=False)
        subplot.spines[:].set_visible(False)
        for column, kind in enumerate(self.kinds):
            self._draw_column(subplot, column, kind)
        subplot.set_xticks(range(len(self.kinds)), self.kinds)
        subplot.set_yticks(range(len(self.rows)), list(self.rows))
        subplot.tick_params(length=0)
        subplot.xaxis.tick_top()
        subplot.set_xlim(-0.6, len(self.kinds) - 0.4)
        subplot.set_ylim(len(self.rows) - 0.5, -0.5)
        return Chart(figure, self.text, alt="namespace map, who shares which namespace")

    def _draw_column(self, subplot: "Axes", column: int, kind: str) -> None:
        from labkit.lab.chart import PALETTE

        labels = list(self.rows)
        for index, (alias, who) in enumerate(self.groups(kind).items()):
            # neighbouring lines of one column keep a distance, or they would hide one another
            x, color = column + 0.06 * (index - 1), PALETTE[index % len(PALETTE)]
            heights = [labels.index(label) for label in who]
            subplot.plot([x] * len(heights), heights, color=color, linewidth=3, zorder=1)
            for y in heights:
                box = {"boxstyle": "round", "facecolor": "white", "edgecolor": color}
                subplot.text(column, y, alias, ha="center", va="center", fontsize=9, bbox=box)
