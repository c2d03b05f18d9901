"""The page in a real browser, opened from a file."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from headstart.report import render_report

pytestmark = [pytest.mark.browser, pytest.mark.slow]

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_HOSTILE = "<img src=x onerror=document.title='broken'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    chromium = next(filter(None, map(shutil.which, _NAMES)), None)
    if chromium is None:
        pytest.skip("needs Chromium on the PATH")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(make_record, make_epochs, thumbnails, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all that makes a page wide or unsafe."""
    names = [f"{_HOSTILE} {i}" if i % 2 else "unbroken" * 12 + str(i) for i in range(43)]
    record = make_record(43, 5, name="x" * 200, problems=[("y" * 300, "z" * 300)], command="w" * 500)
    result = {**record.result, "warnings": ["v" * 300], "environment": {"u" * 100: "t" * 300}}
    record = dataclasses.replace(
        record,
        result=result,
        classes=names,
        history=[*make_epochs(1, "probe"), *make_epochs(100, "finetune")],
        best_epoch={"finetune": 7},
        config={"backbone": f"{_HOSTILE}/{'s' * 200}"},
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_report(record, thumbnails).html, encoding="utf-8")
    return path


@dataclasses.dataclass
class Visit:
    """An opened page, and what it said and asked for on the way."""

    page: object
    messages: list[str]
    requests: list[str]


@pytest.fixture(params=[(375, "light"), (375, "dark"), (1200, "light"), (1200, "dark")], ids=str)
def visit(request: pytest.FixtureRequest, browser, report: Path) -> Iterator[Visit]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    visit = Visit(page=context.new_page(), messages=[], requests=[])
    visit.page.on("console", lambda message: visit.messages.append(message.text))
    visit.page.on("pageerror", lambda error: visit.messages.append(str(error)))
    visit.page.on("request", lambda each: visit.requests.append(each.url))
    visit.page.goto(report.as_uri(), wait_until="load")
    yield visit
    context.close()


def test_says_nothing_and_asks_for_nothing(visit: Visit, report: Path) -> None:
    assert visit.messages == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [report.as_uri()]
    assert "broken" not in visit.page.title().replace("unbroken", "")


def test_the_page_itself_does_not_scroll_sideways(visit: Visit) -> None:
    width, room = visit.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= room


def test_headings_and_images(visit: Visit) -> None:
    assert visit.page.locator("h1").count() == 1
    assert visit.page.get_by_role("heading", name="Most confident mistakes").is_visible()
    widths = visit.page.evaluate(
        "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
    )
    assert widths
    assert min(widths) > 0


def test_the_keyboard_reaches_links_and_wide_boxes(visit: Visit) -> None:
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(40):
        visit.page.keyboard.press("Tab")
        reached.add(visit.page.evaluate("document.activeElement.getAttribute('aria-label')"))
    assert {"Key numbers", "Chart of accuracy per class", "Confusion matrix", "Command"} <= reached
    assert "Chart of training: Fine-tuning" in reached


def test_charts_and_text_stand_out_from_the_page(visit: Visit) -> None:
    """Contrast of at least 4.5 (WCAG 2.2, AA) between text and paper."""
    contrasts = visit.page.evaluate(
        """() => {
          const light = css => {
            const [r, g, b] = css.match(/[\\d.]+/g).map(v => v / 255)
              .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
            return .2126 * r + .7152 * g + .0722 * b;
          };
          const paper = light(getComputedStyle(document.body).backgroundColor);
          const inks = [
            ...[...document.querySelectorAll(".chart text")].map(e => getComputedStyle(e).fill),
            ...[...document.querySelectorAll("p, td, th, dt, dd, a, b")].map(e => getComputedStyle(e).color),
          ];
          return inks.map(light).map(v => (Math.max(v, paper) + .05) / (Math.min(v, paper) + .05));
        }"""
    )
    assert len(contrasts) > 100
    assert min(contrasts) > 4.5
