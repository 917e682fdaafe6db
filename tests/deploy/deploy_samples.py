"""Saved networks and their files, for the tests of deployment."""

from __future__ import annotations

from pathlib import Path

import torch

from fersearch.data import Dataset
from fersearch.data.preprocessing import Preprocessing
from fersearch.models import BundleConfig, create, save_bundle
from fersearch.plugins import load_plugin
from fersearch.records import to_plain

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
AWKWARD_PLUGIN = PLUGINS / "awkward_models.py"
GREY = Preprocessing(image_size=16, mean=(0.5053,), std=(0.2545,))
COLOUR = Preprocessing(image_size=16, mean=(0.57, 0.44, 0.38), std=(0.26, 0.23, 0.22))
CLASSES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")


def save_network(
    folder: Path,
    *,
    model: str = "tiny_student",
    dataset: Dataset | None = None,
    preprocessing: Preprocessing = GREY,
    seed: int = 0,
) -> Path:
    """Save a network with random weights, and some running statistics, as a bundle."""
    for plugin in ("tiny_models.py", "awkward_models.py"):
        load_plugin(PLUGINS / plugin)
    classes = CLASSES if dataset is None else dataset.info.classes
    side = preprocessing.image_size
    torch.manual_seed(seed)
    network = create(model, num_classes=len(classes), image_size=side)
    network.train()
    with torch.no_grad():
        if model != "awkward_branching":
            network(torch.randn(64, 3, side, side))
    config = BundleConfig(
        model=model,
        classes=classes,
        image_size=side,
        preprocessing=to_plain(preprocessing),
        protocol_hash="0123456789abcdef",
        metrics={"val_accuracy": 0.5, "test_accuracy": None},
    )
    save_bundle(folder, network, config)
    return folder
