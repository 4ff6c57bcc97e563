"""Commands that show a run to people: reports and the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..dashboard.serve import HOST, PORT
from ..errors import BadInputError
from ..report.kinds import Kind
from .output import RunArgument, out_console


def report(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="the file to write")],
    expert: Annotated[str | None, typer.Option(help="an expert, GROUP:ID")] = None,
    label: Annotated[str | None, typer.Option(help="a label")] = None,
    text: Annotated[str | None, typer.Option(help="a text for the run's model")] = None,
    against: Annotated[Path | None, typer.Option(help="another run to compare with, shown before this one")] = None,
    edit: Annotated[Path | None, typer.Option(help="file of an ExpertEdit: the model with it and without")] = None,
    kind: Annotated[Kind, typer.Option("--format", help="format of the file")] = "html",
) -> None:
    """Write one self-contained file about an expert, a label, a text, an edit, or this run against another."""
    from .. import open_run
    from ..report import comparison_report, edit_report, expert_report, label_report, text_report
    from ..store.address import read_expert

    if sum(choice is not None for choice in (expert, label, text, against, edit)) != 1:
        raise BadInputError("give exactly one of --expert, --label, --text, --edit and --against.")
    opened = open_run(run)
    if expert is not None:
        expert_report(opened, *read_expert(expert, opened.groups, opened.num_keys), kind, out)
    if label is not None:
        label_report(opened, label, kind, out)
    if text is not None:
        text_report(opened, text, kind, out)
    if edit is not None:
        edit_report(opened, edit, kind, out, progress=True)
    if against is not None:
        comparison_report(open_run(against), opened, kind, out)
    out_console.print(f"Wrote the report to {out}.")


def serve(
    run: Annotated[str, typer.Argument(metavar="RUN", envvar="MONET_RUN", help="folder of a run, or its URL")],
    host: Annotated[str, typer.Option(help=f"address to listen on; {HOST} keeps it on this machine")] = HOST,
    port: Annotated[int, typer.Option(help="port to listen on")] = PORT,
) -> None:
    """Browse a run in the dashboard."""
    from ..dashboard.serve import serve as serve_run

    serve_run(run, host, port)
