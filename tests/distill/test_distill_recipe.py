"""Recipes: the learning rate over a run, and who is decayed."""

import math

import pytest
import torch
from torch import nn
from torch.optim import SGD

from fersearch.distill import make_recipe
from fersearch.distill.dense_sgd import DenseSGD
from fersearch.distill.recipe import Schedule, clipped_step, count_steps, make_optimizer
from fersearch.errors import InputError


def budget(**changes):
    return {"epochs": 10, "batch_size": 8, "learning_rate": 0.1, **changes}


def rates(recipe, *, steps, loss=1.0):
    """Return the learning rate after every epoch on a flat validation loss."""
    optimizer = make_optimizer(nn.Linear(2, 2).parameters(), recipe)
    schedule = Schedule(optimizer, recipe, steps_per_epoch=steps)
    result = []
    for _ in range(recipe.epochs):
        for _ in range(steps):
            optimizer.step()
            schedule.after_step()
        schedule.after_epoch(loss)
        result.append(schedule.learning_rate)
    return result


def test_the_default_warms_up_and_follows_half_a_cosine_to_zero():
    recipe = make_recipe("default", **budget())
    optimizer = make_optimizer(nn.Linear(2, 2).parameters(), recipe)
    schedule = Schedule(optimizer, recipe, steps_per_epoch=5)
    seen = []
    for _ in range(50):
        seen.append(schedule.learning_rate)
        optimizer.step()
        schedule.after_step()
    # 20 % of 50 steps warm up: 1/11, 2/11, ... 10/11 of the peak, then the peak.
    assert seen[0] == pytest.approx(0.1 / 11)
    assert seen[9] == pytest.approx(0.1 * 10 / 11)
    assert seen[10] == pytest.approx(0.1)
    assert seen[30] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 20 / 40)))
    assert schedule.learning_rate == pytest.approx(0.0, abs=1e-9)


def test_the_papers_schedule_falls_to_a_millionth_by_epoch_seventeen_on_a_flat_loss():
    recipe = make_recipe("paper", epochs=20, batch_size=128, learning_rate=0.01)
    found = rates(recipe, steps=1)
    assert found[0] == pytest.approx(0.01)
    assert found[16] == pytest.approx(1e-6)


def test_the_papers_recipe_is_literal():
    recipe = make_recipe("paper", epochs=150, batch_size=128, learning_rate=0.01)
    assert (recipe.momentum, recipe.weight_decay, recipe.dropout) == (0.9, 1e-4, 0.5)
    assert (recipe.schedule, recipe.plateau_factor, recipe.plateau_patience) == ("plateau", 0.1, 3)
    assert not recipe.nesterov
    groups = make_optimizer(nn.Linear(2, 2).parameters(), recipe).param_groups
    assert [group["weight_decay"] for group in groups] == [1e-4]


def test_the_default_spares_biases_and_normalisation_from_the_decay():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    groups = make_optimizer(model.parameters(), make_recipe("default", **budget())).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [
        (1, 5e-4),
        (3, 0.0),
    ]


@pytest.mark.parametrize("name", ["default", "paper"])
def test_a_saved_schedule_continues_where_it_stopped(name):
    recipe = make_recipe(name, **budget())

    def run(interrupt_after):
        optimizer = make_optimizer(nn.Linear(2, 2).parameters(), recipe)
        schedule = Schedule(optimizer, recipe, steps_per_epoch=2)
        seen = []
        for epoch in range(10):
            if epoch == interrupt_after:
                saved = optimizer.state_dict(), schedule.state_dict()
                optimizer = make_optimizer(nn.Linear(2, 2).parameters(), recipe)
                schedule = Schedule(optimizer, recipe, steps_per_epoch=2)
                optimizer.load_state_dict(saved[0])
                schedule.load_state_dict(saved[1])
            for _ in range(2):
                optimizer.step()
                schedule.after_step()
            schedule.after_epoch(1.0)
            seen.append(schedule.learning_rate)
        return seen

    assert run(interrupt_after=4) == run(interrupt_after=-1)


def test_the_short_last_batch_is_dropped_unless_it_is_the_only_one():
    assert count_steps(100, 32) == 3
    assert count_steps(20, 32) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1 but got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2 but got 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0 but got 0.0"),
        ({"learning_rate": math.inf}, "learning_rate must be above 0 but got inf"),
        ({"dropout": 1.0}, "dropout must be in 0-1 but got 1.0"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'; did you mean cosine?"),
    ],
)
def test_wrong_values_name_value_and_rule(changes, message):
    with pytest.raises(InputError) as caught:
        make_recipe("default", **budget(**changes))
    assert str(caught.value) == message


