import pytest
from IPython.core.formatters import DisplayFormatter

from labkit.lab import Card
from labkit.lab.card import word

VIEW = "application/vnd.jupyter.widget-view+json"


def bundle(shown: object) -> dict[str, object]:
    data: dict[str, object] = DisplayFormatter().format(shown)[0]
    return data


def test_text_is_the_whole_list_aligned() -> None:
    card = Card("child a", {"host name": "mars", "isolated": True, "parent": None, "sees": [1, 2]})
    assert bundle(card)["text/plain"] == (
        "child a\n  host name  mars\n  isolated   yes\n  parent     -\n  sees       1, 2"
    )


def test_long_text_is_never_cut() -> None:
    card = Card("long", {f"fact {n}": "x" * 200 for n in range(50)})
    assert str(bundle(card)["text/plain"]).count("x") == 200 * 50


def test_lines_of_a_value_stay_in_their_column() -> None:
    assert Card("t", {"ab": "one\ntwo", "c": 1}).text == "t\n  ab  one\n      two\n  c   1"


def test_live_values_are_only_in_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABKIT_BATCH", raising=False)
    card = Card("child a", {"isolated": True}, live={"inode": 4026532321})
    data = bundle(card)
    assert "4026532321" not in str(data["text/plain"]) + str(data["text/html"])
    assert "4026532321" in card._widget.value
    assert VIEW in data


def test_text_is_the_same_with_and_without_live_values() -> None:
    facts = {"isolated": True}
    assert (
        bundle(Card("t", facts, live={"pid": 4}))["text/plain"]
        == bundle(Card("t", facts))["text/plain"]
    )


def test_no_widget_in_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_BATCH", "1")
    assert set(bundle(Card("t", {"a": 1}, live={"pid": 4}))) == {"text/plain", "text/html"}


def test_html_is_escaped_has_row_headers_and_follows_the_theme() -> None:
    html = Card("a < b", {"<script>": "&"}).html()
    assert "<script>" not in html and "&lt;script&gt;" in html and "&amp;" in html
    assert 'scope="row"' in html and "<caption" in html
    assert "var(--jp-ui-font-color1" in html and "var(--jp-layout-color1" in html


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (False, "no"),
        (None, "-"),
        (0, "0"),
        ([], "nothing"),
        ({"b", "a"}, "a, b"),
        ({"x": True, "y": 2}, "x yes, y 2"),
        ((True, None), "yes, -"),
        (1.5, "1.5"),
    ],
)
def test_values_in_words(value: object, text: str) -> None:
    assert word(value) == text
