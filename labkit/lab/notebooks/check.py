"""Rules that can be read off the files: nothing is executed here.

A rule takes a Case and yields one sentence for each thing that is wrong; RULES lists them all.
Cells are named by their id, which source order gives them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import nbformat

from labkit.errors import InvalidParameter
from labkit.lab import needs
from labkit.lab.notebooks import build, source
from labkit.lab.notebooks.accept import as_text
from labkit.lab.notebooks.execute import Notebook
from labkit.lab.notebooks.shelf import Shelf, read_counts
from labkit.lab.notebooks.source import KERNELSPEC, Cell, Source, tags

LONGEST_CELL = 5
CODE_CELLS = range(12, 26)
MANY_CODE_CELLS = range(12, 41)
LONG_NOTEBOOKS = ("02", "03", "07")
SHORT_NOTEBOOKS = ("00",)
TAGS = re.compile(
    r"parameters|setup|generated|fast|further|solution-only"
    r"|exercise-\d\d\.\d+|(needs|recorded):\w+"
)

#: construct -> why it has no place in a code cell
FORBIDDEN = {
    r"\bOutput\(|widgets\.Output": "widgets.Output stalls papermill",
    r"\binteract(ive|ive_output|_manual)?\(": "interact uses Output: take Slider",
    r"\bclear_output\b": "clear_output is not compared by nbval: take Live",
    r"\bupdate_display\b|display_id\s*=": "display updates are not compared by nbval: take Live",
    r"\bdisplay\(.*\)\.update\(": "display updates are not compared by nbval: take Live",
    r"\bsleep\(": "sleep and hope: wait for what you want to see",
    r"^\s*!|^%%(bash|sh|script|system|capture)\b|^\s*%(sx|system)\b": "a shell: use Python",
    r"get_ipython\(": "the kernel's own interface: labkit has to hide it",
}
#: in the notebook's kernel, not in a child
FORBIDDEN_OUTSIDE = {
    r"\bos\.(fork|unshare|setns)\(": "the kernel process never forks or unshares: take %%child",
}

#: what differs from run to run or from machine to machine -> its name
RAW = {
    r"\b(pid|inode)s?\b\W{0,3}\d{3,}": "a raw pid or inode",
    r"\b402653\d{4}\b|:\[4026\d{6}\]": "a namespace's inode",
    r"\b0x[0-9a-f]{7,}\b": "a memory address",
    r"/tmp/\w+|/var/tmp/\w+": "a temporary path",
    r"\b\d{2}:\d{2}:\d{2}\b": "a time of day",
    r"\blabkit-[0-9a-f]{4}-": "an instance tag",
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b": "a uuid",
    r"/home/\w+|/root/|/usr/lib/python3|site-packages": "a path of the machine it was made on",
}


@dataclass(frozen=True)
class Case:
    """One notebook: its source, what a fresh build gives, and what is stored."""

    source: Source
    fresh_attendee: Notebook
    fresh_solved: Notebook
    attendee: Notebook
    solved: Notebook
    shelf: Shelf

    @property
    def code(self) -> list[Cell]:
        """The solved code cells of a fresh build, without the generated ones."""
        cells = [cell for cell in self.fresh_solved.cells if cell.cell_type == "code"]
        return [cell for cell in cells if "generated" not in tags(cell)]


def check(shelf: Shelf, words: Sequence[str]) -> Iterator[str]:
    """Every complaint about the named notebooks, as `NN-name: sentence`."""
    for one, sources in build.chosen(shelf, words):
        attendee, solved = (build.load(f(one.stem)) for f in (shelf.attendee, shelf.solved))
        if attendee is None or solved is None:
            yield f"{one.stem}: not built: labkit notebooks build {one.number}"
            continue
        case = Case(one, *build.pair(one, sources), attendee, solved, shelf)
        for rule in RULES:
            for problem in rule(case):
                yield f"{one.stem}: {problem}"


def fresh(case: Case) -> Iterator[str]:
    """Both notebooks and the solutions are what the source gives now."""
    if build.text(case.attendee) != build.text(case.fresh_attendee):
        yield "the attendee's notebook is not a fresh build"
    stripped = [strip(case.solved), strip(case.fresh_solved)]
    if build.text(stripped[0]) != build.text(stripped[1]):
        yield "the solved notebook is not a fresh build"
    stored = case.shelf.solutions(case.source.number)
    if not stored.exists() or build.read_json(stored) != source.solutions(case.source):
        yield "the stored solutions are not a fresh build"
    if read_counts(case.shelf).get(case.source.stem) != build.counts(case.source):
        yield "tests/notebooks/counts.json is not a fresh build"


def strip(notebook: Notebook) -> Notebook:
    """A copy without outputs and counts."""
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return copy


def attendee_is_clean(case: Case) -> Iterator[str]:
    """No outputs, no counts, and no line that only the solution has."""
    for cell in case.attendee.cells:
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None):
            yield f"{cell['id']} of the attendee's notebook has outputs or a count"
    shown = "\n".join(cell.source for cell in case.attendee.cells)
    common = "\n".join(cell.source for cell in source.attendee(case.source.cells))
    for text in source.secrets(case.source):
        for line in {line.strip() for line in text.splitlines()}:
            if len(line) > 8 and line in shown and line not in common:
                yield f"the attendee's notebook holds a line of a solution: {line!r}"
        if len(text.strip()) > 8 and text.strip() in shown:
            yield f"the attendee's notebook holds a solution: {text.strip()!r}"


def solved_has_run(case: Case) -> Iterator[str]:
    for cell in build.never_run(case.solved):
        yield f"{cell['id']} has never run: {build.missing(cell)}"
    for cell in case.solved.cells:
        raised = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        if raised:
            yield f"{cell['id']} raised {raised[0].ename} when it ran"


def exercises_pass(case: Case) -> Iterator[str]:
    """Each exercise's last word in the solved notebook is [passed]."""
    for name in source.solutions(case.source):
        cells = [c for c in case.solved.cells if source.exercise_of(c) == name]
        said = "\n".join(line for c in cells for line in as_text(c.get("outputs", [])))
        outcomes = re.findall(r"\[(passed|not yet|broken|skipped)", said)
        if outcomes[-1:] != ["passed"]:
            yield f"exercise {name} ends with {outcomes[-1:] or 'no outcome'}, not with [passed]"


