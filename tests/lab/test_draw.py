import pytest

from labkit.errors import InvalidParameter
from labkit.lab.draw import PORTS, WORDS, Draw


def several(draw: Draw) -> list[object]:
    return [draw.name(), draw.port(), draw.nonce(), draw.mib(8, 64), draw.choice("abc")]


def test_same_seed_and_id_draw_the_same() -> None:
    assert several(Draw(7, "02.1")) == several(Draw(7, "02.1"))


def test_seed_and_id_both_matter() -> None:
    nonces = {Draw(seed, id).nonce() for seed in (7, 8) for id in ("02.1", "02.2")}
    assert len(nonces) == 4


def test_values_stay_what_they_were() -> None:
    """Notebooks in a drawer depend on it: a change here is a new edition of every exercise."""
    assert several(Draw(7, "02.1")) == ["nutmeg", 27801, "aeb7666621e33092", 59, "b"]


def test_names_are_never_drawn_twice() -> None:
    draw = Draw(7, "02.1")
    assert sorted(draw.name() for _ in WORDS) == sorted(WORDS)
    with pytest.raises(InvalidParameter, match="names are drawn"):
        draw.name()


def test_words_are_plain_and_different() -> None:
    assert len(set(WORDS)) == len(WORDS) >= 80
    assert all(word.isascii() and word.isalpha() and word.islower() for word in WORDS)


def test_ports_and_sizes_stay_in_range() -> None:
    draw = Draw(1, "x")
    assert all(PORTS[0] <= draw.port() <= PORTS[1] < 32768 for _ in range(200))
    assert {draw.mib(8, 10) for _ in range(200)} == {8, 9, 10}


def test_shuffled_keeps_every_item() -> None:
    assert sorted(Draw(3, "x").shuffled("abcdef")) == list("abcdef")


def test_empty_range_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="between 9 and 8"):
        Draw(1, "x").number(9, 8)
