"""Students by name and wildcard: who can be one, who cannot and why, and what they cost."""

from __future__ import annotations

import pytest
import torch
from conftest import ROOT

from fersearch.errors import InputError
from fersearch.models import create, parameter_count
from fersearch.models.students import match_students, read_count, resolve_students
from fersearch.models.trainable import check_trainable, drops_out, training_step
from fersearch.plugins import load_plugin


@pytest.fixture(autouse=True)
def _odd_models(tiny_plugin):
    load_plugin(ROOT / "tests" / "plugins" / "odd_models.py")


def resolve(*patterns, image_size=48, **options):
    return resolve_students(patterns, classes=7, image_size=image_size, **options)


def reason(name, **options):
    """Return why a model cannot be a student; another one keeps the list from being empty."""
    return resolve(name, "tiny_student", **options).refused[name]


# --- names --------------------------------------------------------------------------------------


def test_names_and_wildcards_keep_their_order_and_stand_once():
    found = match_students(["tiny_wide", "shufflenet_v2_x?_0", "shufflenet_v2_x1_0", "tiny_wide"])
    assert found == ("tiny_wide", "shufflenet_v2_x1_0", "shufflenet_v2_x2_0")
    assert match_students(["tiny_m[ij]ddle"]) == ("tiny_middle",)


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["shufflenet_v2_x1_1"], "unknown model 'shufflenet_v2_x1_1'; did you mean"),
        (["shufflenett_*"], "no model matches 'shufflenett_\\*'"),
        ([], "no student was named"),
        (["hf-hub:timm/resnet18"], "not by address"),
    ],
)
def test_names_that_mean_nothing_are_refused(patterns, words):
    with pytest.raises(InputError, match=words):
        match_students(patterns)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("6M", 6_000_000),
        ("6e6", 6_000_000),
        (6e6, 6_000_000),
        ("1.5m", 1_500_000),
        ("500k", 500_000),
        ("2G", 2_000_000_000),
        (" 1000 ", 1000),
        (None, None),
    ],
)
def test_limits_are_written_in_several_ways(value, number):
    assert read_count(value, "max_params") == number


@pytest.mark.parametrize("value", ["six", "6 millions", "-6M", "0", "", 0, -5.0, True, "nan"])
def test_limits_that_are_no_numbers_are_refused(value):
    with pytest.raises(InputError, match="max_params must be a number of at least 1"):
        resolve("tiny_student", max_params=value)


# --- what is accepted ---------------------------------------------------------------------------


def test_a_student_comes_with_its_parameters_and_operations():
    (student,) = resolve("shufflenet_v2_x0_5").accepted
    assert student.params == parameter_count(create("shufflenet_v2_x0_5", num_classes=7))
    assert 2_000_000 < student.macs < 3_000_000
    assert student.options == {}


def test_limits_leave_out_what_is_above_them():
    found = resolve("shufflenet_v2_*", max_params="1.3M")
    assert [item.name for item in found.accepted] == ["shufflenet_v2_x0_5", "shufflenet_v2_x1_0"]
    assert found.over_limit == ("shufflenet_v2_x1_5", "shufflenet_v2_x2_0")
    found = resolve("shufflenet_v2_*", max_macs="5M", max_params="100M")
    assert [item.name for item in found.accepted] == ["shufflenet_v2_x0_5"]
    assert not found.refused


def test_a_limit_is_exact_to_the_parameter():
    (student,) = resolve("tiny_student").accepted
    assert resolve("tiny_student", max_params=student.params, max_macs=student.macs).accepted
    with pytest.raises(InputError, match=r"1 model is above 10 multiply-accumulates"):
        resolve("tiny_student", max_macs=10)
    found = resolve("tiny_*", max_params=student.params)
    assert "tiny_wide" in found.over_limit


def test_what_is_far_above_a_limit_takes_no_memory():
    # Two billion parameters, which would not fit into many a machine that tests run on.
    found = resolve("tiny_student", "vit_giantopt_patch16_siglip_256", max_params="6M")
    assert found.over_limit == ("vit_giantopt_patch16_siglip_256",)


def test_transformers_are_built_for_the_size_of_the_images():
    found = resolve("vit_tiny_patch16_224", image_size=48)
    assert found.accepted[0].params < 5_600_000


@pytest.mark.parametrize(
    "name", ["resnet10t", "lcnet_100", "mobilenetv3_small_100", "ghostnet_100"]
)
def test_batch_normalisation_on_a_map_of_one_pixel_is_trained(name):
    assert resolve(name, image_size=16).accepted[0].name == name


def test_looking_at_students_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    resolve("tiny_student", "shufflenet_v2_x0_5", dropout=0.5)
    assert torch.equal(torch.rand(3), wanted)


