"""Commands that write, check, migrate and convert runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadInputError, WorkbenchError
from ..interop.layouts import LAYOUTS, find_layout
from ..report.labels import natural_order
from .corpus_options import (
    Config,
    CorpusArgument,
    EncodingErrors,
    LabelColumn,
    Limit,
    ScoreColumn,
    Split,
    TextColumn,
    print_reading,
)
from .output import (
    Device,
    Dtype,
    Json,
    ModelArgument,
    RunArgument,
    err_console,
    out_console,
    print_json,
    print_table,
    print_transcoded,
    resumable,
)

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..export.scan import CorpusSummary
    from ..store import Run

LABELS_SHOWN = 40  # rows of the table that says what a corpus holds


def export(
    model: ModelArgument,
    corpus: CorpusArgument,
    run: RunArgument,
    resume: Annotated[bool, typer.Option("--resume", help="continue an interrupted export")] = False,
    ray: Annotated[str | None, typer.Option(help="run on a Ray cluster: its address, auto, or local")] = None,
    workers: Annotated[int, typer.Option(help="workers on the Ray cluster, each with a copy of the model")] = 2,
    batch_size: Annotated[
        int | None, typer.Option(help="context windows per forward pass", show_default="16, fewer of a wide model")
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="tokens per context window; by default 256, or what the model's positions allow")
    ] = None,
    split: Split = None,
    config: Config = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    score_column: ScoreColumn = None,
    limit: Limit = None,
    encoding_errors: EncodingErrors = "strict",
    examples: Annotated[int, typer.Option(help="highest-scoring tokens to keep per expert")] = 32,
    keep_routing: Annotated[
        str,
        typer.Option(metavar="all|FRACTION|none", help="documents whose routing is stored; statistics cover all"),
    ] = "all",
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Run a model over a corpus once and record what every expert did."""
    from .. import open_run
    from ..export import export_run

    with resumable(resume):
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
            split=split,
            config=config,
            text_column=text_column,
            label_column=label_column,
            score_column=score_column,
            encoding_errors=encoding_errors,
            examples=examples,
            keep_routing=_share(keep_routing),
            device=device,
            dtype=dtype,
            report=_print_summary,
            progress=True,
        )
    out_console.print(f"The run is in {run}.")
    print_transcoded(open_run(run))


def _print_summary(summary: CorpusSummary) -> None:
    """Say what the corpus holds, before the model reads it: per label, and what was left out or is odd."""
    labels = natural_order(summary.labels)
    rows = [
        [label, f"{summary.documents[label]:,}", f"{summary.tokens[label]:,}", f"{summary.copies[label]:,}"]
        for label in labels[:LABELS_SHOWN]
    ]
    if more := labels[LABELS_SHOWN:]:
        counts = (sum(of[label] for label in more) for of in (summary.documents, summary.tokens, summary.copies))
        rows.append([f"{len(more):,} more labels", *(f"{count:,}" for count in counts)])
    if len(summary.labels) > 1:
        totals = (summary.documents, summary.tokens, summary.copies)
        rows.append(["all", *(f"{sum(of.values()):,}" for of in totals)])
    print_table("The corpus", ["label", "documents", "tokens", "near copies"], rows)
    print_reading(summary, out_console)
    for remark in summary.remarks():
        out_console.print(remark, markup=False, highlight=False)


def _share(kept: str) -> float:
    """The fraction of documents that --keep-routing asks for."""
    try:
        return {"all": 1.0, "none": 0.0}[kept] if kept in ("all", "none") else float(kept)
    except ValueError:
        raise BadInputError(f"--keep-routing takes all, none, or a fraction such as 0.1; got {kept}.") from None


def verify(run: RunArgument, as_json: Json = False) -> None:
    """Check a run's files against its manifest and against each other; the exit code is 1 if something is wrong."""
    from ..store import open_run
    from ..store.verify import verify_run

    problems = verify_run(run, progress=True)
    if as_json:
        print_json({"run": str(run), "sound": not problems, "problems": problems})
    elif problems:
        for problem in problems:
            err_console.print(problem, markup=False, highlight=False)
    else:
        out_console.print(f"{run} is sound.")
        print_transcoded(open_run(run))
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
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Write experts of a group in the layout of another tool; all experts for Delphi if none are named.

    For Neuronpedia, stored explanations go along, and the next tokens that an expert promotes and suppresses if the
    run's model is at hand.
    """
    from .. import open_run

    layout = find_layout(to)
    if expert and top is not None:
        raise BadInputError("give either --expert or --top, not both.")
    opened = open_run(run)
    chosen = expert or (None if top is None else opened.top_experts(group, limit=top).index.tolist())
    model = _model_at_hand(opened, layout.of_model, device, dtype) if layout.of_model and chosen else None
    folder = layout.write(opened, out, group, chosen, model)
    if as_json:
        print_json({"folder": str(folder), "group": group, "experts": None if chosen is None else len(chosen)})
    else:
        out_console.print(f"The experts are in {folder}.")


def _model_at_hand(run: Run, needed_for: str, device: str, dtype: str) -> MonetForCausalLM | None:
    """The run's model; None, with a sentence, where it cannot be had."""
    from ..analysis.run_model import load_run_model

    try:
        return load_run_model(run, device=device, dtype=dtype)
    except WorkbenchError as error:
        err_console.print(f"Left empty: {needed_for}. The run's model: {error}", markup=False, highlight=False)
        return None
