import atexit
import struct
import warnings
from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib.axes import Axes

from labkit.lab import Chart, chart
from labkit.lab.record import MIME, record


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    """An IPython that displays; no history file, gone after the test."""
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = InteractiveShell.instance(config=config)
    yield one
    one.atexit_operations()
    atexit.unregister(one.atexit_operations)
    InteractiveShell.clear_instance()


def example(limit: float | None = 64) -> Chart:
    return chart.curves(
        "memory", [0, 1, 2], {"victim": [10, 20, 30], "hog": [10, 50, 70]}, unit="MiB", limit=limit
    )


def test_caption_says_which_curve_stays_within_the_limit() -> None:
    assert example().caption == (
        "limit 64 MiB; victim stays within it: yes; hog stays within it: no"
    )
    assert example(None).caption == "curves over time: victim, hog"


def test_caption_can_be_given() -> None:
    assert chart.curves("t", [0], {"a": [1]}, caption="rising: yes").caption == "rising: yes"


def test_display_shows_the_picture_with_alt_and_prints_the_caption(
    shell: InteractiveShell,
) -> None:
    with capture_output() as seen:
        shell.display_formatter.format(example())
    (output,) = seen.outputs
    assert output.data["text/plain"] == "[chart] memory, over time: victim, hog"
    assert output.metadata["image/png"]["alt"] == "memory, over time: victim, hog"
    assert output.data["image/png"].startswith(b"\x89PNG")
    assert seen.stdout == example().caption + "\n"


def test_changed_data_changes_what_is_compared() -> None:
    better = chart.curves("memory", [0, 1], {"hog": [10, 20]}, unit="MiB", limit=64)
    worse = chart.curves("memory", [0, 1], {"hog": [10, 90]}, unit="MiB", limit=64)
    assert better.caption != worse.caption


def test_figure_is_closed_in_pyplot() -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure = pyplot.figure()
    Chart(figure, "a caption")
    assert pyplot.get_fignums() == []


def test_picture_is_opaque() -> None:
    """A transparent one cannot be read in the dark theme."""
    figure, _ = chart.axes("t")
    figure.patch.set_alpha(0.0)
    Chart(figure, "x")
    assert figure.patch.get_alpha() == 1.0


def test_picture_has_the_size_that_was_asked_for() -> None:
    figure, _ = chart.axes("t", width=4, height=2)
    assert struct.unpack(">2I", Chart(figure, "x").png[16:24]) == (400, 200)


def test_curves_differ_in_more_than_colour() -> None:
    looks = [chart.look(n) for n in range(4)]
    assert len({look["linestyle"] for look in looks}) == 4
    assert len({look["marker"] for look in looks}) == 4
    assert {look["color"] for look in looks} <= set(chart.PALETTE)


def test_bars_write_their_values_in_words() -> None:
    assert chart.bars("now", {"memory": 12.0}, unit="MiB").caption == "now: memory"


def test_record_is_displayed_for_a_report(shell: InteractiveShell) -> None:
    with capture_output() as seen:
        record("limit", 64)
    (output,) = seen.outputs
    assert output.data == {MIME: {"name": "limit", "value": 64}, "text/plain": "limit = 64"}


def test_axes_are_matplotlibs_own() -> None:
    assert isinstance(chart.axes("t")[1], Axes)