def test_an_unknown_recipe_names_the_near_one():
    with pytest.raises(InputError, match="did you mean paper"):
        make_recipe("papr", **budget())


def small_network():
    """Return a channels-last network with weights of two and four dimensions, seeded."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten()
    )
    return network.append(nn.Linear(16, 2)).to(memory_format=torch.channels_last)


def plain_optimizer(network, recipe):
    """Return PyTorch's SGD with the same groups, which steps through the weights one by one."""
    groups = make_optimizer(network.parameters(), recipe).param_groups
    return SGD(
        [{"params": group["params"], "weight_decay": group["weight_decay"]} for group in groups],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        foreach=False,
    )


@pytest.mark.parametrize("name", ["default", "paper"])
def test_the_fused_optimiser_gives_the_plain_ones_numbers(name):
    fused, plain = small_network(), small_network()
    recipe = make_recipe(name, **budget())
    optimizers = [make_optimizer(fused.parameters(), recipe), plain_optimizer(plain, recipe)]
    assert isinstance(optimizers[0], DenseSGD)
    images = torch.randn(5, 3, 6, 6)
    for _ in range(4):
        for network, optimizer in zip((fused, plain), optimizers, strict=True):
            optimizer.zero_grad()
            network(images).square().sum().backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
    for one, other in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("clip_norm", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fused", [True, False])
def test_a_clipped_step_is_clipping_and_a_step(clip_norm, dtype, fused):
    networks = [small_network().to(dtype) for _ in range(2)]
    recipe = make_recipe("default", **budget())
    optimizers = [
        make_optimizer(network.parameters(), recipe) if fused else plain_optimizer(network, recipe)
        for network in networks
    ]
    images = torch.randn(5, 3, 6, 6, dtype=dtype)
    for _ in range(4):
        for network, optimizer in zip(networks, optimizers, strict=True):
            optimizer.zero_grad()
            network(images).square().sum().backward()
        clipped_step(optimizers[0], list(networks[0].parameters()), clip_norm=clip_norm)
        if clip_norm:
            nn.utils.clip_grad_norm_(networks[1].parameters(), clip_norm)
        optimizers[1].step()
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 0, "atol": 1e-14}
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(one, other, **close)


def test_parameters_that_are_not_stored_densely_are_left_to_the_plain_optimiser():
    sparse = nn.Parameter(torch.arange(8.0).view(4, 2).t())
    recipe = make_recipe("default", **budget(learning_rate=1.0), weight_decay=0.0)
    optimizer = make_optimizer([sparse, nn.Parameter(torch.zeros(2))], recipe)
    assert not isinstance(optimizer, DenseSGD)
    sparse.grad = torch.tensor([[0.0, 2.0, 4.0, 6.0], [1.0, 3.0, 5.0, 7.0]])
    optimizer.step()
    # Nesterov's first step is (1 + momentum) times the gradient: 1.9 times, from itself.
    torch.testing.assert_close(sparse.detach(), sparse.grad * -0.9)


def channels_last_weight():
    values = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    return nn.Parameter(values.contiguous(memory_format=torch.channels_last))


def test_gradients_and_loaded_momenta_in_another_order_of_memory_are_taken_as_they_are_meant():
    ours, plain = channels_last_weight(), channels_last_weight()
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
    optimizers = [DenseSGD([ours], **options), SGD([plain], **options, foreach=False)]
    for step in range(3):
        for weight, optimizer in zip((ours, plain), optimizers, strict=True):
            weight.grad = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(step))
            optimizer.step()
            state = optimizer.state[weight]
            state["momentum_buffer"] = state["momentum_buffer"].contiguous()
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-7)


def test_a_step_goes_on_from_pytorchs_saved_state_and_back():
    ours, plain = channels_last_weight(), channels_last_weight()
    options = {"lr": 0.1, "momentum": 0.9}
    first, second = DenseSGD([ours], **options), SGD([plain], **options, fused=True)
    for weight, optimizer in ((ours, first), (plain, second)):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    saved = first.state_dict(), second.state_dict()
    first.load_state_dict(saved[1])
    second.load_state_dict(saved[0])
    for optimizer in (first, second):
        optimizer.step()
    torch.testing.assert_close(ours, plain)


def test_without_momentum_and_with_a_closure():
    weight = channels_last_weight()
    before = weight.detach().clone()
    optimizer = DenseSGD([weight], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = weight.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == before.sum()
    torch.testing.assert_close(weight.detach(), before - 0.5)
    assert not optimizer.state[weight]
