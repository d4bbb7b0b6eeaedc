import pytest

from labkit.errors import InvalidParameter
from labkit.lab import TODO, Lab
from labkit.paths import Instance

Out = pytest.CaptureFixture[str]
OPTIONS = ["it dies", "it lives"]


def said(out: Out) -> list[str]:
    return out.readouterr().out.splitlines()


def test_prediction_shows_question_options_and_choice(seat: Instance, capsys: Out) -> None:
    Lab("01").predict("01.p1", "What becomes of the child?", OPTIONS, "b")
    assert said(capsys) == [
        "01.p1 What becomes of the child?",
        "    a) it dies",
        "    b) it lives",
        "[predicted] b) it lives",
    ]


@pytest.mark.parametrize(
    ("answer", "truth", "score"),
    [
        ("b", "it lives", "predicted: it lives; seen: it lives; right"),
        ("it dies", "B", "predicted: it dies; seen: it lives; not what happened"),
        (TODO, "it lives", "nothing was predicted; seen: it lives"),
    ],
)
def test_reveal_scores_the_prediction(
    seat: Instance, capsys: Out, answer: object, truth: str, score: str
) -> None:
    lab = Lab("01")
    lab.predict("01.p1", "?", OPTIONS, answer)
    lab.reveal("01.p1", truth)
    assert said(capsys)[-1] == f"[revealed] 01.p1: {score}"


def test_prediction_after_the_reveal_does_not_count(seat: Instance, capsys: Out) -> None:
    lab = Lab("01")
    lab.reveal("01.p1", "it lives")
    lab.predict("01.p1", "?", OPTIONS, "b")
    lab.reveal("01.p1", "it lives")
    assert said(capsys)[-1].endswith("right, but written after the reveal: it does not count")
    assert lab.progress.prediction("01.p1")["right"] is False


def test_second_run_prints_the_same_and_the_first_choice_counts(
    seat: Instance, capsys: Out
) -> None:
    lab = Lab("01")
    runs = []
    for answer in ("b", "b", "a"):
        lab.predict("01.p1", "?", OPTIONS, answer)
        lab.reveal("01.p1", "it lives")
        runs.append(said(capsys))
    assert runs[0] == runs[1]
    assert "what you said first counts, it lives" in runs[2][-2]
    assert lab.progress.prediction("01.p1")["right"] is True


def test_answer_that_is_no_option_is_refused(seat: Instance) -> None:
    with pytest.raises(InvalidParameter, match="01.p1 takes one of a, b, not 'z'"):
        Lab("01").predict("01.p1", "?", OPTIONS, "z")


@pytest.mark.parametrize("options", ["ab", ["one"], ["same", "same"]])
def test_options_must_be_a_choice(seat: Instance, options: list[str]) -> None:
    with pytest.raises(InvalidParameter, match="2 to 26 different options"):
        Lab("01").predict("01.p1", "?", options, "a")


def test_todo_says_to_predict_first(seat: Instance, capsys: Out) -> None:
    lab = Lab("01")
    lab.predict("01.p1", "?", OPTIONS, TODO)
    assert said(capsys)[-1].startswith("[not yet] predict before you look")
    assert lab.progress.prediction("01.p1") == {}
