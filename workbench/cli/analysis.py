"""Commands that measure what experts know."""

from __future__ import annotations

from typing import Annotated

import typer

from .output import Json, ModelArgument, RunArgument, out_console, print_json, print_table


def analyze(
    run: RunArgument,
    ratio: Annotated[float, typer.Option(help="a specialist's rate for its label over that for the second")] = 2.0,
    as_json: Json = False,
) -> None:
    """Find each expert's labels, its monosemanticity, and the specialised experts of each label."""
    from .. import open_run
    from ..analysis import analyze_run

    summary = analyze_run(open_run(run), ratio=ratio, progress=True)
    if as_json:
        print_json(summary.to_json())
    else:
        found = summary.specialised
        rows = [[str(label), *(f"{n:,}" for n in found[label]), f"{found[label].sum():,}"] for label in found]
        rows.append(["experts active", *(f"{n:,}" for n in summary.seen.values()), f"{sum(summary.seen.values()):,}"])
        head = ["label", *(f"group {group}" for group in summary.seen), "all"]
        print_table(f"Experts specialised in each label (ratio {ratio:g})", head, rows)


def mask(
    run: RunArgument,
    label: Annotated[list[str] | None, typer.Option(help="a label whose experts are removed; all by default")] = None,
    ratio: Annotated[float, typer.Option(help="a specialist's rate for its label over that for the second")] = 2.0,
    as_json: Json = False,
) -> None:
    """Remove the experts of each label and measure the held-out loss of every label (paper, Table 3)."""
    from .. import open_run
    from ..analysis import mask_labels
    from ..export import load_model

    opened = open_run(run)
    result = mask_labels(opened, load_model(opened.model_path), labels=label or None, ratio=ratio, progress=True)
    if as_json:
        print_json(result.to_json())
        return
    removed = dict(zip(result.rows, result.removed, strict=True))
    rows = [
        [name, f"{removed[name]:,}", *(f"{value:+.3f}" for value in values)]
        for name, values in zip(result.rows, result.matrix, strict=True)
    ]
    print_table("Rise in held-out loss, nats a token", ["label removed", "experts", *result.labels], rows)
    out_console.print(
        f"Delta target {result.delta_target:+.4f}, delta others {result.delta_others:+.4f}, "
        f"selectivity {result.selectivity:.1f}"
    )


def attribute(
    model: ModelArgument,
    text: Annotated[str, typer.Option(help="the prompt")],
    target: Annotated[str | None, typer.Option(help="the next token; the model's own choice by default")] = None,
    top: Annotated[int, typer.Option(help="experts shown")] = 20,
    as_json: Json = False,
) -> None:
    """Direct logit attribution of the next token to every active expert, attention head and the embedding."""
    from ..analysis.prompt import attribute_text
    from ..store.text import visible

    found = attribute_text(model, text, target)
    if as_json:
        print_json(found.to_json(top))
        return
    a = found.attribution
    rows = [[f"{row.layer}", f"{row.expert}", f"{row.contribution:+.4f}"] for row in a.top(top).itertuples(index=False)]
    print_table(f"Experts that move the logit of {visible(found.target_text)} most", ["layer", "expert", "logit"], rows)
    parts = a.rest.sort_values("contribution", key=abs, ascending=False).itertuples(index=False)
    print_table(
        "What no expert wrote", ["component", "logit"], [[p.component, f"{p.contribution:+.4f}"] for p in parts]
    )
    out_console.print(f"logit {a.logit:.4f}, sum of all contributions {a.total:.4f}, difference {a.completeness:.1e}")
