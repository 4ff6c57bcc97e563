"""What ablating one expert costs, by label."""

from __future__ import annotations

import math

import pandas as pd

from ...store.address import Expert
from ..computing import Report
from ..context import Context
from ..elements import html
from ..parts import Child, label_mark, table
from .measured import Measured


def _work(ctx: Context, expert: Expert, report: Report) -> pd.DataFrame:
    from ...analysis.removal.ablation_cost import ablation_cost, active_documents

    tokens = int(active_documents(ctx.run, *expert)["tokens"].sum())
    return ablation_cost(ctx.run, ctx.model(), *expert, advance=report.expect(2 * tokens))


def _nats(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.5f}"


def _interval(low: float, high: float) -> str:
    return "–" if math.isnan(low) else f"{_nats(low)} to {_nats(high)}"


def _show(ctx: Context, expert: Expert, cost: pd.DataFrame) -> Child:
    def rises(name: str, columns: list[str]) -> list[Child]:
        rows = [
            [label_mark(label, ctx.colour(label)), _nats(rise), _interval(low, high), f"{tokens:,}"]
            for label, rise, low, high, tokens in cost[["label", *columns]].itertuples(index=False)
        ]
        return [html.H3(name), table(["label", "rise in loss", "95 % interval", "tokens"], rows, name)]

    measured, active = int(cost["documents"].sum()), int(cost["active"].sum())
    drawn = f"all {active:,}" if measured == active else f"{measured:,} drawn at random of the {active:,}"
    return html.Div(
        [
            *rises("Tokens right after it is active", ["next_rise", "next_low", "next_high", "next_tokens"]),
            *rises("Whole documents", ["rise", "low", "high", "tokens"]),
            html.P(f"Nats per token, in {drawn} documents where the expert is active.", className="note"),
        ]
    )


ABLATION = Measured(
    name="ablation",
    title="Cost of ablating this expert",
    note="How much worse the model predicts each label when this one expert is removed (its score set to 0). Takes "
    "about 10 seconds for the demo run.",
    button="Measure",
    job=lambda expert: ("ablation", expert),
    work=_work,
    show=_show,
)
