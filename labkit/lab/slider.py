"""A slider and a number field that are one value; moving, typing and set() call one function.

So a batch run, which only calls set(), tests what a person's hand does. Both widgets work from the
keyboard. In batch there are no widgets.
"""

import html
from collections.abc import Callable
from typing import Any

from labkit.errors import InvalidParameter
from labkit.lab import settings
from labkit.lab.card import view


class Slider:
    """A whole number between min and max; on_change(value) is called at each change.

    What on_change refuses with an exception is shown under the slider; set() raises it.
    """

    def __init__(
        self,
        label: str,
        value: int,
        min: int,
        max: int,
        on_change: Callable[[int], object] | None = None,
        *,
        step: int = 1,
    ) -> None:
        if min >= max or step < 1:
            raise InvalidParameter(f"no slider from {min} to {max} in steps of {step}")
        self.label, self.min, self.max, self.step = label, min, max, step
        self.on_change = on_change
        self._value = self._checked(value)
        self._box: Any = None

    @property
    def value(self) -> int:
        return self._value

    def set(self, value: int) -> None:
        """As if the slider was moved there; InvalidParameter outside min and max."""
        self._apply(self._checked(value))

    def __repr__(self) -> str:
        return f"[slider] {self.label}: {self.value} ({self.min} to {self.max})"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self)}
        if not settings.batch():
            if self._box is None:
                self._build()
            bundle |= view(self._box)
        return bundle

    def _checked(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidParameter(f"{self.label} is a whole number, not {value!r}")
        if not self.min <= value <= self.max:
            raise InvalidParameter(f"{self.label} is {self.min} to {self.max}, not {value}")
        return value

    def _apply(self, value: int) -> None:
        """The one way to a new value; widgets follow, and their own events then change nothing."""
        before, self._value = self._value, value
        try:
            if self.on_change:
                self.on_change(value)
        except BaseException:
            self._value = before
            raise
        finally:
            self._show()

    def _build(self) -> None:
        from ipywidgets import HTML, BoundedIntText, HBox, IntSlider, Layout, VBox

        limits = {"min": self.min, "max": self.max, "step": self.step, "value": self.value}
        wide, narrow = Layout(width="420px"), Layout(width="90px")
        style = {"description_width": "initial"}
        # one call when the hand lets go, or at each key, not one at each pixel
        self._slider = IntSlider(
            **limits, description=self.label, continuous_update=False, layout=wide, style=style
        )
        self._field = BoundedIntText(**limits, layout=narrow, tooltip=f"{self.label} as a number")
        self._status = HTML()
        for widget in (self._slider, self._field):
            widget.observe(self._moved, names="value")
        self._box = VBox([HBox([self._slider, self._field]), self._status])
        self._show()

    def _moved(self, change: Any) -> None:
        if change["new"] == self._value:
            return
        try:
            self._apply(int(change["new"]))
        except Exception as error:  # an event handler's traceback would be seen by nobody
            self._say(f"refused: {error}")

    def _show(self) -> None:
        if self._box is not None:
            self._slider.value = self._field.value = self._value
            self._say(f"{self.label}: {self._value}")

    def _say(self, text: str) -> None:
        self._status.value = f'<span role="status">{html.escape(text)}</span>'
