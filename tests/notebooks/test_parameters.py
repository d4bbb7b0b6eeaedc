"""Parameters: each one changes something that is recorded, and a bad value gets one sentence.

A recording cell runs in a plain IPython shell, after the cells that it needs.
"""

from pathlib import Path

import pytest

from labkit.lab import parameters, record
from labkit.lab.notebooks import source
from labkit.lab.notebooks.build import all_sources, load
from labkit.lab.notebooks.execute import environment
from labkit.lab.notebooks.shelf import Shelf
from labkit.lab.notebooks.source import Source, tags
from labkit.lab.parameters import InvalidParameter, Parameter
from tests.exercises.harness import Seat
from tests.notebooks.slices import needed

SHELF = Shelf(Path(__file__).parents[2])

#: values to try where half way between the default and the highest would not do
OTHER_VALUES: dict[str, object] = {}


def cases(shelf: Shelf) -> list:
    return [
        pytest.param(one, parameter, id=f"{one.number} {parameter.name}")
        for one in all_sources(shelf)
        for parameter in source.parameter_list(one)
    ]


def other_value(number: str, parameter: Parameter) -> object:
    """An allowed value that is not the default."""
    default = parameter.default
    if (key := f"{number} {parameter.name}") in OTHER_VALUES:
        return OTHER_VALUES[key]
    if parameter.bounds is None:
        return next(word for word in parameter.choices if word != default)
    low, high = parameter.bounds
    middle = type(default)((default + (high if default < high else low)) / 2)
    return middle if middle != default else type(default)(high)


def with_value(one: Source, name: str, value: object) -> list[str]:
    """The cells that lead to all records, in order, with the value injected as papermill does."""
    cells = [cell for cell in one.cells if not source.exercise_of(cell)]
    solved = source.solved(cells)
    targets = [place for place, cell in enumerate(solved) if "lab.record(" in cell.source]
    code = []
    for place in needed(solved, targets):
        code += [solved[place].source] if solved[place].cell_type == "code" else []
        code += [f"{name} = {value!r}"] if "parameters" in tags(solved[place]) else []
    return code


def changes(shelf: Shelf, one: Source, name: str, value: object) -> dict[str, tuple]:
    """record -> (stored value, value now) of those that differ."""
    stored = record.read(load(shelf.solved(one.stem)))
    with environment() as variables:
        seat = Seat(shelf.notebooks, variables)
        try:
            made = seat.run(with_value(one, name, value))
        finally:
            seat.close()
    assert not made.raised, made.output
    both = stored.keys() & made.records.keys()
    return {n: (stored[n], made.records[n]) for n in both if stored[n] != made.records[n]}


@pytest.mark.parametrize(("one", "parameter"), cases(SHELF))
def test_parameter_changes_a_recorded_value(one, parameter):
    assert changes(SHELF, one, parameter.name, other_value(one.number, parameter))


@pytest.mark.parametrize(("one", "parameter"), cases(SHELF))
def test_value_out_of_range_gets_one_sentence(one, parameter):
    with pytest.raises(InvalidParameter, match=f"^{parameter.name} is .*, it must be [^.\n]*$"):
        parameter.check(parameter.impossible())


@pytest.mark.parametrize("one", all_sources(SHELF), ids=lambda one: one.number)
def test_generated_cell_refuses_what_is_out_of_range(one):
    guard = next(cell for cell in one.code if "generated" in tags(cell))
    values = {parameter.name: parameter.default for parameter in source.parameter_list(one)}
    exec(guard.source, dict(values))
    for parameter in source.parameter_list(one):
        with pytest.raises(InvalidParameter, match=parameter.name):
            exec(guard.source, {**values, parameter.name: parameter.impossible()})


# ---- the same, for the fixture notebook ----


@pytest.mark.parametrize(("name", "value"), [("size", 5), ("policy", "product")])
def test_fixtures_parameters_change_a_record(built, name, value):
    one = source.read(*built.sources("90"))
    assert changes(built, one, name, value)


def test_value_that_changes_nothing_is_noticed(built):
    one = source.read(*built.sources("90"))
    assert changes(built, one, "size", 3) == {}


def test_other_values_are_allowed_and_different(built):
    for parameter in source.parameter_list(source.read(*built.sources("90"))):
        value = other_value("90", parameter)
        parameter.check(value)
        assert value != parameter.default


@pytest.mark.parametrize(
    ("line", "value", "sentence"),
    [
        ("n: int = 64  # 16..512, MiB", 8, "n is 8, it must be from 16 to 512"),
        ("n: int = 64  # 16..512, MiB", "many", "n is 'many', it must be a number from 16 to 512"),
        ("n: int = 64  # 16..512, MiB", True, "n is True, it must be a number from 16 to 512"),
        (
            "n: int = 64  # 16..512, MiB",
            20.5,
            "n is 20.5, it must be a whole number from 16 to 512",
        ),
        ("x: float = 0.5  # 0.1..0.9, CPUs", 1, "x is 1, it must be from 0.1 to 0.9"),
        ("p: str = 'a'  # a|b, which", "c", "p is 'c', it must be one of a, b"),
        ("s: str = 'a'  # free text", 3, "s is 3, not a str"),
        ("b: bool = True  # with a control", 1, "b is 1, not a bool"),
    ],
)
def test_bad_value_is_one_sentence(line, value, sentence):
    with pytest.raises(InvalidParameter) as caught:
        parameters.read(line)[0].check(value)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("line", "guard"),
    [
        ("n: int = 4  # 1..9, some", 'within("n", n, 1, 9)'),
        ("x: float = 4  # 1..9, some", 'within("x", x, 1.0, 9.0)'),
    ],
)
def test_the_guard_knows_the_type_by_the_bounds(line, guard):
    assert parameters.read(line)[0].guard() == guard
    calls = {"within": parameters.within, "n": 4.5, "x": 4.5}
    if "int" in line:
        with pytest.raises(InvalidParameter, match=r"n is 4.5, it must be a whole number"):
            exec(guard, calls)
    else:
        exec(guard, calls)


@pytest.mark.parametrize("line", ["n = 64", "n: int = 64", "n: list = []  # some", "print(1)"])
def test_bad_line_is_refused(line):
    with pytest.raises(InvalidParameter, match="is not like 'name: int = 64"):
        parameters.read(line)
