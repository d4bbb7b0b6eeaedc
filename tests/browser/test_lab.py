"""A learner's browser: JupyterLab as `make lab` starts it, opened, run and moved by keyboard."""

import time

import pytest
from playwright.sync_api import expect

from tests.browser.page import Lab

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_the_printed_address_opens_notebook_00(lab: Lab) -> None:
    lab.open()  # returns when 00-start-here.ipynb is in front and its kernel is idle
    lab.screenshot("00-start-here")
    assert lab.errors == []


def test_no_page_asks_another_host_for_anything(lab: Lab) -> None:
    lab.open()
    lab.page.wait_for_timeout(3000)  # what JupyterLab fetches late: news, updates, fonts
    assert lab.hosts == {"127.0.0.1"}


def test_there_is_no_question_about_news(lab: Lab) -> None:
    lab.open()
    lab.page.wait_for_timeout(2000)
    assert lab.page.locator(".Toastify__toast").count() == 0


def test_a_slider_moves_by_keyboard_and_the_kernel_follows(lab: Lab) -> None:
    lab.open("90-slider.ipynb")
    lab.run_all()
    assert lab.uncaught() == []
    assert lab.press("memory", "ArrowRight", times=3) == 67
    assert lab.press("memory", "ArrowLeft") == 66
    field = lab.page.locator(".widget-text input[type=number]").last
    expect(field).to_have_value("66")  # it waits: the value goes by way of the kernel
    lab.screenshot("slider")
    assert lab.errors == []


def test_the_memory_slider_of_notebook_03_moves_the_limit_and_the_curve_follows(lab: Lab) -> None:
    lab.open("03-cgroups.ipynb")
    lab.run_all(seconds=240)
    assert lab.uncaught() == []
    assert lab.press("memory limit", "ArrowRight") == 32
    assert 16 < follow(lab, limit=32) <= 32
    lab.screenshot("03-low")
    assert lab.press("memory limit", "ArrowRight", times=8) == 96
    assert 48 < follow(lab, limit=96) <= 96
    lab.screenshot("03-high")
    assert lab.errors == []
    assert lab.hosts == {"127.0.0.1"}


def shown(lab: Lab, name: str) -> float:
    """A value of the notebook's first live view, in MiB."""
    text = lab.page.locator(f'td[data-value="{name}"]').first.text_content()
    return float((text or "nan").removesuffix(" MiB"))


def follow(lab: Lab, limit: float) -> float:
    """Wait until the view shows the limit, then until the curve comes near; its highest value."""
    expect(lab.page.locator('td[data-value="limit"]').first).to_have_text(
        f"{limit:g} MiB", timeout=20_000
    )
    highest, end = 0.0, time.monotonic() + 30
    while highest < limit / 2 and time.monotonic() < end:
        lab.page.wait_for_timeout(250)
        highest = max(highest, shown(lab, "used"))
    return highest
