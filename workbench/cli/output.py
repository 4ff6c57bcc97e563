"""What commands share: common arguments and options, and printing of results."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..device import DTYPES, VARIABLE

if TYPE_CHECKING:
    from ..analysis import CorpusAttribution
    from ..analysis.results import Result
    from ..store import Run

out_console = Console(soft_wrap=True)
err_console = Console(stderr=True, soft_wrap=True)

LONGEST_WORD = 40  # characters of a cell that are never broken

Json = Annotated[bool, typer.Option("--json", help="print one JSON document")]
Name = Annotated[
    str | None, typer.Option("--name", help="store the result under this name, beside the usual one it would replace")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="folder of a run, or a URL such as s3://bucket/run")]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        envvar=VARIABLE,
        metavar="auto|cpu|cuda[:N]|mps",
        help="where the model runs; auto takes a GPU if there is one",
        show_envvar=False,
    ),
]
Chat = Annotated[
    bool, typer.Option("--chat", help="put the text into the tokenizer's chat template, as what a user says")
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        metavar="|".join(DTYPES),
        help="precision the model computes in, except its routers; auto is float32, or the checkpoint's own on a GPU",
    ),
]
Sample = Annotated[
    int | None,
    typer.Option(
        "--sample",
        metavar="DOCUMENTS",
        min=1,
        help="read so many documents of each label, drawn at random with a fixed seed, and say how precise that is; by "
        "default, all",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="go on with an interrupted one of the same settings")]
Ray = Annotated[str | None, typer.Option(help="compute on a Ray cluster: its address, auto, or local")]
Workers = Annotated[int, typer.Option(help="workers on the Ray cluster")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="folder or hub name of a Monet model")]


def print_json(value: Any) -> None:
    """Print one JSON document on standard output; NaN and infinity become null, U+0000 ␀."""
    from ..interop.texts import storable
    from ..store.files import to_json_types

    sys.stdout.write(json.dumps(storable(to_json_types(value)), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def result_json(result: Result) -> dict[str, Any]:
    """A result's document and, where only a sample was read, which."""
    return result.to_json() | ({} if result.drawn is None else {"sample": result.drawn.to_json()})


def print_sample(result: Result | CorpusAttribution) -> None:
    """Say which documents a result is of, where they are not all."""
    if result.drawn is not None:
        out_console.print(f"Read: {result.drawn}.", markup=False, highlight=False)


def print_transcoded(run: Run) -> None:
    """Say how well a transcoded model stands for its teacher; nothing of any other model."""
    if run.transcoded is not None:
        out_console.print(str(run.transcoded), markup=False, highlight=False)


@contextmanager
def resumable(resumed: bool) -> Iterator[None]:
    """Where Ctrl-C ends a command that can be resumed, say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        typed = ["monet", *sys.argv[1:]]
        again = shlex.join(typed if resumed else [*typed, "--resume"])
        err_console.print(f"Interrupted; what is done is kept. Go on with: {again}", markup=False, highlight=False)
        raise typer.Exit(130) from None


def print_table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Print a table on standard output; columns of numbers are aligned to the right.

    Title, head and cells are plain text, never markup, with nothing in them hidden: see ``visible_label``. Cells wrap
    between words where the screen is narrow. Numbers are never cut: columns that do not fit go on below, beside the
    first column once more, as pandas has it; one that is too wide by itself grows wider than the screen.
    """
    from ..store.token_text import visible_label

    columns = [[visible_label(cell) for cell in column] for column in zip(head, *rows, strict=True)]
    widths = [_least_width(column) for column in columns]
    blocks: list[list[int]] = [[0]]
    for at in range(1, len(columns)):
        beside = blocks[-1]
        if len(beside) > 1 and _table_width([widths[n] for n in (*beside, at)]) > out_console.width:
            blocks.append([0])
        blocks[-1].append(at)
    for number, chosen in enumerate(blocks):
        table = Table(title=Text(f"{title}, continued" if number else title), title_justify="left")
        shown = _shown_widths([columns[at] for at in chosen], [widths[at] for at in chosen])
        for at, width in zip(chosen, shown, strict=True):
            name, *cells = columns[at]
            right = at > 0 and all(map(_is_number, cells))
            table.add_column(Text(name), justify="right" if right else "left", overflow="fold", width=width)
        for row in range(len(rows)):
            table.add_row(*(Text(columns[at][1 + row]) for at in chosen))
        Console(width=max(_table_width(shown), out_console.width)).print(table, crop=False)


def _shown_widths(columns: list[list[str]], least: list[int]) -> list[int]:
    """The width of each column: that of its longest cell, and less of the widest ones where the screen is narrow.

    rich divides the screen itself, but exceeds it by a character where several columns have a least width.
    """
    widths = [max(map(cell_len, column)) for column in columns]
    while _table_width(widths) > out_console.width:
        wider = [at for at, width in enumerate(widths) if width > least[at]]
        if not wider:
            break
        widths[max(wider, key=widths.__getitem__)] -= 1
    return widths


def _least_width(column: list[str]) -> int:
    """The characters that a column needs, so that no word of usual length is broken."""
    longest = max(cell_len(word) for cell in column for word in cell.split() or [""])
    return min(longest, LONGEST_WORD)


def _table_width(widths: list[int]) -> int:
    return 1 + sum(width + 3 for width in widths)  # a space at each side, and the border


def _is_number(cell: str) -> bool:
    return cell.lstrip("+-")[:1].isdigit() or cell in ("", "nan", "inf", "–")
