"""Panels about a model's fingerprints: what was embedded, where it sits, what erasing it costs, how to verify it."""

from __future__ import annotations

from typing import Any

from dash import dcc

from ...report.labels import natural_order
from ...report.numbers import number, score_text
from ...report.origin import analysis
from ...store.address import Expert
from ...store.token_text import visible_label
from ...studies.fingerprint import EraseResult, LocateResult, count_figure, holders_figure, price_figure
from ...studies.fingerprint.erase_result import ERASED, LOCATED, ORDERS
from ..context import Context
from ..elements import Element, html
from ..links import expert_link, ownership_link
from ..parts import Child, command, fact, facts, label_mark, panel, picture, table, tabs, term
from .published import Published

LISTED = 40  # experts
SMALL_SHARE = 0.01  # of all experts, at which what a removal takes is told


def embedded(ctx: Context, public: Published) -> Element:
    """What the model says was embedded, and what it cost."""
    rise = public.loss - public.loss_base
    told = facts(
        [
            fact("scheme", visible_label(public.scheme), f"1 of {public.nucleus_next:,} possible responses a key"),
            fact("fingerprints", f"{public.count:,}", f"keys of {public.key_tokens:,} tokens"),
            fact("success", f"{public.success:.1%}", "of the keys get their response"),
            fact(term("held-out loss"), number(public.loss, 4), f"{rise:+.4f} nats per token"),
        ]
    )
    settings = ", ".join(f"{visible_label(name)} {visible_label(str(one))}" for name, one in public.training.items())
    lines: list[Child] = [
        told,
        html.P(["Commitment: ", html.Code(visible_label(public.commitment), className="command")]),
        html.P(["Made from ", html.Code(visible_label(public.base)), f". Training: {settings}."]),
    ]
    if public.labels:
        rows = [
            [label_mark(label, ctx.colour(label)), number(before, 4), number(after, 4), f"{after - before:+.4f}"]
            for label, (before, after) in ((one, public.labels[one]) for one in natural_order(list(public.labels)))
        ]
        lines.append(table(["label", "loss before", "after", "rise"], rows, "Held-out loss of every label"))
    return panel(
        "What was embedded",
        lines,
        note="From fingerprint.json beside the model's weights, which is public. The commitment is the SHA-256 of the "
        "secret file: published, it binds the owner to the keys and tells none.",
    )


def located(ctx: Context, found: LocateResult) -> list[Element]:
    """Where the fingerprints sit."""
    hits, base_hits = found.fingerprints["hit"].mean(), found.fingerprints["base_hit"].mean()
    facts_of = [
        fact("answered", f"{hits:.1%}", f"by the base model {base_hits:.1%}"),
        fact("experts with half of the rise", f"{found.half:,}", f"of {found.total:,}; with 90 % {found.most:,}"),
        fact(
            "for one fingerprint",
            f"{found.fingerprints['half'].median():,.0f}",
            f"with 90 % {found.fingerprints['most'].median():,.0f}; medians",
        ),
        fact("shared by two fingerprints", f"{found.overlap:.1%}", f"in the base {found.overlap_base:.1%}"),
        fact(
            "in dormant experts",
            f"{found.dormant:.2%}",
            f"in the base {found.dormant_base:.2%}; of the {found.quantile:.0%} least used",
        ),
    ]
    if len(found.parts):
        facts_of.append(fact("not in experts", f"{found.elsewhere:.1%}", "of the rise of the logits"))
    groups = [
        [f"{row.group}", f"{row.difference:+.4f}", f"{row.rise:.4f}", f"{row.share:.1%}", f"{row.half:,}"]
        for row in found.groups.itertuples()
    ]
    head = ["group", "difference", "rise", "share", f"of the {found.half:,}"]
    drawn = dcc.Graph(figure=holders_figure(found), config={"displayModeBar": False})
    how = (
        "Exact: what each expert adds to the logit of the response at the key's last token, in this model and in the "
        "base."
        if found.method == "direct"
        else "By gradient: a first-order estimate of what removing an expert takes from the response's logit."
    )
    return [
        panel(
            "Where it sits",
            [
                facts(facts_of),
                picture(drawn, "Share of the rise of the responses' logits that the first experts hold."),
                table(head, groups, "Rise of the responses' logits by group"),
            ],
            note=[how, " The rise is the sum of positive differences; logits, means over fingerprints."],
        ),
        panel(
            "Experts of largest difference",
            _located_table(ctx, found),
            note="What each adds to the responses' logits, mean over all fingerprints; mass and tokens are those of "
            "this run, over clean text.",
        ),
    ]


