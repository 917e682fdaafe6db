"""Units of work that a worker process can do, as plain data; the work module does them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fersearch.distill.job import Execution, TrainJob
from fersearch.records import EpochRecord, ParameterValue

__all__ = [
    "Emit",
    "ExplainTask",
    "PredictTask",
    "Progress",
    "RunLabel",
    "StackTask",
    "Task",
    "TeacherTask",
    "TrainTask",
    "teacher_folder",
    "teacher_parameters",
    "teacher_run_id",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step forward of a task.

    Attributes:
        run_id: Which run.
        stage: ``train`` or ``soft labels``.
        done: Epochs done, from 1.
        total: Epochs in all.
        record: What the epoch measured; None for soft labels.
    """

    run_id: str
    stage: str
    done: int
    total: int
    record: EpochRecord | None = None


Emit = Callable[[Progress], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLabel:
    """What a run is called and what it belongs to."""

    run_id: str
    study: str
    role: str
    protocol_hash: str
    parameters: dict[str, ParameterValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherTask:
    """Train a teacher unless the cache has it, and compute its soft labels for some seeds.

    Attributes:
        label: Name of the run.
        job: The teacher's training job.
        dataset: Folder of the decoded data.
        cache: The workspace's cache.
        seeds: Seeds of the views to answer to.
        epochs: Epochs to answer to, per seed.
        execution: Device, threads, precision.
    """

    label: RunLabel
    job: TrainJob
    dataset: Path
    cache: Path
    seeds: tuple[int, ...] = ()
    epochs: int = 0
    execution: Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainTask:
    """Train one student or baseline.

    Attributes:
        label: Name of the run.
        job: The training job; its ``teacher`` names the teacher whose soft labels are replayed,
            or the companion of a baseline's loss.
        teacher_job: Job of that teacher or companion, or None.
        dataset: Folder of the decoded data.
        cache: The workspace's cache.
        checkpoint: File to continue from and to write to.
        bundle: Folder that the trained network is saved to, or None to keep only the record.
        execution: Device, threads, precision.
    """

    label: RunLabel
    job: TrainJob
    teacher_job: TrainJob | None
    dataset: Path
    cache: Path
    checkpoint: Path
    bundle: Path | None = None
    execution: Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class StackTask:
    """Train several students together in one program.

    Attributes:
        tasks: What each of them is on its own; their jobs have one ``stack_key``, their data,
            cache and execution are the same.
    """

    tasks: tuple[TrainTask, ...]

    @property
    def execution(self) -> Execution:
        """Device, threads, precision."""
        return self.tasks[0].execution


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictTask:
    """Compute the logits of saved networks on one split and write them to a file.

    Attributes:
        bundles: Folders of the networks, or ONNX files, by name.
        split: ``val`` or ``test``.
        dataset: Folder of the decoded data.
        output: ``.npz`` file: one float32 ``(N, classes)`` array a network, and ``labels``.
        execution: Device, threads, precision.
    """

    bundles: dict[str, Path]
    split: str
    dataset: Path
    output: Path
    execution: Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainTask:
    """Compute Grad-CAM maps of saved networks on a few images of one split.

    The images are chosen by a rule that looks at no answer, so the same ones for all networks.

    Attributes:
        bundles: Folders of the networks, by name.
        split: ``val`` or ``test``.
        dataset: Folder of the decoded data.
        output: ``.npz`` file of :func:`fersearch.evaluations.save_grad_cams`.
        execution: Device, threads, precision.
    """

    bundles: dict[str, Path]
    split: str
    dataset: Path
    output: Path
    execution: Execution


Task = TeacherTask | TrainTask | StackTask | PredictTask | ExplainTask


def teacher_folder(cache: Path, job: TrainJob) -> Path:
    """Return where the teacher that ``job`` trains is kept."""
    return cache / "teachers" / job.digest()


def teacher_run_id(job: TrainJob) -> str:
    """Return the name of a teacher's run: ``teacher-n4``, or the model's name without splits."""
    splits = job.model_options.get("ffe_splits")
    return f"teacher-n{splits}" if splits is not None else f"teacher-{job.model}"


def teacher_parameters(job: TrainJob) -> dict[str, ParameterValue]:
    """Return the parameters that a teacher's record shows."""
    recipe = job.recipe
    return {
        "learning_rate": recipe.learning_rate,
        "epochs": recipe.epochs,
        **job.model_options,
    }
