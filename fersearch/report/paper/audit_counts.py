"""Checks of the paper's claims against arithmetic, known counts and the layers themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fersearch.report.paper.audit_checks import Context, Finding, place
from fersearch.report.paper.claim_models import Claim
from fersearch.stats.grim import nearest_percentages, possible_counts

__all__ = [
    "AccuracyBound",
    "accuracy_bound",
    "ffe_output",
    "flops_are_parameters",
    "grim_accuracy",
    "grim_recall",
    "layer_outputs",
    "maxpool_output",
    "network_sizes",
    "parameters",
    "recalls_against_accuracy",
]

NETWORK_CLASSES = 7


def grim(claim: Claim, total: int) -> str:
    """Return why a percentage is no share of ``total`` images; empty where it is one."""
    if possible_counts(claim.percent, total=total, truncated=True):
        return ""
    exact = claim.value * total
    low, high = math.floor(exact), math.ceil(exact)
    below, above = nearest_percentages(claim.percent, total=total)
    return (
        f"{claim.row}: {claim.percent} % of {total:,} is {exact:.2f} images; {low:,} give "
        f"{below} %, {high:,} give {above} %"
    )


def grim_accuracy(context: Context) -> Finding | None:
    """Are accuracies whole numbers of the stated test images?"""
    total = context.claims.counts[context.statement.counts[0]].value
    parts = [part for claim in context.figures() if (part := grim(claim, total))]
    if not parts:
        return None
    return Finding(
        status="impossible",
        finding=f"{len(parts)} of {len(context.figures())} accuracies are no whole number of "
        f"{total:,} images.",
        evidence="; ".join(parts) + ". Rounded or cut off, none fits; a mean over several runs "
        "could.",
    )


def grim_recall(context: Context) -> Finding | None:
    """Are recalls of rare classes whole numbers of FERPlus's test images of the class?"""
    parts = []
    for claim, name in zip(context.figures(), context.statement.counts, strict=True):
        total = (context.supports or {}).get(claim.class_name, context.claims.counts[name].value)
        if part := grim(claim, total):
            parts.append(part)
    if not parts:
        return None
    return Finding(
        status="impossible",
        finding=f"{len(parts)} recalls cannot come from FERPlus's official test split.",
        evidence="; ".join(parts) + ". With a split of the authors' own the counts would be "
        "others, so no cell is judged by this.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyBound:
    """What recalls imply for the accuracy.

    Attributes:
        lowest: Accuracy (0-1) with every recall at the lower end of its rounding and every image
            of a class without a recall missed.
        printed: The same with the recalls as printed.
        needed_share: Share (0-1) of images without a recall from which on ``accuracy`` would be
            possible, the other classes keeping their proportions.
    """

    lowest: float
    printed: float
    needed_share: float


def accuracy_bound(
    recalls: Mapping[str, Claim], supports: Mapping[str, int], accuracy: float
) -> AccuracyBound:
    """Return the lowest accuracy that fits claimed recalls.

    Args:
        recalls: Claimed recalls by class.
        supports: Test images by class; classes without a recall count as missed altogether.
        accuracy: The accuracy (0-1) to compare with, rounding included.
    """
    total = sum(supports.values())
    given = sum(supports.get(name, 0) for name in recalls)
    hits = {
        ends: sum(
            supports.get(name, 0) * (claim.value - (claim.half_step if ends else 0.0))
            for name, claim in recalls.items()
        )
        for ends in (True, False)
    }
    return AccuracyBound(
        lowest=hits[True] / total,
        printed=hits[False] / total,
        needed_share=max(0.0, 1.0 - accuracy * given / hits[True]),
    )


def recalls_against_accuracy(context: Context) -> Finding | None:
    """Do the recalls by class allow the accuracy of the same model on the same data?"""
    recalls = {claim.class_name: claim for claim in context.figures("IV.")}
    accuracy = context.figures("II.")[0]
    highest = accuracy.value + accuracy.half_step
    candidates = (
        {"measured": context.supports} if context.supports else dict(context.claims.class_counts)
    )
    bounds = {
        rule: accuracy_bound(recalls, supports, highest) for rule, supports in candidates.items()
    }
    rule, bound = min(bounds.items(), key=lambda item: item[1].lowest)
    if bound.lowest <= highest:
        return None
    supports = candidates[rule]
    absent = [name for name in supports if name not in recalls]
    total = sum(supports.values())
    share = sum(supports[name] for name in absent) / total
    assumed = (
        f"Class shares: those of the {total:,} images of FERPlus's test split that was measured"
        if context.supports
        else f"Class shares: those of {total:,} images of FERPlus's training part under the {rule} "
        "rule, which gives the lowest bound; the test part's may differ a little"
    )
    return Finding(
        status="contradiction",
        finding=f"Table IV's recalls imply an accuracy of at least {floor_percent(bound.lowest)} "
        f"%; Table II says {accuracy.printed} %.",
        evidence=f"{assumed}. Every recall at the lower end of its rounding and every image of "
        f"{' and '.join(absent) or 'no class'} missed: {100 * bound.lowest:.2f} %; recalls as "
        f"printed: {100 * bound.printed:.2f} %. For {accuracy.printed} % the images without a "
        f"recall would have to be {100 * bound.needed_share:.1f} % of all; they are "
        f"{100 * share:.1f} %.",
    )


def floor_percent(share: float) -> str:
    """Return a share in percent with one decimal, cut off: an "at least" is never rounded up."""
    return f"{math.floor(1000 * share + 1e-9) / 10:.1f}"


def network_sizes(context: Context) -> Finding | None:
    """Compare sizes printed for one network; a class more or less is 513 or 1,025 parameters."""
    parts = []
    for model in dict.fromkeys(claim.model for claim in context.figures()):
        figures = context.figures(model=model)
        values = [float(claim.printed) for claim in figures]
        step = max(10.0**-claim.decimals for claim in figures)
        if max(values) - min(values) < step / 2:
            continue
        counted = parameters(model)
        parts.append(
            f"{model}: "
            + ", ".join(f"{c.printed} M as {c.row} in {place(c)}" for c in figures)
            + f"; built, it has {counted:,} parameters, and one class more adds "
            f"{parameters(model, NETWORK_CLASSES + 1) - counted:,}"
        )
    if not parts:
        return None
    return Finding(
        status="contradiction",
        finding="One network is given two sizes. T-SNet is ShuffleNetV2 after distillation, which "
        "changes no parameter; the teacher's sizes differ by more than a class can.",
        evidence=". ".join(parts) + ".",
    )


def flops_are_parameters(context: Context) -> Finding | None:
    """Are the figures headed "FLOPs" the networks' parameter counts in millions?"""
    parts = []
    counts = context.claims.counts
    for claim in context.figures():
        counted = parameters(claim.model)
        flops = 2 * counts[f"{claim.model}_macs"].value
        if round(counted / 1e6, claim.decimals) != float(claim.printed):
            return None
        parts.append(
            f"{claim.row}: printed {claim.printed}; {counted:,} parameters, "
            f"{flops / 2e9:.3f} G multiply-accumulates (about {flops / 1e9:.3f} G FLOPs) at 224 px"
        )
    return Finding(
        status="mislabelled",
        finding='The figures headed "FLOPs" are numbers of parameters in millions.',
        evidence="; ".join(parts) + f". Counted with {NETWORK_CLASSES} classes.",
    )


def maxpool_output(context: Context) -> Finding | None:
    """Is the printed output of the first max-pooling the layer's own?"""
    printed, built = context.claims.scope.maxpool_output, layer_outputs()["maxpool"]
    if built[-1] == printed:
        return None
    return Finding(
        status="impossible",
        finding=f"At 224 px it is {built[-1]}x{built[-1]}.",
        evidence=f"Built and run: the 7x7 convolution of stride 2 makes 112x112 of 224x224, the "
        f"max-pooling of stride 2 makes {built[-1]}x{built[-1]} of that, {built[0]} channels.",
    )


def ffe_output(context: Context) -> Finding | None:
    """Is the printed output of an FFE block the teacher's own?"""
    height, width, channels = context.claims.scope.ffe_output
    built = layer_outputs()["layer3"]
    if built == (channels, height, width):
        return None
    return Finding(
        status="impossible",
        finding=f"In the teacher it is {built[1]}x{built[2]} with {built[0]} channels.",
        evidence=f"Built and run: the two FFE blocks of EFF-ResNet18 make {built[1]}x{built[2]}x"
        f"{built[0]} of a 224x224x3 image. {height}x{width}x{channels} is the input image's size.",
    )


@lru_cache(maxsize=16)
def parameters(model: str, classes: int = NETWORK_CLASSES) -> int:
    """Return the parameters of a network with ``classes`` classes, built without its memory."""
    import torch

    from fersearch.models import create, parameter_count

    with torch.device("meta"):
        return parameter_count(create(model, num_classes=classes))


@lru_cache(maxsize=1)
def layer_outputs() -> dict[str, tuple[int, ...]]:
    """Return channels, height and width behind the teacher's max-pooling and its FFE blocks."""
    import torch

    from fersearch.models import create

    outputs: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"), torch.no_grad():
        network = create("eff_resnet18", num_classes=NETWORK_CLASSES).eval()
        for name in ("maxpool", "layer3"):

            def keep(_module: Any, _inputs: Any, output: Any, *, name: str = name) -> None:
                outputs[name] = tuple(output.shape[1:])

            network.get_submodule(name).register_forward_hook(keep)
        network(torch.zeros(1, 3, 224, 224))
    return outputs
