"""How many trials of a study are trained in one program."""

from __future__ import annotations

from typing import Any

from fersearch.api.students import student_patterns
from fersearch.data import DataInfo
from fersearch.errors import FersearchError, InputError
from fersearch.models import create
from fersearch.models.cost import macs
from fersearch.spec import StudySpec

__all__ = ["check_vectorize", "trials_together"]

MOST = 8
# A training step of ShuffleNetV2 is about 600 kernels, 2.5 ms on an H100 however small they are. At
# 16 TFLOP/s, which is modest, 2.5 ms are 40 GFLOP: six for each multiply-accumulate of an image in
# a batch (forward, and backward twice). Below that, most of the GPU has nothing to do. At 48 px,
# far below, four students side by side are 1.9 times as fast as one after another
# (benchmarks/vectorize.py); where it ends was not measured.
SMALL_STEP = 6.4e9


def check_vectorize(vectorize: int | str, spec: StudySpec, *, compiles: bool = False) -> None:
    """Refuse a number of trials in one program that a study cannot have.

    Args:
        vectorize: ``auto``, 1, or how many.
        spec: The study.
        compiles: Training steps are compiled.

    Raises:
        InputError: It is neither ``auto`` nor within 1 and the study's ``search.lag``, or the
            study is a grid, which has no trials, or steps are compiled.
    """
    if vectorize == "auto":
        return
    lag = spec.search.lag
    if not isinstance(vectorize, int) or not 1 <= vectorize <= lag:
        raise InputError(
            f"vectorize must be auto or from 1 to {lag} but got {vectorize}",
            f"at most {lag} trials of this study are open at a time: raise lag in the [search] of "
            "the study file, which makes it another search",
        )
    if vectorize > 1 and compiles:
        raise InputError(
            "trials in one program are not compiled", "leave out --vectorize or --compile"
        )
    if vectorize > 1 and spec.search.sampler == "grid":
        raise InputError(
            f"the study {spec.name} is a grid: it has cells, no trials to train together",
            "leave --vectorize out",
        )


def trials_together(
    vectorize: int | str,
    spec: StudySpec,
    info: DataInfo,
    *,
    device: str,
    records: bool = True,
    compiles: bool = False,
) -> tuple[int, str]:
    """Return how many trials are trained in one program at most, and a line that says so.

    Args:
        vectorize: ``auto``, 1, or how many, as :func:`check_vectorize` allows.
        spec: The study; its space names the students where they are searched.
        info: The data.
        device: ``cpu`` or ``cuda``.
        records: On a GPU, whether steps are recorded: only those run side by side there.
        compiles: Training steps are compiled, which those of several trials in one program are not.
    """
    if isinstance(vectorize, int):
        return vectorize, f"up to {vectorize} trials in one program" if vectorize > 1 else ""
    if spec.search.sampler == "grid" or compiles:
        return 1, ""
    if not device.startswith("cuda"):
        # Measured: 0.4 to 0.6 of the speed of one after another (benchmarks/vectorize.py).
        return 1, "trials are trained each on its own: on a CPU that is faster (--vectorize auto)"
    if not records:
        return 1, "trials are trained each on its own: steps are not recorded (FERSEARCH_RECORD)"
    most = min(MOST, spec.search.lag)
    large = _large_student(spec, info)
    if large:
        return 1, f"trials are trained each on its own: {large} fills a GPU (--vectorize auto)"
    return most, f"up to {most} trials in one program: small students leave a GPU idle"


def _large_student(spec: StudySpec, info: DataInfo) -> str:
    """Return a student that keeps a GPU busy on its own, or cannot be counted; empty for none."""
    for name in student_patterns(spec) or (spec.training.student,):
        own = spec.training.student_options if name == spec.training.student else {}
        options: dict[str, Any] = dict(own)
        model = create(name, num_classes=len(info.classes), image_size=info.image_size, **options)
        try:
            one = macs(model, info.image_size).total
        except FersearchError:
            return name
        if one * spec.budget.batch_size > SMALL_STEP:
            return name
    return ""
