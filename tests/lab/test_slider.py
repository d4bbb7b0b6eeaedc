import pytest
from IPython.core.formatters import DisplayFormatter

from labkit.errors import InvalidParameter
from labkit.lab import Slider

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(autouse=True)
def interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABKIT_BATCH", raising=False)


def show(one: Slider) -> dict[str, object]:
    data: dict[str, object] = DisplayFormatter().format(one)[0]
    return data


def shown(calls: list[int]) -> Slider:
    one = Slider("memory limit MiB", 64, 16, 256, calls.append)
    show(one)
    return one


def test_text_is_stable_and_whole() -> None:
    data = show(Slider("memory limit MiB", 64, 16, 256))
    assert data["text/plain"] == "[slider] memory limit MiB: 64 (16 to 256)"
    assert VIEW in data


def test_set_moving_and_typing_call_the_same_function() -> None:
    calls: list[int] = []
    one = shown(calls)
    one.set(65)
    one._slider.value = 66  # a hand on the slider
    one._field.value = 67  # a hand on the keyboard
    assert calls == [65, 66, 67]
    assert one.value == one._slider.value == one._field.value == 67


def test_set_to_the_same_value_calls_once_more() -> None:
    calls: list[int] = []
    one = shown(calls)
    one.set(64)
    assert calls == [64]


def test_set_works_before_it_is_shown() -> None:
    calls: list[int] = []
    one = Slider("n", 1, 0, 9, calls.append)
    one.set(5)
    show(one)
    assert calls == [5] and one._slider.value == 5


@pytest.mark.parametrize("value", [15, 257, "64", 64.0, True, None])
def test_impossible_values_are_refused_and_change_nothing(value: object) -> None:
    calls: list[int] = []
    one = shown(calls)
    with pytest.raises(InvalidParameter, match="memory limit MiB is"):
        one.set(value)  # type: ignore[arg-type]
    assert calls == [] and one.value == 64


def test_refusal_of_the_function_is_raised_by_set_and_shown_when_moved() -> None:
    def refuse(value: int) -> None:
        if value > 100:
            raise OSError(16, "Device or resource busy")

    one = Slider("limit", 64, 16, 256, refuse)
    show(one)
    with pytest.raises(OSError):
        one.set(200)
    assert one.value == one._slider.value == 64
    one._slider.value = 200
    assert "refused" in one._status.value and "busy" in one._status.value
    assert one.value == one._slider.value == one._field.value == 64


def test_state_is_in_words() -> None:
    one = shown([])
    one.set(70)
    assert one._status.value == '<span role="status">memory limit MiB: 70</span>'


def test_no_widget_in_batch_and_set_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_BATCH", "1")
    calls: list[int] = []
    one = shown(calls)
    one.set(70)
    assert calls == [70]
    assert show(one) == {"text/plain": "[slider] memory limit MiB: 70 (16 to 256)"}


@pytest.mark.parametrize(("low", "high", "step"), [(5, 5, 1), (9, 1, 1), (0, 9, 0)])
def test_empty_range_is_refused(low: int, high: int, step: int) -> None:
    with pytest.raises(InvalidParameter, match="no slider from"):
        Slider("n", low, low, high, step=step)
