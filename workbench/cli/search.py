"""The command `monet find`: experts that fire on a text, experts of a text, documents."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadInputError
from .output import Chat, Device, Dtype, Json, RunArgument, out_console, print_json, print_table

if TYPE_CHECKING:
    from ..store import Run


class Kind(StrEnum):
    """What is searched for."""

    firing = "firing"
    text = "text"
    documents = "documents"


def find(
    run: RunArgument,
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="a token or a text; for documents, /.../ is a regular expression")
    ],
    kind: Annotated[
        Kind,
        typer.Option(
            help="firing: experts active where the corpus has the text; text: experts active as the model reads it; "
            "documents: those that hold it"
        ),
    ] = Kind.firing,
    top: Annotated[int, typer.Option(min=1, help="number of experts or documents shown")] = 20,
    chat: Chat = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Find the experts that fire on a text, the experts of the text, or the documents that hold it.

    Firing experts are ranked by F1 of rate and precision, experts of the text by the sum of their scores.
    """
    from .. import open_run

    if chat and kind is not Kind.text:
        raise BadInputError("--chat belongs to --kind text.")
    opened = open_run(run)
    match kind:
        case Kind.firing:
            _firing(opened, text, top, as_json)
        case Kind.text:
            _text(opened, text, top, chat, device, dtype, as_json)
        case Kind.documents:
            _documents(opened, text, top, as_json)


def _firing(run: Run, text: str, top: int, as_json: bool) -> None:
    from ..search import experts_at, occurrences

    rows = occurrences(run, text)
    best = experts_at(run, rows, run.groups, top)
    if as_json:
        print_json({"text": text, "occurrences": len(rows), "experts": best.to_dict("records")})
        return
    if not len(rows):
        out_console.print("No tokens of the run spell it.")
        return
    lines = [
        [f"{row.group}:{row.expert}", f"{row.f1:.3f}", f"{row.rate:.3f}", f"{row.precision:.3f}", f"{row.tokens:,}"]
        + [f"{value:.3g}" for value in (row.mean, row.max, row.sum)]
        for row in best.itertuples(index=False)
    ]
    head = ["expert", "F1", "rate", "precision", "tokens", "mean", "max", "sum"]
    print_table(f"Experts that fire on {_name(text)}, {len(rows):,} occurrences", head, lines)


def _text(run: Run, text: str, top: int, chat: bool, device: str, dtype: str, as_json: bool) -> None:
    from ..analysis.run_model import load_run_model
    from ..search import experts_of_text

    found = experts_of_text(run, load_run_model(run, device=device, dtype=dtype), text, limit=top, chat=chat)
    if as_json:
        experts = [
            row | {"scores": scores.tolist()}
            for row, scores in zip(found.table.to_dict("records"), found.scores, strict=True)
        ]
        print_json({"text": text, "tokens": found.tokens, "active": found.total, "experts": experts})
        return
    lines = [
        [f"{row.group}:{row.expert}", row.label, "yes" if row.confirmed else "", f"{row.sum:.3g}", f"{row.max:.3g}"]
        + [f"{row.frequency:,}", f"{row.density:.4f}"]
        for row in found.table.itertuples(index=False)
    ]
    head = ["expert", "label", "confirmed", "sum", "max", "tokens", "density"]
    print_table(f"Experts of {_name(text)}, {len(found.tokens):,} tokens", head, lines)


def _documents(run: Run, text: str, top: int, as_json: bool) -> None:
    from ..search import documents_matching, read_pattern

    matches = documents_matching(run, *read_pattern(text), limit=top)
    if as_json:
        hits = matches.hits.to_dict("records")
        print_json({"text": text, "total": matches.total, "by_label": matches.by_label.to_dict(), "documents": hits})
        return
    lines = [
        [f"{row['doc']}", row["label"], f"{row['start']:,}", _name(row["before"][-30:] + row["match"] + row["after"])]
        for row in matches.hits.to_dict("records")
    ]
    print_table(f"{matches.total:,} documents match {_name(text)}", ["document", "label", "at", "text"], lines)


def _name(text: str) -> str:
    from ..store.token_text import visible

    return " ".join(map(visible, text.split(" ")))
