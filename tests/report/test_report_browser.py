"""The page in a browser: opened from disk, without network, by mouse and by keyboard."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

import pytest
from board_samples import (
    DEPLOYED,
    large_leaderboard,
    make_board,
    make_latencies,
    make_leaderboard,
    nasty_leaderboard,
    small_leaderboard,
)
from browsing import find, requests, wait_for

from fersearch.report.leaderboard.write import write_leaderboard

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="there is no chromium with its chromedriver on this machine"
)

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
PAGES = {
    "small": small_leaderboard,
    "large": large_leaderboard,
    "nasty": nasty_leaderboard,
    "one": lambda: make_leaderboard(make_board(1, with_study=False)),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return {
        name: write_leaderboard(make(), folder / name, ("html",))[0] for name, make in PAGES.items()
    }


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["http://*", "https://*"]})
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser, pages):
    """Open a page at a width; afterwards there must be no error and no request."""
    opened = []

    def open_page(name, *, width=1280, dark=False, path=None):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get_log("browser")
        browser.get_log("performance")
        browser.get((path or pages[name]).as_uri())
        wait_for(browser, "document.documentElement.dataset.ready !== undefined")
        browser.execute_script("try { localStorage.clear(); } catch (error) {}")
        browser.execute_script("delete document.documentElement.dataset.theme")
        opened.append(name)
        return browser

    yield open_page
    assert opened
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert [
        url for url in requests(browser) if not url.startswith(("file:", "data:", "blob:"))
    ] == []


def titles(browser, shown=True):
    """Return the models in the order of the first table."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#board-1-table .entry')]"
        ".filter((entry) => !arguments[0] || !entry.hidden)"
        ".map((entry) => entry.querySelector('.open').textContent)",
        shown,
    )


def column(browser, key):
    """Return the sorting values of a column of the first table, top down."""
    return browser.execute_script(
        "return [...document.querySelectorAll(`#board-1-table .entry .c-${arguments[0]}`)]"
        ".map((cell) => cell.dataset.value)",
        key,
    )


def sort_state(browser, key):
    return find(browser, f"#board-1-table th.c-{key}").get_attribute("aria-sort")


def draw_all(browser):
    """Scroll through the page until every figure is drawn."""
    height = browser.execute_script("return document.documentElement.scrollHeight")
    for place in range(0, height, 500):
        browser.execute_script("window.scrollTo(0, arguments[0])", place)
        time.sleep(0.05)
    wait_for(browser, "[...document.querySelectorAll('figure')].every((f) => f.dataset.drawn)")


def test_sorting_by_mouse_and_keyboard(visit):
    from selenium.webdriver.common.keys import Keys

    browser = visit("small")
    assert sort_state(browser, "rank") == "ascending"
    before = titles(browser)
    find(browser, "#board-1-table th.c-params .sort").click()
    assert sort_state(browser, "params") == "ascending"
    assert sort_state(browser, "rank") == "none"
    params = [float(value) for value in column(browser, "params")]
    assert params == sorted(params)
    find(browser, "#board-1-table th.c-params .sort").click()
    assert sort_state(browser, "params") == "descending"
    button = find(browser, "#board-1-table th.c-model .sort")
    button.send_keys(Keys.ENTER)
    assert sort_state(browser, "model") == "ascending"
    assert titles(browser) == sorted(before, key=str.casefold)
    claimed = find(browser, "#board-1-table th.c-claimed .sort")
    claimed.send_keys(Keys.SPACE)
    assert column(browser, "claimed")[0] is not None
    assert column(browser, "claimed")[-1] is None
    claimed.send_keys(Keys.SPACE)
    assert column(browser, "claimed")[-1] is None
    assert "sorted by Claimed, ascending" in find(browser, "#board-1 .count").text


def test_latency_is_sorted_within_its_session(visit, tmp_path):
    board = make_board(4)
    rows = tuple(
        replace(row, latencies=make_latencies(9.0 - place, session=f"bench-{place % 2}"))
        for place, row in enumerate(board.rows)
    )
    path = write_leaderboard(make_leaderboard(replace(board, rows=rows)), tmp_path, ("html",))[0]
    browser = visit("sessions", path=path)
    button = find(browser, "#board-1-table th.c-latency-fp32 .sort")
    button.click()
    assert [float(value) for value in column(browser, "latency-fp32")] == [7, 9, 6, 8]
    assert "sorted by Latency fp32, ascending" in find(browser, "#board-1 .count").text
    button.click()
    assert [float(value) for value in column(browser, "latency-fp32")] == [9, 7, 8, 6]
    find(browser, "#board-1-table th.c-latency-int8 .sort").click()
    int8 = [float(value) for value in column(browser, "latency-int8")]
    assert int8 == pytest.approx([4.2, 5.4, 3.6, 4.8])


