"""Seeds, records, files, errors: what every room stands on."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fersearch.errors import FersearchError, InputError, nearest, suggestion
from fersearch.files import atomic_folder, atomic_path, ensure_folder, file_lock, write_json
from fersearch.records import (
    EpochRecord,
    RunRecord,
    canonical_json,
    digest,
    load_record,
    save_record,
    to_plain,
)
from fersearch.seeds import derive_seed

EPOCH = EpochRecord(
    epoch=0,
    learning_rate=0.1,
    train_loss=2.0,
    train_accuracy=0.2,
    val_loss=math.nan,
    val_accuracy=0.25,
    val_macro_f1=0.2,
    images=96,
    seconds=1.5,
)
RECORD = RunRecord(
    run_id="trial-0000",
    study="s",
    role="trial",
    state="complete",
    model="resnet18",
    parameters={"alpha": 0.4, "ffe_splits": 4},
    seed=0,
    protocol_hash="p",
    data_sha256="d",
    best_epoch=0,
    metrics={"val_accuracy": 0.25},
    epochs=(EPOCH,),
)


def test_named_seeds_are_the_same_everywhere():
    # Written down once: other values would be other studies.
    assert derive_seed(0, "order", 3) == 1619245521749398921
    assert derive_seed(0, "sampler", 0) == 6203715550827813340


@given(seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_named_seeds_fit_a_generator_and_differ_by_name(seed, epoch):
    value = derive_seed(seed, "order", epoch)
    assert 0 <= value < 2**63
    assert value != derive_seed(seed, "dropout", epoch)
    assert derive_seed(seed, "a", "1") != derive_seed(seed, "a", 1)


def test_canonical_json_does_not_depend_on_order_or_container():
    one = {"b": (1, 2.5), "a": {"y": None, "x": "é"}}
    other = {"a": {"x": "é", "y": None}, "b": [1, 2.5]}
    assert canonical_json(one) == canonical_json(other)
    assert digest(one) == digest(other)
    assert digest(one) != digest({**one, "b": (1, 2.6)})
    assert canonical_json(one).isascii()


def test_what_json_cannot_hold_becomes_null_or_an_error():
    assert to_plain({"x": math.inf, "y": np.float32(0.5), "z": np.arange(2)}) == {
        "x": None, "y": 0.5, "z": [0, 1],
    }  # fmt: skip
    with pytest.raises(TypeError, match="object"):
        to_plain({"x": object()})


def test_a_record_survives_its_file(tmp_path):
    path = tmp_path / "runs" / "r.json"
    save_record(RECORD, path)
    loaded = load_record(path)
    assert math.isnan(loaded.epochs[0].val_loss)
    assert to_plain(loaded) == to_plain(RECORD)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"epochs": [{"epoch": 0}]}'])
def test_a_spoiled_record_says_which_file(tmp_path, content):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(FersearchError, match=r"r\.json is not a run record"):
        load_record(path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": math.nan})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    assert [item.name for item in path.parent.iterdir()] == ["x.json"]


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "store"
    with pytest.raises(RuntimeError), atomic_folder(path) as temporary:
        (temporary / "a").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    for text in ("first", "second"):
        with atomic_folder(path) as temporary:
            (temporary / "a").write_text(text)
    # The copy that was there first stands: folders are named by their content.
    assert (path / "a").read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 1


def _hold(path, ready):
    with file_lock(path):
        ready.set()
        time.sleep(60)


def test_a_lock_excludes_others_and_dies_with_its_owner(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    path = tmp_path / "lock"
    owner = context.Process(target=_hold, args=(path, ready))
    owner.start()
    assert ready.wait(60)
    with (
        pytest.raises(FersearchError, match=rf"taken \(process {owner.pid}\)"),
        file_lock(path, wait=False, busy="taken"),
    ):
        pass
    os.kill(owner.pid, signal.SIGKILL)
    owner.join()
    with file_lock(path, wait=False):
        assert path.read_text() == str(os.getpid())


def test_a_folder_that_cannot_be_made_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot create the folder") as caught:
        ensure_folder(tmp_path / "file" / "below")
    assert caught.value.exit_code == 2


def test_errors_are_one_line_with_what_to_do():
    assert str(InputError("a is\nwrong", "do b")) == "a is wrong; do b"
    assert str(FersearchError("c")) == "c"
    assert nearest("alhpa", ["alpha", "temperature"]) == ["alpha"]
    assert suggestion("xyz", ["alpha", "beta"]) == "known names: alpha, beta"
    assert suggestion("xyz", [str(number) for number in range(40)]) == ""
