"""What can run a network, by name: PyTorch itself, and the runtimes that networks are deployed in.

A plug-in adds a runtime of its own to :data:`RUNTIMES`: a function of the network and one image
that returns the call to be timed, or a :class:`FileRuntime` for one that reads ONNX files::

    from fersearch.deploy.runtimes import RUNTIMES

    RUNTIMES["mine"] = lambda network, image: lambda: network(image)

All of them run on one thread of the CPU.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fersearch.deploy.extra import require
from fersearch.deploy.metadata import INPUT_NAME, OUTPUT_NAME
from fersearch.environment import installed_version
from fersearch.errors import InputError, suggestion

__all__ = [
    "DEPLOYED",
    "EAGER",
    "RUNTIMES",
    "THREADS",
    "Call",
    "FileRuntime",
    "NetworkRuntime",
    "Precision",
    "Runtime",
    "check_installed",
    "find_runtime",
    "runtime_version",
]

THREADS = 1
EAGER = "eager"
DEPLOYED = ("onnxruntime", "onnxruntime-int8")
"""What is measured when nothing else is asked for; the first is the one that rows are compared by.
"""

Call = Callable[[], object]
NetworkRuntime = Callable[[nn.Module, Tensor], Call]
Precision = Literal["fp32", "int8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRuntime:
    """A runtime that reads ONNX files, such as a network is deployed as.

    Attributes:
        package: Name of the package that it imports, and of the distribution that has its version.
        precision: Which file it is given: ``fp32``, or ``int8`` for the 8-bit copy.
        start: Given the file and its input, float32 ``(1, 3, S, S)``, returns the call that is
            timed.
    """

    package: str
    precision: Precision
    start: Callable[[Path, NDArray[np.float32]], Call]


Runtime = NetworkRuntime | FileRuntime


def eager(network: nn.Module, image: Tensor) -> Call:
    """Return a call that runs the network once, as PyTorch does without compiling it."""
    return lambda: network(image)


def onnx_runtime(path: Path, image: NDArray[np.float32]) -> Call:
    """Return a call that runs an ONNX file in ONNX Runtime, input and output bound beforehand."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = THREADS
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    binding.bind_cpu_input(INPUT_NAME, image)
    binding.bind_output(OUTPUT_NAME)
    return lambda: session.run_with_iobinding(binding)


def open_vino(path: Path, image: NDArray[np.float32]) -> Call:
    """Return a call that runs an ONNX file in OpenVINO, in the precision that the file has."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": THREADS,
        "PERFORMANCE_HINT": "LATENCY",
        # Otherwise float32 files run in bfloat16 where the processor has it.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(image))
    return lambda: request.infer()


RUNTIMES: dict[str, Runtime] = {
    "onnxruntime": FileRuntime(package="onnxruntime", precision="fp32", start=onnx_runtime),
    "onnxruntime-int8": FileRuntime(package="onnxruntime", precision="int8", start=onnx_runtime),
    EAGER: eager,
    "openvino": FileRuntime(package="openvino", precision="fp32", start=open_vino),
    "openvino-int8": FileRuntime(package="openvino", precision="int8", start=open_vino),
}
"""What can run a network, by name.

A function is given the network in evaluation mode and its input, float32 ``(1, channels, S, S)``,
both channels-last; what it returns is called and timed.
"""


def find_runtime(name: str) -> Runtime:
    """Return a runtime by name.

    Raises:
        InputError: There is none of this name; the hint names near ones.
    """
    if name not in RUNTIMES:
        raise InputError(f"unknown runtime {name!r}", suggestion(name, RUNTIMES))
    return RUNTIMES[name]


def check_installed(name: str) -> None:
    """Check that a runtime, and what makes the files that it reads, are installed.

    Raises:
        InputError: The runtime is unknown, or a package is missing; the hint says how to get it.
    """
    runtime = find_runtime(name)
    if not isinstance(runtime, FileRuntime):
        return
    # ONNX Runtime also makes the 8-bit files, whatever runs them.
    require("onnx", "onnxscript", *(["onnxruntime"] if runtime.precision == "int8" else []))
    if runtime.package == "onnxruntime":
        require("onnxruntime")
    elif importlib.util.find_spec(runtime.package) is None:
        raise InputError(
            f"{runtime.package} is not installed, so no latency in {name} can be measured",
            f"run pip install {runtime.package}",
        )


def runtime_version(name: str) -> str:
    """Return the version of a runtime; empty where no distribution of its name is installed."""
    if name == EAGER:
        return installed_version("torch") or ""
    runtime = RUNTIMES.get(name)
    return installed_version(runtime.package if isinstance(runtime, FileRuntime) else name) or ""