def test_the_costs_of_a_full_table_are_seen_without_scrolling(visit, tmp_path):
    board = make_board(4, deployed=DEPLOYED)
    path = write_leaderboard(make_leaderboard(board), tmp_path, ("html",))[0]
    browser = visit("full", path=path)
    ends = browser.execute_script(
        "return [...document.querySelectorAll('#board-1-table th')]"
        ".filter((head) => /c-(latency|params|int8)/.test(head.className))"
        ".map((head) => head.getBoundingClientRect().right)"
    )
    assert len(ends) == 4
    assert max(ends) <= 1280


def test_filters_and_column_groups(visit):
    browser = visit("small")
    field = find(browser, "#board-1 .filter")
    field.send_keys("shuffle")
    assert len(titles(browser)) == 2
    assert find(browser, "#board-1 .count").text.startswith("2 of 7 models")
    field.clear()
    field.send_keys("no such model")
    assert titles(browser) == []
    field.clear()
    field.send_keys(" ")
    browser.execute_script(
        "const s = document.querySelector('#board-1 .role-choice'); s.value = 'baseline';"
        "s.dispatchEvent(new Event('change'))"
    )
    assert len(titles(browser)) == 4
    toggle = find(browser, "#board-1 .toggle[data-group=Cost]")
    toggle.click()
    assert toggle.get_attribute("aria-pressed") == "false"
    assert not find(browser, "#board-1-table th.c-params").is_displayed()
    toggle.click()
    assert find(browser, "#board-1-table th.c-params").is_displayed()


def test_details_open_and_close(visit):
    browser = visit("small")
    button = find(browser, "#board-1-table .open")
    details = find(browser, "#board-1-row-1")
    assert not details.is_displayed()
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    assert details.is_displayed()
    assert "fersearch study distill" in details.text
    find(browser, "#board-1-row-1 .copy").click()
    wait_for(browser, "document.querySelector('#board-1-row-1 .copy').textContent !== 'Copy'")
    button.click()
    assert not details.is_displayed()


def test_theme_changes_page_and_figures(visit):
    browser = visit("small", dark=True)
    draw_all(browser)
    ground = "return getComputedStyle(document.body).backgroundColor"
    dark = browser.execute_script(ground)
    button = find(browser, "#theme")
    assert button.text == "Light theme"
    button.click()
    assert button.text == "Dark theme"
    assert browser.execute_script(ground) != dark
    wait_for(
        browser,
        "[...document.querySelectorAll('figure')].every((f) => f.dataset.drawn === 'light')",
    )


@pytest.mark.parametrize("name", ["small", "nasty", "one"])
@pytest.mark.parametrize("width", [390, 1280])
def test_figures_are_drawn_and_nothing_overflows(visit, name, width):
    browser = visit(name, width=width)
    draw_all(browser)
    browser.execute_script("document.querySelectorAll('.open').forEach((b) => b.click())")
    browser.execute_script("document.querySelectorAll('.data').forEach((d) => { d.open = true; })")
    wait_for(
        browser,
        "[...document.querySelectorAll('.data')].every((d) => d.querySelector('tbody tr'))",
    )
    overflow = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.body.scrollWidth]"
    )
    assert max(overflow) <= width
    assert browser.execute_script("return window.Plotly !== undefined")
    empty = browser.execute_script(
        "return [...document.querySelectorAll('figure')]"
        ".filter((f) => !f.querySelector('.main-svg')).map((f) => f.id)"
    )
    assert empty == []


def test_choices_change_figure_and_table(visit):
    browser = visit("small")
    browser.execute_script("document.querySelector('#board-1-confusion').scrollIntoView()")
    wait_for(browser, "document.querySelector('#board-1-confusion').dataset.drawn")
    browser.execute_script("document.querySelector('#board-1-confusion .data').open = true")
    read = "return document.querySelector('#board-1-confusion tbody').textContent"
    wait_for(browser, "document.querySelector('#board-1-confusion tbody tr')")
    before = browser.execute_script(read)
    browser.execute_script(
        "const s = document.querySelector('#board-1-confusion select'); s.value = '6';"
        "s.dispatchEvent(new Event('change'))"
    )
    assert browser.execute_script(read) != before


def test_awkward_names_run_nothing(visit):
    browser = visit("nasty")
    draw_all(browser)
    assert browser.execute_script("return document.images.length") == 0
    from selenium.common.exceptions import NoAlertPresentException

    with pytest.raises(NoAlertPresentException):
        _ = browser.switch_to.alert.text


def test_print_draws_every_figure_in_light(visit):
    browser = visit("one", dark=True)
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    wait_for(
        browser,
        "[...document.querySelectorAll('figure')].every((f) => f.dataset.drawn === 'light')",
    )
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    wait_for(
        browser,
        "[...document.querySelectorAll('figure')].every((f) => f.dataset.drawn === 'dark')",
    )


def test_thirty_rows_are_small_and_quick(visit, pages):
    size = pages["large"].stat().st_size
    assert size < 8_000_000
    browser = visit("large")
    ready = int(browser.execute_script("return document.documentElement.dataset.ready"))
    whole = browser.execute_script(
        "return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
    )
    print(
        f"30 rows: {size / 1e6:.2f} MB, interactive after {ready} ms, parsed after {whole:.0f} ms"
    )
    assert ready < 6000
