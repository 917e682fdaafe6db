"""Latency of the student against the baselines, in ONNX Runtime and in eager PyTorch.

All networks in all runtimes are measured in one interleaved run on one thread: 20 runs to warm up,
then ``--rounds`` rounds of 10 timed ones. Ratios are those of the medians, beside those of the
fastest runs, which a busy machine spoils less. An exclamation mark stands where p50 / min exceeds
1.3: something else was running.

    python -m benchmarks.latency --image-size 48 --json latency.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Recorder, add_common
from fersearch.deploy.latency import Architecture, Latency, LatencyReport, measure_latencies
from fersearch.models import list_baselines
from fersearch.records import to_plain

YARDSTICK = "resnet18"


def table(report: LatencyReport, networks: Sequence[Architecture], runtime: str) -> list[str]:
    """Return the lines of one runtime: figures, and how many times faster than the yardstick."""
    found: dict[str, Latency] = {
        network.model: report.latencies[network.key, runtime]
        for network in networks
        if (network.key, runtime) in report.latencies
    }
    version = next((item.runtime_version for item in found.values()), "")
    lines = [f"{runtime} {version}".rstrip()]
    lines.append(
        f"  {'':<22}{'p50 ms':>9}{'p90 ms':>9}{'min ms':>9}{'p50/min':>9}",
    )
    lines[-1] += f"   {YARDSTICK} / network by p50, by min"
    base = found.get(YARDSTICK)
    for model, item in found.items():
        steady = f"{item.p50 / item.min:.2f}{'!' if item.unsteady else ' '}"
        line = f"  {model:<22}{item.p50:9.3f}{item.p90:9.3f}{item.min:9.3f}{steady:>10}"
        if base is not None:
            line += f"  {base.p50 / item.p50:6.2f} {base.min / item.min:6.2f}"
        lines.append(line)
    lines += [
        f"  {network.model:<22}{report.failures[network.key, runtime]}"
        for network in networks
        if (network.key, runtime) in report.failures
    ]
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; write JSON where asked."""
    parser = argparse.ArgumentParser(prog="latency", description=__doc__)
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument("--student", default="shufflenet_v2_x1_0")
    parser.add_argument("--runtime", action="append", help="may be repeated")
    parser.add_argument("--cache", type=Path, help="folder of the exported ONNX files")
    parser.add_argument("--json", type=Path, help="file to write")
    add_common(parser, rounds=20)
    given = parser.parse_args(arguments)
    record = Recorder("latency", given)
    runtimes = given.runtime or ["onnxruntime", "onnxruntime-int8", "eager"]
    models = dict.fromkeys([given.student, YARDSTICK, *(item.name for item in list_baselines())])
    networks = [
        Architecture(model=name, num_classes=given.classes, image_size=given.image_size)
        for name in models
    ]
    report = measure_latencies(
        networks, runtimes=runtimes, cache=given.cache, rounds=given.rounds, tell=print
    )
    host = next((item.host for item in report.latencies.values()), "")
    record.say(
        f"one image of {given.image_size} px, one thread, {10 * given.rounds} runs on {host}"
    )
    for runtime in runtimes:
        for line in table(report, networks, runtime):
            record.say(line)
    names = {network.key: network.model for network in networks}
    content = {
        "latencies": [
            {"model": names[key], **to_plain(item)} for (key, _), item in report.latencies.items()
        ],
        "failures": [
            {"model": names[key], "runtime": name, "reason": why}
            for (key, name), why in report.failures.items()
        ],
    }
    if given.json:
        given.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    record.figures.update(content)
    for (key, runtime), item in report.latencies.items():
        label = f"{names[key]}, {runtime}"
        record.series[label], record.units[label] = [item.min, item.p50, item.p90], "ms"
    record.finish()


if __name__ == "__main__":
    main()
