"""Training loops that are compared: ours, and those that one would otherwise write or take.

Every loop trains the same student, taught by the same teacher (both with random weights: neither
changes the time), on the same pictures, with the same batch and about the same augmentation. Ours
reads pixels from the store and works on batches; the others read PNG files through PIL, picture by
picture, as the documentation of PyTorch and torchdistill does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, RandomSampler
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.pictures import export_pictures
from fersearch.data import Dataset, load_data
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy, Views
from fersearch.distill import (
    Execution,
    LossSettings,
    OnlineTeacher,
    ReplayedTeacher,
    TrainJob,
    build_model,
    compute_soft_labels,
    make_recipe,
)
from fersearch.distill.precision import autocast, trains_in_bfloat16
from fersearch.distill.recipe import make_optimizer
from fersearch.distill.recorded import RecordedStep
from fersearch.distill.run import TrainingRun
from fersearch.models import Batch, create

__all__ = [
    "LOOPS",
    "Loop",
    "LoopSetup",
    "make_loop",
    "open_data",
    "plain_step",
    "replayed",
    "train_transform",
]

TEMPERATURE, ALPHA = 4.0, 0.5
Loop = Callable[[], int]
"""Trains one epoch and returns the number of images it saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSetup:
    """What all loops share.

    Attributes:
        folder: Where data and soft labels are kept.
        images: Training images; an epoch is as many whole batches as they give.
        image_size: Their side in pixels.
        batch_size: Images a step.
        student: timm name of the student.
        teacher: timm name of the teacher.
        threads: Threads of PyTorch.
        loaders: Processes of the ``DataLoader``; 0 loads in the training process.
        autocast: ``never`` for float32 throughout, ``auto`` for what ours would choose.
        device: ``cpu`` or ``cuda``.
    """

    folder: Path
    images: int
    image_size: int
    batch_size: int
    student: str = "shufflenet_v2_x1_0"
    teacher: str = "eff_resnet18"
    threads: int = 1
    loaders: int = 0
    autocast: str = "never"
    device: str = "cpu"


def open_data(setup: LoopSetup) -> Dataset:
    """Draw the faces, or open those drawn before."""
    images = setup.images - setup.images % setup.batch_size
    spec = f"synthetic:train={images},val=32,test=32,image_size={setup.image_size}"
    return load_data(spec, cache=setup.folder)


def make_loop(name: str, setup: LoopSetup) -> Loop:
    """Return a loop by its name in :data:`LOOPS`, ready to train; sets PyTorch's threads."""
    torch.set_num_threads(setup.threads)
    torch.manual_seed(0)
    epoch = LOOPS[name](setup)
    if setup.device == "cpu":
        return epoch

    def finished() -> int:
        images = epoch()
        torch.cuda.synchronize()  # a GPU may still be at work when the last step was started
        return images

    return finished


def _job(setup: LoopSetup, data: Dataset) -> TrainJob:
    return TrainJob(
        data_sha256=data.info.sha256,
        model=setup.student,
        recipe=make_recipe("default", epochs=1, batch_size=setup.batch_size, learning_rate=0.01),
        policy=ViewPolicy(),
        preprocessing=Preprocessing.of_training_images(data.train.images),
        seed=0,
        loss=LossSettings(temperature=TEMPERATURE, alpha=ALPHA),
    )


def _networks(setup: LoopSetup, data: Dataset) -> tuple[nn.Module, nn.Module]:
    """Return student and teacher as our loop builds them."""
    job, classes = _job(setup, data), len(data.info.classes)
    teacher = build_model(replace(job, model=setup.teacher, loss=None), classes, setup.device)
    student = build_model(job, classes, setup.device)
    return student, teacher.eval().requires_grad_(False)


