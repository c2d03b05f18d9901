"""The page in a real browser, opened from a file."""

import dataclasses
import io
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.report import render_comparison, render_report

pytestmark = [pytest.mark.browser, pytest.mark.slow]

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
axe = pytest.importorskip("axe_playwright_python", reason="needs axe (pip install axe-playwright-python)")
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
def report(
    make_record, make_epochs, thumbnails, audit, learning, tmp_path_factory: pytest.TempPathFactory
) -> Path:
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
        features=np.random.default_rng(0).normal(size=(215, 16)).astype(np.float32),
        audit=audit,
        learning=learning,
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_report(record, thumbnails).html, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def comparison(make_comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison with names that are wide or unsafe."""
    record = make_comparison(12, title=_HOSTILE, failures=[("x" * 200, "y" * 300)], command="w" * 500)
    path = tmp_path_factory.mktemp("comparison") / "report.html"
    path.write_text(render_comparison(record), encoding="utf-8")
    return path


@dataclasses.dataclass
class Visit:
    """An opened page, and what it said and asked for on the way."""

    page: object
    path: Path
    messages: list[str] = dataclasses.field(default_factory=list)
    requests: list[str] = dataclasses.field(default_factory=list)


@contextmanager
def visiting(browser, path: Path, width: int = 1200, scheme: str = "light", **options) -> Iterator[Visit]:
    """The page, opened from its file, with its charts drawn."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, **options)
    visit = Visit(page=context.new_page(), path=path)
    visit.page.on("console", lambda message: visit.messages.append(message.text))
    visit.page.on("pageerror", lambda error: visit.messages.append(str(error)))
    visit.page.on("request", lambda each: visit.requests.append(each.url))
    visit.page.goto(path.as_uri(), wait_until="load")
    if options.get("java_script_enabled", True):
        visit.page.wait_for_selector("html.charted", timeout=60_000)
    yield visit
    context.close()


_SEEN = [(360, "light"), (1200, "dark")]


@pytest.fixture(scope="module", params=_SEEN, ids=str)
def visit(request: pytest.FixtureRequest, browser, report: Path) -> Iterator[Visit]:
    """A run's page on a phone, and on a dark desktop; for looking only."""
    with visiting(browser, report, *request.param) as opened:
        yield opened


@pytest.fixture(scope="module", params=_SEEN, ids=str)
def compared(request: pytest.FixtureRequest, browser, comparison: Path) -> Iterator[Visit]:
    """A comparison's page likewise."""
    with visiting(browser, comparison, *request.param) as opened:
        yield opened


@pytest.fixture
def desk(browser, report: Path) -> Iterator[Visit]:
    """A run's page on a desktop, to be used."""
    with visiting(browser, report) as opened:
        yield opened


def quiet(visit: Visit) -> None:
    """The page has said nothing, asked for nothing, and run nothing that a name holds."""
    assert visit.messages == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [visit.path.as_uri()]
    assert visit.page.title() != "broken"


def findings(visit: Visit) -> list[tuple[str, str]]:
    """What axe-core finds serious or critical."""
    script = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    session = visit.page.context.new_cdp_session(visit.page)
    session.send("Runtime.evaluate", {"expression": script})  # the page's policy lets no other script in
    violations = visit.page.evaluate("axe.run().then(result => result.violations)")
    return [
        (each["id"], each["nodes"][0]["html"])
        for each in violations
        if each["impact"] in ("serious", "critical")
    ]


def test_says_nothing_and_asks_for_nothing(visit: Visit) -> None:
    quiet(visit)


def test_a_comparison_says_nothing_and_asks_for_nothing(compared: Visit) -> None:
    quiet(compared)


def test_the_page_itself_does_not_scroll_sideways(visit: Visit) -> None:
    width, room = visit.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= room


def test_a_comparison_does_not_scroll_sideways(compared: Visit) -> None:
    width, room = compared.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width <= room


def test_axe_finds_nothing_serious(visit: Visit) -> None:
    assert findings(visit) == []


def test_axe_finds_nothing_serious_in_a_comparison(compared: Visit) -> None:
    assert findings(compared) == []


def test_every_chart_is_drawn(visit: Visit, compared: Visit) -> None:
    for opened, least in ((visit, 7), (compared, 3)):
        places = opened.page.locator("[data-chart]")
        assert places.count() >= least
        assert opened.page.locator("[data-chart].drawn .main-svg").count() >= places.count()


def test_headings_and_images(visit: Visit) -> None:
    assert visit.page.locator("h1").count() == 1
    assert visit.page.get_by_role("heading", name="Most confident mistakes").is_visible()
    widths = visit.page.evaluate(
        "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))"
    )
    assert widths
    assert min(widths) > 0


def test_the_keyboard_reaches_links_and_wide_boxes(desk: Visit) -> None:
    desk.page.keyboard.press("Tab")
    assert desk.page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(300):
        desk.page.keyboard.press("Tab")
        reached.add(desk.page.evaluate("document.activeElement.getAttribute('aria-label')"))
    assert {"Table of key numbers", "Chart of accuracy per class", "Confusion matrix", "Command"} <= reached


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


def test_charts_follow_the_theme(desk: Visit) -> None:
    colour = "getComputedStyle(document.querySelector('[data-chart=reliability] .xtick text')).fill"
    light = desk.page.evaluate(colour)
    desk.page.emulate_media(color_scheme="dark")
    for _ in range(100):
        if desk.page.evaluate(colour) != light:
            return
        desk.page.wait_for_timeout(100)
    pytest.fail(f"text is still {light}")


def test_a_table_sorts_by_mouse_and_by_keyboard(browser, comparison: Path) -> None:
    with visiting(browser, comparison) as opened:
        table = opened.page.locator("table.leaderboard")

        def column(number: int) -> list[str]:
            return table.locator(f"tbody tr > :nth-child({number})").evaluate_all(
                "all => all.map(e => e.dataset.value)"
            )

        seconds = table.get_by_role("button", name="Seconds")
        seconds.click()
        assert list(map(float, column(4))) == sorted(map(float, column(4)))
        heading = table.get_by_role("columnheader", name="Seconds")
        assert heading.get_attribute("aria-sort") == "ascending"
        seconds.press("Enter")
        assert list(map(float, column(4))) == sorted(map(float, column(4)), reverse=True)
        assert heading.get_attribute("aria-sort") == "descending"
        table.get_by_role("button", name="Accuracy").press("Space")
        assert list(map(float, column(3))) == sorted(map(float, column(3)), reverse=True)  # better is higher
        assert heading.get_attribute("aria-sort") == "none"
        quiet(opened)


def test_a_cell_of_the_matrix_shows_its_images(desk: Visit) -> None:
    cell = desk.page.locator("#matrix .miss button").first
    count = int(cell.inner_text())
    cell.click()
    panel = desk.page.locator("#cell-images")
    assert panel.locator("li").count() == count
    assert panel.locator("li img").count() == count
    assert panel.locator("h3").inner_text().startswith(f"{count} image")
    assert panel.evaluate("e => e === document.activeElement")
    named = panel.locator("li .path").first.inner_text()
    assert re.search(r"% sure · test/\d+/\d+\.jpg", named)
    panel.get_by_role("button", name="Back").press("Enter")
    assert panel.is_hidden()
    assert cell.evaluate("e => e === document.activeElement")
    quiet(desk)


def test_arrow_keys_and_enter_open_a_cell(desk: Visit) -> None:
    first = desk.page.locator("#matrix button").first
    first.focus()
    desk.page.keyboard.press("ArrowRight")
    desk.page.keyboard.press("ArrowDown")
    row, column = map(int, desk.page.evaluate("document.activeElement.dataset.cell").split(","))
    assert row > 0
    assert column > 0
    assert desk.page.locator("#matrix button[tabindex='0']").count() == 1
    desk.page.keyboard.press("Enter")
    assert desk.page.locator("#cell-images li").count() > 0


def test_a_mix_up_shows_its_images(desk: Visit) -> None:
    mix_up = desk.page.locator("[data-opens] button").first
    mix_up.press("Enter")
    assert desk.page.locator("#cell-images li").count() == int(mix_up.inner_text().split()[0])


def test_a_chart_shows_the_images_of_many_classes(browser, make_record, thumbnails, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_report(make_record(k=61, per_class=2), thumbnails).html, encoding="utf-8")
    with visiting(browser, path) as opened:
        square = opened.page.locator('[data-chart="matrix"] .point').first
        square.scroll_into_view_if_needed()
        box = square.bounding_box()
        opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
        opened.page.wait_for_selector('[data-chart="matrix"] .hoverlayer .hovertext')
        opened.page.mouse.down()
        opened.page.mouse.up()
        opened.page.wait_for_selector("#cell-images li")
        quiet(opened)


def test_pointing_at_the_map_shows_the_photo(desk: Visit) -> None:
    point = desk.page.locator('[data-chart="map"] .point').nth(5)
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    desk.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    desk.page.wait_for_selector("#map-tip:not([hidden]) img")
    assert "sure" in desk.page.locator("#map-tip").inner_text()
    quiet(desk)


def test_arrow_keys_walk_over_the_map(desk: Visit) -> None:
    desk.page.locator('[data-chart="map"]').focus()
    said = []
    for _ in range(3):
        desk.page.keyboard.press("ArrowRight")
        desk.page.wait_for_timeout(150)
        said.append(desk.page.locator("#map-words").inner_text())
    assert len(set(said)) == 3
    assert all("sure" in words for words in said)
    assert desk.page.locator("#map-tip img").is_visible()
    desk.page.keyboard.press("Escape")
    assert desk.page.locator("#map-tip").is_hidden()


def test_the_map_shows_one_class(desk: Visit) -> None:
    points = "[...document.querySelectorAll('[data-chart=map] .point')]"
    seen = f"{points}.filter(e => getComputedStyle(e).opacity > .5).length"
    assert desk.page.evaluate(seen) == 215
    desk.page.locator("#map-class").select_option("7")
    assert desk.page.evaluate(seen) == 5


def test_without_scripts_every_chart_is_told_in_words(browser, report: Path) -> None:
    with visiting(browser, report, java_script_enabled=False) as opened:
        for place in opened.page.locator("[data-chart]").all():
            assert place.inner_text() == place.get_attribute("aria-label")
        assert opened.page.get_by_text("Choose a cell").is_hidden()


def test_a_screenshot_is_not_blank(visit: Visit) -> None:
    image = np.asarray(Image.open(io.BytesIO(visit.page.locator('[data-chart="reliability"]').screenshot())))
    assert image.std() > 3
