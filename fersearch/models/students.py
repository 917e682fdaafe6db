"""Students by name or wildcard: which of them can be trained, and what they cost."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fersearch.errors import FersearchError, InputError, suggestion
from fersearch.models.cost import macs, parameter_count
from fersearch.models.factory import check_name, create, list_models
from fersearch.models.trainable import drops_out, training_step

__all__ = ["StudentInfo", "Students", "match_students", "read_count", "resolve_students"]

WILDCARDS = re.compile(r"[*?\[]")
COUNT = re.compile(r"(\d+(?:\.\d*)?(?:e\d+)?)\s*([kmg]?)", re.IGNORECASE)
UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
# How far an estimate must lie above a limit before a network is not looked at any closer.
MARGIN = 2.0
SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentInfo:
    """A student that one training step has shown to work.

    Attributes:
        name: timm name.
        params: Parameters.
        macs: Multiply-accumulates of one image; None when they cannot be counted.
        options: Options that it needs besides ``num_classes``, ``drop_rate`` and its image size.
        drops_out: Whether it drops anything at random in training, if it was asked to.
    """

    name: str
    params: int
    macs: int | None
    options: Mapping[str, Any] = field(default_factory=dict)
    drops_out: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Students:
    """What a list of names and wildcards stands for.

    Attributes:
        accepted: The students, in the order in which they were asked for.
        refused: Why others cannot be students, by name.
        over_limit: Names of those above a limit.
    """

    accepted: tuple[StudentInfo, ...]
    refused: Mapping[str, str]
    over_limit: tuple[str, ...] = ()


class _OverLimitError(Exception):
    """A network is above a limit: no fault of its own."""


def read_count(value: str | float | None, what: str) -> int | None:
    """Return a number that may be written with k, M or G; None stays None.

    Args:
        value: ``6000000``, ``6e6``, ``"6M"``, ``"500k"``, ``"1.5G"``.
        what: What it limits, for the error message.

    Raises:
        InputError: It is not such a number above 0.

    >>> read_count("6M", "max_params"), read_count(2.5e5, "max_params")
    (6000000, 250000)
    """
    if value is None:
        return None
    number = math.nan
    if isinstance(value, str):
        found = COUNT.fullmatch(value.strip())
        if found:
            number = float(found[1]) * UNITS[found[2].lower()]
    elif not isinstance(value, bool):
        number = float(value)
    if not (math.isfinite(number) and number >= 1):
        raise InputError(
            f"{what} must be a number of at least 1 but got {value!r}", "write 6000000, 6e6 or 6M"
        )
    return round(number)


def match_students(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the models that names and wildcards stand for; nothing is built.

    Args:
        patterns: timm names, or patterns with ``*``, ``?`` and ``[...]`` as in file names.

    Returns:
        The names in the order asked for, each once.

    Raises:
        InputError: A name is unknown, a pattern matches nothing, or there is none at all.

    >>> match_students(["shufflenet_v2_x0_5", "shufflenet_v2_x?_0", "shufflenet_v2_x0_5"])
    ('shufflenet_v2_x0_5', 'shufflenet_v2_x1_0', 'shufflenet_v2_x2_0')
    """
    names: dict[str, None] = {}
    for pattern in patterns:
        if not WILDCARDS.search(pattern):
            check_name(pattern)
            names[pattern] = None
            continue
        found = list_models(pattern)
        if not found:
            near = suggestion(WILDCARDS.sub("", pattern), list_models())
            raise InputError(
                f"no model matches {pattern!r}", near or "timm.list_models() shows all names"
            )
        names |= dict.fromkeys(found)
    if not names:
        raise InputError("no student was named", "name one, or a pattern such as mobilenetv3_*")
    return tuple(names)


