"""The machine a run sees: versions, device, cores, precision.

PyTorch is imported inside the functions that need it; versions are read without importing.
"""

from __future__ import annotations

import functools
import math
import os
import platform
from pathlib import Path
from typing import Literal, get_args

from fersearch.errors import InputError, suggestion
from fersearch.records import ParameterValue

__all__ = [
    "default_workspace",
    "describe_environment",
    "device_name",
    "installed_version",
    "memory_limit",
    "multiplies_bfloat16_tiles",
    "native_bfloat16",
    "physical_cores",
    "processor_name",
    "resolve_device",
    "usable_cores",
]

DeviceChoice = Literal["auto", "cpu", "cuda"]
DESCRIBED = ("torch", "torchvision", "timm", "optuna", "numpy")
CGROUPS = Path("/sys/fs/cgroup")
CPUS = Path("/sys/devices/system/cpu")
PROC = Path("/proc")


def default_workspace(workspace: str | Path | None = None) -> Path:
    """Return the workspace: the argument, else ``$FERSEARCH_WORKSPACE``, else ``./workspace``."""
    named = workspace or os.environ.get("FERSEARCH_WORKSPACE") or "workspace"
    return Path(named).expanduser()


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution without importing it; ``None`` if absent."""
    from importlib import metadata  # it loads the whole of email

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def resolve_device(choice: str) -> str:
    """Return the device that ``choice`` means on this machine: ``cpu`` or ``cuda``.

    Args:
        choice: ``auto`` (a GPU where PyTorch finds one), ``cpu`` or ``cuda``.

    Raises:
        InputError: The choice is unknown, or a GPU was asked for and there is none.
    """
    if choice not in get_args(DeviceChoice):
        raise InputError(f"unknown device {choice!r}", suggestion(choice, get_args(DeviceChoice)))
    if choice == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if choice == "cuda":
        why = (
            "PyTorch finds no GPU"
            if torch.version.cuda is not None
            else "this PyTorch is built without CUDA"
        )
        raise InputError(f"the device cuda is not available: {why}", "use --device auto or cpu")
    return "cpu"


def native_bfloat16(device: str) -> bool:
    """Return whether the device computes in bfloat16 itself, rather than emulating it slowly.

    Args:
        device: ``cpu`` or a CUDA device. A GPU does from compute capability 8.0 on, a processor
            with AVX512-BF16 or AMX-BF16.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.is_available() and torch.cuda.get_device_capability(device)[0] >= 8
    if not {"avx512_bf16", "amx_bf16"} & processor_flags(read(PROC / "cpuinfo")):
        return False
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@functools.cache
def multiplies_bfloat16_tiles() -> bool:
    """Return whether the processor multiplies whole tiles of bfloat16 numbers (AMX)."""
    return "amx_bf16" in processor_flags(read(PROC / "cpuinfo")) and native_bfloat16("cpu")


def usable_cores() -> int:
    """Return the number of logical cores this process may keep busy, at least 1.

    The affinity mask and the container's processor quota are respected.
    """
    return max(1, math.floor(min(len(allowed_cpus()), cpu_quota())))


def physical_cores() -> int:
    """Return the number of physical cores behind the usable ones, at least 1."""
    siblings = {
        read(CPUS / f"cpu{number}" / "topology" / "thread_siblings_list") or str(number)
        for number in allowed_cpus()
    }
    return max(1, min(len(siblings), usable_cores()))


def processor_name() -> str:
    """Return the processor's name as the system gives it."""
    for line in read(PROC / "cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def device_name(device: str) -> str:
    """Return the name of the GPU, or of the processor for ``cpu``."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return processor_name()


def describe_environment(device: str, threads: int) -> dict[str, ParameterValue]:
    """Return what a run record says about its machine.

    Args:
        device: The resolved device, ``cpu`` or ``cuda``.
        threads: Number of threads PyTorch computes with.
    """
    described: dict[str, ParameterValue] = {
        "fersearch": installed_version("fersearch"),
        "python": platform.python_version(),
        **{name: installed_version(name) for name in DESCRIBED},
        "platform": platform.platform(),
        "host": platform.node(),
        "processor": processor_name(),
        "cores": usable_cores(),
        "physical_cores": physical_cores(),
        "threads": threads,
        "device": device,
        "device_name": device_name(device),
        "native_bfloat16": native_bfloat16(device),
    }
    if device.startswith("cuda"):
        import torch

        described["cuda"] = torch.version.cuda
    return described


def memory_limit() -> tuple[float, float]:
    """Return the memory (free, in all) in bytes that this process may use; NaN where unknown."""
    figures = meminfo(read(PROC / "meminfo"))
    free, total = figures.get("MemAvailable", math.nan), figures.get("MemTotal", math.nan)
    for folder in own_cgroups():
        limit = number_in(read(folder / "memory.max"))
        if limit < total or (math.isfinite(limit) and math.isnan(total)):
            used = number_in(read(folder / "memory.current"), missing=0.0)
            total, free = limit, min(free, limit - used)
    return free, total


def allowed_cpus() -> set[int]:
    """Return the numbers of the logical cores that the affinity mask leaves."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def cpu_quota() -> float:
    """Return the processors that the control groups grant; infinity without a quota."""
    quotas = [math.inf]
    for folder in own_cgroups():
        words = read(folder / "cpu.max").split()
        if len(words) == 2 and words[0] != "max":
            quotas.append(number_in(words[0]) / number_in(words[1]))
    old = CGROUPS / "cpu"
    quota = number_in(read(old / "cpu.cfs_quota_us"))
    if 0 < quota < math.inf:
        quotas.append(quota / number_in(read(old / "cpu.cfs_period_us")))
    return min(quotas)


def own_cgroups() -> list[Path]:
    """Return the folders of this process's control group (version 2) and of those above it."""
    inside = "/"
    for line in read(PROC / "self" / "cgroup").splitlines():
        if line.startswith("0::"):
            inside = line.removeprefix("0::")
    relative = Path(*(part for part in inside.split("/") if part not in {"", ".."}))
    return [CGROUPS / folder for folder in (relative, *relative.parents)]


def processor_flags(cpuinfo: str) -> set[str]:
    """Return the instruction sets that the text of ``/proc/cpuinfo`` names.

    >>> sorted(processor_flags("flags : avx2 avx512_bf16"))
    ['avx2', 'avx512_bf16']
    """
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return set(value.split())
    return set()


def meminfo(text: str) -> dict[str, float]:
    """Return the figures of ``/proc/meminfo`` in bytes.

    >>> meminfo("MemTotal:       16 kB")
    {'MemTotal': 16384.0}
    """
    figures = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            figures[name] = float(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return figures


def number_in(text: str, *, missing: float = math.inf) -> float:
    """Return the number that ``text`` holds, or ``missing`` (``max`` is none)."""
    try:
        return float(text)
    except ValueError:
        return missing


def read(path: Path) -> str:
    """Return the text of a system file; empty when it is not there."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
