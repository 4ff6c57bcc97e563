"""Commands that tell which experts write a token."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ..errors import WorkbenchError
from .output import Json, ModelArgument, RunArgument, out_console, print_json, print_table

if TYPE_CHECKING:
    from ..analysis import Attribution


class Method(StrEnum):
    """Ways of attributing."""

    direct = "direct"
    gradient = "gradient"


Top = Annotated[int, typer.Option(min=1, help="experts shown")]


def attribute(
    model: ModelArgument,
    text: Annotated[str, typer.Option(help="the prompt")],
    target: Annotated[str | None, typer.Option(help="the next token; the model's own choice by default")] = None,
    minus: Annotated[str | None, typer.Option(help="a token whose logit is taken off the target's")] = None,
    method: Annotated[Method, typer.Option(help="gradient: every layer and position, to first order")] = Method.direct,
    ablate: Annotated[int, typer.Option(min=0, help="remove the top N for real and rank both methods by it")] = 0,
    top: Top = 20,
    as_json: Json = False,
) -> None:
    """Attribute the next token to every active expert, attention head and the embedding.

    The direct attribution is exact and sums to the logit. JSON holds how long it took, in `seconds`.
    """
    from ..analysis.attribution.prompt import attribute_text
    from ..store.text import visible

    gradient = method is Method.gradient
    found = attribute_text(model, text, target, minus=minus, gradient=gradient, ablations=ablate)
    if as_json:
        print_json(found.to_json(top))
        return
    name = escape(visible(found.target_text))
    if found.gradient is None:
        _print_direct(found.attribution, name, top)
    else:
        rows = [
            [f"{row.layer}", f"{row.position}", f"{row.expert}", f"{row.contribution:+.4f}"]
            for row in found.gradient.head(top).itertuples(index=False)
        ]
        print_table(
            f"Experts whose factor moves the logit of {name} most", ["layer", "position", "expert", "derivative"], rows
        )
    if found.ablation is not None:
        ranks = ", ".join(f"{kind} {value:.3f}" for kind, value in found.ablation.spearman.items())
        out_console.print(f"Rank correlation with the removal of {len(found.ablation.table)} experts: {ranks}")


def attribute_corpus(
    run: RunArgument,
    target: Annotated[str, typer.Option(help="the token that comes next, its space included: ' return'")],
    label: Annotated[str | None, typer.Option(help="in documents of this label only")] = None,
    top: Top = 20,
    as_json: Json = False,
) -> None:
    """Attribute a token to the experts that write it, on the mean over all its places in a run's documents."""
    from .. import open_run
    from ..analysis import attribute_corpus as over_corpus
    from ..analysis.attribution.prompt import read_token
    from ..export import load_model
    from ..store.text import visible

    opened = open_run(run)
    tokenizer = opened.tokenizer()
    if tokenizer is None:
        raise WorkbenchError(f"{opened.path} holds token ids without a tokenizer, so {target!r} is no token of it.")
    token = read_token(tokenizer, target)
    found = over_corpus(opened, load_model(opened.model_path), token, label=label, progress=True)
    if as_json:
        print_json({"target_text": target, **found.to_json(top)})
        return
    where = "all documents" if label is None else escape(label)
    _print_direct(found, f"{escape(visible(target))} at {found.occurrences:,} places in {where}", top)


def _print_direct(found: Attribution, name: str, top: int) -> None:
    """Experts, all else, and the sum."""
    rows = [
        [f"{row.layer}", f"{row.expert}", f"{row.contribution:+.4f}"] for row in found.top(top).itertuples(index=False)
    ]
    print_table(f"Experts that move the logit of {name} most", ["layer", "expert", "logit"], rows)
    parts = found.rest.sort_values("contribution", key=abs, ascending=False).itertuples(index=False)
    rest = [[part.component, f"{part.contribution:+.4f}"] for part in parts]
    print_table("What no expert wrote", ["component", "logit"], rest)
    out_console.print(
        f"logit {found.logit:.4f}, sum of all contributions {found.total:.4f}, difference {found.completeness:.1e}"
    )
