"""``fersearch export`` and ``fersearch predict``: a trained network as a file, and its answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from fersearch.cli.display import shown_path
from fersearch.cli.options import json_option, workspace_option

if TYPE_CHECKING:
    from fersearch.deploy.exported import ExportReport
    from fersearch.deploy.model_info import Predictor
    from fersearch.deploy.pictures import Chosen
    from fersearch.deploy.predicting import Answer

__all__ = ["export", "predict"]

NAMED = 3
HOW = {
    "none": "each picture taken as one face (--align none)",
    "faces": "faces found in the pictures and aligned (--align faces)",
}


@click.command()
@click.argument("model", metavar="NAME|MODEL")
@click.option("--int8", is_flag=True, help="Write an 8-bit copy too, and measure it.")
@click.option("--out", metavar="FILE", help="The float32 file [beside the model's folder].")
@click.option("--data", metavar="DATA", help="What it was trained on [a study knows].")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own models.")
@workspace_option
@json_option
def export(model: str, as_json: bool, **given: Any) -> None:
    """Write a trained network as an ONNX file that runs without PyTorch.

    \b
        fersearch export distill --int8
        fersearch export DIR --data faces/ --out student.onnx

    NAME is a study in the workspace, MODEL a saved network's folder. The file is compared with the
    network on the validation images, and the 8-bit copy's accuracy is measured on them: it is
    recommended only when it loses at most two points. The test split is not read.
    """
    from fersearch.cli.display import Display
    from fersearch.deploy.extra import require, require_torch

    # Here already: what export imports takes seconds.
    require_torch("fersearch export")
    require()
    with Display(quiet=as_json) as display:
        display.line("starting")
        from fersearch.api.deploy import export as export_model

        report = export_model(model, progress=display.decoding, tell=display.line, **given)
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print(json.dumps(report.plain(), indent=2, ensure_ascii=False))
    else:
        _show_export(report)


def _show_export(report: ExportReport) -> None:
    paths = [str(shown_path(file.path)) for file in report.files]
    width = max(len(path) for path in paths)
    head = f"{'file':<{width}}  precision       MB  validation accuracy"
    print(head)
    for file, path in zip(report.files, paths, strict=True):
        accuracy = "not measured" if file.val_accuracy is None else f"{file.val_accuracy:.1%}"
        mark = "  (recommended)" if file.path == report.recommended else ""
        print(f"{path:<{width}}  {file.precision:<9}  {file.megabytes:7.2f}  {accuracy}{mark}")
    print(
        f"\nthe float32 file's logits and PyTorch's differ by at most {report.max_difference:.1e} "
        f"on {report.images} {report.compared_on}"
    )
    if report.calibration_images:
        print(f"8-bit ranges were measured on {report.calibration_images} training views")
    print(f"try it: fersearch predict {shown_path(report.recommended)} PICTURE")


@click.command()
@click.argument("model", metavar="MODEL")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "--align",
    default="none",
    show_default=True,
    metavar="none|faces",
    help="none: each picture is one cropped face; faces: find and align the faces in it.",
)
@click.option("--face-model", metavar="FILE", help="Face detector for --align faces.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="Your own models.")
@workspace_option
@json_option
def predict(
    model: str,
    images: tuple[str, ...],
    align: str,
    face_model: str | None,
    plugins: tuple[str, ...],
    workspace: str | None,
    as_json: bool,
) -> None:
    """Say which expression the faces in pictures show.

    \b
        fersearch predict model.onnx face.png
        fersearch predict distill faces/ 'more/*.jpg'
        fersearch predict model.onnx party.jpg --align faces

    MODEL is an ONNX file (no PyTorch is needed), a saved network's folder, or a study in the
    workspace. IMAGE is a file, a folder with all that is below it, or a pattern. A picture is taken
    as one cropped face unless --align faces is given. One that cannot be read is named, and the
    others are answered.
    """
    from fersearch.deploy.opening import open_model
    from fersearch.deploy.pictures import choose_files
    from fersearch.deploy.predicting import answers, open_finder
    from fersearch.errors import InputError

    if plugins:
        from fersearch.plugins import load_plugin

        for plugin in plugins:
            load_plugin(plugin)
    finder = open_finder(align, face_model)
    predictor = open_model(model, workspace=workspace)
    chosen = choose_files(images)
    table = Table(chosen, found=finder is not None)
    done = []
    for answer in answers(predictor, chosen.files, finder=finder):
        done.append(answer)
        if not as_json:
            table.row(answer)
    _warn(done, chosen)
    if all(answer.error for answer in done):
        if len(done) == 1:
            raise InputError(f"{done[0].file}: {done[0].error}", "give pictures of faces")
        raise InputError(f"none of {len(done)} pictures can be read", "give pictures of faces")
    if as_json:
        content = _plain(done, predictor, align=align)
        print(json.dumps(content, indent=2, ensure_ascii=False))
        return
    info = predictor.info
    print(f"\n{info.title}: {info.model}, {info.precision}, {predictor.runtime}")
    print(f"{_counts_line(done)}; {HOW[align]}")


class Table:
    """One line a face, written as the answers come; pictures that cannot be read stay out of it.

    Args:
        chosen: The pictures, which set the width of the first column.
        found: Whether faces were looked for, so that they have numbers.
    """

    def __init__(self, chosen: Chosen, *, found: bool) -> None:
        self._width = max(4, *(len(str(file)) for file, _ in chosen.files))
        self._found = found
        self._begun = False

    def row(self, answer: Answer) -> None:
        """Print the lines of one picture."""
        if answer.error:
            return
        if not self._begun:
            self._begun = True
            self._line("file", "face", "expression", "probability", "then")
        if answer.note:
            self._line(str(answer.file), "", answer.note, "", "")
        for number, face in enumerate(answer.faces, start=1):
            ranked = [*face.probabilities.items()]
            then = ", ".join(f"{label} {share:.1%}" for label, share in ranked[1:3])
            self._line(str(answer.file), str(number), face.label, f"{ranked[0][1]:.1%}", then)

    def _line(self, file: str, face: str, label: str, share: str, then: str) -> None:
        number = f"{face:>4}  " if self._found else ""
        line = f"{file:<{self._width}}  {number}{label:<14}  {share:>11}  {then}"
        print(line.rstrip())


def _warn(done: Sequence[Answer], chosen: Chosen) -> None:
    """Name the pictures that cannot be read, unless it is the only one, and what was left out."""
    if len(done) > 1:
        for answer in done:
            if answer.error:
                print(f"warning: {answer.file}: {answer.error}", file=sys.stderr)
    if chosen.skipped:
        names = ", ".join(str(path) for path in chosen.skipped[:NAMED])
        more = ", ..." if len(chosen.skipped) > NAMED else ""
        print(
            f"note: {_number(len(chosen.skipped), 'file')} not taken for pictures: {names}{more}",
            file=sys.stderr,
        )


def _counts(done: Sequence[Answer]) -> dict[str, int]:
    return {
        "pictures": len(done),
        "faces": sum(len(answer.faces) for answer in done),
        "without_face": sum(not answer.error and not answer.faces for answer in done),
        "unreadable": sum(bool(answer.error) for answer in done),
    }


def _counts_line(done: Sequence[Answer]) -> str:
    counts = _counts(done)
    parts = [_number(counts["pictures"], "picture"), _number(counts["faces"], "face")]
    parts += [f"{counts['without_face']} without a face"] if counts["without_face"] else []
    parts += [f"{counts['unreadable']} unreadable"] if counts["unreadable"] else []
    return ", ".join(parts)


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def _plain(done: Sequence[Answer], predictor: Predictor, *, align: str) -> dict[str, Any]:
    info = predictor.info
    return {
        "model": info.title,
        "network": info.model,
        "precision": info.precision,
        "runtime": predictor.runtime,
        "classes": list(info.classes),
        "align": align,
        "counts": _counts(done),
        "images": [answer.plain() for answer in done],
    }
