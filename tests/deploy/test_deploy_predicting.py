"""Predicting from files: decoded as for training, whatever the file, within bounds of memory."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from deploy_samples import COLOUR, save_network
from PIL import Image

from fersearch.align import open_finder
from fersearch.data import load_data
from fersearch.data.decoding import PictureError, to_rgb
from fersearch.data.pictures import EncodedPictures
from fersearch.deploy.export import export_bundle
from fersearch.deploy.onnx_model import OnnxPredictor
from fersearch.deploy.pictures import choose_files, face_image, opened_picture, whole_image
from fersearch.deploy.predicting import NO_FACE, answers, check_align, predict
from fersearch.deploy.torch_model import TorchPredictor
from fersearch.errors import InputError


class Disk:
    """Files as training's decoder takes them."""

    def read(self, name: str) -> bytes:
        return Path(name).read_bytes()

    peek = read


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    export_bundle(save_network(folder / "net"))
    return OnnxPredictor(folder / "net.onnx")


def noise(width: int, height: int, channels: int = 3) -> Image.Image:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, shape, dtype=np.uint8))


def write_kinds(folder: Path) -> dict[str, Path]:
    """Write a picture of every kind that people have."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    wide = np.random.default_rng(0).integers(0, 65536, (40, 30), dtype=np.uint16)
    frames = [noise(30 + i, 40).resize((30, 40)).convert("P") for i in range(3)]
    kinds = {
        "plain.png": lambda path: noise(48, 48, 1).save(path),
        "small.png": lambda path: noise(5, 3).save(path),
        "exact.png": lambda path: noise(16, 16, 1).save(path),
        "photo.jpg": lambda path: noise(301, 200).save(path, quality=80),
        "turned.jpg": lambda path: noise(60, 30).save(path, exif=exif),
        "cmyk.jpg": lambda path: noise(40, 30).convert("CMYK").save(path),
        "lab.tif": lambda path: noise(40, 30).convert("LAB").save(path),
        "palette.png": lambda path: noise(40, 30).quantize(16).save(path),
        "clear.png": lambda path: noise(40, 30, 4).save(path),
        "deep.png": lambda path: Image.fromarray(wide).save(path),
        "black.png": lambda path: noise(40, 30, 1).convert("1").save(path),
        "moving.gif": lambda path: frames[0].save(path, save_all=True, append_images=frames[1:]),
        "scan.tif": lambda path: noise(40, 30, 1).save(path),
        "web.webp": lambda path: noise(40, 30).save(path),
        "grey.pgm": lambda path: noise(40, 30, 1).save(path),
        "long.png": lambda path: noise(20_000, 8).save(path),
    }
    for name, write in kinds.items():
        write(folder / name)
    return {name: folder / name for name in kinds}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    return write_kinds(tmp_path_factory.mktemp("kinds"))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_file_is_decoded_as_for_training(kinds, channels):
    trained = EncodedPictures(Disk(), [str(path) for path in kinds.values()])
    for index, path in enumerate(kinds.values()):
        with opened_picture(path) as picture:
            found = whole_image(picture, image_size=16, channels=channels)
        expected = trained.decode(index, image_size=16, channels=channels)
        assert found.shape == (16, 16, channels)
        assert np.array_equal(np.moveaxis(found, 2, 0), expected), path.name
        with opened_picture(path.read_bytes()) as picture:
            again = whole_image(picture, image_size=16, channels=channels)
        assert np.array_equal(again, found)


def test_sixteen_bits_are_scaled_and_turned_pictures_stand_upright(kinds):
    with opened_picture(kinds["deep.png"]) as picture:
        deep = to_rgb(picture)
    with Image.open(kinds["deep.png"]) as raw:
        assert np.abs(deep[..., 0] - np.asarray(raw) / 257).max() <= 0.5 + 1e-9
    with opened_picture(kinds["turned.jpg"]) as picture:
        assert to_rgb(picture).shape == (60, 30, 3)
    with opened_picture(kinds["moving.gif"]) as picture, Image.open(kinds["moving.gif"]) as first:
        assert np.array_equal(to_rgb(picture), np.asarray(first.convert("RGB")))


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bits_are_scaled_however_a_tiff_stores_them(tmp_path, mode):
    wide = np.arange(48 * 48, dtype=np.int64).reshape(48, 48) * 28  # up to 64,484
    kinds = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}
    stored = Image.frombytes(mode, (48, 48), wide.astype(kinds[mode]).tobytes())
    stored.save(tmp_path / "scan.tif")
    with opened_picture(tmp_path / "scan.tif") as picture:
        assert np.abs(to_rgb(picture)[..., 0] - wide / 257).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.linspace(0, 1, 2304, dtype=np.float32), "floating-point pixels of unknown range"),
        (np.linspace(0, 255, 2304, dtype=np.float32), "floating-point pixels of unknown range"),
        (np.arange(2304, dtype=np.int32) * 40, "32-bit pixels of unknown range"),
        (np.arange(2304, dtype=np.int32) - 9, "32-bit pixels of unknown range"),
    ],
    ids=["0 to 1", "0 to 255", "wide", "negative"],
)
def test_pixels_whose_range_nobody_knows_are_refused_and_not_guessed(tmp_path, pixels, words):
    path = tmp_path / "scan.tif"
    Image.fromarray(pixels.reshape(48, 48)).save(path)
    trained = EncodedPictures(Disk(), [str(path)])
    with pytest.raises(PictureError, match=words):
        trained.decode(0, image_size=16, channels=1)
    with pytest.raises(PictureError, match=words), opened_picture(path) as picture:
        to_rgb(picture)


def test_the_answers_are_those_of_the_network_on_the_stored_images(tmp_path):
    folder = tmp_path / "faces"
    for number in range(90):
        label = ("happy", "sad", "angry")[number % 3]
        path = folder / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(30 + number % 7, 41 + number % 5).save(path)
    dataset = load_data(str(folder), cache=tmp_path / "cache", image_size=16)
    bundle = save_network(tmp_path / "net", dataset=dataset, preprocessing=COLOUR)
    predictor = TorchPredictor(bundle)
    export_bundle(bundle, dataset=dataset)
    expected = {}
    for split in ("train", "val", "test"):
        images = np.moveaxis(np.asarray(dataset.split(split).images), 1, 3)
        for image, row in zip(images, predictor.probabilities(images), strict=True):
            expected[image.tobytes()] = row
    found = predict(OnnxPredictor(tmp_path / "net.onnx"), sorted(folder.rglob("*.png")))
    assert len(found) == 90
    for answer in found:
        with opened_picture(answer.file) as picture:
            row = expected[whole_image(picture, image_size=16, channels=3).tobytes()]
        shares = [answer.faces[0].probabilities[name] for name in dataset.info.classes]
        np.testing.assert_allclose(shares, row, atol=1e-5)
        assert answer.faces[0].label == dataset.info.classes[int(row.argmax())]


def test_probabilities_come_most_probable_first(model, kinds):
    (answer,) = predict(model, [kinds["photo.jpg"]])
    (face,) = answer.faces
    shares = list(face.probabilities.values())
    assert shares == sorted(shares, reverse=True)
    assert face.label == next(iter(face.probabilities))
    assert set(face.probabilities) == set(model.info.classes)
    assert face.box is None
    assert answer.plain()["error"] is None


def png_of(width: int, height: int) -> bytes:
    """Return a small file that claims to be a large black picture, and is."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    packer = zlib.compressobj(9)
    row = bytes(1 + width)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def write_bad(folder: Path) -> dict[str, tuple[Path, str]]:
    noise(64, 64).save(folder / "whole.png")
    whole = (folder / "whole.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "huge.png").write_bytes(png_of(20_000, 20_000))
    (folder / "large.png").write_bytes(png_of(9_000, 9_000))
    (folder / "drawing.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    os.mkfifo(folder / "pipe.png")
    return {
        "half.png": (folder / "half.png", "truncated"),
        "text.jpg": (folder / "text.jpg", "not an image"),
        "empty.png": (folder / "empty.png", "size 0"),
        "huge.png": (folder / "huge.png", "more than 64 million pixels"),
        "large.png": (folder / "large.png", "9000 x 9000: more than 64 million pixels"),
        "drawing.eps": (folder / "drawing.eps", "not an image"),
        "pipe.png": (folder / "pipe.png", "not a file"),
        "folder": (folder, "not a file"),
        "missing": (folder / "missing.png", "missing"),
    }


def test_what_cannot_be_read_is_named_and_the_others_are_answered(model, kinds, tmp_path, recwarn):
    bad = write_bad(tmp_path)
    good = list(kinds.values())
    several = zip(good[: len(bad)], (path for path, _ in bad.values()), strict=True)
    mixed = [path for pair in several for path in pair]
    found = predict(model, mixed)
    assert [answer.file for answer in found] == mixed
    told = {answer.file: answer for answer in found}
    for path, words in bad.values():
        assert words in told[path].error
        assert told[path].faces == ()
    for path in good[: len(bad)]:
        assert told[path].error == ""
        assert told[path].faces == predict(model, [path])[0].faces
    assert [str(warning.message) for warning in recwarn] == []


def test_pictures_at_the_limit_do_not_fill_the_memory(tmp_path):
    import subprocess
    import sys

    (tmp_path / "large.png").write_bytes(png_of(8_000, 8_000))
    code = """
import resource, sys
from pathlib import Path
from fersearch.deploy.pictures import opened_picture, whole_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with opened_picture(Path(sys.argv[1])) as picture:
    print(whole_image(picture, image_size=16, channels=3).shape)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "large.png")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    shape, megabytes = done.stdout.splitlines()
    assert shape == "(16, 16, 3)"
    assert int(megabytes) < 700


def test_a_picture_without_permission_is_named(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    noise(9, 9).save(tmp_path / "mine.png")
    (tmp_path / "mine.png").chmod(0)
    with (
        pytest.raises(PictureError, match="Permission denied"),
        opened_picture(tmp_path / "mine.png"),
    ):
        pass


def test_files_folders_and_patterns_are_chosen_once_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/2.png", "a/1.JPG", "a/deep/3.gif", "b/4.png", "b/.hidden.png", "[x].png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        noise(4, 4).save(name, format="PNG")
    Path("a/notes.txt").write_text("")
    Path("none").mkdir()
    chosen = choose_files(["b/4.png", "a", "*/*.png", "[x].png", "none", "x*.png", "gone.png"])
    assert [(str(path), problem) for path, problem in chosen.files] == [
        ("b/4.png", ""),
        ("a/1.JPG", ""),
        ("a/2.png", ""),
        ("a/deep/3.gif", ""),
        ("[x].png", ""),
        ("none", "no images"),
        ("x*.png", "no file matches"),
        ("gone.png", "missing"),
    ]
    assert [str(path) for path in chosen.skipped] == ["a/notes.txt"]
    assert [str(path) for path in choose_files(["b"]).skipped] == ["b/.hidden.png"]
    found = choose_files(["**/*.gif", "a/notes.txt"]).files
    assert [str(path) for path, _ in found] == ["a/deep/3.gif", "a/notes.txt"]


def test_an_empty_name_is_not_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise(4, 4).save("face.png")
    (chosen,) = choose_files([""]).files
    assert chosen[1] == "an empty name"


def test_alignment_is_named_rightly_or_refused(model, kinds):
    with pytest.raises(InputError, match="did you mean faces"):
        predict(model, [kinds["photo.jpg"]], align="face")
    with pytest.raises(InputError, match="add --align faces"):
        check_align("none", "detector.onnx")


def photograph(folder: Path) -> Path:
    """Write a photograph of one person, in the public domain (NASA)."""
    data = pytest.importorskip("skimage.data")
    Image.fromarray(data.astronaut()).save(folder / "person.png")
    return folder / "person.png"


def test_faces_are_found_aligned_and_answered(model, tmp_path):
    person = photograph(tmp_path)
    Image.fromarray(np.full((120, 160, 3), 90, np.uint8)).save(tmp_path / "wall.png")
    both = Image.new("RGB", (1024, 512))
    with Image.open(person) as one:
        both.paste(one, (0, 0))
        both.paste(one, (512, 0))
    both.save(tmp_path / "two.png")
    files = [person, tmp_path / "wall.png", tmp_path / "two.png", tmp_path / "gone.png"]
    found = predict(model, files, align="faces")
    assert [len(answer.faces) for answer in found] == [1, 0, 2, 0]
    assert [answer.error for answer in found] == ["", "", "", "missing"]
    assert found[1].note == NO_FACE
    left, top, width, height = found[0].faces[0].box
    assert 150 < left < left + width < 310  # where this person's face is
    assert 40 < top < top + height < 250
    with opened_picture(person) as picture:
        pixels = to_rgb(picture)
    face = open_finder().find(pixels)[0]
    image = face_image(pixels, face, image_size=16, channels=1)
    np.testing.assert_allclose(
        sorted(model.probabilities(image[None])[0], reverse=True),
        list(found[0].faces[0].probabilities.values()),
        atol=1e-6,
    )


def test_many_faces_are_answered_in_order_across_batches(model, tmp_path):
    paths = []
    for number in range(150):
        paths.append((tmp_path / f"{number}.png", ""))
        noise(16 + number, 16, 1).save(paths[-1][0])
    found = list(answers(model, paths, finder=None))
    assert [answer.file for answer in found] == [path for path, _ in paths]
    for index in (0, 63, 64, 149):
        (alone,) = predict(model, [paths[index][0]])
        assert alone.faces[0].label == found[index].faces[0].label
