"""Options of every command that reads a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .output import err_console

if TYPE_CHECKING:
    from rich.console import Console

    from ..corpus import Corpus
    from ..export.scan import CorpusSummary

CorpusArgument = Annotated[
    str,
    typer.Argument(
        metavar="CORPUS",
        help="file or folder of Parquet, JSON or CSV, one folder of text files per label, or a name on a hub",
    ),
]
Split = Annotated[
    str | None, typer.Option(help="the split; by default the first of heldout, test, validation, train that is there")
]
Config = Annotated[str | None, typer.Option(help="the configuration, where a hub's corpus has several")]
TextColumn = Annotated[str | None, typer.Option(metavar="NAME", help="column of texts; by default `text`")]
LabelColumn = Annotated[str | None, typer.Option(metavar="NAME", help="column of labels; by default `label`")]
ScoreColumn = Annotated[str | None, typer.Option(metavar="NAME", help="column of scores; by default `score`, if any")]
Limit = Annotated[int | None, typer.Option(help="read only this many documents of each label, the first")]
EncodingErrors = Annotated[
    str,
    typer.Option(
        metavar="strict|replace|ignore|skip",
        help="text that is not UTF-8: refuse it, mark it with U+FFFD, drop its bytes, or leave the document out",
    ),
]


def print_reading(corpus: Corpus | CorpusSummary, console: Console = err_console) -> None:
    """Print what was read of a corpus that a reader would not expect: left out, ignored, alike."""
    for note in corpus.notes:
        console.print(note, markup=False, highlight=False)
    if corpus.skipped:
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in corpus.skipped.items())
        console.print(f"Documents left out: {left_out}.", markup=False, highlight=False)
