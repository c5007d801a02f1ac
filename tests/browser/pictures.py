"""The pictures of the documents, of the scene of simulated releases: `make pictures`."""

from io import BytesIO
from pathlib import Path
from typing import Any, Final

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import ROOT, chromium
from tests.browser.scene import LIVE, WORSE, a_scene, served

FOLDER: Final = ROOT / "docs/pictures"
LARGEST: Final = 150_000
"""Bytes of one picture."""
PLAIN: Final = ["--no-sandbox", "--disable-lcd-text"]
"""Letters without coloured edges, which a palette has no colours for."""
COLOURS: Final = 128
DESK: Final = (1200, 800)
PICTURES: Final = {
    "releases": ("", DESK, "light"),
    "release": (f"#/{'/'.join(LIVE)}", (1200, 1500), "light"),
    "regression": (f"#/{'/'.join(WORSE)}", (1200, 1250), "dark"),
    "phone": (f"#/{'/'.join(LIVE)}", (390, 844), "dark"),
}


def take(browser: Browser, url: str, name: str) -> Path:
    """Take one picture; raises ValueError for one that is too large to keep."""
    place, (width, height), scheme = PICTURES[name]
    settings: dict[str, Any] = {"color_scheme": scheme, "reduced_motion": "reduce"}
    page = browser.new_page(viewport={"width": width, "height": height}, **settings)
    page.goto(f"{url}/{place}")
    page.locator("main .said, tbody tr").first.wait_for()
    if place:
        page.locator(".plot canvas").last.wait_for(state="attached")
    page.evaluate("document.fonts.ready.then(() => new Promise(requestAnimationFrame))")
    path = FOLDER / f"page-{name}.png"
    with Image.open(BytesIO(page.screenshot())) as whole:
        whole.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    page.close()
    if path.stat().st_size > LARGEST:
        msg = f"{path} has {path.stat().st_size} bytes, and {LARGEST} are what a document may bring"
        raise ValueError(msg)
    return path


def main() -> None:
    """Take them all."""
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright, served(a_scene()) as url:
        browser = playwright.chromium.launch(executable_path=chromium(), args=PLAIN)
        for name in PICTURES:
            path = take(browser, url, name)
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")
        browser.close()


if __name__ == "__main__":
    main()
