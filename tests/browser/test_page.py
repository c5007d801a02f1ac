"""The page in a real Chromium: by mouse and keyboard, on a desk and a phone, in light and dark."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from modelrelease_operator.ui.report import report
from modelrelease_operator.ui.story import story
from tests.browser.conftest import DESK, PHONE, Open
from tests.browser.scene import HOSTILE, LIVE, SHADOW, WORSE, Scene

PLACES = {
    "list": "",
    "live": f"#/{'/'.join(LIVE)}",
    "worse": f"#/{'/'.join(WORSE)}",
    "shadow": f"#/{'/'.join(SHADOW)}",
    "hostile": f"#/{'/'.join(HOSTILE)}",
}

WATCH_FRAMES = """() => {
  window.longest = 0;
  let last = performance.now();
  const look = (now) => {
    window.longest = Math.max(window.longest, now - last);
    last = now;
    requestAnimationFrame(look);
  };
  requestAnimationFrame((now) => { last = now; look(now); });
}"""


def is_shown(page: Page, place: str) -> None:
    """Wait until a view has what it is about."""
    if place == "list":
        expect(page.locator("tbody tr").first).to_be_visible()
    else:
        expect(page.locator(".said")).to_be_visible()
        expect(page.locator(".plot canvas").first).to_be_attached()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("place", ["list", "live", "worse", "shadow"])
def test_nobody_is_shut_out(visit: Open, place: str, size: dict[str, int], scheme: str):
    page = visit(PLACES[place], size=size, scheme=scheme)
    is_shown(page, place)
    for closed in page.locator("details:not([open]) summary").all()[:2]:
        closed.click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_wider_than_a_phone(visit: Open, place: str):
    page = visit(PLACES[place], size=PHONE)
    is_shown(page, place)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_words_of_the_cluster_stay_words(visit: Open):
    page = visit(PLACES["hostile"])
    is_shown(page, "hostile")
    expect(page.locator(".said")).to_contain_text("<img src=x onerror=alert(1)><script>")
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "zoo/hostile"


def test_the_list_is_filtered_by_words(visit: Open):
    page = visit()
    expect(page.locator("tbody tr")).to_have_count(500)
    page.get_by_label("Filter").fill("search rank")
    expect(page.locator("tbody tr th").first).to_contain_text("rank")
    count = page.locator("tbody tr").count()
    assert 0 < count < 100
    expect(page.locator(".list > .quiet")).to_have_text(f"{count} of 500 releases")


def test_the_list_shows_those_that_want_a_person_first_and_alone_when_asked(visit: Open):
    page = visit()
    expect(page.locator("tbody tr")).to_have_count(500)
    wanting = page.get_by_role("button", name=re.compile("^Want a person"))
    wanting.click()
    expect(wanting).to_have_attribute("aria-pressed", "true")
    assert page.locator("tbody tr").count() == int(wanting.inner_text().split()[-1])


def test_the_list_is_sorted_by_its_heads_in_both_directions(visit: Open):
    page = visit()
    expect(page.locator("tbody tr")).to_have_count(500)
    head = page.get_by_role("button", name="Release", exact=True)
    head.click()
    expect(page.locator("thead th").first).to_have_attribute("aria-sort", "ascending")
    first = page.locator("tbody tr th").first.inner_text()
    head.click()
    expect(page.locator("thead th").first).to_have_attribute("aria-sort", "descending")
    assert page.locator("tbody tr th").first.inner_text() != first


def test_a_release_is_reached_and_left_by_keyboard_alone(visit: Open):
    page = visit()
    expect(page.locator("tbody tr")).to_have_count(500)
    page.get_by_label("Filter").focus()
    page.keyboard.type("search embeddings")
    expect(page.locator("tbody tr")).to_have_count(1)
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('tbody') !== null"):
            break
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("search/embeddings")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)


def test_pictures_have_their_figures_as_a_table(visit: Open):
    page = visit(PLACES["live"])
    is_shown(page, "live")
    picture = page.locator("figure.chart").first
    picture.locator("summary").click()
    expect(picture.locator("tbody tr").first).to_be_visible()
    assert "tolerated" in picture.locator("thead").inner_text()
    spoken = picture.locator(".plot").get_attribute("aria-label") or ""
    assert re.search(r"interval: [\d.]+ points, tolerated: [\d.]+ points, margin: ", spoken)


def test_what_happens_is_shown_without_taking_the_focus_and_said_aloud(visit: Open, scene: Scene):
    page = visit(PLACES["live"])
    is_shown(page, "live")
    page.get_by_role("button", name="abort").focus()
    before = scene.releases.by_key[LIVE]
    changed = {**before["status"], "message": "a new sentence", "verdict": "Insufficient"}
    scene.put(LIVE, before["spec"], changed)
    try:
        expect(page.locator(".said")).to_have_text("a new sentence")
        expect(page.locator("#live")).to_have_text("ranker: Progressing. a new sentence")
        assert page.evaluate("document.activeElement.textContent") == "abort"
    finally:
        scene.put(LIVE, before["spec"], before["status"])


def test_a_command_is_asked_once_more_and_then_given(visit: Open, scene: Scene):
    page = visit(PLACES["live"])
    is_shown(page, "live")
    page.get_by_role("button", name="abort").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This will take canary 7 back.")
    assert Axe().run(page).violations_count == 0
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert not scene.viewers.asked
    page.get_by_role("button", name="abort").click()
    dialog.get_by_label("Code that the terminal shows").fill("abc123")
    dialog.get_by_role("button", name="abort").click()
    expect(dialog).to_be_hidden()
    patch = {"metadata": {"annotations": {"modelrelease.dev/abort": "rev7"}}}
    assert scene.viewers.asked == [(*LIVE, patch)]
    scene.viewers.asked.clear()


def test_500_releases_scroll_and_change_without_sticking(visit: Open, scene: Scene):
    page = visit()
    expect(page.locator("tbody tr")).to_have_count(500)
    page.evaluate(WATCH_FRAMES)
    page.mouse.move(600, 600)
    for number, key in enumerate(sorted(scene.releases.by_key)):
        if number % 5 == 0:
            known = scene.releases.by_key[key]
            scene.put(key, known["spec"], known["status"])
        if number % 25 == 0:
            page.mouse.wheel(0, 1500)
            page.wait_for_timeout(16)
    longest = page.evaluate("window.longest")
    print(f"longest frame: {longest:.0f} ms")  # noqa: T201 - the figure of the record
    assert page.evaluate("scrollY") > 5000


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_report_is_read_without_any_server(
    visit: Open, scene: Scene, tmp_path: Path, size: dict[str, int]
):
    told = story(scene.releases.by_key[WORSE], scene.now, scene.releases.past(WORSE))
    (tmp_path / "report.html").write_text(report(told, source="as a test made it"))
    page = visit(f"file://{tmp_path}/report.html", size=size)
    is_shown(page, "report")
    expect(page.locator(".timeline")).to_contain_text("Regression")
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert Axe().run(page).violations_count == 0
