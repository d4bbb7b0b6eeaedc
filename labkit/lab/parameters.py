"""The parameters of a notebook: typed, commented, and with a range that is written once.

A line of the cell tagged "parameters" reads

    memory_mib: int = 64  # 16..512, the memory limit in MiB
    policy: str = "weight"  # weight|quota, how the CPU is shared

The build turns the range into a cell of `within` and `one_of` calls right behind, where papermill's
injected values pass too. `labkit batch` reads the same lines and refuses before it starts anything.
"""

import ast
import re
from dataclasses import dataclass

from labkit.errors import InvalidParameter

Value = int | float | str | bool

LINE = re.compile(r"^(?P<name>\w+)\s*:\s*(?P<kind>int|float|str|bool)\s*=\s*(?P<rest>.+)$")
RANGE = re.compile(r"^\s*(-?[\d_.]+?)\.\.(-?[\d_.]+)[\s,:]")
CHOICE = re.compile(r"^\s*([\w./-]+(?:\|[\w./-]+)+)[\s,:]")
KINDS: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


@dataclass(frozen=True)
class Parameter:
    """One line of the cell; bounds is (low, high), choices the allowed words, or neither."""

    name: str
    kind: str
    default: Value
    bounds: tuple[float, float] | None
    choices: tuple[str, ...]
    help: str

    def check(self, value: object) -> None:
        """InvalidParameter, in one sentence, if `value` cannot be used."""
        if self.bounds is not None:
            low, high = map(int, self.bounds) if self.kind == "int" else self.bounds
            within(self.name, value, low, high)
        elif self.choices:
            one_of(self.name, value, *self.choices)
        if self.kind == "int" and not isinstance(value, int):
            raise InvalidParameter(f"{self.name} is {value!r}, not a whole number")
        if self.kind in ("str", "bool") and not isinstance(value, KINDS[self.kind]):
            raise InvalidParameter(f"{self.name} is {value!r}, not a {self.kind}")

    def guard(self) -> str:
        """The line of the generated cell that checks this parameter, or nothing."""
        if self.bounds is not None:
            low, high = map(_plain if self.kind == "int" else repr, self.bounds)
            return f'within("{self.name}", {self.name}, {low}, {high})'
        if self.choices:
            words = ", ".join(f'"{word}"' for word in self.choices)
            return f'one_of("{self.name}", {self.name}, {words})'
        return ""

    def impossible(self) -> Value:
        """A value that check refuses; it needs bounds or choices."""
        return self.default.__class__(self.bounds[1] + 1) if self.bounds else "no such word"


def within(name: str, value: object, low: float, high: float) -> None:
    """InvalidParameter unless `value` is a number from `low` to `high`, a whole one if they are."""
    bounds = f"from {_plain(low)} to {_plain(high)}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidParameter(f"{name} is {value!r}, it must be a number {bounds}")
    if isinstance(low, int) and isinstance(high, int) and not isinstance(value, int):
        raise InvalidParameter(f"{name} is {value}, it must be a whole number {bounds}")
    if not low <= value <= high:
        raise InvalidParameter(f"{name} is {value}, it must be {bounds}")


def one_of(name: str, value: object, *words: str) -> None:
    """InvalidParameter unless `value` is one of `words`."""
    if value not in words:
        raise InvalidParameter(f"{name} is {value!r}, it must be one of {', '.join(words)}")


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def read(cell: str) -> list[Parameter]:
    """The parameters that the text of a cell declares; other lines are an error."""
    lines = (line for line in cell.splitlines() if line.strip())
    return [_parameter(line) for line in lines if not line.startswith("#")]


def _parameter(line: str) -> Parameter:
    match = LINE.match(line)
    value, _, comment = match["rest"].partition("  # ") if match else ("", "", "")
    if match is None or not comment.strip():
        raise InvalidParameter(
            f"parameter line {line!r} is not like 'name: int = 64  # 16..512, what it is'"
        )
    bounds, choices = RANGE.match(comment), CHOICE.match(comment)
    return Parameter(
        name=match["name"],
        kind=match["kind"],
        default=ast.literal_eval(value.strip()),
        bounds=(float(bounds[1]), float(bounds[2])) if bounds else None,
        choices=tuple(choices[1].split("|")) if choices else (),
        help=comment.strip(),
    )