def constructs(case: Case) -> Iterator[str]:
    """Nothing that stalls papermill, that nbval cannot compare, or that leaves the sandbox."""
    for cell in case.code:
        in_child = re.search(r"^%%child\b", cell.source, re.MULTILINE)
        rules = FORBIDDEN if in_child else {**FORBIDDEN, **FORBIDDEN_OUTSIDE}
        for pattern, why in rules.items():
            match = re.search(pattern, cell.source, re.MULTILINE)
            if match:
                yield f"{cell['id']} has {match[0].strip()!r}: {why}"


def lengths(case: Case) -> Iterator[str]:
    """Cells of one to five lines; the learner's own cells may be longer."""
    for cell in case.code:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith("%%")]
        if len(lines) > LONGEST_CELL and not is_answer(case, cell):
            yield f"{cell['id']} has {len(lines)} lines, more than {LONGEST_CELL}"


def is_answer(case: Case, cell: Cell) -> bool:
    """Is it a cell that the learner fills in?"""
    own = {c["id"]: c.source for c in case.fresh_attendee.cells}
    return cell["id"] in own and own[cell["id"]] != cell.source


def amounts(case: Case) -> Iterator[str]:
    """Enough and not too many cells, predictions, exercises and parameters."""
    number, counts = case.source.number, build.counts(case.source)
    allowed = MANY_CODE_CELLS if number in LONG_NOTEBOOKS else CODE_CELLS
    total = len(case.code)
    if number in SHORT_NOTEBOOKS:
        allowed = range(1, CODE_CELLS.stop)
    if total not in allowed:
        yield f"{total} code cells, wanted are {allowed.start} to {allowed.stop - 1}"
    for word, least in (("predictions", 2), ("exercises", 3), ("parameters", 2)):
        if int(str(counts[word])) < least:
            yield f"{counts[word]} {word}, wanted are at least {least}"


def parameters_have_ranges(case: Case) -> Iterator[str]:
    """Each has a range or a list of words, and its default is allowed."""
    for parameter in source.parameter_list(case.source):
        if parameter.bounds is None and not parameter.choices:
            yield f"parameter {parameter.name} has neither LOW..HIGH nor a|b in its comment"
        try:
            parameter.check(parameter.default)
        except InvalidParameter as error:
            yield f"its own default: {error}"


def known_tags(case: Case) -> Iterator[str]:
    for cell in case.fresh_solved.cells:
        if "raises-exception" in tags(cell):
            yield f"{cell['id']}: papermill fails at raises-exception; write %%fails and its name"
        for tag in set(tags(cell)) - {"raises-exception"}:
            if not TAGS.fullmatch(tag):
                yield f"{cell['id']} has the unknown tag {tag!r}"
    for name in source.solutions(case.source):
        if not name.startswith(f"{case.source.number}."):
            yield f"exercise {name} does not belong to notebook {case.source.number}"


def headings(case: Case) -> Iterator[str]:
    """The title is generated, so no other cell has a heading of the first level."""
    for cell in case.source.cells:
        if cell.cell_type == "markdown" and re.search(r"^# ", cell.source, re.MULTILINE):
            yield f"a second title: {cell.source.splitlines()[0]!r}"


def outputs_are_relations(case: Case) -> Iterator[str]:
    """What is compared holds no number that differs from run to run."""
    for cell in case.solved.cells:
        if cell.cell_type != "code":
            continue
        outputs = [_without_pictures(output) for output in cell.outputs]
        text = "\n".join(as_text(outputs))
        for pattern, name in RAW.items():
            match = re.search(pattern, text, re.IGNORECASE)
            if match:
                yield f"{cell['id']} prints {name}: {match[0]!r}"


def _without_pictures(output: Cell) -> Cell:
    copy = nbformat.from_dict(output)
    for mime in [m for m in copy.get("data", {}) if m.startswith("image/")]:
        del copy.data[mime]
    return copy


def gates(case: Case) -> Iterator[str]:
    """A cell that is gated carries the tag, and the tag a line that guards it."""
    for cell in case.fresh_solved.cells:
        if cell.cell_type != "code":
            continue
        line = cell.source.partition("\n")[0].split()
        guarded = line[1:] if line[:1] == [needs.MAGIC] else []
        if guarded != needs.of_tags(tags(cell)):
            yield f"{cell['id']}: write the tag needs:NAME only; the build writes {needs.MAGIC}"


def kernelspec(case: Case) -> Iterator[str]:
    for name, notebook in (("attendee's", case.attendee), ("solved", case.solved)):
        if notebook.metadata.get("kernelspec") != KERNELSPEC:
            yield f"the {name} notebook names the kernel {notebook.metadata.get('kernelspec')}"


RULES = (
    fresh, attendee_is_clean, solved_has_run, exercises_pass, constructs, lengths, amounts,
    parameters_have_ranges, known_tags, headings, outputs_are_relations, gates, kernelspec,
)  # fmt: skip
