"""A view that follows the machine: curves and values from a sampling function, with a pause button.

One daemon thread writes the values of two HTML widgets: a picture at each sample, and the same in
words at most once in two seconds, since a screen reader speaks each change (aria-live). There is no
Output widget, no clear_output and no display update: those stall papermill and break nbval. In
batch (LABKIT_BATCH=1) there is one sample, one still picture and neither thread nor widget.
"""

import atexit
import html
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from labkit.errors import InvalidParameter
from labkit.lab import settings
from labkit.lab.card import LEFT, STYLE, view, word

#: the first four have a contrast of 3 to 1 and more on JupyterLab's light and dark background
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("", "7 3", "2 3", "9 3 2 3")
WIDTH, HEIGHT = 560, 150
SPOKEN_EVERY = 2.0  #: seconds between two changes of the text for screen readers

Sample = Mapping[str, object]


class Live:
    """Shows what `sample` returns, again and again, while the kernel is idle or busy.

    sample   a function without arguments; a name -> value mapping. Numbers become curves.
    seconds  between two samples, at least 0.25
    limits   names of values that are drawn as limit lines
    unit     of the numbers
    history  samples that stay in the picture

    Shown when it is the last line of a cell. A second view of the same title ends the first. An
    exception in `sample` ends the view, and the view says why.
    """

    _open: ClassVar[dict[str, "Live"]] = {}

    def __init__(
        self,
        title: str,
        sample: Callable[[], Sample],
        seconds: float = 2.0,
        *,
        limits: Collection[str] = (),
        unit: str = "",
        history: int = 60,
    ) -> None:
        if not seconds >= 0.25:
            raise InvalidParameter(f"seconds between samples must be 0.25 or more, not {seconds!r}")
        self.title, self.seconds, self.unit, self.limits = title, seconds, unit, set(limits)
        self.state = "not shown"
        self._sample = sample
        self._samples: deque[Sample] = deque(maxlen=history)
        self._stop, self._paused = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._spoken = 0.0
        self._box: Any = None

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        names = ", ".join(self._samples[-1]) if self._samples else "nothing sampled"
        return f"[live] {self.title}: {names}"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        if settings.batch():
            return self._still()
        if self._thread is None and not self._stop.is_set():
            self._start()
        return {"text/plain": repr(self), **view(self._box)} if self._box else self._still()

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def pause(self) -> None:
        """Stop the picture where it is; what the pause button does."""
        self._paused.set()
        self._say("paused")

    def resume(self) -> None:
        """Go on; what the button does when it says so."""
        if not self._stop.is_set():
            self._paused.clear()
            self._say("live")

    def close(self) -> None:
        """End the thread; the last picture stays. Safe to call twice and from any thread."""
        self._stop.set()
        thread = self._thread
        if thread and thread is not threading.current_thread():
            thread.join(timeout=5)
        if Live._open.get(self.title) is self:
            del Live._open[self.title]
        if self.state in ("live", "paused"):
            self._say("ended")

    @classmethod
    def close_all(cls) -> None:
        """End every view of this kernel."""
        for live in list(cls._open.values()):
            live.close()

    def frame(self) -> str:
        """One more sample, and the picture of all so far as HTML."""
        self._samples.append(dict(self._sample()))
        return self.picture()

    # ---- the thread and its widgets ----

    def _start(self) -> None:
        if before := Live._open.get(self.title):
            before.close()
        if not Live._open:
            atexit.register(Live.close_all)
        Live._open[self.title] = self
        self._build()
        self._say("live")
        if self._step():
            self._thread = threading.Thread(target=self._run, name="labkit-live", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self.seconds):
            if not self._paused.is_set() and not self._step():
                return

    def _step(self) -> bool:
        try:
            picture = self.frame()
        except Exception as error:  # what is watched may end at any time: say so, and stop
            self._stop.set()
            self._say(f"ended, because of {type(error).__name__}: {error}")
            return False
        self._picture.value = picture
        if time.monotonic() - self._spoken >= SPOKEN_EVERY:
            self._words.value, self._spoken = self.words(), time.monotonic()
        return True

    def _build(self) -> None:
        from ipywidgets import HTML, Button, HBox, VBox

        self._picture, self._words, self._status = HTML(), HTML(), HTML()
        self._button = Button(description="pause", tooltip=f"pause or resume {self.title}")
        self._button.on_click(lambda _: self.resume() if self._paused.is_set() else self.pause())
        self._box = VBox([self._picture, self._words, HBox([self._button, self._status])])

    def _say(self, state: str) -> None:
        self.state = state
        if self._box:
            self._button.description = "resume" if state == "paused" else "pause"
            self._button.disabled = state.startswith("ended")
            self._status.value = f'<span role="status">{html.escape(state)}</span>'

    # ---- one frame ----

    def _still(self) -> dict[str, Any]:
        """The bundle without widgets: text, and a still picture, which nbval does not compare."""
        if not self._samples:
            self._samples.append(dict(self._sample()))
        numbers = _numbers(self._samples[-1])
        bundle: dict[str, Any] = {"text/plain": repr(self)}
        if numbers:
            from labkit.lab.chart import bars

            bundle["image/png"] = bars(self.title, numbers, unit=self.unit).png
        return bundle

    def words(self) -> str:
        """The last sample as a table that screen readers announce politely."""
        rows = "".join(self._row(*item) for item in enumerate(self._samples[-1].items()))
        return f'<div aria-live="polite"><table style="{STYLE}">{rows}</table></div>'

    def _row(self, index: int, item: tuple[str, object]) -> str:
        name, value = item
        mark, shown = "", word(value)
        if _is_number(value):
            mark = _mark(index, name in self.limits) + " "
            shown = f"{value:.4g} {self.unit}".rstrip()
        label, text = html.escape(name), html.escape(shown)
        return (
            f'<tr><th scope="row" style="{LEFT}">{mark}{label}</th>'
            f'<td style="{LEFT}" data-value="{label}">{text}</td></tr>'
        )

    def picture(self) -> str:
        """Curves of all numbers as inline SVG; hidden from screen readers, which have words()."""
        columns = [_numbers(sample) for sample in self._samples]
        names = list(_numbers(self._samples[-1]))
        top = 1.1 * max((value for column in columns for value in column.values()), default=0) or 1
        lines = "".join(self._line(n, columns, top) for n in names)
        title = f'<text x="4" y="12" font-size="12" fill="currentColor">{html.escape(self.title)}'
        scale = f'<text x="4" y="26" font-size="10" fill="currentColor">{top:.3g} {self.unit}'
        return (
            f'<svg aria-hidden="true" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" style="color:var(--jp-ui-font-color1,#111);'
            f'background:var(--jp-layout-color1,#fff)">{title}</text>{scale}</text>{lines}</svg>'
        )

    def _line(self, name: str, columns: list[dict[str, float]], top: float) -> str:
        step = WIDTH / max(len(columns) - 1, 1)
        points = [
            f"{n * step:.1f},{HEIGHT - column[name] / top * (HEIGHT - 30):.1f}"
            for n, column in enumerate(columns)
            if name in column
        ]
        if len(points) == 1:
            points.append(f"{WIDTH},{points[0].split(',')[1]}")
        pen = _pen(list(self._samples[-1]).index(name), name in self.limits)
        return f'<polyline fill="none" {pen} points="{" ".join(points)}"/>'


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(sample: Sample) -> dict[str, float]:
    return {name: float(value) for name, value in sample.items() if _is_number(value)}  # type: ignore[arg-type]


def _pen(index: int, is_limit: bool) -> str:
    if is_limit:
        return 'stroke="currentColor" stroke-width="2" stroke-dasharray="12 4"'
    color, dash = COLORS[index % len(COLORS)], DASHES[index % len(DASHES)]
    return f'stroke="{color}" stroke-width="2.5" stroke-dasharray="{dash}"'


def _mark(index: int, is_limit: bool) -> str:
    """The line of one value as it looks in the picture, for the table."""
    return (
        '<svg aria-hidden="true" width="34" height="8" style="color:var(--jp-ui-font-color1,#111)">'
        f'<line x1="0" y1="4" x2="34" y2="4" {_pen(index, is_limit)}/></svg>'
    )