def _plain_networks(setup: LoopSetup, data: Dataset) -> tuple[nn.Module, nn.Module]:
    """Return student and teacher as timm makes them, in PyTorch's usual memory format."""
    student, teacher = (
        create(name, num_classes=len(data.info.classes), image_size=setup.image_size)
        for name in (setup.student, setup.teacher)
    )
    return student.to(setup.device), teacher.eval().requires_grad_(False).to(setup.device)


def replayed(
    folder: Path,
    job: TrainJob,
    data: Dataset,
    teacher: nn.Module,
    *,
    execution: Execution,
    epochs: int = 1,
) -> ReplayedTeacher:
    """Let ``teacher`` answer to the views of ``job``'s first epochs, once; return its answers."""
    views = Views(
        data.train.images,
        preprocessing=job.preprocessing,
        policy=job.policy,
        seed=job.seed,
        device=execution.device,
    )
    compute_soft_labels(
        folder, load_teacher=lambda: teacher, views=views, epochs=epochs, execution=execution
    )
    return ReplayedTeacher(folder, device=execution.device)


def plain_step(
    network: nn.Module,
    optimizer: Optimizer,
    context: Callable[[], AbstractContextManager[None]],
) -> Callable[[Batch], None]:
    """Return a step of cross entropy and nothing else; the forward pass is made in ``context``."""

    def step(batch: Batch) -> None:
        with context():
            loss = F.cross_entropy(network(batch.inputs).float(), batch.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def _floor(setup: LoopSetup, *, records: bool = False) -> Loop:
    """Return the least that a student costs: forward, backward and optimiser on one batch."""
    data = open_data(setup)
    student, _ = _networks(setup, data)
    execution = Execution(device=setup.device, autocast=setup.autocast)
    bfloat16 = trains_in_bfloat16(student, execution, image_size=setup.image_size)
    optimizer = make_optimizer(student.parameters(), _job(setup, data).recipe)
    shape = (setup.batch_size, 3, setup.image_size, setup.image_size)
    inputs = torch.randn(shape, device=setup.device)
    if setup.device == "cpu":  # as our views are laid out
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, len(data.info.classes), shape[:1], device=setup.device)
    batch = Batch(inputs=inputs, labels=labels, indices=labels, epoch=0, progress=0.0)
    steps = len(data.train) // setup.batch_size

    step = plain_step(student, optimizer, partial(autocast, execution, enabled=bfloat16))
    recorded = RecordedStep(optimizer, torch.device(setup.device)) if records else None
    make = step if recorded is None else partial(recorded, step)

    def epoch() -> int:
        student.train()
        for _ in range(steps):
            make(batch)
        return steps * setup.batch_size

    return epoch


def _ours(setup: LoopSetup, *, replay: bool, compiles: bool = False) -> Loop:
    data = open_data(setup)
    execution = Execution(
        device=setup.device,
        threads=setup.threads,
        autocast=setup.autocast,
        compile_cache=str(setup.folder / "compiled") if compiles else "",
    )
    job = _job(setup, data)
    _, teacher = _networks(setup, data)
    signal: Any = OnlineTeacher(teacher, execution)
    if replay:
        labels = setup.folder / f"labels-{setup.teacher}-{data.info.sha256[:12]}"
        signal = replayed(labels, job, data, teacher, execution=execution)
    run = TrainingRun(job, data, execution=execution, teacher=signal, companion=None)

    def epoch() -> int:
        return run.train_epoch(0).images

    return epoch


