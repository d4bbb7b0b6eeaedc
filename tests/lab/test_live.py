import threading
import time
from collections.abc import Callable, Iterator

import pytest
from IPython.core.formatters import DisplayFormatter

from labkit.errors import InvalidParameter
from labkit.lab import Live, live

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Interactive unless a test says otherwise; no thread may be left."""
    monkeypatch.delenv("LABKIT_BATCH", raising=False)
    yield
    Live.close_all()
    assert threads() == []


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "labkit-live"]


def show(one: Live) -> dict[str, object]:
    data: dict[str, object] = DisplayFormatter().format(one)[0]
    return data


def eventually(what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not what() and time.monotonic() < deadline:
        time.sleep(0.02)
    return what()


def sample() -> dict[str, object]:
    return {"memory": 12.5, "limit": 64, "state": "calm"}


def test_text_names_what_is_shown_and_no_value() -> None:
    assert show(Live("machine", sample))["text/plain"] == "[live] machine: memory, limit, state"


def test_view_follows_the_samples() -> None:
    counts = iter(range(1000))
    with Live("counter", lambda: {"n": next(counts)}, seconds=0.25) as one:
        assert VIEW in show(one)
        first = one._picture.value
        assert eventually(lambda: one._picture.value != first)
    assert not one.running


def test_words_for_screen_readers_change_at_most_every_two_seconds() -> None:
    assert live.SPOKEN_EVERY == 2.0
    counts = iter(range(1000))
    with Live("counter", lambda: {"n": next(counts)}, seconds=0.25) as one:
        show(one)
        spoken = []
        one._words.observe(lambda _: spoken.append(time.monotonic()), names="value")
        time.sleep(2.6)
    assert len(spoken) <= 1
    assert 'aria-live="polite"' in one._words.value


def test_pause_stops_the_samples_and_says_so() -> None:
    taken: list[int] = []
    with Live("counter", lambda: {"n": taken.append(1) or len(taken)}, seconds=0.25) as one:
        show(one)
        one._button.click()
        assert one.state == "paused"
        assert "paused" in one._status.value and one._button.description == "resume"
        time.sleep(0.3)
        seen = len(taken)
        time.sleep(0.6)
        assert len(taken) == seen
        one._button.click()
        assert one.state == "live" and one._button.description == "pause"
        assert eventually(lambda: len(taken) > seen)


def test_close_ends_the_thread_and_the_last_picture_stays() -> None:
    one = Live("machine", sample, seconds=0.25)
    show(one)
    assert threads() == ["labkit-live"]
    one.close()
    one.close()
    assert threads() == []
    assert one.state == "ended" and "<svg" in one._picture.value and one._button.disabled


def test_second_view_of_a_title_ends_the_first() -> None:
    """Running a cell again must not leave a thread for each run."""
    first, second = (Live("machine", sample, seconds=0.25) for _ in range(2))
    show(first)
    show(second)
    assert first.state == "ended" and second.running
    assert threads() == ["labkit-live"]


def test_shown_twice_it_is_one_thread() -> None:
    one = Live("machine", sample, seconds=0.25)
    show(one)
    show(one)
    assert threads() == ["labkit-live"]


def test_failing_sample_ends_the_view_with_the_reason() -> None:
    answers = iter([{"n": 1}])

    def fragile() -> dict[str, int]:
        try:
            return next(answers)
        except StopIteration:
            raise FileNotFoundError(2, "No such file or directory", "/sys/x") from None

    one = Live("machine", fragile, seconds=0.25)
    show(one)
    assert eventually(lambda: not one.running)
    assert one.state.startswith("ended, because of FileNotFoundError") and "/sys/x" in one.state
    assert "ended, because of FileNotFoundError" in one._status.value


def test_sample_that_fails_at_once_starts_no_thread() -> None:
    def broken() -> dict[str, int]:
        raise ProcessLookupError(3, "No such process", "4242")

    one = Live("machine", broken)
    assert show(one)["text/plain"] == "[live] machine: nothing sampled"
    assert threads() == [] and "4242" in one.state


def test_batch_has_one_still_picture_and_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABKIT_BATCH", "1")
    one = Live("machine", sample)
    data = show(one)
    assert set(data) == {"text/plain", "image/png"}
    assert data["text/plain"] == "[live] machine: memory, limit, state"
    assert threads() == []


def test_batch_text_is_the_interactive_text(monkeypatch: pytest.MonkeyPatch) -> None:
    interactive = show(Live("machine", sample))["text/plain"]
    monkeypatch.setenv("LABKIT_BATCH", "1")
    assert show(Live("machine", sample))["text/plain"] == interactive


def test_picture_is_hidden_from_screen_readers_and_words_hold_the_values() -> None:
    one = Live("a < b", sample, limits=["limit"], unit="MiB")
    picture = one.frame()
    assert picture.count("<polyline") == 2 and 'aria-hidden="true"' in picture
    assert "a &lt; b" in picture and "var(--jp-" in picture
    words = one.words()
    assert words.count("<line") == 2  # numbers have a line, a state has none
    assert "12.5 MiB" in words and "64 MiB" in words and "calm" in words


def test_history_is_bounded() -> None:
    one = Live("machine", sample, history=3)
    for _ in range(5):
        one.frame()
    assert len(one._samples) == 3


def test_curve_may_begin_late_and_be_flat_zero() -> None:
    answers = iter([{"a": 0}, {"a": 0, "b": 0}])
    one = Live("machine", lambda: next(answers))
    one.frame()
    assert one.frame().count("<polyline") == 2


@pytest.mark.parametrize("seconds", [0, -1, 0.1, float("nan")])
def test_too_fast_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidParameter, match="0.25 or more, not"):
        Live("machine", sample, seconds)
