"""Figure 6: Grad-CAM maps of several networks on the same images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from paper_samples import CLASSES, make_cams
from PIL import Image

from fersearch.errors import InputError
from fersearch.report.paper.grad_cam_figure import (
    cam_panels,
    draw_grad_cam_figure,
    grad_cam_caption,
)


def test_the_figure_shows_shared_images_only(tmp_path):
    first = make_cams(["distilled", "teacher"], indices=(3, 11, 27))
    second = make_cams(["resnet18"], indices=(27, 11, 40), seed=1)
    panels = {
        "T-SNet": (first, "distilled"),
        "teacher": (first, "teacher"),
        "ResNet18 $x$": (second, "resnet18"),
    }
    grid = cam_panels(panels)
    assert sorted(grid.indices.tolist()) == [11, 27]
    for panel, (cams, key) in zip(grid.panels, panels.values(), strict=True):
        for place, index in enumerate(grid.indices):
            at = cams.indices.tolist().index(index)
            assert np.array_equal(panel.maps[place], cams.maps[key][at])
            assert panel.predictions[place] == cams.predictions[key][at]
            assert np.array_equal(grid.images[place], cams.images[at])
    path = draw_grad_cam_figure(panels, tmp_path / "a.png", classes=["$", *CLASSES[1:]])
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height * 1.5
    caption = grad_cam_caption(panels)
    assert "smallest digest" in caption
    assert "T-SNet: layer4 (7 x 7)" in caption


def test_a_picture_with_the_same_number_of_other_data_is_not_shared():
    first, second = make_cams(["a"]), make_cams(["b"])
    other = replace(second, images=255 - second.images)
    assert cam_panels({"a": (first, "a"), "b": (other, "b")}) is None


def test_there_may_be_no_figure(tmp_path):
    assert draw_grad_cam_figure({}, tmp_path / "a.png") is None
    panels = {"a": (make_cams(["a"]), "a"), "b": (make_cams(["b"], indices=(90,)), "b")}
    assert draw_grad_cam_figure(panels, tmp_path / "a.png") is None
    assert not (tmp_path / "a.png").exists()
    assert grad_cam_caption(panels) == ""
    with pytest.raises(InputError, match="no Grad-CAM map of 'x' for a"):
        draw_grad_cam_figure({"a": (make_cams(["a"]), "x")}, tmp_path / "a.png")


def test_colour_images_and_maps_without_heat_are_drawn(tmp_path):
    cams = make_cams(["a"], indices=(1,))
    colour = replace(
        cams,
        images=np.repeat(cams.images, 3, axis=1),
        maps={"a": np.full((1, 48, 48), np.nan, dtype=np.float32)},
    )
    path = draw_grad_cam_figure({"a": (colour, "a")}, tmp_path / "a.png")
    assert path is not None
