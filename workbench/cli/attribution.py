"""The commands `monet attribute` and `monet attribute-corpus`: which experts write a token."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from .output import (
    Chat,
    Device,
    Dtype,
    Json,
    ModelArgument,
    RunArgument,
    Sample,
    err_console,
    out_console,
    print_json,
    print_sample,
    print_table,
)

if TYPE_CHECKING:
    import pandas as pd

    from ..analysis import Attribution


class Method(StrEnum):
    """Attribution methods."""

    direct = "direct"
    gradient = "gradient"


Top = Annotated[int, typer.Option(min=1, help="number of experts shown")]


def attribute(
    model: ModelArgument,
    text: Annotated[str, typer.Option(help="the prompt")],
    target: Annotated[str | None, typer.Option(help="the next token; the model's likeliest one by default")] = None,
    minus: Annotated[str | None, typer.Option(help="a token whose logit is subtracted from the target's")] = None,
    method: Annotated[
        Method, typer.Option(help="direct: exact, at the last position; gradient: first order, at every position")
    ] = Method.direct,
    ablate: Annotated[
        int, typer.Option(min=0, help="zero-ablate the top N experts one by one; compare both methods with the effect")
    ] = 0,
    top: Top = 20,
    chat: Chat = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Attribute the next token's logit to every active expert, attention head and the embedding.

    Direct attribution is exact: contributions sum to the logit. In JSON, `seconds` is the time it took.
    """
    from ..analysis.attribution.text import attribute_text
    from ..store.token_text import visible

    gradient = method is Method.gradient
    result = attribute_text(
        model, text, target, minus=minus, gradient=gradient, ablations=ablate, chat=chat, device=device, dtype=dtype
    )
    if as_json:
        print_json(result.to_json(top))
        return
    name = visible(result.target_text)
    if result.gradient is None:
        _print_direct(result.attribution, name, result.attribution.top(top))
    else:
        rows = [
            [f"{row.layer}", f"{row.position}", f"{row.expert}", f"{row.contribution:+.4f}"]
            for row in result.gradient.head(top).itertuples(index=False)
        ]
        print_table(f"Gradient attribution for {name}", ["layer", "position", "expert", "derivative"], rows)
    if result.ablation is not None:
        ranks = ", ".join(f"{kind} {value:.3f}" for kind, value in result.ablation.spearman.items())
        out_console.print(f"Rank correlation with the ablation of {len(result.ablation.table)} experts: {ranks}")


def attribute_corpus(
    run: RunArgument,
    target: Annotated[str, typer.Option(help="the token that comes next, with its space: ' return'")],
    label: Annotated[str | None, typer.Option(help="read documents of this label only")] = None,
    sample: Sample = None,
    top: Top = 20,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Attribute a token's logit to experts, averaged over its occurrences in a run's documents, or in a sample.

    The run keeps the result of all documents where it can be written.
    """
    from .. import open_run
    from ..analysis import TokenWriters
    from ..analysis import attribute_corpus as over_corpus
    from ..analysis.attribution.corpus_result import keep_writers
    from ..analysis.attribution.prompt import read_token
    from ..analysis.run_model import run_tokenizer
    from ..checkpoint import load_model
    from ..store.token_text import visible, visible_label

    opened = open_run(run)
    token = read_token(run_tokenizer(opened), target)
    model = load_model(opened.model_path, device=device, dtype=dtype)
    result = over_corpus(opened, model, token, label=label, sample=sample, progress=True)
    writers = TokenWriters.of(result, opened, target)
    top_rows = writers.experts.head(top)
    if as_json:
        print_json({"target_text": target, **result.to_json(top), "experts": top_rows.to_dict("records")})
    else:
        print_sample(result)
        documents = "all documents" if label is None else f"documents of {visible_label(label)}"
        searched = documents if sample is None else f"a sample of {documents}"
        interval = result.logit_interval
        _print_direct(
            result,
            f"{visible(target)}, mean of {result.occurrences:,} occurrences in {searched}",
            top_rows,
            "" if interval is None else f" (95 % CI {_between(*interval)})",
        )
    if result.drawn is not None:
        return
    try:
        keep_writers(opened, writers)
    except OSError as error:
        err_console.print(f"The run does not keep the result: {error}", markup=False, highlight=False)


def _print_direct(attribution: Attribution, name: str, top: pd.DataFrame, precision: str = "") -> None:
    """The top experts, `group:id` where their groups are known, all other components, and the sum.

    ``precision`` is said after the logit.
    """
    from ..analysis.attribution.direct import MLP

    grouped = "group" in top
    rows = [
        [f"{row.layer}", f"{row.group}:{row.expert}" if grouped else f"{row.expert}", *cells]
        for row, cells in zip(top.itertuples(index=False), _contributions(top), strict=True)
    ]
    columns = ["contribution", *(["95 % CI"] if "contribution_low" in top else [])]
    print_table(f"Direct logit attribution for {name}", ["layer", "expert", *columns], rows)
    dense = ", dense layers" if attribution.rest["component"].str.endswith(MLP).any() else ""
    others = attribution.rest.sort_values("contribution", key=abs, ascending=False)
    rows = [[part, *cells] for part, cells in zip(others["component"], _contributions(others), strict=True)]
    print_table(f"Attention{dense} and embedding", ["component", *columns], rows)
    out_console.print(
        f"logit {attribution.logit:.4f}{precision}, sum of all contributions {attribution.total:.4f}, "
        f"difference {attribution.completeness:.1e}"
    )


def _contributions(table: pd.DataFrame) -> list[list[str]]:
    """A row's cells: its contribution and, of a sample, the interval."""
    cells = [[f"{value:+.4f}"] for value in table["contribution"]]
    if "contribution_low" in table:
        for row, low, high in zip(cells, table["contribution_low"], table["contribution_high"], strict=True):
            row.append(_between(low, high))
    return cells


def _between(low: float, high: float) -> str:
    return f"{low:+.4f} to {high:+.4f}"
