"""What the demo says: the same as the models say themselves, and as ``fersearch predict`` says."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from demo_samples import CLASSES, Gated, encoded, noise, open_tiny, running
from PIL import Image

from fersearch.align import Face, align_face, crop_corners
from fersearch.demo.app import make_app
from fersearch.demo.bench import MOST_CAMS, MOST_FACES, Bench, Wish
from fersearch.demo.page import ShownModel, page_html
from fersearch.deploy.model_info import ModelInfo
from fersearch.deploy.predicting import predict
from fersearch.errors import InputError


@pytest.fixture(scope="module")
def grey(tmp_path_factory, tiny_plugin):
    return open_tiny(tmp_path_factory.mktemp("grey") / "grey")


@pytest.fixture(scope="module")
def colour(tmp_path_factory, tiny_plugin):
    folder = tmp_path_factory.mktemp("colour") / "colour"
    return open_tiny(folder, model="tiny_teacher", seed=1, channels=3, image_size=24)


class Grid:
    """Finds the same squares in every picture, whatever is in them."""

    name = "squares"

    def __init__(self, count):
        self.count = count

    def find(self, picture):
        return [Face(box=(4.0 * place, 2.0, 40.0, 40.0)) for place in range(self.count)]


def upside_down():
    """Return a JPEG whose EXIF says that it has to be turned by 180 degrees."""
    image = Image.fromarray(noise(48, 64))
    exif = image.getexif()
    exif[0x0112] = 3
    return encoded(image, "JPEG", exif=exif.tobytes())


def animated():
    frames = [Image.fromarray(noise(32, 32, seed=seed)) for seed in range(3)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)


PICTURES = {
    "grey.png": encoded(noise(48, 48, channels=1)),
    "colour.png": encoded(noise(37, 61)),
    "large.jpg": encoded(noise(300, 500), "JPEG"),
    "turned.jpg": upside_down(),
    "cmyk.jpg": encoded(Image.fromarray(noise(40, 40)).convert("CMYK"), "JPEG"),
    "palette.png": encoded(Image.fromarray(noise(40, 40)).quantize(16)),
    "clear.png": encoded(Image.fromarray(noise(40, 40)).convert("RGBA")),
    "deep.png": encoded(Image.fromarray(noise(40, 40, channels=1).astype(np.uint16) * 257)),
    "one_bit.png": encoded(Image.fromarray(noise(40, 40)).convert("1")),
    "moving.gif": animated(),
    "scan.tif": encoded(noise(40, 40, channels=1), "TIFF"),
    "plain.bmp": encoded(noise(40, 40), "BMP"),
    "web.webp": encoded(noise(40, 40), "WEBP"),
    "portable.ppm": encoded(noise(40, 40), "PPM"),
}


@pytest.fixture(scope="module")
def site(grey, colour):
    with running([grey, colour]) as running_site:
        yield running_site


@pytest.mark.parametrize("name", PICTURES)
def test_a_whole_picture_gets_the_answer_that_predict_gives_its_file(
    site, grey, colour, name, tmp_path
):
    file = tmp_path / name
    file.write_bytes(PICTURES[name])
    reply = site.classify(PICTURES[name], "faces=whole")
    assert reply.status == 200
    (face,) = reply.json["faces"]
    assert face["whole"]
    for model, verdict in zip((grey, colour), face["verdicts"], strict=True):
        (expected,) = predict(model, [file])
        said = dict(zip(model.info.classes, verdict["probabilities"], strict=True))
        assert said == expected.faces[0].probabilities
        # What it was shown is sent along: asking about it again gives the same.
        crop = pixels(verdict["crop"])
        assert crop.shape == (model.info.image_size,) * 2 + (model.info.channels,)
        assert model.probabilities(crop[None])[0].tolist() == verdict["probabilities"]


def pixels(sent):
    """Return pixels as they were sent to the page."""
    content = np.frombuffer(base64.b64decode(sent["data"]), dtype=np.uint8)
    return content.reshape(sent["height"], sent["width"], sent["channels"])


def test_without_a_finder_every_picture_is_one_face(site):
    asked, default = (
        site.classify(PICTURES["colour.png"], query).json for query in ("faces=found", "")
    )
    assert asked["faces"] == default["faces"]
    assert [face["box"] for face in asked["faces"]] == [[0, 0, 61, 37]]
    assert (asked["width"], asked["height"]) == (61, 37)


def test_two_models_answer_in_their_order_and_each_is_timed(site, grey, colour):
    answer = site.classify(PICTURES["colour.png"], "cam=1").json
    (face,) = answer["faces"]
    assert face["verdicts"][0]["probabilities"] != face["verdicts"][1]["probabilities"]
    times = answer["milliseconds"]
    assert set(times) == {"decode", "find", "crop", "classify", "cam", "total"}
    assert len(times["crop"]) == len(times["classify"]) == len(times["cam"]) == 2
    parts = times["decode"] + times["find"] + sum(times["crop"] + times["classify"] + times["cam"])
    assert 0 < parts <= times["total"]
    assert min(times["cam"]) > 0


def test_grad_cam_is_the_networks_own_for_the_class_that_it_names(site, grey):
    content = PICTURES["grey.png"]
    assert site.classify(content).json["faces"][0]["verdicts"][0]["cam"] is None
    verdict = site.classify(content, "cam=1").json["faces"][0]["verdicts"][0]
    target = int(np.argmax(verdict["probabilities"]))
    expected = grey.grad_cam(pixels(verdict["crop"]), target)
    assert np.abs(pixels(verdict["cam"])[:, :, 0] / 255 - expected).max() <= 0.5 / 255 + 1e-6
    assert pixels(verdict["cam"]).max() == 255


def test_an_onnx_model_has_no_grad_cam_and_the_page_says_why(grey):
    answer = Bench([Gated(), grey], None).look(PICTURES["grey.png"], Wish(cam=True))
    assert [verdict.cam is None for verdict in answer.findings[0].verdicts] == [True, False]
    with running([Gated()]) as site:
        page = site.request("GET", "/").body.decode()
    assert re.search(r'id="cam"[^>]* disabled', page)
    assert "gated runs in ONNX Runtime, which has no gradients" in page


def test_of_a_crowd_the_largest_faces_are_answered_and_the_others_counted(grey):
    pytest.importorskip("cv2", reason="opencv is not installed")
    picture = encoded(noise(60, 400))
    answer = Bench([grey], Grid(MOST_FACES + 3)).look(picture, Wish(cam=True))
    assert len(answer.findings) == MOST_FACES
    assert answer.left_out == 3
    assert [finding.face.box[0] for finding in answer.findings] == [4.0 * k for k in range(32)]
    with_cam = [finding.verdicts[0].cam is not None for finding in answer.findings]
    assert with_cam == [True] * MOST_CAMS + [False] * (MOST_FACES - MOST_CAMS)


def test_the_corners_say_where_in_the_picture_a_crop_comes_from():
    pytest.importorskip("cv2", reason="opencv is not installed")
    rows, columns = np.mgrid[0:200, 0:300]
    picture = np.stack([columns * 0.8, rows, columns * 0.4 + rows * 0.4], axis=2).astype(np.uint8)
    for face in (
        Face(box=(80.0, 40.0, 90.0, 90.0)),
        Face(box=(80.0, 40.0, 90.0, 90.0), left_eye=(105.0, 70.0), right_eye=(150.0, 90.0)),
    ):
        crop = align_face(picture, face, size=60).astype(float)
        corner, right, down = map(np.array, crop_corners(face))
        for x, y in ((5, 5), (54, 5), (5, 54), (30, 30), (54, 54)):
            across, along = (x + 0.5) / 60, (y + 0.5) / 60
            place = corner + across * (right - corner) + along * (down - corner) - 0.5
            there = [0.8 * place[0], place[1], 0.4 * place[0] + 0.4 * place[1]]
            assert crop[y, x] == pytest.approx(there, abs=2)


def test_no_face_is_an_answer_too(grey):
    answer = Bench([grey], Grid(0)).look(PICTURES["colour.png"], Wish(cam=True)).as_json()
    assert answer["faces"] == []
    assert answer["left_out"] == 0
    whole = Bench([grey], Grid(0)).look(PICTURES["colour.png"], Wish(whole=True))
    assert [finding.whole for finding in whole.findings] == [True]


def test_large_crops_are_sent_small(tmp_path, tiny_plugin):
    model = open_tiny(tmp_path / "large", channels=3, image_size=160)
    answer = Bench([model], None).look(encoded(noise(200, 200)), Wish(cam=True))
    verdict = answer.findings[0].verdicts[0]
    assert verdict.crop.shape == (112, 112, 3)
    assert verdict.cam.shape == (112, 112)


def test_a_browser_that_cannot_show_a_picture_gets_it_back(site):
    content = encoded(noise(900, 2000), "TIFF")
    assert site.classify(content).json["preview"] is None
    preview = base64.b64decode(site.classify(content, "preview=1").json["preview"])
    with Image.open(io.BytesIO(preview)) as image:
        assert image.format == "JPEG"
        assert image.size == (1280, 576)


@pytest.mark.skipif("not __import__('importlib.util').util.find_spec('cv2')", reason="no opencv")
def test_faces_that_were_found_get_the_answer_that_predict_gives(grey, tmp_path):
    from fersearch.align import open_finder

    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    file = tmp_path / "astronaut.png"
    file.write_bytes(encoded(data.astronaut()))
    (expected,) = predict(grey, [file], align="faces")
    assert len(expected.faces) >= 1
    with running([grey], open_finder()) as site:
        answer = site.classify(file.read_bytes(), "faces=found").json
        whole = site.classify(file.read_bytes(), "faces=whole").json
    assert [tuple(face["box"]) for face in answer["faces"]] == [face.box for face in expected.faces]
    for said, face in zip(answer["faces"], expected.faces, strict=True):
        probabilities = said["verdicts"][0]["probabilities"]
        assert dict(zip(CLASSES, probabilities, strict=True)) == face.probabilities
        assert not said["whole"]
    assert [face["box"] for face in whole["faces"]] == [[0, 0, 512, 512]]


# ---- the page -------------------------------------------------------------------------------


def shown(**changes):
    values = {
        "model": "shufflenet_v2_x1_0", "title": "mine", "classes": CLASSES, "image_size": 48,
        "mean": (0.5,), "std": (0.2,), "protocol_hash": "4560631776bf0e35", "precision": "int8",
        "licence": "ask first", "metrics": {"test_accuracy": 0.5589, "val_macro_f1": 0.25},
    }  # fmt: skip
    runtime = changes.pop("runtime", "onnxruntime")
    return ShownModel(
        info=ModelInfo(**{**values, **changes}), runtime=runtime, has_cam=False, threads=1
    )


def words(page):
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_the_page_says_what_the_model_is():
    page = words(page_html([shown()], token="secret", finder=None, no_finder="pip install it"))
    for text in (
        "mine", "shufflenet_v2_x1_0", "neutral, happiness, surprise, sadness",
        "48 × 48 pixels, grey", "ONNX Runtime int8, 1 CPU thread", "4560631776bf0e35", "ask first",  # noqa: RUF001
        "Accuracy on test images 55.9 %", "Macro-F1 on validation images 25.0 %",
        "Nothing leaves this machine, nothing is loaded from elsewhere.",
        "Expressions are not feelings", "pip install it",
    ):  # fmt: skip
        assert text in page


def test_what_was_not_measured_is_not_made_up():
    bare = shown(metrics={}, protocol_hash="", licence="")
    page = words(page_html([bare], token="secret", finder=None, no_finder=""))
    assert "Accuracy not in its file" in page
    assert "Protocol not in its file" in page
    assert "%" not in page


def test_two_models_of_one_name_are_told_apart():
    for changes, names in (
        ({"model": "resnet18"}, ["mine (shufflenet_v2_x1_0)", "mine (resnet18)"]),
        ({"precision": "fp32"}, ["mine (int8)", "mine (fp32)"]),
        ({"runtime": "pytorch"}, ["mine (ONNX Runtime)", "mine (PyTorch)"]),
        ({}, ["mine (1)", "mine (2)"]),
    ):
        page = page_html([shown(), shown(**changes)], token="s", finder=None, no_finder="")
        facts = re.search(r'id="facts">(.*?)</script>', page)[1]
        assert [model["title"] for model in json.loads(facts)["models"]] == names


def test_a_digest_is_no_name_for_a_visitor():
    page = page_html([shown(title="4396e20fdda5949d")], token="s", finder=None, no_finder="")
    assert "4396e20fdda5949d" not in page
    assert "<title>shufflenet_v2_x1_0: fersearch demo</title>" in page


def test_awkward_names_end_no_element():
    nasty = "</script><img src=x onerror=alert(1)>\"'&"
    model = shown(title=nasty, classes=(nasty, "b"), licence=nasty, protocol_hash=nasty)
    page = page_html([model], token="secret", finder=Grid(1), no_finder="")
    assert "<img" not in page
    assert page.count("</script>") == 2
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', page)[1])
    assert facts["models"][0]["classes"] == [nasty, "b"]


def test_the_page_holds_no_style_or_script_of_its_own():
    page = page_html([shown()], token="secret", finder=None, no_finder="")
    assert not re.search(r"<[^>]*\s(style|on\w+)=", page)
    assert "<style" not in page
    assert re.findall(r"<script([^>]*)>", page) == [
        ' type="application/json" id="facts"',
        ' type="module" src="/demo.js"',
    ]
    addresses = re.findall(r'(?:src|href)="([^"#][^"]*)"', page)
    assert addresses == ["data:,", "/page.css", "/demo.css", "/demo.js"]


def test_every_file_of_the_page_is_served_and_none_asks_elsewhere(site):
    page = site.request("GET", "/").body.decode()
    todo, seen = re.findall(r'(?:src|href)="(/[^"]+)"', page), set()
    while todo:
        path = todo.pop()
        reply = site.request("GET", path)
        assert reply.status == 200
        kind = "text/css" if path.endswith(".css") else "text/javascript"
        assert reply.headers["content-type"].startswith(kind)
        text = reply.body.decode()
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
        assert "@import" not in text
        seen.add(path)
        todo += [
            f"/{name}" for name in re.findall(r'from "\./([^"]+)"', text) if f"/{name}" not in seen
        ]
    assert {"/page.css", "/demo.css", "/demo.js", "/demo_draw.js", "/demo_ask.js"} <= seen


def test_one_model_or_two():
    with pytest.raises(InputError, match="one model or two, not 0"):
        make_app([], None, port=1)
    with pytest.raises(InputError, match="not 3"):
        make_app([Gated()] * 3, None, port=1)
