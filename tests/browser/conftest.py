"""A real Chromium, and a page of simulated releases, for the tests in .venv-browser."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.browser.scene import Scene, a_scene, served

ROOT = Path(__file__).parents[2]
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
Open = Callable[..., Page]


def chromium() -> str:
    """Return the browser of this machine, which is installed where it may be."""
    found = subprocess.run([ROOT / "tools/chromium"], check=True, stdout=subprocess.PIPE, text=True)
    return found.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Root has no sandbox; what is shown is of this repository.
        running = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def scene() -> Scene:
    """500 releases in every phase, which may be given commands; no test changes them for good."""
    return a_scene(commands=True)


@pytest.fixture(scope="session")
def address(scene: Scene) -> Iterator[str]:
    with served(scene) as url:
        yield url


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Open]:
    """Open the page at a place; a script's error, or what its policy forbids, fails the test."""
    problems: list[str] = []
    contexts = []

    def heard(line: ConsoleMessage) -> None:
        if line.type == "error":
            problems.append(line.text)

    def opened(place: str = "", *, size: dict[str, int] = DESK, scheme: str = "light") -> Page:
        context = browser.new_context(viewport=size, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", heard)
        page.goto(place if place.startswith("file:") else f"{address}/{place}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []
