"""How a study searches its loss: the loss itself as a choice, and each loss's own parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fersearch.errors import InputError
from fersearch.spec.load import override
from fersearch.spec.losses import ALL_LOSSES, LOSS_PARAMETERS, LOSSES, LossParameter
from fersearch.spec.parameters import CategoricalParameter, Parameter, is_active
from fersearch.spec.rules import Place, Scalar, one_of
from fersearch.spec.study import StudySpec

__all__ = ["check_loss_space", "studied_losses", "with_loss"]


def studied_losses(spec: StudySpec) -> tuple[str, ...]:
    """Return the losses that the trials of a study may have: one, unless it searches the loss."""
    for parameter in spec.space:
        if parameter.name == "loss" and isinstance(parameter, CategoricalParameter):
            return tuple(str(choice) for choice in parameter.choices)
    return (spec.training.loss,)


def check_loss_space(spec: StudySpec) -> None:
    """Check that each loss's own parameters are searched where that loss is, and only there.

    Raises:
        InputError: A parameter is searched with a loss that it does not belong to.
    """
    studied = studied_losses(spec)
    for parameter in spec.space:
        owner = LOSS_PARAMETERS.get(parameter.name)
        if owner is None:
            continue
        others = [str(name) for name in parameter.when.get("loss", studied) if name != owner]
        if others:
            hint = f'add when = {{ loss = "{owner}" }} to it, or take it out'
            if len(studied) == 1:
                hint = f'set loss = "{owner}" in [training], or take it out'
            raise InputError(
                f"{parameter.name} is a parameter of the loss {owner} but is searched with "
                f"{', '.join(others)} (space.{parameter.name} of study {spec.name})",
                hint,
            )


def with_loss(
    spec: StudySpec, loss: object, *, own_parameters: bool = True, source: str = ""
) -> StudySpec:
    """Return a study with another loss and the loss's own parameters in its space.

    What the study says of losses is replaced: the parameters of other losses and, for a single
    loss, the choice between losses leave the space. Ranges that the study gives to the new loss's
    parameters stay. Points to try first are completed: with ``all`` they get the loss that the
    study had, and a loss's own parameters start at their defaults.

    Args:
        spec: The study.
        loss: ``kd``, ``dkd``, ``logit_std`` or ``dist``; or ``all`` to search the loss too, with
            each loss's own parameters only where that loss is.
        own_parameters: Add the loss's own parameters; a grid, which searches nothing, does not.
        source: Where ``loss`` came from, for error messages.

    Raises:
        InputError: There is no such loss.

    >>> from fersearch.spec import load_study
    >>> [item.name for item in with_loss(load_study("distill"), "dkd").space][-1]
    'dkd_other_weight'
    """
    chosen = one_of(*LOSSES, ALL_LOSSES)(loss, Place(source, "training.loss"))
    several = chosen == ALL_LOSSES
    names = tuple(LOSSES) if several else (chosen,)
    changes: dict[str, object] = {} if several else {"training.loss": chosen}
    changes |= _kept(spec.space, names, several=several)
    changes["space.loss"] = {"kind": "categorical", "choices": [*names]} if several else None
    present = {parameter.name for parameter in spec.space}
    for name in names:
        for own in LOSSES[name].parameters:
            if own_parameters and own.searched and own.name not in present:
                changes[f"space.{own.name}"] = _table(own, [name] if several else [])
    bare = override(spec, {**changes, "enqueue": []}, source=source)
    points = [
        _completed(point, spec=spec, space=bare.space, loss="" if several else chosen)
        for point in spec.enqueue
        if several or point.get("loss", chosen) == chosen
    ]
    return override(bare, {"enqueue": points}, source=source)


def _kept(space: Sequence[Parameter], names: Sequence[str], *, several: bool) -> dict[str, object]:
    """Return the changes to the parameters that a space has already."""
    changes: dict[str, object] = {}
    for parameter in space:
        key, conditions = f"space.{parameter.name}", dict(parameter.when)
        owner = LOSS_PARAMETERS.get(parameter.name)
        allowed = conditions.get("loss", names) if owner is None else (owner,)
        if not several:
            conditions.pop("loss", None)
        elif owner is not None:
            conditions["loss"] = (owner,)
        if not set(names) & set(allowed):
            changes[key] = None
        elif conditions != parameter.when:
            changes[f"{key}.when"] = {name: [*values] for name, values in conditions.items()}
    return changes


def _table(parameter: LossParameter, losses: Sequence[str]) -> dict[str, Any]:
    """Return a loss's own parameter as a study file writes it."""
    table: dict[str, Any] = {
        "kind": "float",
        "low": parameter.low,
        "high": parameter.high,
        "log": parameter.log,
    }
    return {**table, "when": {"loss": [*losses]}} if losses else table


def _completed(
    point: Mapping[str, Scalar], *, spec: StudySpec, space: Sequence[Parameter], loss: str
) -> dict[str, Scalar]:
    """Return a point of ``spec`` as a point of ``space``, with ``loss`` or else its own."""
    given = {"loss": spec.training.loss, **point, **({"loss": loss} if loss else {})}
    completed: dict[str, Scalar] = {}
    for parameter in space:
        if not is_active(parameter, completed):
            continue
        if parameter.name in given:
            completed[parameter.name] = given[parameter.name]
        elif parameter.name in LOSS_PARAMETERS:
            own = LOSSES[LOSS_PARAMETERS[parameter.name]]
            completed[parameter.name] = own.defaults[parameter.name]
    return completed
