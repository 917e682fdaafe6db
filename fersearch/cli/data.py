"""``fersearch data``: what a data set is taken for."""

from __future__ import annotations

import json

import click

from fersearch.cli.options import json_option, workspace_option

__all__ = ["data"]


@click.group()
def data() -> None:
    """Look at data sets: layout, classes, counts per split."""


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
