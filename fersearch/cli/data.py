"""``fersearch data``: what a data set is taken for, and its faces aligned."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from fersearch.cli.options import json_option, workspace_option

if TYPE_CHECKING:
    from fersearch.api.align import AlignResult

__all__ = ["data"]


@click.group()
def data() -> None:
    """Look at data sets: layout, classes, counts per split; align the faces of photographs."""


@data.command("describe")
@click.argument("data", metavar="DATA")
@click.option("--image-size", type=int, help="Side of the images in pixels [the data's own].")
@click.option("--seed", type=int, default=0, help="Seed of the split, where there is none.")
@workspace_option
@json_option
def describe_data(
    data: str, image_size: int | None, seed: int, workspace: str | None, as_json: bool
) -> None:
    """Say what DATA was recognised as: layout, classes, counts, label rule.

    \b
    DATA is one of
        synthetic[:train=4000,seed=0,...]       faces drawn here; no data set needed
        PATH                                    recognised: FER2013 csv, FERPlus, RAF-DB,
                                                AffectNet, DIR/<class>/*,
                                                DIR/{train,val,test}/<class>/*
        KIND:PATH[?rule=majority&limit=2000]    fer2013, ferplus, rafdb, affectnet, folder
    """
    from fersearch.api import load_data
    from fersearch.cli.display import Display
    from fersearch.data import describe

    with Display(quiet=as_json) as display:
        dataset = load_data(
            data,
            image_size=image_size,
            split_seed=seed,
            workspace=workspace,
            progress=display.decoding,
        )
    plain = describe(dataset.info)
    if as_json:
        print(json.dumps(plain, indent=2, ensure_ascii=False))
        return
    from fersearch.report.text import plain_table

    info = dataset.info
    print(f"{info.layout}\nlabel rule: {info.label_rule}")
    print(f"images: {info.image_size} px, {'grey' if info.channels == 1 else 'colour'}")
    print(f"alignment: {info.align}")
    splits = list(info.counts)
    rows = [
        (name, *(str(info.counts[split].get(name, 0)) for split in splits)) for name in info.classes
    ]
    rows.append(("total", *(str(info.totals[split]) for split in splits)))
    print(plain_table(("class", *splits), rows))
    for note in info.notes:
        print(f"note: {note}")
    for name in info.skipped:
        print(f"skipped: {name}")
    print(f"sha256: {info.sha256}")


@data.command("align")
@click.argument("data", metavar="DATA")
@click.argument("out", metavar="OUT")
@click.option("--size", type=int, default=112, help="Side of the aligned faces in pixels [112].")
@click.option("--face-model", metavar="FILE", help="A YuNet file [OpenCV's Haar cascades].")
@click.option("--seed", type=int, default=0, help="Seed of the subset of DATA?limit=N.")
@click.option("--quiet", is_flag=True, help="Nothing but the result.")
@json_option
def align_faces(
    data: str, out: str, size: int, face_model: str | None, seed: int, quiet: bool, as_json: bool
) -> None:
    """Align the faces of the photographs of DATA; write class folders and alignment.json to OUT.

    The largest face of each picture is brought to one place by its eyes. A picture in which none is
    found is kept, resized as it is, and counted. OUT appears when all is done; the same command
    continues what was interrupted.
    """
    from fersearch.cli.display import Display

    with Display(quiet=quiet or as_json) as display:
        display.line("starting")
        from fersearch.api.align import align_data

        result = align_data(
            data,
            out,
            size=size,
            face_model=face_model,
            split_seed=seed,
            progress=display.aligning,
        )
    if as_json:
        from fersearch.records import to_plain

        content = {"path": str(result.path), **to_plain(result.alignment)}
        print(json.dumps(content, indent=2, ensure_ascii=False))
        return
    _print_alignment(result)


def _print_alignment(result: AlignResult) -> None:
    from fersearch.cli.display import shown_path
    from fersearch.report.text import plain_table

    alignment = result.alignment
    print(f"{alignment.layout}\nfaces by {alignment.finder}")
    header = ("", "pictures", "with eyes", "box only", "no face", "several faces")
    rows = []
    for name, split in alignment.splits.items():
        counts = (split.images, split.eyes, split.box_only, split.no_face, split.several_faces)
        rows.append((name, *(str(count) for count in counts)))
    if len(rows) > 1:
        sums = [str(sum(int(row[at]) for row in rows)) for at in range(1, len(header))]
        rows.append(("total", *sums))
    print(plain_table(header, rows))
    for note in alignment.notes:
        print(f"note: {note}")
    for name in alignment.skipped:
        print(f"skipped: {name}")
    print(shown_path(result.path))
