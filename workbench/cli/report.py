"""Commands that show a run to people: reports and the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..dashboard.serve import HOST, PORT
from ..errors import BadInputError
from ..report.kinds import Kind
from .output import Chat, Device, Dtype, out_console


def report(
    out: Annotated[Path, typer.Option(help="the file to write")],
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="folder of a run, or its URL; none for a circuit")
    ] = None,
    expert: Annotated[str | None, typer.Option(help="an expert, GROUP:ID")] = None,
    label: Annotated[str | None, typer.Option(help="a label")] = None,
    text: Annotated[str | None, typer.Option(help="a text for the run's model")] = None,
    against: Annotated[Path | None, typer.Option(help="another run to compare with, shown before this one")] = None,
    edit: Annotated[Path | None, typer.Option(help="file of an ExpertEdit: the model with it and without")] = None,
    circuit: Annotated[Path | None, typer.Option(help="file that `monet trace --out` wrote")] = None,
    logits: Annotated[
        bool,
        typer.Option("--logits", help="with --expert: load the model, for what it promotes and suppresses"),
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="what `monet diff … --run RUN` kept")] = False,
    chat: Chat = False,
    kind: Annotated[Kind, typer.Option("--format", help="format of the file")] = "html",
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Write one self-contained file about an expert, label, text, edit, circuit or diff, or a run against another."""
    from ..report import circuit_report

    if sum(choice is not None for choice in (expert, label, text, against, edit, circuit, diff or None)) != 1:
        raise BadInputError("give exactly one of --expert, --label, --text, --edit, --circuit, --diff and --against.")
    if (run is None) != (circuit is not None):
        raise BadInputError("name the run, but none with --circuit: its file holds what the report shows.")
    if chat and text is None:
        raise BadInputError("--chat belongs to --text.")
    if logits and expert is None:
        raise BadInputError("--logits belongs to --expert.")
    if circuit is not None:
        circuit_report(circuit, kind, out)
    if run is not None and diff:
        _report_diff(run, kind, out)
    elif run is not None:
        _report_run(run, expert, label, text, against, edit, kind, out, chat, logits, device, dtype)
    out_console.print(f"Wrote the report to {out}.")


def _report_diff(run: str, kind: Kind, out: Path) -> None:
    from .. import open_run
    from ..analysis import DiffResult, read_diff
    from ..errors import NotAnalysedError
    from ..report import diff_report

    opened = open_run(run)
    result = read_diff(opened)
    if result is None:
        raise NotAnalysedError(f"{run} keeps no diff; run `{DiffResult.command_line(opened, None)}`.")
    diff_report(result, kind, out)


def _report_run(
    run: str,
    expert: str | None,
    label: str | None,
    text: str | None,
    against: Path | None,
    edit: Path | None,
    kind: Kind,
    out: Path,
    chat: bool,
    logits: bool,
    device: str,
    dtype: str,
) -> None:
    """Write the one report about a run that is asked for."""
    from .. import open_run
    from ..report import comparison_report, edit_report, expert_report, label_report, text_report
    from ..store.address import read_expert

    opened = open_run(run)
    if expert is not None:
        named = read_expert(expert, opened.groups, opened.num_keys)
        expert_report(opened, *named, kind, out, logits=logits, device=device, dtype=dtype)
    if label is not None:
        label_report(opened, label, kind, out)
    if text is not None:
        text_report(opened, text, kind, out, chat=chat, device=device, dtype=dtype)
    if edit is not None:
        edit_report(opened, edit, kind, out, device=device, dtype=dtype, progress=True)
    if against is not None:
        comparison_report(open_run(against), opened, kind, out)


def serve(
    run: Annotated[str, typer.Argument(metavar="RUN", envvar="MONET_RUN", help="folder of a run, or its URL")],
    host: Annotated[str, typer.Option(help=f"address to listen on; {HOST} keeps it on this machine")] = HOST,
    port: Annotated[int, typer.Option(help="port to listen on")] = PORT,
    password: Annotated[
        str,
        typer.Option(envvar="MONET_PASSWORD", help="what browsers must give, with any user name", show_default=False),
    ] = "",
    processes: Annotated[
        int | None,
        typer.Option(help="processes that answer; each loads the model if it runs prompts", show_default="2"),
    ] = None,
    base_path: Annotated[
        str, typer.Option(help="path below which a proxy shows the dashboard, such as /monet", show_default=False)
    ] = "",
    embed_host: Annotated[
        list[str] | None,
        typer.Option(help="site whose pages may show cards of experts, such as notes.example.org; may be repeated"),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Browse a run in the dashboard."""
    from ..dashboard.serve import serve as serve_run

    serve_run(
        run,
        host,
        port,
        password=password,
        processes=processes,
        embed_hosts=embed_host or (),
        base_path=base_path,
        device=device,
        dtype=dtype,
    )
