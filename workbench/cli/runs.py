"""Commands that make and check runs."""

from __future__ import annotations

from typing import Annotated

import typer

from .output import Json, ModelArgument, RunArgument, err_console, out_console, print_json


def export(
    model: ModelArgument,
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="anything `datasets` reads, with text and label")],
    run: RunArgument,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an export that was interrupted")] = False,
) -> None:
    """Run a model over a corpus once and keep what every expert did."""
    from ..export import export_run

    export_run(model, corpus, run, resume=resume, progress=True)
    out_console.print(f"The run is in {run}.")


def verify(run: RunArgument, as_json: Json = False) -> None:
    """Check a run against its manifest; the exit code is 1 where something is wrong."""
    from ..store.verify import verify_run

    problems = verify_run(run)
    if as_json:
        print_json({"run": str(run), "sound": not problems, "problems": problems})
    elif problems:
        for problem in problems:
            err_console.print(problem, markup=False, highlight=False)
    else:
        out_console.print(f"{run} is sound.")
    if problems:
        raise typer.Exit(1)
