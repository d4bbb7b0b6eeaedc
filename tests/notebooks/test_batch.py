"""`labkit batch`: papermill runs notebooks untouched; one page and one XML file say how it went."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from labkit.errors import InvalidParameter, NotFound
from labkit.lab import batch, report
from labkit.lab.notebooks import build

STEM = "90-fixture"


@pytest.fixture(scope="module")
def ran(built, tmp_path_factory):
    """One batch with two sets of parameters, and what the command returned."""
    out = tmp_path_factory.mktemp("out")
    sets = out / "sets.yml"
    sets.write_text("[{size: 4}, {size: 5, policy: product}]")
    arguments = ["-f", str(sets), "--out", str(out), "--root", str(built.root)]
    return batch.main(arguments), out


def test_every_set_of_parameters_is_a_run(ran):
    status, out = ran
    assert status == 0
    assert {path.name for path in out.glob("*.ipynb")} == {f"{STEM}-1.ipynb", f"{STEM}-2.ipynb"}


def test_page_shows_status_parameters_exercises_and_records(ran):
    page = (ran[1] / "index.html").read_text()
    assert "2 of 2 runs succeeded" in page
    assert "size: 5<br>policy: product" in page and "total: 120" in page
    assert "90.1: passed" in page and f'<a href="{STEM}-1.html">' in page


def test_pages_ask_no_other_host_for_anything(ran):
    for path in ran[1].glob("*.html"):
        text = path.read_text()
        assert not re.search(r"<script|<link|src=[\"']http|@import|url\(", text), path


def test_junit_has_a_case_for_each_run(ran):
    suite = ElementTree.parse(ran[1] / "junit.xml").getroot()
    assert suite.get("tests") == "2" and suite.get("failures") == "0"
    assert [case.get("name") for case in suite.iter("testcase")] == [f"{STEM}-1", f"{STEM}-2"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-p", "colour=red"], "no chosen notebook has the parameter 'colour'; they have policy"),
        (["-p", "size=0"], "90-fixture: size is 0, it must be from 1 to 9"),
        (["-p", "size=big"], "90-fixture: size is 'big', it must be a number from 1 to 9"),
        (["-p", "policy=min"], "90-fixture: policy is 'min', it must be one of sum, product"),
        (["-p", "size"], "-p 'size' is not NAME=VALUE"),
    ],
)
def test_bad_parameter_is_refused_before_anything_runs(built, tmp_path, arguments, sentence):
    out = tmp_path / "out"
    with pytest.raises(InvalidParameter, match=re.escape(sentence)):
        batch.main([*arguments, "--out", str(out), "--root", str(built.root)])
    assert not out.exists()


def test_notebook_that_is_not_built_is_named(shelf):
    shelf.solved(STEM).unlink()
    with pytest.raises(NotFound, match=r"not built: .*90-fixture.ipynb"):
        batch.main(["--root", str(shelf.root)])


def test_run_that_takes_too_long_is_stopped_and_fails(built, tmp_path, capsys):
    arguments = ["--timeout", "0.5", "--out", str(tmp_path), "--root", str(built.root)]
    assert batch.main(arguments) == 1
    assert "timeout" in capsys.readouterr().out
    assert "not done after 0.5 seconds" in (tmp_path / "junit.xml").read_text()


def test_failing_cell_fails_the_run_and_names_the_error(shelf, tmp_path):
    notebook = build.load(shelf.solved(STEM))
    cell = next(c for c in notebook.cells if c.source == "lab = Toy()" or "Toy()" in c.source)
    cell.source = "raise ValueError('no such lab')"
    build.write(shelf.solved(STEM), notebook)
    run = batch.Run(STEM, shelf.solved(STEM), {})
    result = batch.execute(run, tmp_path, 120, strict=True)
    assert (result.status, result.reason) == ("failed", "ValueError: no such lab")
    assert "ValueError: no such lab" in report.junit([result]).decode()


def test_solved_run_fails_when_an_exercise_does_not_pass(built, tmp_path):
    run = batch.Run(STEM, built.attendee(STEM), {})
    result = batch.Result(run, "ok", "", 1.0, tmp_path / "run.ipynb")
    notebook = build.load(built.solved(STEM))
    cell = next(c for c in notebook.cells if c.source == "ex.check(answer)")
    cell.outputs[0].text = "[not yet] 90.1: a number is wanted, not None\n"
    build.write(result.output, notebook)
    batch._read(result, strict=True)
    assert (result.status, result.reason) == ("failed", "exercises not passed: 90.1")
    assert result.outcomes == {"90.1": "not yet", "90.2": "passed", "90.3": "passed"}


def test_broken_markup_in_a_value_stays_text():
    assert report.page("<b>", "").count("<b>") == 0
    assert report._pairs({"a": "<script>"}) == "a: &lt;script&gt;"
