"""Distillation losses against numbers worked out by hand and the laws they must obey."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill import (
    LOSSES,
    LossSettings,
    TrainJob,
    distillation_loss,
    make_recipe,
    soft_divergence,
)
from fersearch.errors import InputError
from fersearch.spec import LOSSES as DESCRIPTIONS

# Two images, three classes. The logits are T log p, so that softmax(logits / T) is p.
TEACHER = [[1 / 2, 1 / 3, 1 / 6], [1 / 5, 1 / 5, 3 / 5]]
STUDENT = [[1 / 4, 3 / 8, 3 / 8], [1 / 2, 1 / 4, 1 / 4]]
LABELS = torch.tensor([0, 1])
T = 2.0


def logits_of(probabilities, temperature=T):
    return temperature * torch.tensor(probabilities).log()


def kl(p, q):
    """Return KL(p || q) of two short lists."""
    return sum(left * math.log(left / right) for left, right in zip(p, q, strict=True))


def soft_term(name, student, teacher, labels, temperature, **options):
    return LOSSES[name].soft_term(
        student, teacher, labels, temperature=temperature, options=options
    )


def by_hand(name, **options):
    return soft_term(name, logits_of(STUDENT), logits_of(TEACHER), LABELS, T, **options).item()


# --- numbers --------------------------------------------------------------------------------------


def test_soft_divergence_of_two_classes_by_hand():
    # T = 2: teacher (2 ln 3, 0) -> softmax(ln 3, 0) = (3/4, 1/4); student (0, 0) -> (1/2, 1/2).
    teacher = torch.tensor([[2 * math.log(3), 0.0]])
    student = torch.zeros(1, 2)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert soft_divergence(student, teacher, 2.0).item() == pytest.approx(expected, abs=1e-6)


def test_equation_nine_by_hand():
    # L = alpha T^2 L_soft + (1 - alpha) L_hard, with the numbers of the test above.
    teacher = torch.tensor([[2 * math.log(3), 0.0]])
    student = torch.zeros(1, 2)
    soft = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    loss = distillation_loss(
        student,
        teacher,
        torch.tensor([1]),
        settings=LossSettings(temperature=2.0, alpha=0.3),
    )
    assert loss.item() == pytest.approx(0.3 * 4 * soft + 0.7 * math.log(2), abs=1e-6)


def test_kd_of_two_images_and_three_classes_by_hand():
    mean = (kl(TEACHER[0], STUDENT[0]) + kl(TEACHER[1], STUDENT[1])) / 2
    assert by_hand("kd") == pytest.approx(T**2 * mean, abs=1e-6)


def test_dkd_of_two_images_and_three_classes_by_hand():
    # Image 1, target class 0: the target against the rest is (1/2, 1/2) and (1/4, 3/4), the rest
    # among itself (1/3, 1/6) -> (2/3, 1/3) and (3/8, 3/8) -> (1/2, 1/2).
    # Image 2, target class 1: (1/5, 4/5) and (1/4, 3/4); (1/5, 3/5) -> (1/4, 3/4) and
    # (1/2, 1/4) -> (2/3, 1/3).
    target = (kl([1 / 2, 1 / 2], [1 / 4, 3 / 4]) + kl([1 / 5, 4 / 5], [1 / 4, 3 / 4])) / 2
    others = (kl([2 / 3, 1 / 3], [1 / 2, 1 / 2]) + kl([1 / 4, 3 / 4], [2 / 3, 1 / 3])) / 2
    assert by_hand("dkd") == pytest.approx(T**2 * (target + 2 * others), abs=1e-6)
    found = by_hand("dkd", dkd_target_weight=0.5, dkd_other_weight=3.0)
    assert found == pytest.approx(T**2 * (0.5 * target + 3 * others), abs=1e-6)


def test_logit_standardisation_of_two_images_and_three_classes_by_hand():
    # z-scores with divisor 2: (1, 0, -1) has deviation 1; (0, 3, 0) has mean 1 and deviation
    # sqrt(6 / 2); (4, 2, 0) has mean 2 and deviation 2; (12, 7, 2) has mean 7 and deviation 5.
    student = torch.tensor([[1.0, 0.0, -1.0], [0.0, 3.0, 0.0]])
    teacher = torch.tensor([[4.0, 2.0, 0.0], [12.0, 7.0, 2.0]])
    up, down = math.exp(1 / 2), math.exp(-1 / 2)
    p = [value / (up + 1 + down) for value in (up, 1, down)]
    low, high = math.exp(-1 / math.sqrt(3) / 2), math.exp(2 / math.sqrt(3) / 2)
    q = [value / (2 * low + high) for value in (low, high, low)]
    found = soft_term("logit_std", student, teacher, LABELS, 2.0).item()
    assert found == pytest.approx(2**2 * (0 + kl(p, q)) / 2, abs=1e-6)


def test_dist_of_two_images_and_three_classes_by_hand():
    # Per image, r of (1/6, 0, -1/6) and (-1/12, 1/24, 1/24) is -sqrt(3)/2, and r of
    # (-2, -2, 4)/15 and (2, -1, -1)/12 is -1/2. Per class two images lie on a line: r is the sign
    # of the product of their differences, -1 (0.3 down, 1/4 up), 1 (both down) and -1.
    between = ((1 + math.sqrt(3) / 2) + (1 + 1 / 2)) / 2
    within = (2 + 0 + 2) / 3
    assert by_hand("dist") == pytest.approx(T**2 * (between + within), abs=1e-5)
    found = by_hand("dist", dist_between_weight=0.5, dist_within_weight=3.0)
    assert found == pytest.approx(T**2 * (0.5 * between + 3 * within), abs=1e-5)


def test_dist_is_two_per_term_for_opposite_predictions():
    student = torch.tensor([[2.0, -2.0], [-2.0, 2.0]])
    assert soft_term("dist", student, -student, LABELS, 1.0).item() == pytest.approx(4, abs=1e-5)


# --- laws -----------------------------------------------------------------------------------------

seeds = st.integers(0, 2**16)
temperatures = st.floats(1, 16)
laws = settings(deadline=None, max_examples=25)


def batch(seed, images=8, classes=7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, images, classes)
    student, teacher = 3 * torch.randn(shape, generator=generator, dtype=dtype)
    return student, teacher, torch.randint(0, classes, (images,), generator=generator)


def test_the_divergence_is_a_mean_over_the_batch():
    student, teacher, _ = batch(0, images=6)
    one_by_one = [soft_divergence(student[i : i + 1], teacher[i : i + 1], 3.0) for i in range(6)]
    assert soft_divergence(student, teacher, 3.0).item() == pytest.approx(
        torch.stack(one_by_one).mean().item(), abs=1e-6
    )


@laws
@given(seed=seeds, temperature=temperatures)
def test_dkd_with_the_weights_that_kd_gives_its_parts_is_kd(seed, temperature):
    # Zhao et al. 2022, Eq 6: KD = TCKD + (1 - p_target) NCKD, image by image.
    student, teacher, labels = batch(seed, images=1)
    p_target = (teacher / temperature).softmax(dim=1)[0, labels[0]].item()
    decoupled = soft_term(
        "dkd", student, teacher, labels, temperature, dkd_other_weight=1 - p_target
    )
    together = soft_term("kd", student, teacher, labels, temperature)
    assert decoupled.item() == pytest.approx(together.item(), rel=1e-4, abs=1e-5)


@laws
@given(
    seed=seeds,
    temperature=temperatures,
    scale=st.floats(0.1, 10),
    shift=st.floats(-10, 10),
    whose=st.sampled_from(["student", "teacher"]),
)
def test_logit_standardisation_ignores_scale_and_shift(seed, temperature, scale, shift, whose):
    student, teacher, labels = batch(seed)
    first = soft_term("logit_std", student, teacher, labels, temperature)
    if whose == "student":
        student = scale * student + shift
    else:
        teacher = scale * teacher + shift
    second = soft_term("logit_std", student, teacher, labels, temperature)
    assert first.item() == pytest.approx(second.item(), rel=1e-3, abs=1e-4)


@laws
@given(seed=seeds, temperature=temperatures, share=st.floats(0, 0.9))
def test_dist_ignores_a_teacher_that_mixes_its_probabilities_with_the_uniform_ones(
    seed, temperature, share
):
    # (1 - share) p + share / classes is one increasing line for all images and classes, and
    # Pearson's correlation does not see such a line.
    student, teacher, labels = batch(seed, dtype=torch.float64)
    mixed = (1 - share) * (teacher / temperature).softmax(dim=1) + share / teacher.shape[1]
    first = soft_term("dist", student, teacher, labels, temperature)
    second = soft_term("dist", student, temperature * mixed.log(), labels, temperature)
    assert first.item() == pytest.approx(second.item(), rel=1e-9, abs=1e-9)


@laws
@given(seed=seeds, temperature=temperatures)
def test_dist_lies_between_none_and_two_per_term(seed, temperature):
    student, teacher, labels = batch(seed)
    found = soft_term("dist", student, teacher, labels, temperature, dist_within_weight=3.0)
    assert -1e-3 <= found.item() / temperature**2 <= 2 * (1 + 3) + 1e-3


@laws
@given(seed=seeds, weights=st.tuples(st.floats(0, 8), st.floats(0, 8)))
@pytest.mark.parametrize("name", [name for name in LOSSES if DESCRIPTIONS[name].parameters])
def test_a_loss_is_the_sum_of_its_weighted_parts(name, seed, weights):
    student, teacher, labels = batch(seed)
    first, second = DESCRIPTIONS[name].defaults

    def term(left, right):
        options = {first: left, second: right}
        return soft_term(name, student, teacher, labels, 3.0, **options).item()

    parts = weights[0] * term(1, 0) + weights[1] * term(0, 1)
    assert term(*weights) == pytest.approx(parts, rel=1e-4, abs=1e-4)
    assert term(1, 0) != pytest.approx(term(0, 1))


@pytest.mark.parametrize("name", LOSSES)
class TestEveryLoss:
    @laws
    @given(seed=seeds, temperature=temperatures)
    def test_is_zero_for_equal_logits_and_never_negative(self, name, seed, temperature):
        student, teacher, labels = batch(seed)
        assert soft_term(name, student, student, labels, temperature).item() == pytest.approx(
            0, abs=1e-3
        )
        assert soft_term(name, student, teacher, labels, temperature).item() >= -1e-4

    @laws
    @given(seed=seeds, shift=st.floats(-10, 10))
    def test_does_not_see_a_shift_of_an_image_s_logits(self, name, seed, shift):
        student, teacher, labels = batch(seed)
        first = soft_term(name, student, teacher, labels, 4.0)
        second = soft_term(name, student + shift, teacher - shift, labels, 4.0)
        assert first.item() == pytest.approx(second.item(), rel=1e-4, abs=1e-4)

    @laws
    @given(seed=seeds)
    def test_does_not_depend_on_the_order_of_the_batch(self, name, seed):
        student, teacher, labels = batch(seed)
        order = torch.arange(8).flip(0)
        first = soft_term(name, student, teacher, labels, 4.0)
        second = soft_term(name, student[order], teacher[order], labels[order], 4.0)
        assert first.item() == pytest.approx(second.item(), rel=1e-4, abs=1e-5)

    def test_has_the_gradient_of_its_value(self, name):
        student, teacher, labels = batch(3, images=4, classes=5, dtype=torch.float64)
        student.requires_grad_()
        assert torch.autograd.gradcheck(
            lambda logits: soft_term(name, logits, teacher, labels, 3.0), student
        )

    def test_sends_no_gradient_to_the_teacher_and_a_finite_one_to_the_student(self, name):
        student, teacher, labels = batch(0)
        student.requires_grad_()
        teacher.requires_grad_()
        loss = distillation_loss(
            student, teacher, labels, settings=LossSettings(name=name, temperature=4.0, alpha=0.5)
        )
        loss.backward()
        assert loss.dtype == torch.float32
        assert teacher.grad is None
        assert student.grad is not None
        assert torch.isfinite(student.grad).all()

    @pytest.mark.parametrize("temperature", [1.0, 16.0])
    @pytest.mark.parametrize("case", ["equal", "sharp", "opposite", "constant", "single", "unused"])
    def test_stays_finite_and_moderate_where_its_parts_vanish(self, name, case, temperature):
        student, teacher, labels = batch(1)
        one_hot = 1e3 * F.one_hot(labels, 7).float()
        if case == "equal":
            student = teacher.clone()
        elif case == "sharp":  # every probability is 0 or 1
            student, teacher = one_hot, one_hot.roll(1, dims=1)
        elif case == "opposite":
            student, teacher = -one_hot, one_hot
        elif case == "constant":  # logits, and so probabilities, without any variance
            student, teacher = torch.full_like(student, 5.3), teacher.clone()
            teacher[0] = -0.7
        elif case == "single":  # a last batch of one image: no variance within a class
            student, teacher, labels = student[:1], teacher[:1], labels[:1]
        else:  # a class that neither network ever gives anything to
            student[:, 2] = teacher[:, 2] = -1e3
        student = student.clone().requires_grad_()
        loss = soft_term(name, student, teacher, labels, temperature)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(student.grad).all()
        assert student.grad.abs().max() < 100 * temperature**2

    def test_alpha_zero_is_plain_cross_entropy(self, name):
        student, teacher, labels = batch(2)
        loss = distillation_loss(
            student, teacher, labels, settings=LossSettings(name=name, temperature=4.0, alpha=0.0)
        )
        assert loss.item() == pytest.approx(F.cross_entropy(student, labels).item(), abs=1e-6)

    def test_takes_the_parameters_that_it_is_described_with(self, name):
        parameters = inspect.signature(LOSSES[name].function).parameters.values()
        own = [item.name for item in parameters if item.kind is item.KEYWORD_ONLY]
        assert own == [item.name for item in DESCRIPTIONS[name].parameters]
        assert LOSSES[name].description is DESCRIPTIONS[name]


# --- settings -------------------------------------------------------------------------------------


def test_own_parameters_reach_the_loss():
    student, teacher, labels = batch(4)
    plain = {"name": "dkd", "temperature": 2.0, "alpha": 0.5}

    def loss(**options):
        chosen = LossSettings(**plain, options=options)
        return distillation_loss(student, teacher, labels, settings=chosen).item()

    assert loss() == loss(dkd_target_weight=1, dkd_other_weight=2.0)
    assert loss(dkd_other_weight=4.0) > loss()
    assert LossSettings(**plain, options={"dkd_other_weight": 4}).own == {
        "dkd_target_weight": 1.0,
        "dkd_other_weight": 4.0,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0 but got 0"),
        ({"temperature": -1.0}, "temperature must be above 0 but got -1"),
        ({"temperature": math.nan}, "temperature must be above 0 but got nan"),
        ({"alpha": 1.2}, "alpha must be between 0 and 1 but got 1.2"),
        ({"alpha": -0.1}, "alpha must be between 0 and 1 but got -0.1"),
        ({"name": "kdd"}, "unknown loss 'kdd'; did you mean kd or dkd?"),
        (
            {"name": "dkd", "options": {"dkd_other_wieght": 2.0}},
            "dkd_other_wieght is not a parameter of the loss dkd;"
            " did you mean dkd_other_weight or dkd_target_weight?",
        ),
        (
            {"options": {"dkd_other_weight": 2.0}},
            "dkd_other_weight is not a parameter of the loss kd; kd has none of its own",
        ),
        (
            {"name": "dist", "options": {"dist_within_weight": -1.0}},
            "dist_within_weight must be at least 0 but got -1.0",
        ),
        (
            {"name": "dist", "options": {"dist_within_weight": math.inf}},
            "dist_within_weight must be a finite number but got inf",
        ),
        (
            {"name": "dist", "options": {"dist_within_weight": "1"}},
            'dist_within_weight must be a number but got "1"',
        ),
    ],
)
def test_wrong_settings_name_value_and_rule(changes, message):
    with pytest.raises(InputError) as caught:
        LossSettings(**{"temperature": 4.0, "alpha": 0.5, **changes})
    assert str(caught.value) == message


def job_digest(**loss):
    return TrainJob(
        data_sha256="0" * 64,
        model="shufflenet_v2_x1_0",
        recipe=make_recipe("default", epochs=8, batch_size=64, learning_rate=0.01),
        policy=ViewPolicy(),
        preprocessing=Preprocessing(image_size=48, mean=(0.5,) * 3, std=(0.25,) * 3),
        seed=3,
        loss=LossSettings(temperature=6.0, alpha=0.4, **loss) if loss else None,
        teacher="abc",
    ).digest()


def test_jobs_that_say_nothing_of_own_parameters_keep_the_names_of_what_is_cached():
    # Written down when losses had no parameters of their own: these names stand in caches.
    assert job_digest() == "665a457871431586"
    assert {name: job_digest(name=name) for name in LOSSES} == {
        "kd": "db8459a479867dce",
        "dkd": "4bd0e32c6c1d785d",
        "logit_std": "91087a1688a2376c",
        "dist": "c9160d296eda2da0",
    }


def test_jobs_of_other_parameters_have_other_names_and_equal_ones_the_same():
    plain = job_digest(name="dkd")
    assert job_digest(name="dkd", options={"dkd_other_weight": 2.0}) == plain
    changed = job_digest(name="dkd", options={"dkd_other_weight": 4.0})
    assert changed != plain
    both = {"dkd_other_weight": 4, "dkd_target_weight": 1.0}
    assert job_digest(name="dkd", options=both) == changed
