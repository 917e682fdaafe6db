"""Baselines as a user types them: which there are, one's own, their tuning."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import ROOT, TINY_DATA

from fersearch.cli.main import main

RIVALS = ROOT / "tests" / "plugins" / "tiny_baselines.py"
COMMON = ("--data", TINY_DATA, "--jobs", "1", "--threads", "1", "--quiet")


def typed(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    return int(exit_.value.code or 0)


def test_baseline_list_names_the_shipped_ones(capsys):
    assert typed("baseline", "list", "--json") == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert {"resnet18", "rcl_net", "tfen", "ecdnet"} <= names
    assert typed("baseline", "list") == 0
    assert "ECDNet (after its authors' design)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet81",), "unknown baseline 'resnet81'; did you mean resnet18"),
        (("--budget", "free"), "the budget must be fixed or tuned"),
        (("--budget", "tuned", "--trials", "0"), "trials must be at least 1"),
        (("--trials", "5"), "the fixed budget has no trials"),
        (("--learning-rate", "nan"), "the learning rate must be above 0"),
        (("--learning-rate", "-1"), "the learning rate must be above 0"),
        (("--study", "nothing"), "there is no study 'nothing'"),
    ],
)
def test_wrong_baseline_options_are_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert typed("baseline", "run", *arguments, "--data", TINY_DATA) == 2
    error = capsys.readouterr().err.strip()
    assert message in error.splitlines()[-1]
    assert "Traceback" not in error


def test_tuning_gives_every_baseline_the_same_trials(tmp_path, tiny_plugin, tiny_cache, capsys):
    shutil.copytree(tiny_cache / "data", tmp_path / "w" / "cache" / "data")
    command = (
        *("baseline", "run", "tiny_rival", "resnet18", "--budget", "tuned", "--trials", "2"),
        *("--epochs", "1", "--seeds", "1", "--workspace", str(tmp_path / "w"), "--no-track"),
        *("--plugin", str(tiny_plugin), "--plugin", str(RIVALS), *COMMON, "--json"),
    )
    assert typed(*command) == 0
    result = json.loads(capsys.readouterr().out)
    assert {name: sum(count.values()) for name, count in result["trials"].items()} == {
        "tiny_rival": 2,
        "resnet18": 2,
    }
    assert set(result["rows"]["resnet18"]["settings"]) == {"learning_rate", "weight_decay"}
    assert any("tuned on validation" in note for note in result["rows"]["resnet18"]["notes"])
    assert typed("study", "list", "--workspace", str(tmp_path / "w"), "--json") == 0
    assert json.loads(capsys.readouterr().out) == []  # a baseline's search is no study


def test_an_edited_plug_in_is_trained_again_and_shipped_names_are_taken(
    tmp_path, tiny_plugin, tiny_cache, capsys
):
    shutil.copytree(tiny_cache / "data", tmp_path / "w" / "cache" / "data")
    mine = tmp_path / "mine.py"
    text = RIVALS.read_text().replace("tiny_rival", "my_rival").replace("slow_rival", "my_slow")
    mine.write_text(text)
    command = (
        *("baseline", "run", "my_rival", "--epochs", "1", "--seeds", "1", "--no-track"),
        *("--workspace", str(tmp_path / "w"), "--plugin", str(tiny_plugin)),
        *("--plugin", str(mine), *COMMON, "--json"),
    )
    assert typed(*command) == 0
    first = json.loads(capsys.readouterr().out)["rows"]["my_rival"]["runs"]
    assert typed(*command) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["my_rival"]["runs"] == first
    mine.write_text(text.replace("0.1 * F.mse_loss", "0.5 * F.mse_loss"))
    assert typed(*command) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["my_rival"]["runs"] != first
    mine.write_text(text.replace('name="my_rival"', 'name="resnet18"'))
    assert typed(*command) == 2
    assert "the name of a baseline that ships" in capsys.readouterr().err


def test_parts_of_a_loss_are_seeded_wherever_they_are_made(tiny_plugin, tiny_data):
    from torch import nn

    from fersearch.data.preprocessing import Preprocessing
    from fersearch.data.views import ViewPolicy
    from fersearch.distill import Execution, TrainJob, make_recipe, train
    from fersearch.models import Baseline, CrossEntropy, register_baseline

    class Early(CrossEntropy):
        def __init__(self, label_smoothing=0.0):
            super().__init__(label_smoothing)
            self.head = nn.Linear(8, 8)

        def forward(self, network, batch):
            logits = network(batch.inputs).float()
            loss = nn.functional.cross_entropy(self.head(logits), batch.labels)
            return loss, logits

    name = "tiny_student"  # the network of that name, with a loss made early
    register_baseline(Baseline(name=name, title="Early", source="A test", loss=Early))
    job = TrainJob(
        data_sha256=tiny_data.info.sha256,
        model=name,
        recipe=make_recipe("default", epochs=1, batch_size=32, learning_rate=0.05),
        policy=ViewPolicy(),
        preprocessing=Preprocessing.of_training_images(tiny_data.train.images),
        seed=1,
        baseline=name,
    )
    losses = [train(job, tiny_data, execution=Execution()).epochs[0].train_loss for _ in range(2)]
    assert losses[0] == losses[1]


def test_an_error_in_a_users_loss_names_the_file_and_the_line(
    tmp_path, tiny_plugin, tiny_cache, capsys
):
    shutil.copytree(tiny_cache / "data", tmp_path / "w" / "cache" / "data")
    mine = tmp_path / "broken.py"
    text = RIVALS.read_text().replace("tiny_rival", "broken_one").replace("slow_rival", "slow_2")
    mine.write_text(text.replace("loss = F.cross_entropy", 'loss = {}["oops"] + F.cross_entropy'))
    line = next(n for n, row in enumerate(mine.read_text().splitlines(), 1) if "oops" in row)
    ran = typed(
        *("baseline", "run", "broken_one", "--epochs", "1", "--seeds", "1", "--no-track"),
        *("--workspace", str(tmp_path / "w"), "--plugin", str(tiny_plugin)),
        *("--plugin", str(mine), *COMMON),
    )
    assert ran == 1
    assert f"KeyError: 'oops' (broken.py line {line}, in forward)" in capsys.readouterr().err
