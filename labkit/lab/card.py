"""Facts as text that can be compared, and the raw values beside them for the reader.

text/plain and text/html hold the facts only, so nbval compares them; raw values (pids, inodes,
times) are shown in a widget view, which it skips. In batch no widget is made.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.lab import settings

#: style of every HTML table of labkit: JupyterLab's theme variables, with a plain fall-back
STYLE = (
    "color:var(--jp-ui-font-color1,#111);background:var(--jp-layout-color1,#fff);"
    "border-left:3px solid var(--jp-brand-color1,#0072B2);padding:2px 10px;"
    "font-size:var(--jp-ui-font-size1,13px)"
)
LEFT = "text-align:left;padding:1px 14px 1px 0;vertical-align:top"
TITLE = f"{LEFT};font-weight:600;white-space:nowrap"


class Card:
    """A title and a list of facts; `live` values are shown to people and never compared."""

    def __init__(
        self, title: str, facts: Mapping[str, object], live: Mapping[str, object] | None = None
    ) -> None:
        self.title = title
        self.facts = dict(facts)
        self.live = dict(live or {})
        self._widget: Any = None

    @property
    def text(self) -> str:
        """The whole card as aligned text."""
        width = max(map(len, self.facts), default=0)
        lines = [f"{name:{width}}  {_indented(value, width)}" for name, value in self._words()]
        return "\n".join([self.title, *("  " + line.rstrip() for line in lines)])

    def html(self, *, live: bool = False) -> str:
        """The card as one HTML table, with or without the raw values."""
        rows = [_row(name, value) for name, value in self._words()]
        if live:
            rows += [_row(name, word(value), raw=True) for name, value in self.live.items()]
        caption = f'<caption style="{TITLE}">{html.escape(self.title)}</caption>'
        return f'<table style="{STYLE}">{caption}{"".join(rows)}</table>'

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": self.text, "text/html": self.html()}
        if self.live and not settings.batch():
            bundle |= self._view()
        return bundle

    def _words(self) -> list[tuple[str, str]]:
        return [(name, word(value)) for name, value in self.facts.items()]

    def _view(self) -> dict[str, Any]:
        """The widget view; the widget is kept, since a closed one cannot be shown."""
        from ipywidgets import HTML

        self._widget = HTML(value=self.html(live=True))
        return view(self._widget)


def view(widget: Any) -> dict[str, Any]:
    """The part of a MIME bundle that shows a widget, without its text that names a random id."""
    key = "application/vnd.jupyter.widget-view+json"
    return {key: widget._repr_mimebundle_()[key]}


def word(value: object) -> str:
    """A value in words: yes and no, - for nothing, lists with commas."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {word(item)}" for key, item in value.items()) or "nothing"
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return ", ".join(map(word, value)) or "nothing"
    return str(value)


def _indented(text: str, width: int) -> str:
    return text.replace("\n", "\n" + " " * (width + 4))


def _row(name: str, value: str, *, raw: bool = False) -> str:
    shown = html.escape(value).replace("\n", "<br>")
    mark = ";color:var(--jp-ui-font-color2,#555);font-style:italic" if raw else ""
    return (
        f'<tr><th scope="row" style="{LEFT}{mark}">{html.escape(name)}</th>'
        f'<td style="{LEFT}{mark}">{shown}</td></tr>'
    )