def resolve_students(
    patterns: Sequence[str],
    *,
    classes: int,
    image_size: int,
    max_params: float | str | None = None,
    max_macs: float | str | None = None,
    dropout: float = 0.0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    adapt: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Students:
    """Find out which models can be students of a study, before anything is trained.

    Parameters are counted on torch's meta device, without memory; what is within the limits is
    then built and makes one training step on two random images
    (:func:`fersearch.models.trainable.training_step`).

    Args:
        patterns: timm names and wildcards, see :func:`match_students`.
        classes: Number of logits.
        image_size: Height and width of the study's images in pixels.
        max_params: Most parameters of a student: a number, or a text such as ``"6M"``.
        max_macs: Most multiply-accumulates of one image; one whose count is unknown is refused.
        dropout: Dropout rate before the classifier, in [0, 1).
        options: The networks' own options, by model name.
        adapt: Give a network that fails ``in_chans = 3`` where that mends it: it was made for
            images of other channels. The option then stands in :attr:`StudentInfo.options`, and
            whoever builds the network has to hand it over.
        tell: Told what is looked at, where that takes a while.

    Raises:
        InputError: A name is unknown, a pattern matches nothing, a limit is no number, or not one
            student is left; the message then holds the reasons.
    """
    most_params = read_count(max_params, "max_params")
    most_macs = read_count(max_macs, "max_macs")
    names = match_students(patterns)
    if len(names) > SHOWN:
        tell(f"looking at {len(names)} models")
    accepted, over = [], []
    refused: dict[str, str] = {}
    for name in names:
        probe = _Probe(name, classes, image_size, dropout, (options or {}).get(name, {}))
        try:
            accepted.append(probe.student(most_params, most_macs, adapt=adapt))
        except _OverLimitError:
            over.append(name)
        except InputError as error:
            refused[name] = error.message
    if not accepted:
        raise _nothing_left(refused, over, most_params, most_macs)
    return Students(accepted=tuple(accepted), refused=refused, over_limit=tuple(over))


def _nothing_left(
    refused: Mapping[str, str], over: Sequence[str], params: int | None, macs: int | None
) -> InputError:
    """Return the error that says why there is no student."""
    reasons = list(refused.values())
    shown = "; ".join(reasons[:SHOWN])
    if len(reasons) > SHOWN:
        shown += f"; and {len(reasons) - SHOWN} more"
    if over:
        limits = [f"{params:,} parameters"] if params is not None else []
        limits += [f"{macs:,} multiply-accumulates"] if macs is not None else []
        many = "s are" if len(over) > 1 else " is"
        above = f"{len(over)} model{many} above {' or '.join(limits)}"
        shown = f"{shown}; {above}" if shown else above
    return InputError(
        f"none of {len(reasons) + len(over)} models can be a student: {shown}",
        "name other models, larger images or higher limits",
    )


class _Probe:
    """Looks at one model, the cheapest questions first."""

    def __init__(
        self, name: str, classes: int, image_size: int, dropout: float, options: Mapping[str, Any]
    ) -> None:
        self.name = name
        self.classes = classes
        self.image_size = image_size
        self.dropout = dropout
        self.options = dict(options)

    def student(
        self, most_params: int | None, most_macs: int | None, *, adapt: bool
    ) -> StudentInfo:
        """Return the student; ``adapt`` as in :func:`resolve_students`.

        Raises:
            InputError: It cannot be one.
            _OverLimitError: It is above a limit.
        """
        if most_params is not None or most_macs is not None:
            self.check_estimates(most_params, most_macs)
        network = self.adapted() if adapt else self.step()
        params = parameter_count(network)
        if most_params is not None and params > most_params:
            raise _OverLimitError
        try:
            operations = macs(network, self.image_size).total
        except FersearchError as error:
            if most_macs is not None:
                raise InputError(
                    f"the multiply-accumulates of {self.name} cannot be counted: {error.message}"
                ) from error
            operations = None
        if most_macs is not None and operations is not None and operations > most_macs:
            raise _OverLimitError
        return StudentInfo(
            name=self.name,
            params=params,
            macs=operations,
            options=dict(self.options),
            drops_out=self.dropout == 0 or drops_out(network, self.image_size),
        )

    def adapted(self) -> nn.Module:
        """Return the network after one training step, told to take colour where it does not."""
        try:
            return self.step()
        except InputError:
            if "in_chans" in self.options:
                raise
            without = self.options
            self.options = {**without, "in_chans": 3}
            try:
                return self.step()
            except InputError:
                self.options = without
            raise  # what is wrong with it as it is

    def step(self) -> nn.Module:
        """Return the network after one training step."""
        return training_step(
            self.name,
            classes=self.classes,
            image_size=self.image_size,
            dropout=self.dropout,
            options=self.options,
        )

    def check_estimates(self, most_params: int | None, most_macs: int | None) -> None:
        """Refuse what lies far above a limit, without using memory; the rest is counted exactly.

        Both are estimates: a transformer that is built for larger images has some more parameters,
        and torch counts other operators than fvcore.
        """
        try:
            with torch.device("meta"):
                network = create(self.name, num_classes=self.classes, **self.options)
            if most_params is not None and parameter_count(network) > MARGIN * most_params:
                raise _OverLimitError
            if most_macs is not None and self.estimated_macs() > MARGIN * most_macs:
                raise _OverLimitError
        except (InputError, RuntimeError):
            return  # the training step will say what is wrong, or that nothing is

    def estimated_macs(self) -> float:
        """Return the multiply-accumulates of one image in convolutions and matrix products."""
        counter = FlopCounterMode(display=False)
        with torch.device("meta"), torch.no_grad():
            network = create(
                self.name, num_classes=self.classes, image_size=self.image_size, **self.options
            ).eval()
            with counter:
                network(torch.zeros(1, 3, self.image_size, self.image_size))
        return counter.get_total_flops() / 2
