"""Real faces, where a machine has them: FERSEARCH_REAL_FACES names the folder."""

import os
from pathlib import Path

import numpy as np
import pytest

from fersearch.data import CLASS_ORDER, load_data

FOLDER = Path(os.environ.get("FERSEARCH_REAL_FACES") or "/nonexistent")


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if not (FOLDER / name).exists()]
    return pytest.mark.skipif(bool(missing), reason=f"FERSEARCH_REAL_FACES lacks {missing}")


@needs("fer2013_mini.csv")
def test_fer2013_rows(tmp_path: Path) -> None:
    data = load_data(str(FOLDER / "fer2013_mini.csv"), cache=tmp_path)
    assert data.info.totals == {"train": 420, "val": 140, "test": 140}
    assert set(data.info.counts["train"].values()) == {60}
    assert data.info.image_size == 48


@needs("fer2013_mini.csv", "fer2013new_mini.csv")
@pytest.mark.parametrize(
    ("rule", "totals"),
    [
        ("majority", {"train": 356, "val": 117, "test": 117}),
        ("argmax", {"train": 418, "val": 138, "test": 139}),
    ],
)
def test_ferplus_pair(tmp_path: Path, rule: str, totals: dict[str, int]) -> None:
    pair = f"ferplus:{FOLDER}/fer2013_mini.csv?labels=fer2013new_mini.csv&rule={rule}"
    data = load_data(pair, cache=tmp_path)
    assert data.info.totals == totals
    assert data.info.classes == CLASS_ORDER
    # The first row: 1 neutral, 1 surprise, 7 anger, 1 unknown.
    assert data.train.labels[0] == CLASS_ORDER.index("anger")
    expected = np.array([1, 0, 1, 0, 7, 0, 0, 0]) / 9
    np.testing.assert_allclose(data.train.votes[0], expected, rtol=1e-6)


@needs("ferplus_dev.zip")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "totals"),
    [
        ("majority", {"train": 20018, "val": 2530, "test": 2509}),
        ("argmax", {"train": 22702, "val": 2848, "test": 2836}),
    ],
)
def test_ferplus_prepared_archive(tmp_path: Path, rule: str, totals: dict[str, int]) -> None:
    data = load_data(f"{FOLDER}/ferplus_dev.zip?rule={rule}", cache=tmp_path)
    assert data.info.totals == totals
    assert data.info.skipped == ()
    assert data.info.channels == 1
