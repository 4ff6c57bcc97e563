"""What the page of a diff shows: two models of one shape that read one corpus, and the experts they differ in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ...report.charts import density_cells
from ...report.labels import natural_order
from ...report.numbers import number, score_text
from ...report.origin import analysis
from ...report.palette import CHOSEN_COLOUR
from ...store.address import Expert
from ...store.token_text import visible_label
from ..context import Context
from ..elements import Element, html
from ..figures import GRID, blank
from ..links import expert_link
from ..parts import Child, fact, facts, label_mark, table, term

if TYPE_CHECKING:
    from ...analysis import DiffResult

CELLS = 64  # of the picture of masses, on a side
ORDERS = {"moved": "Contribution, in all", "contribution": "Contribution, mean", "mass": "Mass", "output": "Output"}
NOTES = {
    "moved": "Moved: sum, over all places in front of a predicted token, of the absolute change of what an expert adds "
    "to the logit of the token that really comes next.",
    "contribution": "Contribution: what an expert adds to the logit of the token that really comes next, the mean over "
    "the places where it is active in either model.",
    "mass": "Mass: sum of an expert's routing scores over the corpus.",
    "output": "Output: length of the difference of an expert's mean outputs in the two models, for the same inputs, "
    "and as a part of its length before.",
}


def summary(result: DiffResult) -> Element:
    """What was compared."""
    changed = result.labels["tuned_loss"] - result.labels["base_loss"]
    predicted = result.labels["predicted"]
    mean = float((changed * predicted).sum() / predicted.sum()) if predicted.sum() else float("nan")
    return facts(
        [
            fact("base model", _path(result.base)),
            fact("this model", _path(result.tuned)),
            fact("corpus", _path({"path": result.corpus}), f"{result.documents:,} documents, {result.tokens:,} tokens"),
            fact("change of the loss", f"{mean:+.4f}", f"nats per token, {result.predicted:,} predicted"),
            fact(term("active", "active experts"), f"{len(result.experts):,}", "in either model"),
        ]
    )


def _path(model: dict[str, Any]) -> Element:
    path = visible_label(str(model["path"]))
    return html.Span(visible_label(Path(str(model["path"])).name) or path, title=path)


def labels_table(ctx: Context, result: DiffResult) -> Element:
    """Loss in both models and rerouted mass of every label."""
    known = result.labels.set_index("label")
    rows = []
    for label in natural_order(known.index.tolist()):
        row = known.loc[label]
        change = row["tuned_loss"] - row["base_loss"]
        rows.append(
            [
                label_mark(label, ctx.colour(label)),
                f"{int(row['tokens']):,}",
                number(row["base_loss"], 4),
                number(row["tuned_loss"], 4),
                "–" if np.isnan(change) else f"{change:+.4f}",
                "–" if np.isnan(row["rerouted"]) else f"{row['rerouted']:.1%}",
            ]
        )
    head = ["label", "tokens", "loss before", "after", "change", "rerouted mass"]
    return table(head, rows, "Loss and rerouted mass of every label")


def concentration_table(result: DiffResult) -> Element:
    """How many experts of each group hold half of a change."""
    columns = ["distinct", "base_mass", "mass", "output", "moved"]
    rows = [[f"{row['group']}", *(f"{row[name]:,}" for name in columns)] for row in result.groups.to_dict("records")]
    head = [
        "group",
        term("active", "active in either"),
        "mass itself",
        "change of mass",
        "of output",
        "of contribution",
    ]
    return table(head, rows, "Experts that hold half of each change, by group")


def masses(result: DiffResult, group: int, listed: pd.DataFrame) -> go.Figure:
    """Experts of a group by their mass in both models, counted in cells; some of them as points, which have cards.

    Args:
        result: of the two models.
        group: the group.
        listed: rows of ``result.experts`` that are points.
    """
    figure = blank(height=460, margin={"l": 66, "r": 20, "t": 12, "b": 52})
    own = result.experts[result.experts["group"] == group]
    both = own[(own["base_mass"] > 0) & (own["tuned_mass"] > 0)]
    if both.empty:
        return figure
    counts, low, high = density_cells(both["base_mass"].to_numpy(), both["tuned_mass"].to_numpy(), CELLS)
    middles = 10 ** (low + (high - low) * (np.arange(CELLS) + 0.5) / CELLS)
    shade = np.where(counts > 0, np.log1p(counts), np.nan)
    figure.add_trace(
        go.Heatmap(
            x=middles,
            y=middles,
            z=shade,
            customdata=counts,
            colorscale=[[0, "rgba(0,114,178,0.15)"], [1, "rgba(0,114,178,1)"]],
            showscale=False,
            hovertemplate="mass %{x:.3g} before, %{y:.3g} after: %{customdata:,} experts<extra></extra>",
        )
    )
    ends = [10**low, 10**high]
    figure.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line={"color": "#868e96", "width": 1}, hoverinfo="skip"))
    shown = listed[(listed["group"] == group) & (listed["base_mass"] > 0) & (listed["tuned_mass"] > 0)]
    figure.add_trace(
        go.Scatter(
            x=shown["base_mass"],
            y=shown["tuned_mass"],
            mode="markers",
            marker={"color": CHOSEN_COLOUR, "size": 7, "line": {"width": 1, "color": "#fff"}},
            customdata=[
                [row.expert, f"mass {row.base_mass:.3g} before, {row.tuned_mass:.3g} after"]
                for row in shown.itertuples(index=False)
            ],
            hoverinfo="none",  # a card shows in place
        )
    )
    figure.update_xaxes(title="mass in the base model", type="log", gridcolor=GRID, exponentformat="power")
    figure.update_yaxes(title="mass in this model", type="log", gridcolor=GRID, exponentformat="power")
    return figure


def experts_table(ctx: Context, experts: pd.DataFrame) -> Element:
    """Rows of ``DiffResult.experts``, in their order."""
    if experts.empty:
        return html.P("No expert is active at so many tokens.", className="note")
    labels = {group: known for group in ctx.run.groups if (known := analysis(ctx.run, group)) is not None}
    rows: list[Sequence[Child]] = []
    for row in experts.itertuples(index=False):
        expert = Expert(int(row.group), int(row.expert))
        of = labels.get(expert.group)
        own = "" if of is None else str(of["specialised"].get(expert.id, ""))
        part = row.output_change / row.base_output if row.base_output > 0 else float("nan")
        rows.append(
            [
                html.A(f"{expert}", href=expert_link(*expert)),
                label_mark(own, ctx.colour(own), "–"),
                label_mark(row.label, ctx.colour(row.label), "–"),
                f"{row.label_share:.0%}" if row.label else "",
                score_text(row.base_mass),
                score_text(row.tuned_mass),
                f"{row.mass_change:+.3g}",
                f"{row.output_change:.3g}",
                "–" if np.isnan(part) else f"{part:.1%}",
                number(row.base_contribution, 3),
                number(row.tuned_contribution, 3),
                "–" if np.isnan(row.contribution_change) else f"{row.contribution_change:+.3f}",
                score_text(row.contribution_moved),
            ]
        )
    head = ["expert", "label in this run", "changed most in", "of that", term("mass", "mass before"), "after", "change"]
    head += ["output, change", "of it", term("contribution", "contribution before"), "after", "change", "moved"]
    return table(head, rows, "Experts that changed most", numeric=3)
