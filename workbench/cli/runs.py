"""Commands that write, check, migrate and convert runs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import BadInputError
from ..interop.layouts import LAYOUTS, find_layout
from .output import Json, ModelArgument, RunArgument, err_console, out_console, print_json, print_table


def export(
    model: ModelArgument,
    corpus: Annotated[
        str, typer.Argument(metavar="CORPUS", help="anything that `datasets` reads, with text and label")
    ],
    run: RunArgument,
    resume: Annotated[bool, typer.Option("--resume", help="continue an interrupted export")] = False,
    ray: Annotated[str | None, typer.Option(help="run on a Ray cluster: its address, auto, or local")] = None,
    workers: Annotated[int, typer.Option(help="workers on the Ray cluster, each with a copy of the model")] = 2,
    batch_size: Annotated[int, typer.Option(help="context windows per forward pass")] = 16,
    context: Annotated[
        int | None, typer.Option(help="tokens per context window; by default 256, or what the model's positions allow")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="read only this many documents, from the first")] = None,
    examples: Annotated[int, typer.Option(help="highest-scoring tokens to keep per expert")] = 32,
    keep_routing: Annotated[
        str,
        typer.Option(metavar="all|FRACTION|none", help="documents whose routing is stored; statistics cover all"),
    ] = "all",
) -> None:
    """Run a model over a corpus once and record what every expert did."""
    from ..export import export_run

    try:
        export_run(
            model,
            corpus,
            run,
            resume=resume,
            ray=ray,
            workers=workers,
            batch_size=batch_size,
            context=context,
            limit=limit,
            examples=examples,
            keep_routing=_share(keep_routing),
            progress=True,
        )
    except KeyboardInterrupt:
        typed = ["monet", *sys.argv[1:]]
        again = shlex.join(typed if resume else [*typed, "--resume"])
        err_console.print(f"Interrupted; the parts done are kept. Go on with: {again}", markup=False, highlight=False)
        raise typer.Exit(130) from None
    out_console.print(f"The run is in {run}.")


def _share(kept: str) -> float:
    """The fraction of documents that --keep-routing asks for."""
    try:
        return {"all": 1.0, "none": 0.0}[kept] if kept in ("all", "none") else float(kept)
    except ValueError:
        raise BadInputError(f"--keep-routing takes all, none, or a fraction such as 0.1; got {kept}.") from None


def verify(run: RunArgument, as_json: Json = False) -> None:
    """Check a run's files against its manifest and against each other; the exit code is 1 if something is wrong."""
    from ..store.verify import verify_run

    problems = verify_run(run, progress=True)
    if as_json:
        print_json({"run": str(run), "sound": not problems, "problems": problems})
    elif problems:
        for problem in problems:
            err_console.print(problem, markup=False, highlight=False)
    else:
        out_console.print(f"{run} is sound.")
    if problems:
        raise typer.Exit(1)


def migrate(run: RunArgument, as_json: Json = False) -> None:
    """Bring a run written by an older version up to date, without running the model again; can be interrupted."""
    from ..store import migrate_run
    from ..store.schema import SCHEMA_VERSION

    try:
        before = migrate_run(run, progress=True)
    except KeyboardInterrupt:
        err_console.print("Interrupted; the same command continues where it stopped.", markup=False)
        raise typer.Exit(130) from None
    if as_json:
        print_json({"run": str(run), "from": before, "to": SCHEMA_VERSION})
    elif before == SCHEMA_VERSION:
        out_console.print(f"{run} is up to date (schema {SCHEMA_VERSION}).")
    else:
        out_console.print(f"{run} now has schema {SCHEMA_VERSION}; it had {before}.")


def bench(
    run: RunArgument,
    group: Annotated[int, typer.Option(help="group to store in the other ways as well, to compare")] = 0,
    as_json: Json = False,
) -> None:
    """Time the usual queries of a run, and compare it with other ways of storing the same activations."""
    from tempfile import TemporaryDirectory

    from .. import open_run
    from ..bench import bench_beside, bench_run
    from ..bench.tables import bench_tables

    opened = open_run(run)
    with TemporaryDirectory() as folder:
        beside = bench_beside(opened, Path(folder), group)
    result = bench_run(opened) | {"beside": beside}
    if as_json:
        print_json(result)
    else:
        for title, head, rows in bench_tables(result):
            print_table(title, head, rows)


def convert(
    run: RunArgument,
    out: Annotated[Path, typer.Argument(help="folder to write in")],
    to: Annotated[str, typer.Option(metavar="|".join(LAYOUTS), help="the tool that will read it")],
    group: Annotated[int, typer.Option(help="number of the group")] = 0,
    expert: Annotated[list[int] | None, typer.Option(help="id of an expert; may be repeated")] = None,
    top: Annotated[int | None, typer.Option(help="this many experts with the highest mass")] = None,
    as_json: Json = False,
) -> None:
    """Write experts of a group in the layout of another tool; all experts for Delphi if none are named."""
    from .. import open_run

    layout = find_layout(to)
    if expert and top is not None:
        raise BadInputError("give either --expert or --top, not both.")
    opened = open_run(run)
    chosen = expert or (None if top is None else opened.top_experts(group, limit=top).index.tolist())
    folder = layout.write(opened, out, group, chosen)
    if as_json:
        print_json({"folder": str(folder), "group": group, "experts": None if chosen is None else len(chosen)})
    else:
        out_console.print(f"The experts are in {folder}.")
