"""What the tests of pages do in a browser: see what was asked for, wait, find."""

from __future__ import annotations

import json
import time


def requests(browser):
    """Return the addresses that the page asked for."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


def wait_for(browser, condition, seconds=20):
    """Wait until a JavaScript condition holds."""
    end = time.monotonic() + seconds
    while not browser.execute_script(f"return Boolean({condition})"):
        assert time.monotonic() < end, f"never true: {condition}"
        time.sleep(0.05)


def find(browser, selector):
    return browser.find_element("css selector", selector)