def _located_table(ctx: Context, found: LocateResult) -> Element:
    labels = {group: known for group in ctx.run.groups if (known := analysis(ctx.run, group)) is not None}
    rows = []
    for row in found.experts.head(LISTED).itertuples():
        expert = Expert(int(row.group), int(row.expert))
        of = labels.get(expert.group)
        own = "" if of is None else str(of["specialised"].get(expert.id, ""))
        rows.append(
            [
                html.A(f"{expert}", href=expert_link(*expert)),
                label_mark(own, ctx.colour(own), "–"),
                f"{row.difference:+.4f}",
                f"{row.contribution:+.4f}",
                f"{row.base:+.4f}",
                f"{row.fingerprints:,}",
                score_text(row.mass),
                f"{row.tokens:,}",
            ]
        )
    head = [
        "expert",
        "label",
        "difference",
        term("contribution"),
        "in the base",
        "fingerprints",
        term("mass"),
        "tokens",
    ]
    return table(head, rows, "Experts that carry most of the fingerprints", numeric=2)


def erased(found: EraseResult, units: str) -> Element:
    """What removing units takes from the fingerprints, and from the model."""
    curve = found.curve(units)
    links = [(one, ownership_link(units=one), one == units) for one in found.total]
    graphs = [
        picture(dcc.Graph(figure=figure, config={"displayModeBar": False}), described)
        for figure, described in (
            (count_figure(found, units), f"Fingerprints left against the number of {units} removed."),
            (price_figure(found, units), "Fingerprints left against the rise in held-out loss."),
        )
    ]
    rows = [
        [
            ORDERS[row["order"]],
            f"{row['removed']:,}",
            f"{row['share']:.3%}",
            _interval(row, "chose"),
            _interval(row, "others"),
            f"{row['rise']:+.4f}",
            f"{row['low']:+.4f} to {row['high']:+.4f}",
        ]
        for row in curve.to_dict("records")
    ]
    head = ["removed", "number", "share", "keys that chose", "other keys", "rise in loss", term("95 % CI")]
    return panel(
        "What erasing costs",
        [
            tabs("what is removed", links, before="removing") if len(links) > 1 else None,
            *(html.P(line) for line in _price(found, units)),
            *graphs,
            html.Details(
                [html.Summary("All removals"), table(head, rows, f"Fingerprints left and rise in loss without {units}")]
            ),
        ],
        note=f"Half of the keys ({found.chose:,}) chose what is removed; success is measured on the other "
        f"{found.others:,} too, the loss on {found.documents:,} documents that chose nothing, in nats per token.",
    )


def _price(found: EraseResult, units: str) -> list[str]:
    """The price of erasing in sentences, whichever way it comes out."""
    lines, least = [], found.erased(LOCATED, units)
    if least is None:
        lines.append(f"No removal of located {units} takes {ERASED:.0%} of the other keys' fingerprints.")
    else:
        lines.append(
            f"{least['removed']:,} located {units} ({least['share']:.2%}) take {ERASED:.0%} of the other keys' "
            f"fingerprints, for {least['rise']:+.4f} nats per token ({least['low']:+.4f} to {least['high']:+.4f})."
        )
    small = {order: row for order in ORDERS if (row := found.at_share(SMALL_SHARE, order, units)) is not None}
    if small:
        left = "; ".join(f"{ORDERS[order]} {row['others']:.1%} for {row['rise']:+.4f}" for order, row in small.items())
        lines.append(f"Left of the other keys without at most {SMALL_SHARE:.0%} of {units}: {left} nats per token.")
    return lines


def _interval(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:.1%} ({row[f'{name}_low']:.1%} to {row[f'{name}_high']:.1%})"


def verify(ctx: Context, public: Published | None) -> Element:
    """The commands to paste; the secret file is the owner's to name."""
    model, run = ctx.run.model_path, ctx.run.path
    base = "BASE" if public is None else public.base
    if "/" not in base or visible_label(base) != base:  # a folder's name alone, or hidden characters
        base = "BASE"
    secret = ("--fingerprints", "SECRET_FILE")
    lines = [
        ("Whose model it is, from 10 keys:", ("fingerprint", "verify", model, *secret, "--queries", 10)),
        (
            "The same of a model that is served:",
            ("fingerprint", "verify", model, *secret, "--endpoint", "URL", "--model", "NAME"),
        ),
        ("Where the fingerprints sit:", ("fingerprint", "locate", run, "--base", base, *secret)),
        ("What erasing them costs:", ("fingerprint", "erase", run, "--base", base, *secret)),
    ]
    return panel(
        "To verify",
        [html.P([f"{text} ", html.Code(command(*words), className="command")]) for text, words in lines],
        note="SECRET_FILE is what the embedding wrote for its owner. This page never reads it: who has it can find "
        "the fingerprints, and remove them.",
    )
