"""The demo in a browser: pictures, a webcam that is a file, Grad-CAM, two models, two themes."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from importlib.util import find_spec

import numpy as np
import pytest
from browsing import find, requests
from demo_browsing import COPY, answer_of, cards, choose, pixel, settle, wait_for
from demo_samples import CLASSES, Gated, encoded, noise, open_tiny, running
from PIL import Image

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="there is no chromium with its chromedriver here"
    ),
]

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
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write pictures, and a film for the camera: an astronaut who walks to and fro."""
    folder = tmp_path_factory.mktemp("pictures")
    astronaut = Image.fromarray(data.astronaut())
    astronaut.save(folder / "astronaut.png")
    astronaut.convert("L").save(folder / "scan.tif")
    pair = Image.new("RGB", (1024, 512))
    pair.paste(astronaut, (0, 0))
    pair.paste(astronaut, (512, 0))
    pair.save(folder / "pair.jpg", quality=95)
    (folder / "notes.png").write_text("no picture", encoding="utf-8")
    frames = []
    for step in range(20):
        # Its edges are black and white in turn, so that one frame is not taken for the next.
        frame = Image.new("RGB", (640, 480), (250 * (step % 2),) * 3)
        frame.paste(astronaut.resize((480, 480)), (80 + int(30 * np.sin(step * np.pi / 10)), 0))
        frames.append(encoded(frame, "JPEG", quality=90))
    (folder / "camera.mjpeg").write_bytes(b"".join(frames))
    return folder


@pytest.fixture(scope="module")
def finder():
    """Return what ``fersearch demo`` finds faces with; None where OpenCV is missing."""
    if find_spec("cv2") is None:
        return None
    from fersearch.align import open_finder

    return open_finder()


@pytest.fixture(scope="module")
def sites(tmp_path_factory, tiny_plugin, finder):
    folder = tmp_path_factory.mktemp("models")
    one = open_tiny(folder / "one", title="student", seed=2)
    two = open_tiny(folder / "two", title="teacher", model="tiny_teacher", seed=2, image_size=24)
    with ExitStack() as stack:
        yield {
            "one": stack.enter_context(running([one], finder)),
            "two": stack.enter_context(running([one, two], finder)),
            "bare": stack.enter_context(running([Gated()], None, no_finder="pip install it")),
        }


@pytest.fixture(scope="module")
def browser(tmp_path_factory, folder):
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    more = (
        f"--use-file-for-fake-video-capture={folder / 'camera.mjpeg'}",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    )
    for flag in (*FLAGS, *more):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.execute_cdp_cmd("Network.enable", {})
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser, sites):
    """Open the page of a site; afterwards there must be no error and no request elsewhere."""
    opened = []

    def open_page(name, *, width=1280, dark=False):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get_log("browser")
        browser.get_log("performance")
        opened.append(f"http://127.0.0.1:{sites[name].port}/")
        browser.get(opened[-1])
        wait_for(browser, "document.documentElement.dataset.ready")
        return browser

    open_page.refusals = 0
    yield open_page
    kinds = ("http:", "https:", "ws:", "wss:", "ftp:")
    asked = [url for url in requests(browser) if url.startswith(kinds)]
    assert asked
    assert [url for url in asked if not url.startswith(tuple(opened))] == []
    entries = browser.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert entries
    assert [url for url in entries if not url.startswith((*opened, "data:", "blob:"))] == []
    # A picture that was refused is a failed request, which browsers log; nothing else may fail.
    errors = [entry["message"] for entry in browser.get_log("browser")]
    assert len([text for text in errors if "/classify" in text]) == open_page.refusals
    assert [text for text in errors if "/classify" not in text] == []
    browser.get("about:blank")


def test_a_picture_gets_the_bars_and_the_label_that_the_model_gives_it(visit, sites, folder):
    browser = visit("one")
    assert find(browser, "#hint").is_displayed()
    choose(browser, folder, "astronaut.png")
    find(browser, "#whole").click()
    settle(browser)
    (card,) = cards(browser)
    answer = answer_of(sites, "one", folder, "astronaut.png")
    probabilities = answer["faces"][0]["verdicts"][0]["probabilities"]
    assert card["classes"] == list(CLASSES)
    assert card["bars"] == pytest.approx([100 * value for value in probabilities], abs=0.6)
    label = CLASSES[int(np.argmax(probabilities))]
    assert card["labels"] == [label]
    assert label in find(browser, "#status").text
    assert label in find(browser, "#picture").get_attribute("aria-label")
    assert not find(browser, "#hint").is_displayed()
    rows = find(browser, "#timing").text
    for step in ("Decode", "Find faces", "Cut out", "Classify", "Whole round trip"):
        assert step in rows
    assert "Frames a second" not in rows


