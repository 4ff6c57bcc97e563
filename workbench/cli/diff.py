"""The command that says which experts a fine-tune changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadInputError, UnsupportedError, shell_command
from .corpus_options import CorpusArgument, LabelColumn, Limit, Split, TextColumn
from .output import Device, Dtype, Json, out_console, print_json, print_table

if TYPE_CHECKING:
    from ..analysis import DiffResult
    from ..corpus.load import ReadOptions
    from ..store import Run

SHOWN = 10  # experts listed by each change
WRITTEN = ("html", "json", "csv")  # files of a folder of reports
TITLES = {
    "mass": "whose mass changed most",
    "output": "whose output changed most, for the same inputs",
    "contribution": "whose mean contribution to the next token's logit changed most",
    "moved": "whose contributions moved most over all places",
}


def diff_command(
    base: Annotated[str, typer.Argument(metavar="BASE", help="folder or hub name of a Monet model")],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help="one trained further from it, of the same tokenizer")],
    corpus: CorpusArgument,
    split: Split = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    limit: Limit = None,
    out: Annotated[
        Path | None, typer.Option(help=f"folder for the report, as diff.{', diff.'.join(WRITTEN)}; made if missing")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="a run of TUNED, which keeps the result and shows it on its page Diff")
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Say which experts a fine-tune changed: by mass, output and contribution, of two models that read one corpus.

    It needs the two models and no run. `monet compare` puts two exported runs beside each other: how far their models'
    next-token distributions are apart, token by token, and which experts have another mass or label.
    """
    from .. import open_run
    from ..analysis import diff_models
    from ..analysis.results import write_result

    opened = None if run is None else open_run(run)
    if opened is not None:
        _check_run(opened, tuned)
    if out is not None and out.exists() and not out.is_dir():
        raise BadInputError(f"{out} is a file; name a folder for the report.")
    options: ReadOptions = {"text_column": text_column, "label_column": label_column, "limit": limit}
    result = diff_models(base, tuned, corpus, split, device=device, dtype=dtype, progress=True, **options)
    if opened is not None:
        write_result(opened, result)
    if out is not None:
        _write(result, out)
    if as_json:
        from ..report.diff import diff_document

        print_json(diff_document(result).content)
        return
    _print(result)
    if out is not None:
        out_console.print(f"The report is in {out}.", markup=False, highlight=False)
    if run is not None:
        out_console.print(f"`{shell_command('serve', run)}` shows it on the page Diff.", markup=False, highlight=False)


def _check_run(run: Run, tuned: str) -> None:
    """Raise UnsupportedError for a run of another model, before anything is computed."""
    from ..checkpoint import checkpoint_hashes, model_folder

    known = run.manifest["model"].get("hash")
    if known and checkpoint_hashes(model_folder(tuned)) != known:
        raise UnsupportedError(
            f"{run.path} is a run of {run.model_path}, not of {tuned}; export one of {tuned} to keep the result in, or "
            "leave --run out."
        )


def _write(result: DiffResult, out: Path) -> None:
    from ..report import diff_report

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"the folder {out} cannot be made: {error.strerror}.") from error
    for kind in WRITTEN:
        diff_report(result, kind, out / f"diff.{kind}")


def _print(result: DiffResult) -> None:
    from ..analysis.diff.diff_result import CHANGES
    from ..report.numbers import number, score_text

    print_table(
        f"Labels of {result.corpus} ({result.documents:,} documents)",
        ["label", "tokens", "loss", "loss after", "change", "rerouted mass"],
        [
            [row.label, f"{row.tokens:,}", number(row.base_loss, 4), number(row.tuned_loss, 4)]
            + [f"{row.tuned_loss - row.base_loss:+.4f}", f"{row.rerouted:.1%}"]
            for row in result.labels.itertuples()
        ],
    )
    print_table(
        "Experts that hold half of it",
        ["group", "active in either", "mass itself", "change of mass", "of output", "of contribution"],
        [
            [
                f"{row.group}",
                *(f"{value:,}" for value in (row.distinct, row.base_mass, row.mass, row.output, row.moved)),
            ]
            for row in result.groups.itertuples()
        ],
    )
    for by in CHANGES:
        print_table(
            f"Experts {TITLES[by]}",
            ["expert", "most in", "mass", "mass after", "output, change", "contribution", "after", "moved"],
            [
                [f"{row.group}:{row.expert}", row.label or "–", score_text(row.base_mass), score_text(row.tuned_mass)]
                + [f"{row.output_change:.3g}", number(row.base_contribution, 4), number(row.tuned_contribution, 4)]
                + [score_text(row.contribution_moved)]
                for row in result.ranked(by, SHOWN).itertuples()
            ],
        )
