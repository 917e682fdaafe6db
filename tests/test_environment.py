"""What a run says about its machine."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fersearch import environment
from fersearch.environment import (
    describe_environment,
    installed_version,
    memory_limit,
    native_bfloat16,
    physical_cores,
    resolve_device,
    usable_cores,
)
from fersearch.errors import InputError


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system of small files, in which the process is in the control group /job/step."""
    for name, folder in (("PROC", "proc"), ("CGROUPS", "cgroup"), ("CPUS", "cpu")):
        (tmp_path / folder).mkdir()
        monkeypatch.setattr(environment, name, tmp_path / folder)
    monkeypatch.setattr(environment, "allowed_cpus", lambda: {0, 1, 2, 3})
    write(tmp_path / "proc" / "self" / "cgroup", "0::/job/step")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def test_description_is_plain_and_names_the_versions() -> None:
    described = describe_environment("cpu", 2)
    assert json.loads(json.dumps(described)) == described
    assert described["torch"] == installed_version("torch")
    assert described["device"] == "cpu"
    assert described["threads"] == 2
    assert isinstance(described["native_bfloat16"], bool)
    assert installed_version("no-such-distribution") is None


def test_versions_are_read_without_importing() -> None:
    code = (
        "import sys; from fersearch.environment import installed_version, usable_cores; "
        "installed_version('torch'); usable_cores(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_devices() -> None:
    import torch

    assert resolve_device("cpu") == "cpu"
    if torch.cuda.is_available():
        assert resolve_device("auto") == resolve_device("cuda") == "cuda"
    else:
        assert resolve_device("auto") == "cpu"
        with pytest.raises(InputError, match="use --device auto or cpu"):
            resolve_device("cuda")
    with pytest.raises(InputError, match="did you mean cuda"):
        resolve_device("cuda0")


def test_gpu_is_described() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    described = describe_environment("cuda", 1)
    assert described["device_name"] == torch.cuda.get_device_name()
    assert described["native_bfloat16"] == (torch.cuda.get_device_capability()[0] >= 8)
    assert described["cuda"]


def test_cores_are_counted_within_the_machine() -> None:
    assert 1 <= physical_cores() <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("group", "quota", "cores"),
    [
        ("job/step", "200000 100000", 2),
        ("job", "350000 100000", 3),
        (".", "10000 100000", 1),
        ("job", "max 100000", 4),
        ("elsewhere", "100000 100000", 4),
    ],
)
def test_quotas_of_the_group_and_those_above_limit_cores(
    machine: Path, group: str, quota: str, cores: int
) -> None:
    write(machine / "cgroup" / group / "cpu.max", quota)
    assert usable_cores() == cores


def test_quota_of_the_older_control_groups(machine: Path) -> None:
    write(machine / "cgroup" / "cpu" / "cpu.cfs_quota_us", "250000")
    write(machine / "cgroup" / "cpu" / "cpu.cfs_period_us", "100000")
    assert usable_cores() == 2
    write(machine / "cgroup" / "cpu" / "cpu.cfs_quota_us", "-1")
    assert usable_cores() == 4


def test_hardware_threads_share_a_core(machine: Path) -> None:
    for number in range(4):
        pair = "0-1" if number < 2 else "2-3"
        write(machine / "cpu" / f"cpu{number}" / "topology" / "thread_siblings_list", pair)
    assert usable_cores() == 4
    assert physical_cores() == 2


def test_without_topology_every_core_counts(machine: Path) -> None:
    assert physical_cores() == 4


def test_bfloat16_needs_the_instructions_themselves(machine: Path) -> None:
    write(machine / "proc" / "cpuinfo", "processor : 0\nflags : fpu avx2 avx512f")
    assert not native_bfloat16("cpu")


def test_processor_has_a_name(machine: Path) -> None:
    write(machine / "proc" / "cpuinfo", "processor : 0\nmodel name : Abacus 3000")
    assert environment.processor_name() == "Abacus 3000"
    (machine / "proc" / "cpuinfo").unlink()
    assert environment.processor_name()


def test_memory_of_the_machine_and_of_the_container(machine: Path) -> None:
    assert all(math.isnan(figure) for figure in memory_limit())
    write(machine / "proc" / "meminfo", "MemTotal: 1000 kB\nMemAvailable: 600 kB\nHugePages: 0")
    assert memory_limit() == (600 * 1024, 1000 * 1024)
    write(machine / "cgroup" / "job" / "memory.max", str(500 * 1024))
    write(machine / "cgroup" / "job" / "memory.current", str(100 * 1024))
    assert memory_limit() == (400 * 1024, 500 * 1024)
    write(machine / "cgroup" / "job" / "memory.max", "max")
    assert memory_limit() == (600 * 1024, 1000 * 1024)