def test_boxes_are_drawn_where_the_faces_are(visit, sites, finder, folder):
    if finder is None:
        pytest.skip("opencv is not installed")
    browser = visit("one")
    choose(browser, folder, "pair.jpg")
    faces = answer_of(sites, "one", folder, "pair.jpg", "faces=found")["faces"]
    assert len(faces) >= 2
    assert [card["name"] for card in cards(browser)] == [
        f"Face {number}" for number in range(1, len(faces) + 1)
    ]
    for face in faces:
        left, top, width, height = face["box"]
        edge = pixel(browser, left + width, top + height / 2)
        assert edge[2] > edge[0] + 60  # the blue of a box, which nothing near the face has
        inside = pixel(browser, left + width / 2, top + 0.7 * height)
        assert inside[0] >= inside[2]


def test_several_pictures_of_which_some_are_none(visit, folder):
    browser = visit("one")
    find(browser, "#whole").click()
    visit.refusals = 1
    choose(browser, folder, "astronaut.png", "scan.tif", "notes.png")
    wait_for(browser, "document.querySelector('#status').textContent.includes('3 of 3')")
    labels = [item.text for item in browser.find_elements("css selector", "#strip span")]
    assert labels[2] == "not read"
    assert set(labels[:2]) <= set(CLASSES)
    # This browser shows no TIFF: the program sent the picture back.
    browser.find_elements("css selector", "#strip button")[1].click()
    drawn = browser.execute_script(
        f"{COPY} const c = document.querySelector('#picture');"
        "const d = copyOf(c).getImageData(0, 0, c.width, c.height).data;"
        "return new Set(d).size"
    )
    assert drawn > 100
    browser.find_elements("css selector", "#strip button")[2].click()
    assert "not an image" in find(browser, "#status").text
    assert cards(browser) == []
    find(browser, "#clear").click()
    assert find(browser, "#hint").is_displayed()
    assert not find(browser, "#strip").is_displayed()


def test_pictures_can_be_dropped(visit):
    browser = visit("bare")
    browser.execute_script(
        "const canvas = document.createElement('canvas'); canvas.width = 60; canvas.height = 40;"
        "canvas.getContext('2d').fillRect(0, 0, 30, 40);"
        "canvas.toBlob((blob) => { const bag = new DataTransfer();"
        "bag.items.add(new File([blob], 'dropped.png', { type: 'image/png' }));"
        "document.querySelector('#stage').dispatchEvent("
        "new DragEvent('drop', { dataTransfer: bag, bubbles: true, cancelable: true })); })"
    )
    wait_for(browser, "document.querySelectorAll('#cards .face:not([hidden])').length === 1")
    assert "dropped.png" in find(browser, "#status").text


def test_the_webcam_is_classified_frame_after_frame_until_it_is_stopped(visit, finder):
    browser = visit("one")
    button = find(browser, "#webcam")
    button.click()
    wait_for(browser, "Number(document.documentElement.dataset.frames) > 12")
    assert button.text == "Stop webcam"
    if finder is not None:
        wait_for(browser, "document.querySelectorAll('#cards .face:not([hidden])').length > 0")
        (card, *_) = cards(browser)
        assert sum(card["bars"]) == pytest.approx(100, abs=3)
    rows = dict(
        browser.execute_script(
            "return [...document.querySelectorAll('#timing tbody tr:not([hidden])')]"
            ".map((row) => [row.cells[0].textContent, row.cells[2].textContent])"
        )
    )
    assert float(rows["Whole round trip"]) > float(rows["Classify"]) > 0
    assert float(rows["Frames a second"]) > 0.5
    # Mirrored or not, the same side of the room: the film's left edge is grey, as is its right.
    find(browser, "#mirror").click()
    find(browser, "#whole").click()
    wait_for(browser, "document.querySelector('#cards h3').textContent === 'Whole picture'")
    button.click()
    assert button.text == "Start webcam"
    count = browser.execute_script("return document.documentElement.dataset.frames")
    time.sleep(0.5)
    assert browser.execute_script("return document.documentElement.dataset.frames") == count
    assert find(browser, "#hint").is_displayed()


def test_what_is_shown_is_the_frame_that_was_classified(visit):
    browser = visit("one")
    find(browser, "#whole").click()
    find(browser, "#webcam").click()
    wait_for(browser, "Number(document.documentElement.dataset.frames) > 5")
    find(browser, "#mirror").click()
    seen = set()
    for turn in range(24):
        # A picture that changes its size is drawn anew, whatever the camera does meanwhile.
        crop, stage = browser.execute_async_script(
            f"{COPY} const [width, done] = arguments;"
            "document.body.style.maxWidth = `${width}px`;"
            "const left = (c) => copyOf(c).getImageData("
            "Math.round(0.03 * c.width), Math.round(c.height / 2), 1, 1).data[0];"
            "requestAnimationFrame(() => setTimeout(() => done("
            "[left(document.querySelector('#cards canvas')),"
            " left(document.querySelector('#picture'))]), 40))",
            1240 - 10 * turn,
        )
        assert abs(crop - stage) < 60
        seen.add(crop > 128)
    assert seen == {True, False}
    find(browser, "#webcam").click()


