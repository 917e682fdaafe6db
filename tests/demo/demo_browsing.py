"""What the tests of the demo's page do in a browser: wait, choose pictures, read cards."""

from __future__ import annotations

import functools

import browsing
from browsing import find

# The models answer in their time, beside other tests.
wait_for = functools.partial(browsing.wait_for, seconds=60)
# Reading a canvas back makes the browser warn, unless it is a copy that is made for reading.
COPY = (
    "const copyOf = (c) => { const copy = document.createElement('canvas');"
    "copy.width = c.width; copy.height = c.height;"
    "const context = copy.getContext('2d', { willReadFrequently: true });"
    "context.drawImage(c, 0, 0); return context; };"
)


def choose(browser, folder, *names):
    """Choose files and wait until all that were chosen so far are answered."""
    find(browser, "#files").send_keys("\n".join(str(folder / name) for name in names))
    wait_for(
        browser,
        "document.querySelectorAll('#strip button').length >= arguments[0]".replace(
            "arguments[0]", str(len(names))
        ),
    )
    settle(browser)


def settle(browser):
    """Wait until no picture waits for its answer."""
    wait_for(
        browser,
        "![...document.querySelectorAll('#strip span')].some((s) => s.textContent === 'waiting')"
        " && !document.querySelector('#status').textContent.includes('looking')",
    )


def cards(browser):
    """Return what the cards say: heads, bars in percent of their rails, and the numbers."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#cards .face:not([hidden])')].map((card) => ({"
        " name: card.getAttribute('aria-label'),"
        " labels: [...card.querySelectorAll('figcaption b')].map((b) => b.textContent),"
        " classes: [...card.querySelectorAll('tbody th')].map((th) => th.textContent),"
        " values: [...card.querySelectorAll('.value')].map((td) => td.textContent),"
        " bars: [...card.querySelectorAll('.rail')].map((rail) => 100 *"
        "   rail.firstChild.getBoundingClientRect().width / rail.getBoundingClientRect().width),"
        " apart: !card.querySelector('.disagree').hidden }))"
    )


def answer_of(sites, name, folder, file, query="faces=whole"):
    return sites[name].classify((folder / file).read_bytes(), query).json


def pixel(browser, x, y):
    """Return the colour of the picture's canvas at a place in the picture's own pixels."""
    return browser.execute_script(
        f"{COPY} const c = document.querySelector('#picture');"
        "const scale = c.width / 1024;"
        "return [...copyOf(c).getImageData("
        "Math.round(arguments[0] * scale), Math.round(arguments[1] * scale), 1, 1).data]",
        x, y,
    )  # fmt: skip
