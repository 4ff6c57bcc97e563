"""The command that compares a run with another of the same corpus, such as that of the model after fine-tuning."""

from __future__ import annotations

from typing import Annotated

import typer

from ..analysis.divergence.defaults import DOCUMENTS
from ..errors import UnsupportedError
from .output import Device, Dtype, Json, RunArgument, out_console, print_json, print_table

SHOWN = 10  # tokens and experts listed


def compare_command(
    run: RunArgument,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="another run of the same corpus and tokenizer")],
    documents: Annotated[int, typer.Option(min=1, help="documents to measure, spread over the labels")] = DOCUMENTS,
    seed: Annotated[int, typer.Option(help="of the choice of documents and of the intervals")] = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Compare two runs' models token by token (KL of their next-token distributions), and their experts.

    Which experts of a model a fine-tune changed, in output and contribution too, `monet diff` says: of two models of
    one shape that read a corpus, without a run of either.
    """
    from .. import open_run
    from ..analysis import compare_runs
    from ..checkpoint import load_model
    from ..report.comparison import joined, most_changed
    from ..report.files import records

    opened, against = open_run(run), open_run(other)
    models = (
        load_model(opened.model_path, device=device, dtype=dtype),
        load_model(against.model_path, device=device, dtype=dtype),
    )
    result = compare_runs(opened, against, *models, documents=documents, seed=seed, progress=True)
    top = result.largest(SHOWN)
    texts = opened.row_text(top["row"].to_numpy())
    try:
        changed = most_changed(joined(opened, against), SHOWN)
        why = ""
    except UnsupportedError as error:  # other groups or keys: experts have no counterparts, and tokens have
        changed, why = None, str(error)
    if as_json:
        tokens = [row | {"token_text": text} for row, text in zip(records(top), texts, strict=True)]
        experts = None if changed is None else records(changed)
        print_json(result.to_json() | {"labels": records(result.labels), "tokens": tokens, "experts": experts})
        return
    print_table(
        f"Divergence of next-token distributions, nats per token ({result.documents:,} documents)",
        ["label", "documents", "tokens", "KL", f"{result.level:.0%} CI"],
        [
            [row.label or "all", f"{row.documents:,}", f"{row.tokens:,}", f"{row.kl:.4f}"]
            + [f"{row.low:.4f} to {row.high:.4f}"]
            for row in result.labels.itertuples(index=False)
        ],
    )
    print_table(
        "Tokens of largest divergence",
        ["token", "label", "document", "row", "KL"],
        [
            [text, row.label, f"{row.doc}", f"{row.row}", f"{row.kl:.3f}"]
            for row, text in zip(top.itertuples(index=False), texts, strict=True)
        ],
    )
    if changed is None:
        out_console.print(why, markup=False, highlight=False)
        return
    print_table(
        "Experts whose mass per token changed most",
        ["expert", "label", "other label", "mass per token", "other mass per token"],
        [
            [f"{row.group}:{row.expert}", row.specialised or "–", row.other_specialised or "–"]
            + [f"{row.rate:.4g}", f"{row.other_rate:.4g}"]
            for row in changed.itertuples(index=False)
        ],
    )
