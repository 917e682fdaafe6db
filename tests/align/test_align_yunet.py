"""YuNet: the user's file is checked, and what it answers is read and scaled back rightly.

The real file is not shipped: FERSEARCH_YUNET names one. Everything else is tested with a tiny
network of the same inputs and outputs, which takes white patches for faces.
"""

import hashlib
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from photographs import LEFT_EYE, RIGHT_EYE, astronaut, rotated, rotated_point, texture

from fersearch.align import open_finder
from fersearch.errors import InputError

REAL = os.environ.get("FERSEARCH_YUNET", "")

onnx = pytest.importorskip("onnx")


def write_model(path: Path, nodes: list, outputs: list, tensors: list) -> Path:
    picture = onnx.helper.make_tensor_value_info(
        "input", onnx.TensorProto.FLOAT, [1, 3, "height", "width"]
    )
    graph = onnx.helper.make_graph(nodes, "faces", [picture], outputs, tensors)
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def patch_finder_file(tmp_path_factory) -> Path:
    """Write a network of YuNet's outputs: a cell of the grid is a face as far as it is white.

    As in YuNet (Wu et al., 2023), each cell of the grids with strides 8, 16 and 32 answers class,
    objectness, box (centre and logarithm of the size) and five points, in units of the stride from
    the cell's corner. The weights below make every white cell a face of 4 x 4 cells around its
    centre, with the eyes one cell above it and one to each side.
    """
    helper = onnx.helper
    weights = {
        "cls": (1 / 255 / 3, [0.0]),
        "obj": (1 / 255 / 3, [0.0]),
        "bbox": (0.0, [0.5, 0.5, math.log(4), math.log(4)]),
        # The right eye of the person comes first: it is on the left of the picture.
        "kps": (0.0, [-0.5, -0.5, 1.5, -0.5, 0.5, 0.5, -0.5, 1.5, 1.5, 1.5]),
    }
    nodes, outputs, tensors = [], [], []
    for stride in (8, 16, 32):
        cells = f"cells{stride}"
        nodes.append(
            helper.make_node(
                "AveragePool",
                ["input"],
                [cells],
                kernel_shape=[stride] * 2,
                strides=[stride] * 2,
            )
        )
        for name, (weight, bias) in weights.items():
            key, count = f"{name}_{stride}", len(bias)
            kernel = np.full((count, 3, 1, 1), weight, dtype=np.float32)
            for part, value in (
                ("weight", kernel),
                ("bias", np.array(bias, dtype=np.float32)),
                ("shape", np.array([1, -1, count])),
            ):
                tensors.append(onnx.numpy_helper.from_array(value, f"{part}_{key}"))
            nodes += [
                helper.make_node("Conv", [cells, f"weight_{key}", f"bias_{key}"], [f"maps_{key}"]),
                helper.make_node("Transpose", [f"maps_{key}"], [f"rows_{key}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"rows_{key}", f"shape_{key}"], [key]),
            ]
            outputs.append(
                helper.make_tensor_value_info(key, onnx.TensorProto.FLOAT, [1, None, count])
            )
    return write_model(tmp_path_factory.mktemp("model") / "patch.onnx", nodes, outputs, tensors)


def white_patch(side: int, left: int, top: int, patch: int) -> np.ndarray:
    picture = np.zeros((side, side, 3), dtype=np.uint8)
    picture[top : top + patch, left : left + patch] = 255
    return picture


def test_the_name_is_the_digest_of_the_file(patch_finder_file: Path) -> None:
    digest = hashlib.sha256(patch_finder_file.read_bytes()).hexdigest()
    assert open_finder(patch_finder_file).name == f"yunet sha256 {digest}"


def test_a_found_face_is_read_and_brought_back_to_the_pictures_pixels(
    patch_finder_file: Path,
) -> None:
    finder = open_finder(patch_finder_file)
    # One cell of stride 32 at 640 px: centre at 352 + 16, 160 + 16; box and eyes by hand.
    faces = finder.find(white_patch(640, 352, 160, 32))
    face = faces[0]
    assert face.box == pytest.approx((368 - 64, 176 - 64, 128, 128), abs=1e-3)
    assert face.left_eye == pytest.approx((336, 144), abs=1e-3)
    assert face.right_eye == pytest.approx((400, 144), abs=1e-3)
    assert face.score == pytest.approx(1, abs=1e-3)
    sizes = [face.box[2] * face.box[3] for face in faces]
    assert sizes == sorted(sizes, reverse=True)
    # The same picture in twice the size is looked at in 640 px; all coordinates are doubled.
    double = finder.find(white_patch(1280, 704, 320, 64))[0]
    assert double.box == pytest.approx([2 * value for value in face.box], abs=1e-2)
    assert double.left_eye == pytest.approx((672, 288), abs=1e-2)


def test_the_second_look_with_a_margin_gives_pixels_of_the_picture_too(
    patch_finder_file: Path,
) -> None:
    # A white edge of 4 px fills half a cell of 8 px: half a face, which the first look leaves out.
    # In the second the border is repeated for 48 px on each side, and cells there are white.
    picture = white_patch(192, 0, 0, 192)
    picture[:, 4:] = 0
    faces = open_finder(patch_finder_file).find(picture)
    assert faces
    centres = [face.box[0] + face.box[2] / 2 for face in faces]
    assert all(-48 < centre < 4 for centre in centres)
    assert faces[0].box[2] == pytest.approx(128, abs=1e-3)
    assert centres[0] == pytest.approx(16 - 48, abs=1e-3)


def test_several_threads_may_use_one_finder(patch_finder_file: Path) -> None:
    finder = open_finder(patch_finder_file)
    pictures = [white_patch(320, 32 * at, 64, 32) for at in range(8)]
    alone = [finder.find(picture) for picture in pictures]
    assert all(alone)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(finder.find, pictures)) == alone


def test_other_files_are_refused_by_name(tmp_path: Path, capfd) -> None:
    relu = write_model(
        tmp_path / "relu.onnx",
        [onnx.helper.make_node("Relu", ["input"], ["output"])],
        [onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [1, 3, None, None])],
        [],
    )
    text = tmp_path / "text.onnx"
    text.write_text("not a network\n" * 100, encoding="utf-8")
    for path in (relu, text):
        with pytest.raises(InputError, match="is not a YuNet model") as caught:
            open_finder(path)
        assert str(path) in caught.value.message
    assert capfd.readouterr().err == ""


def test_a_missing_an_empty_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        open_finder(tmp_path / "absent.onnx")
    with pytest.raises(InputError, match="cannot read the face model"):
        open_finder(tmp_path)
    empty = tmp_path / "empty.onnx"
    empty.touch()
    with pytest.raises(InputError, match="has 0 bytes"):
        open_finder(empty)
    huge = tmp_path / "huge.onnx"
    with huge.open("wb") as file:
        file.truncate(1 << 30)  # sparse
    with pytest.raises(InputError, match="which no YuNet model has"):
        open_finder(huge)


@pytest.mark.skipif(not Path(REAL).is_file(), reason="FERSEARCH_YUNET names no YuNet file")
@pytest.mark.parametrize("degrees", [0, 25, -25])
def test_the_real_model_finds_face_and_eyes(degrees: float) -> None:
    finder = open_finder(Path(REAL))
    (face,) = finder.find(rotated(astronaut(), degrees))
    assert face.left_eye is not None
    assert face.right_eye is not None
    assert math.dist(face.left_eye, rotated_point(LEFT_EYE, degrees)) < 5
    assert math.dist(face.right_eye, rotated_point(RIGHT_EYE, degrees)) < 5
    assert finder.find(texture()) == []