def test_grad_cam_is_laid_over_what_the_model_was_shown(visit, folder):
    browser = visit("one")
    find(browser, "#whole").click()
    choose(browser, folder, "scan.tif")
    crop = (
        f"{COPY} const c = document.querySelector('#cards canvas');"
        "const d = copyOf(c).getImageData(0, 0, c.width, c.height).data;"
        "let coloured = 0;"
        "for (let k = 0; k < d.length; k += 4) coloured += Math.abs(d[k] - d[k + 2]) > 20;"
        "return coloured"
    )
    assert browser.execute_script(crop) == 0
    toggle = find(browser, "#cam")
    assert toggle.get_attribute("aria-pressed") == "false"
    toggle.click()
    assert toggle.get_attribute("aria-pressed") == "true"
    wait_for(browser, f"(() => {{ {crop} }})() > 50")
    assert "Grad-CAM" in find(browser, "#timing").text
    assert "spoke for the class" in find(browser, "#crop-note").text
    toggle.click()
    wait_for(browser, f"(() => {{ {crop} }})() === 0")


def test_two_models_stand_side_by_side_and_where_they_disagree_is_seen(visit, sites, folder):
    names = [f"shade-{shade}.png" for shade in range(12)]
    for shade, name in enumerate(names):
        pixels = noise(48, 48, seed=shade) // 4 + 16 * shade
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
    browser = visit("two")
    find(browser, "#whole").click()
    choose(browser, folder, *names)
    apart = 0
    for place, name in enumerate(names):
        verdicts = answer_of(sites, "two", folder, name)["faces"][0]["verdicts"]
        labels = [CLASSES[int(np.argmax(said["probabilities"]))] for said in verdicts]
        browser.find_elements("css selector", "#strip button")[place].click()
        (card,) = cards(browser)
        assert card["labels"] == labels
        assert card["apart"] == (labels[0] != labels[1])
        assert find(browser, ".disagree").is_displayed() == card["apart"]
        expected = [100 * value for pair in zip(*(said["probabilities"] for said in verdicts),
                    strict=True) for value in pair]  # fmt: skip
        assert card["bars"] == pytest.approx(expected, abs=0.6)
        apart += card["apart"]
    assert 0 < apart < len(names), "take other seeds: both have to be seen"
    assert f"agree on {len(names) - apart} of {len(names)} faces" in find(browser, "#tally").text
    rows = find(browser, "#timing").text
    assert "Classify student" in rows
    assert "Classify teacher" in rows


def test_a_page_without_finder_and_gradients_says_so(visit):
    browser = visit("bare")
    assert "Every picture is taken as one face. pip install it" in find(browser, "#no-finder").text
    assert not find(browser, "#found").is_enabled()
    assert find(browser, "#whole").get_attribute("aria-pressed") == "true"
    assert not find(browser, "#cam").is_enabled()
    assert "has no gradients" in find(browser, "#cam-note").text
    assert find(browser, "#cam").get_attribute("aria-describedby") == "cam-note"


def test_the_theme_changes_and_is_kept(visit):
    browser = visit("one", dark=True)
    ground = "return getComputedStyle(document.body).backgroundColor"
    dark = browser.execute_script(ground)
    button = find(browser, "#theme")
    assert button.text == "Light theme"
    button.click()
    assert button.text == "Dark theme"
    assert browser.execute_script(ground) != dark
    browser.refresh()
    wait_for(browser, "document.documentElement.dataset.ready")
    assert browser.execute_script(ground) != dark
    browser.execute_script("localStorage.clear()")


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_phone_shows_all_of_it(visit, folder, name):
    browser = visit(name, width=390)
    find(browser, "#whole").click()
    choose(browser, folder, "pair.jpg", "astronaut.png")
    sizes = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.body.scrollWidth]"
    )
    assert max(sizes) <= 390
    widths = browser.execute_script(
        "return [...document.querySelectorAll('#cards .face:not([hidden]) .rail')]"
        ".map((rail) => rail.getBoundingClientRect().width)"
    )
    assert min(widths) > 60


def test_everything_can_be_done_from_the_keyboard(visit):
    from selenium.webdriver.common.keys import Keys

    browser = visit("one")
    reached = []
    for _ in range(12):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.execute_script("return document.activeElement.id"))
    for name in ("theme", "choose", "webcam", "found", "whole", "cam"):
        assert name in reached
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('button, canvas[role=img], section')].filter((e) =>"
        " !e.textContent.trim() && !e.getAttribute('aria-label')).map((e) => e.outerHTML)"
    )
    assert unnamed == []
    find(browser, "#whole").send_keys(Keys.SPACE)
    assert find(browser, "#whole").get_attribute("aria-pressed") == "true"
    assert find(browser, "#status").get_attribute("aria-live") == "polite"


def test_a_program_that_was_stopped_is_said_and_the_camera_let_go(visit, sites, tmp_path):
    with running([Gated()]) as site:
        sites["gone"] = site
        browser = visit("gone")
    visit.refusals = 1
    Image.fromarray(noise(40, 40)).save(tmp_path / "late.png")
    find(browser, "#files").send_keys(str(tmp_path / "late.png"))
    wait_for(browser, "document.querySelector('#status').textContent.includes('does not answer')")
