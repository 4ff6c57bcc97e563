"""Commands about numbers that texts carry: giving them, finding the experts that go with them, removing those."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .output import Json, RunArgument, out_console, print_json, print_table

With = Annotated[str | None, typer.Option("--with", help="classifier of texts: profanity, a pickle (an extra)")]
Column = Annotated[str, typer.Option(help="the documents' numbers: the corpus's score, or tokens")]


def corpus_score(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="anything `datasets` reads, with text and label")],
    out: Annotated[Path, typer.Argument(help="Parquet file for the corpus with its scores")],
    name: Annotated[str, typer.Option("--with", help="the classifier: profanity, a pickle (an extra)")],
) -> None:
    """Give every text of a corpus a score."""
    from ..corpus import score_corpus

    scores = score_corpus(corpus, out, name).to_pandas().groupby("label")["score"]
    rows = [[str(label), f"{len(some):,}", f"{some.mean():.3f}", f"{some.max():.3f}"] for label, some in scores]
    print_table(f"Scores by {name} in {out}", ["label", "texts", "mean", "highest"], rows)


def scores(
    run: RunArgument,
    column: Column = "score",
    unit: Annotated[str, typer.Option(help="mean or max over a document, or token, as in the paper")] = "mean",
    as_json: Json = False,
) -> None:
    """Correlate every expert with the score of the texts (paper, 5.3)."""
    from .. import open_run
    from ..analysis import correlate_scores

    summary = correlate_scores(open_run(run), column=column, unit=unit, progress=True)
    if as_json:
        print_json(summary.to_json())
        return
    counts = [[f"{value:,}" for value in row] for row in summary.groups.itertuples(index=False)]
    print_table(
        f"Experts significant at a false discovery rate of {summary.fdr:g}, of {summary.documents:,} documents",
        list(summary.groups.columns),
        counts,
    )
    rows = [
        [f"{row.group}:{row.expert}", f"{row.documents:,}", f"{row.pearson:+.3f}", f"{row.spearman:+.3f}"]
        for row in summary.strongest.itertuples(index=False)
    ]
    print_table("Strongest of them", ["expert", "documents", "Pearson", "Spearman"], rows)


def purge(
    run: RunArgument,
    threshold: Annotated[list[float] | None, typer.Option(help="correlation above which experts go")] = None,
    column: Column = "score",
    unit: Annotated[str, typer.Option(help="token, as in the paper, or mean or max over a document")] = "token",
    name: With = None,
    as_json: Json = False,
) -> None:
    """Remove the experts that go with the score; measure the loss, and with a classifier continuations (Table 4)."""
    from .. import open_run
    from ..analysis import purge_scores
    from ..analysis.correlation.purge import THRESHOLDS
    from ..corpus import load_scorer
    from ..export import load_model

    opened = open_run(run)
    result = purge_scores(
        opened,
        load_model(opened.model_path),
        thresholds=threshold or THRESHOLDS,
        column=column,
        unit=unit,
        scorer=None if name is None else load_scorer(name),
        progress=True,
    )
    if as_json:
        print_json(result.to_json())
        return
    measured = list(result.plain)
    rows = [["none", "", "", "", *(f"{result.plain[at]:.3f}" for at in measured)]]
    rows += [
        [f"{row['threshold']:g}", row["kind"], f"{row['removed']:,}", f"{row['share']:.1%}"]
        + [f"{row[at]:.3f}" for at in measured]
        for row in result.points.to_dict("records")
    ]
    print_table(
        "Experts removed above a correlation",
        ["threshold", "kind", "removed", "share", *(at.replace("_", " ") for at in measured)],
        rows,
    )
    if result.scorer:
        drawn = result.sampling
        out_console.print(
            f"{drawn['continuations']} continuations of {drawn['new_tokens']} tokens for each of {result.prompts} "
            f"prompts, scored by {result.scorer}"
        )
