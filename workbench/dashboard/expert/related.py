"""Other experts that go with one: those that co-activate with it, share a key, or write something similar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import Dash, Input, Output

from ...report.label import top_tokens_of
from ...report.numbers import score_text
from ...report.related import NEIGHBOURS, TOP_TOKENS, key_sharers
from ...store.address import Expert, shared_key
from ..computing import Report
from ..context import Context
from ..elements import Element, dcc, dmc, html
from ..freeze import freeze
from ..links import expert_link
from ..parts import label_mark, panel, table, term, token_shown
from ..tables import GENERAL
from .measured import Measured

if TYPE_CHECKING:
    from ...analysis.structure.output_similarity import OutputDirections


def coactivating(ctx: Context, expert: Expert) -> Any:
    """The experts that co-activate with an expert at its best tokens."""
    near = ctx.run.neighbours(*expert, NEIGHBOURS)
    if not len(near):
        return panel(
            "Co-activating experts",
            html.P("The run does not keep the routing of this expert's best tokens.", className="note"),
        )
    ids = near["expert"].to_numpy()
    keys = shared_key(ids, expert.id, ctx.run.num_keys)
    rows = [
        [
            html.A(f"{expert.group}:{other}", href=expert_link(expert.group, other)),
            label_mark(label, ctx.colour(label), kind),
            key,
            f"{similarity:.3f}",
        ]
        for other, (label, kind), key, similarity in zip(
            ids.tolist(), ctx.labelled(expert.group, ids), keys, near["similarity"].tolist(), strict=True
        )
    ]
    return panel(
        "Co-activating experts",
        table(["expert", "label", term("key", "same key"), "similarity"], rows, "Co-activating experts", numeric=3),
        note="Cosine similarity of their scores with this expert's, over its best tokens.",
    )


def same_keys_panel() -> Element:
    """The panel; a callback fills it in once the page shows, as reading the tokens of many experts takes a while."""
    return panel(
        "Experts with the same key",
        dcc.Loading(dmc.Box(id="expert-same-keys"), delay_show=200),
        note="Those of most mass: one key's experts share weights.",
    )


def register(app: Dash, ctx: Context) -> None:
    """The experts with the keys of the one that is shown."""

    @app.callback(Output("expert-same-keys", "children"), Input("expert-chosen", "data"))
    def show(chosen: list[int]) -> Any:
        return freeze(same_keys(ctx, Expert(*chosen)))


def same_keys(ctx: Context, expert: Expert) -> list[Any]:
    """The experts of most mass that share the expert's key of set 1, and those that share its key of set 2."""
    drawn: list[Any] = []
    for one in key_sharers(expert.id, ctx.experts(expert.group)["mass"], ctx.run.num_keys):
        others = f"{one.others:,} other active {'expert' if one.others == 1 else 'experts'}"
        name = f"Key {one.key} of set {one.set}: {others}"
        texts = top_tokens_of(ctx.run, expert.group, one.mass.index.tolist(), TOP_TOKENS)
        rows = [
            [*_named(ctx, Expert(expert.group, int(other))), _tokens(some), score_text(mass)]
            for (other, mass), some in zip(one.mass.items(), texts, strict=True)
        ]
        head = ["expert", "label", "top tokens", term("mass")]
        drawn += [html.H3(name), table(head, rows, name, numeric=3) if rows else None]
    return drawn


def _named(ctx: Context, expert: Expert) -> list[Any]:
    row = ctx.row(*expert)
    label = GENERAL if row is None else row["specialised"]
    link = html.A(f"{expert}", href=expert_link(*expert))
    return [link, label_mark(label, ctx.colour(label), ctx.kind(*expert))]


def _tokens(texts: list[str]) -> Element:
    return html.Span([html.Span(token_shown(text), className="chip") for text in texts], className="chips")


def _directions(ctx: Context, expert: Expert, report: Report) -> OutputDirections:
    from ...analysis.structure.output_similarity import SAMPLED_TOKENS, output_directions

    return output_directions(ctx.run, ctx.model(), expert.group, advance=report.expect(SAMPLED_TOKENS))


def _similar(ctx: Context, expert: Expert, directions: OutputDirections) -> Any:
    near = directions.similar(expert.id, NEIGHBOURS)
    if not len(near):
        return html.P("The sampled tokens do not use both keys of this expert.", className="note")
    rows = [
        [*_named(ctx, Expert(expert.group, row.expert)), row.shared or "neither", f"{row.cosine:.3f}"]
        for row in near.itertuples(index=False)
    ]
    return table(["expert", "label", "same key", "cosine"], rows, "Experts with similar outputs", numeric=3)


SIMILAR = Measured(
    name="similar",
    title="Experts with similar outputs",
    note="Cosine similarity of their mean outputs with this expert's. Measured once for all experts of a layer group, "
    "in about 10 seconds for the demo run.",
    button="Find them",
    job=lambda expert: ("outputs", expert.group),
    work=_directions,
    show=_similar,
)