def train_transform(preprocessing: Preprocessing) -> transforms.Compose:
    """Return PIL transforms that change pictures about as much as our views do."""
    policy = ViewPolicy()
    mean = list(preprocessing.mean) * (3 // len(preprocessing.mean))
    std = list(preprocessing.std) * (3 // len(preprocessing.std))
    return transforms.Compose(
        [
            transforms.RandomHorizontalFlip(policy.flip),
            transforms.RandomAffine(
                policy.rotation,
                translate=(policy.shift, policy.shift),
                scale=(1 - policy.scale, 1 + policy.scale),
                interpolation=transforms.InterpolationMode.BILINEAR,
            ),
            transforms.ColorJitter(policy.brightness, policy.contrast),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
            transforms.RandomErasing(policy.erase, scale=(0.01, policy.erase_area or 0.02)),
        ]
    )


def _pictures(setup: LoopSetup, data: Dataset) -> ImageFolder:
    """Open the training pictures as files; ``ImageFolder`` reads all of them as RGB."""
    folder = export_pictures(data, setup.folder / f"pictures-{data.info.sha256[:12]}")
    return ImageFolder(str(folder / "train"), train_transform(_job(setup, data).preprocessing))


def _plain(setup: LoopSetup) -> Loop:
    """Return a loop as PyTorch's tutorials write it, with the teacher at every step."""
    data = open_data(setup)
    loader = DataLoader(
        _pictures(setup, data),
        batch_size=setup.batch_size,
        shuffle=True,
        num_workers=setup.loaders,
        drop_last=True,
    )
    student, teacher = _plain_networks(setup, data)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def epoch() -> int:
        student.train()
        seen = 0
        for pictures, classes in loader:
            inputs, labels = pictures.to(setup.device), classes.to(setup.device)
            with torch.no_grad():
                answers = teacher(inputs)
            logits = student(inputs)
            soft = F.kl_div(
                F.log_softmax(logits / TEMPERATURE, dim=1),
                F.softmax(answers / TEMPERATURE, dim=1),
                reduction="batchmean",
            )
            hard = F.cross_entropy(logits, labels)
            loss = ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * hard
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(labels)
        return seen

    return epoch


def _torchdistill(setup: LoopSetup) -> Loop:
    """Return torchdistill's own loop, configured and driven as its image classification example."""
    from torchdistill.core.distillation import get_distillation_box
    from torchdistill.misc.log import MetricLogger

    logging.getLogger("torchdistill").setLevel(logging.ERROR)
    data = open_data(setup)
    student, teacher = _plain_networks(setup, data)
    kd = {
        "key": "KDLoss",
        "kwargs": {
            "student_module_path": ".",
            "student_module_io": "output",
            "teacher_module_path": ".",
            "teacher_module_io": "output",
            "temperature": TEMPERATURE,
            "alpha": 1 - ALPHA,
            "reduction": "batchmean",
        },
    }
    config = {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler},
            "kwargs": {
                "batch_size": setup.batch_size,
                "num_workers": setup.loaders,
                "drop_last": True,
            },
        },
        "teacher": {
            "forward_proc": "forward_batch_only",
            "sequential": [],
            "requires_grad": False,
        },
        "student": {"forward_proc": "forward_batch_only", "sequential": [], "requires_grad": True},
        "optimizer": {
            "key": "SGD",
            "kwargs": {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
        },
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": kd, "weight": 1.0}}},
        },
    }
    device = torch.device(setup.device)
    box = get_distillation_box(
        teacher, student, {"train": _pictures(setup, data)}, config, device, None, False, 1
    )

    def epoch() -> int:
        box.pre_epoch_process(epoch=0)
        log = MetricLogger(delimiter="  ")
        seen = 0
        for inputs, labels, extra in log.log_every(box.train_data_loader, 10**9, "Epoch:"):
            loss = box.forward_process(inputs.to(device), labels.to(device), extra)
            box.post_forward_process(loss=loss)
            log.update(loss=loss.item())
            seen += len(labels)
        box.post_epoch_process()
        return seen

    return epoch


LOOPS: dict[str, Callable[[LoopSetup], Loop]] = {
    "floor": _floor,
    "recorded floor": lambda setup: _floor(setup, records=True),
    "replay": lambda setup: _ours(setup, replay=True),
    "compiled": lambda setup: _ours(setup, replay=True, compiles=True),
    "online": lambda setup: _ours(setup, replay=False),
    "plain": _plain,
    "torchdistill": _torchdistill,
}
