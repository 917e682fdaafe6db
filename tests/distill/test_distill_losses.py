"""Distillation losses against numbers worked out by hand and the laws they must obey."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fersearch.distill import LOSSES, LossSettings, distillation_loss, soft_divergence
from fersearch.errors import InputError


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


def test_the_divergence_is_a_mean_over_the_batch():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 5, generator=generator)
    one_by_one = [soft_divergence(student[i : i + 1], teacher[i : i + 1], 3.0) for i in range(6)]
    assert soft_divergence(student, teacher, 3.0).item() == pytest.approx(
        torch.stack(one_by_one).mean().item(), abs=1e-6
    )


def test_dkd_splits_kd_into_target_and_other_classes():
    # Zhao et al. 2022, Eq 6: KD = TCKD + (1 - p_target) NCKD, here for one sample and T = 1.
    student = torch.tensor([[0.3, -1.0, 0.7]])
    teacher = torch.tensor([[1.5, 0.2, -0.4]])
    labels = torch.tensor([0])
    p, q = teacher.softmax(1)[0], student.softmax(1)[0]
    tckd = p[0] * (p[0] / q[0]).log() + (1 - p[0]) * ((1 - p[0]) / (1 - q[0])).log()
    kd = soft_divergence(student, teacher, 1.0)
    nckd = (kd - tckd) / (1 - p[0])
    assert LOSSES["dkd"](student, teacher, labels, 1.0).item() == pytest.approx(
        (tckd + 2 * nckd).item(), abs=1e-5
    )


def test_logit_standardisation_ignores_scale_and_shift_of_the_logits():
    generator = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 4, 7, generator=generator)
    labels = torch.zeros(4, dtype=torch.int64)
    first = LOSSES["logit_std"](student, teacher, labels, 2.0)
    second = LOSSES["logit_std"](3 * student + 1, 0.5 * teacher - 2, labels, 2.0)
    assert first.item() == pytest.approx(second.item(), abs=1e-4)


def test_dist_is_zero_for_equal_and_two_per_term_for_opposite_predictions():
    labels = torch.tensor([0, 1])
    student = torch.tensor([[2.0, -2.0], [-2.0, 2.0]])
    assert LOSSES["dist"](student, student, labels, 1.0).item() == pytest.approx(0.0, abs=1e-6)
    assert LOSSES["dist"](student, -student, labels, 1.0).item() == pytest.approx(4.0, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
class TestEveryLoss:
    def batch(self, seed):
        generator = torch.Generator().manual_seed(seed)
        student, teacher = 3 * torch.randn(2, 8, 7, generator=generator)
        return student, teacher, torch.randint(0, 7, (8,), generator=generator)

    @settings(deadline=None, max_examples=20)
    @given(seed=st.integers(0, 2**16), temperature=st.floats(1, 16))
    def test_is_zero_for_equal_logits_and_never_negative(self, name, seed, temperature):
        student, teacher, labels = self.batch(seed)
        assert LOSSES[name](student, student, labels, temperature).item() == pytest.approx(
            0, abs=1e-3
        )
        assert LOSSES[name](student, teacher, labels, temperature).item() >= -1e-4

    @settings(deadline=None, max_examples=10)
    @given(seed=st.integers(0, 2**16))
    def test_does_not_depend_on_the_order_of_the_batch(self, name, seed):
        student, teacher, labels = self.batch(seed)
        order = torch.arange(8).flip(0)
        first = LOSSES[name](student, teacher, labels, 4.0)
        second = LOSSES[name](student[order], teacher[order], labels[order], 4.0)
        assert first.item() == pytest.approx(second.item(), rel=1e-4, abs=1e-5)

    def test_sends_no_gradient_to_the_teacher_and_a_finite_one_to_the_student(self, name):
        student, teacher, labels = self.batch(0)
        student.requires_grad_()
        teacher.requires_grad_()
        loss = distillation_loss(
            student, teacher, labels, settings=LossSettings(name=name, temperature=4.0, alpha=0.5)
        )
        loss.backward()
        assert teacher.grad is None
        assert student.grad is not None
        assert torch.isfinite(student.grad).all()

    def test_alpha_zero_is_plain_cross_entropy(self, name):
        student, teacher, labels = self.batch(2)
        loss = distillation_loss(
            student, teacher, labels, settings=LossSettings(name=name, temperature=4.0, alpha=0.0)
        )
        assert loss.item() == pytest.approx(F.cross_entropy(student, labels).item(), abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0 but got 0"),
        ({"temperature": -1.0}, "temperature must be above 0 but got -1"),
        ({"temperature": math.nan}, "temperature must be above 0 but got nan"),
        ({"alpha": 1.2}, "alpha must be between 0 and 1 but got 1.2"),
        ({"alpha": -0.1}, "alpha must be between 0 and 1 but got -0.1"),
        ({"name": "kdd"}, "unknown loss 'kdd'; did you mean kd or dkd?"),
    ],
)
def test_wrong_settings_name_value_and_rule(changes, message):
    with pytest.raises(InputError) as caught:
        LossSettings(**{"temperature": 4.0, "alpha": 0.5, **changes})
    assert str(caught.value) == message
