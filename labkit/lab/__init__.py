"""What notebooks call: facts, pictures, predictions, exercises, clean-up.

Importing this package costs nothing: a name is loaded when it is first used, because the command
line and the programs that run inside a sandbox import from here too.
"""

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from labkit.lab.card import Card as Card
    from labkit.lab.chart import Chart as Chart
    from labkit.lab.exercise import TODO as TODO
    from labkit.lab.lab import Lab as Lab
    from labkit.lab.live import Live as Live
    from labkit.lab.names import Names as Names
    from labkit.lab.sandbox import Sandbox as Sandbox
    from labkit.lab.slider import Slider as Slider

#: public name -> module that defines it
_HOME = {
    "Card": "card",
    "Chart": "chart",
    "Lab": "lab",
    "Live": "live",
    "Names": "names",
    "Sandbox": "sandbox",
    "Slider": "slider",
    "TODO": "exercise",
}

__all__ = ["TODO", "Card", "Chart", "Lab", "Live", "Names", "Sandbox", "Slider"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])


def load_ipython_extension(ipython: object) -> None:
    """`%load_ext labkit.lab`: the cell magics of labkit.lab.magic."""
    import_module(f"{__name__}.magic").load_ipython_extension(ipython)
