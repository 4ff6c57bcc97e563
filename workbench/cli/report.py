"""Commands that show a run to people: reports and the dashboard."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import WorkbenchError
from .output import RunArgument, out_console


class Format(StrEnum):
    """Formats of a report."""

    html = "html"
    json = "json"
    csv = "csv"
    parquet = "parquet"


def report(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="the file to write")],
    expert: Annotated[str | None, typer.Option(help="an expert, GROUP:ID")] = None,
    label: Annotated[str | None, typer.Option(help="a label")] = None,
    text: Annotated[str | None, typer.Option(help="a text for the run's model")] = None,
    against: Annotated[Path | None, typer.Option(help="another run to compare with, before this one")] = None,
    edit: Annotated[Path | None, typer.Option(help="file of an ExpertEdit: the model with it and without")] = None,
    kind: Annotated[Format, typer.Option("--format", help="format of the file")] = Format.html,
) -> None:
    """Write one self-contained file about an expert, a label, a text, an edit, or this run against another."""
    from .. import open_run
    from ..report import comparison_report, edit_report, expert_report, label_report, text_report
    from ..store.address import read_expert

    if sum(choice is not None for choice in (expert, label, text, against, edit)) != 1:
        raise WorkbenchError("give exactly one of --expert, --label, --text, --edit and --against.")
    opened = open_run(run)
    if expert is not None:
        expert_report(opened, *read_expert(expert, opened.groups, opened.num_keys), kind.value, out)
    if label is not None:
        label_report(opened, label, kind.value, out)
    if text is not None:
        text_report(opened, text, kind.value, out)
    if edit is not None:
        edit_report(opened, edit, kind.value, out, progress=True)
    if against is not None:
        comparison_report(open_run(against), opened, kind.value, out)
    out_console.print(f"The report is in {out}.")


def serve(
    run: RunArgument,
    host: Annotated[str, typer.Option(help="address to listen on; 127.0.0.1 keeps it on this machine")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on")] = 8050,
) -> None:
    """Browse a run in the dashboard."""
    from ..dashboard.serve import serve as serve_run

    serve_run(run, host, port)
