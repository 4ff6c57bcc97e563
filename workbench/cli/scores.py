"""Commands about per-document scores: scoring a corpus, correlating experts with the scores, removing those experts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..analysis.correlation.defaults import COLUMN, CORRELATE_UNIT, PROMPTS, PURGE_UNIT, THRESHOLDS
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
    Name,
    Ray,
    Resume,
    RunArgument,
    Sample,
    Workers,
    out_console,
    print_json,
    print_sample,
    print_table,
    result_json,
    resumable,
)

if TYPE_CHECKING:
    from ..analysis import Purge

With = Annotated[str | None, typer.Option("--with", help="classifier that scores texts: profanity (extra `profanity`)")]
Column = Annotated[str, typer.Option(help="document column to correlate with: `score` or `tokens`")]


def corpus_score(
    corpus: CorpusArgument,
    out: Annotated[Path, typer.Argument(help="Parquet file for the corpus with its scores")],
    classifier: Annotated[str, typer.Option("--with", help="the classifier: profanity (extra `profanity`)")],
    split: Split = None,
    config: Config = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    score_column: ScoreColumn = None,
    limit: Limit = None,
    encoding_errors: EncodingErrors = "strict",
) -> None:
    """Give every text of a corpus a score, for `monet scores` and `monet purge`."""
    from ..corpus import score_corpus

    data = score_corpus(
        corpus,
        out,
        classifier,
        split,
        config=config,
        text_column=text_column,
        label_column=label_column,
        score_column=score_column,
        limit=limit,
        encoding_errors=encoding_errors,
        report=print_reading,
    )
    by_label = data.select_columns(["label", "score"]).to_pandas().groupby("label")["score"]
    rows = [[str(label), f"{len(s):,}", f"{s.mean():.3f}", f"{s.max():.3f}"] for label, s in by_label]
    print_table(f"Scores by {classifier} in {out}", ["label", "texts", "mean", "highest"], rows)


def scores(
    run: RunArgument,
    column: Column = COLUMN,
    unit: Annotated[str, typer.Option(help="one observation per document (mean, max) or per token")] = CORRELATE_UNIT,
    sample: Sample = None,
    name: Name = None,
    resume: Resume = False,
    ray: Ray = None,
    workers: Workers = 2,
    as_json: Json = False,
) -> None:
    """Correlate every expert's routing score with a per-document score, such as toxicity (paper, 5.3)."""
    from .. import open_run
    from ..analysis import correlate_scores

    with resumable(resume):
        summary = correlate_scores(
            open_run(run),
            column=column,
            unit=unit,
            name=name,
            sample=sample,
            progress=True,
            resume=resume,
            ray=ray,
            workers=workers,
        )
    if as_json:
        print_json(result_json(summary))
        return
    print_sample(summary)
    print_table(
        f"Experts whose correlation with {column} is significant at a false discovery rate of {summary.fdr:g}, over "
        f"{summary.documents:,} documents",
        ["group", "active", "tested", "Pearson +", "Pearson -", "Spearman +", "Spearman -"],
        [[f"{value:,}" for value in row] for row in summary.groups.itertuples(index=False)],
    )
    rows = [
        [f"{row.group}:{row.expert}", f"{row.documents:,}", f"{row.pearson:+.3f}", f"{row.spearman:+.3f}"]
        for row in summary.strongest.itertuples(index=False)
    ]
    if rows:
        print_table(
            "Strongest of those significant by either correlation", ["expert", "documents", "Pearson", "Spearman"], rows
        )
    else:
        out_console.print("No expert is significant by either correlation.")


def purge(
    run: RunArgument,
    threshold: Annotated[
        list[float], typer.Option(help="correlation above which experts are removed; may be repeated")
    ] = list(THRESHOLDS),  # noqa: B006
    column: Column = COLUMN,
    unit: Annotated[str, typer.Option(help="one observation per token, or per document (mean, max)")] = PURGE_UNIT,
    classifier: With = None,
    prompts: Annotated[
        int, typer.Option(min=1, help="texts whose openings are continued, half of them toxic (with --with)")
    ] = PROMPTS,
    sample: Sample = None,
    name: Name = None,
    resume: Resume = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Remove the experts that correlate with the score; measure loss and, with --with, continuations (Table 4)."""
    from .. import open_run
    from ..analysis import purge_scores
    from ..checkpoint import load_model
    from ..corpus import load_scorer

    opened = open_run(run)
    model = load_model(opened.model_path, device=device, dtype=dtype)
    scorer = None if classifier is None else load_scorer(classifier)
    with resumable(resume):
        result = purge_scores(
            opened,
            model,
            thresholds=threshold,
            column=column,
            unit=unit,
            scorer=scorer,
            prompts=prompts,
            name=name,
            sample=sample,
            progress=True,
            resume=resume,
        )
    if as_json:
        print_json(result_json(result))
        return
    print_sample(result)
    measures = list(result.plain)
    rows = [["none", "", "", "", *(f"{result.plain[measure]:.3f}" for measure in measures)]]
    rows += [
        [f"{row['threshold']:g}", row["kind"], f"{row['removed']:,}", f"{row['share']:.1%}"]
        + [f"{row[measure]:.3f}" for measure in measures]
        for row in result.points.to_dict("records")
    ]
    print_table(
        f"Experts removed by their correlation with {column}; loss in nats per token",
        ["threshold", "kind", "removed", "share", *(measure.replace("_", " ") for measure in measures)],
        rows,
    )
    if result.scorer:
        drawn = result.sampling
        out_console.print(
            f"{drawn['continuations']} continuations of {drawn['new_tokens']} tokens for each of {result.prompts} "
            f"prompts, scored by {result.scorer}"
        )
        _print_by_toxicity(result)
    if len(result.other_text):
        labels = list(dict.fromkeys(result.other_text["label"]))
        losses = result.other_text.to_dict("records")
        by_removal = (losses[start : start + len(labels)] for start in range(0, len(losses), len(labels)))
        print_table(
            "Loss on texts without a score, in nats per token",
            ["threshold", "kind", *labels],
            [[*_removal(rows[0]), *(f"{row['loss']:.3f}" for row in rows)] for rows in by_removal],
        )


def _print_by_toxicity(result: Purge) -> None:
    def interval(row: dict[Any, Any], name: str) -> str:
        return f"{row[name]:.3f} ({row[f'{name}:low']:.3f} to {row[f'{name}:high']:.3f})"

    print_table(
        "Continuations of toxic prompts, which score 0.5 or more themselves, and of others, with 95 % intervals",
        ["threshold", "kind", "prompts", "number", "expected max", "change", "probability"],
        [
            [*_removal(row), row["prompts"], f"{row['count']:,}"]
            + [interval(row, name) for name in ("expected_max", "change", "probability")]
            for row in result.by_toxicity.to_dict("records")
        ],
    )


def _removal(row: dict[Any, Any]) -> list[str]:
    """What was removed, as two cells of a table."""
    return ["none", ""] if math.isnan(row["threshold"]) else [f"{row['threshold']:g}", row["kind"]]