def test_somebody_who_waits_is_told_how_many_there_are():
    told = []
    names = ["tiny_student", "tiny_wide", "tiny_middle", "tiny_teacher", "odd_deaf", "odd_frozen"]
    resolve(*names, tell=told.append)
    resolve(*names, "odd_tuple", tell=told.append)
    assert told == ["looking at 7 models"]


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("dla46_c", 48, "dla46_c cannot take images of 48 px"),
        ("coat_tiny", 48, "coat_tiny cannot take images of 48 px"),
        ("vit_tiny_r_s16_p8_224", 48, "cannot build vit_tiny_r_s16_p8_224"),
        ("odd_no_dropout", 16, "odd_no_dropout takes no drop_rate"),
        ("odd_two_heads", 16, "odd_two_heads gives a tuple of 2 in training, not one tensor"),
        ("odd_tuple", 16, "odd_tuple was asked for 7 logits an image but gives a tuple"),
        ("odd_features", 16, r"odd_features was asked for 7 logits an image but gives (5,)"),
        (
            "odd_wide_training",
            16,
            "odd_wide_training was asked for 7 logits an image but gives (14",
        ),
        ("odd_frozen", 16, "odd_frozen cannot be trained on images of 16 px"),
        ("odd_infinite", 16, "odd_infinite gives logits that are not finite numbers"),
        ("odd_strides", 16, "odd_strides cannot be trained on images of 16 px"),
        ("odd_unbuildable", 16, "this network cannot be built"),
        ("odd_only_grey", 16, "odd_only_grey takes images of 1 channels"),
        ("odd_grey", 16, "odd_grey cannot take images of 16 px"),
        ("tiny_failing", 16, "tiny_failing cannot be trained on images of 16 px"),
    ],
)
def test_models_that_cannot_be_students_are_named_with_the_reason(name, size, words):
    text = reason(name, image_size=size, dropout=0.5)
    assert words in text
    assert name in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("vit_tiny_patch16_224", 40, "patches of 16 px and would leave out the last 8 of 40 px"),
        ("mixer_s32_224", 48, "patches of 32 px and would leave out the last 16 of 48 px"),
        ("xcit_nano_12_p16_224", 40, "should divide"),
    ],
)
def test_patches_that_do_not_divide_the_image_are_refused(name, size, words):
    assert words in reason(name, image_size=size)


def test_a_network_for_grey_images_is_told_to_take_colour_where_it_can():
    found = resolve("odd_grey", "odd_only_grey", image_size=16, adapt=True)
    assert [(item.name, item.options) for item in found.accepted] == [("odd_grey", {"in_chans": 3})]
    assert set(found.refused) == {"odd_only_grey"}


def test_options_of_ones_own_are_kept():
    options = {"shufflenet_v2_x0_5": {"stem": "no_pool"}}
    (plain,) = resolve("shufflenet_v2_x0_5").accepted
    (large,) = resolve("shufflenet_v2_x0_5", options=options).accepted
    assert large.macs > 2 * plain.macs
    assert large.options == {"stem": "no_pool"}
    with pytest.raises(InputError, match="unknown stem 'wide'"):
        resolve("shufflenet_v2_x0_5", options={"shufflenet_v2_x0_5": {"stem": "wide"}})


def test_when_nobody_is_left_the_reasons_are_told():
    with pytest.raises(InputError) as caught:
        resolve("odd_features", "odd_unbuildable", "resnet18", image_size=16, max_params="1M")
    text = str(caught.value)
    assert text.startswith("none of 3 models can be a student")
    for words in ("odd_features was asked", "cannot be built", "1 model is above 1,000,000 param"):
        assert words in text


@pytest.mark.parametrize(
    ("name", "drops"),
    [
        ("tiny_student", True),
        ("shufflenet_v2_x0_5", True),
        ("mobilenetv3_small_050", True),
        ("odd_zero_head", True),
        ("odd_deaf", False),
    ],
)
def test_models_that_ignore_the_dropout_rate_are_found_out(name, drops):
    (student,) = resolve(name, dropout=0.5).accepted
    assert student.drops_out is drops


def test_nobody_is_blamed_for_not_dropping_when_nothing_was_asked():
    assert resolve("odd_deaf", dropout=0.0).accepted[0].drops_out


# --- the check of ordinary studies --------------------------------------------------------------


def check(name, **options):
    check_trainable(name, **{"classes": 7, "image_size": 16, "dropout": 0.5, **options})


@pytest.mark.parametrize(
    "name",
    [
        "odd_no_dropout",
        "odd_two_heads",
        "odd_features",
        "odd_frozen",
        "odd_only_grey",
    ],
)
def test_the_cheap_check_finds_what_the_real_step_finds(name):
    with pytest.raises(InputError) as cheap:
        check(name)
    with pytest.raises(InputError) as real:
        training_step(name, classes=7, image_size=16, dropout=0.5)
    assert cheap.value.message == real.value.message


def test_a_network_that_looks_at_its_images_is_tried_for_real():
    with pytest.raises(InputError):
        training_step("odd_looking", classes=7, image_size=16, device="meta")
    check("odd_looking")


def test_a_training_step_leaves_gradients():
    network = training_step("tiny_student", classes=7, image_size=16, dropout=0.5)
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert drops_out(network, 16)
