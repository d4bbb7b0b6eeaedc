"""Cutting a notebook down to what one of its cells needs."""

import nbformat
import pytest

from tests.notebooks.slices import binds, needed


def code(source: str, *tags: str):
    metadata = {"tags": list(tags)} if tags else {}
    return nbformat.v4.new_code_cell(source, metadata=metadata)


CELLS = [
    code("size: int = 3", "parameters"),
    code("lab = Lab()", "setup"),
    nbformat.v4.new_markdown_cell("## One"),
    code("group = make(size)"),
    code("group.limit(4)"),
    code("other = 1"),
    code("%%child a\nunshare(CLONE_NEWUTS)"),
    nbformat.v4.new_markdown_cell("## Two"),
    code("print('two begins')"),
    code("lab.record('size', group.size)"),
    code("%%fails OSError\n%%child a\nsethostname('x')"),
    code("ex = lab.exercise('1.1')", "exercise-1.1"),
    code("ex.check(other)", "exercise-1.1"),
]


@pytest.mark.parametrize(
    ("target", "places"),
    [
        (3, [0, 1, 3]),
        (9, [0, 1, 3, 4, 8, 9]),
        (10, [0, 1, 3, 4, 6, 8, 9, 10]),
        (12, [0, 1, 11, 12]),
    ],
)
def test_only_what_is_needed_runs(target, places):
    prose = (2, 7)
    assert [place for place in needed(CELLS, [target]) if place not in prose] == places


def test_names_of_inner_scopes_are_not_bound():
    cell = code("import os.path as p\nxs = [n for n in range(3)]\ndef f(a):\n    b = a")
    assert binds(cell) == {"p", "xs", "f"}
