"""What the commands share: their common arguments, and how results are printed."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

out_console = Console(soft_wrap=True)
err_console = Console(stderr=True, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="print one JSON document")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="folder of a run, or a URL such as s3://bucket/run")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="folder or hub name of a Monet model")]


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(title: str, head: list[str], rows: list[list[str]]) -> None:
    """A table on standard output; the first column to the left, numbers to the right."""
    table = Table(title=title, title_justify="left")
    for at, name in enumerate(head):
        table.add_column(name, justify="left" if at == 0 else "right")
    for row in rows:
        table.add_row(*row)
    out_console.print(table)
