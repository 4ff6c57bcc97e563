"""The forms of the page Compare. Each leads to an address with its fields, which assets/compare.js writes.

They open on an example of the run that works, so that the page shows what it is for.
"""

from __future__ import annotations

from typing import Any

from ...analysis import READABLE_SCORE, READABLE_TOKENS
from ...store.address import Expert
from ...store.siblings import sibling_names
from ..context import Context
from ..elements import Element, Widget, dmc, html
from ..freeze import Frozen
from ..links import COMPARE_PATH
from ..parts import Child, message
from ..prompting.answer import prompt_limit
from ..tables import GENERAL

EXPERTS = ("a", "b", "c", "d")  # fields of the address, one expert each
SAMPLE = 60  # characters of a document's beginning
Query = dict[str, str]


def experts_form(ctx: Context, query: Query) -> list[Any]:
    """Fields for two to four experts."""
    if not any(name in query for name in EXPERTS):
        query = dict(zip(EXPERTS, map(str, example_experts(ctx)), strict=False))
    example = f"{ctx.run.groups[0]}:1234"
    fields = [
        dmc.TextInput(
            name=name,
            value=query.get(name, ""),
            label=f"Expert {at}" + ("" if at <= 2 else " (optional)"),
            placeholder=example,
            required=at <= 2,
            withAsterisk=False,
            spellCheck=False,
            className="compare-expert",
        )
        for at, name in enumerate(EXPERTS, start=1)
    ]
    return [_form(html.Div([*fields, _submit()], className="compare-fields"))]


def prompts_form(ctx: Context, query: Query) -> list[Any]:
    """Boxes for two texts."""
    if "text" not in query and "with" not in query:
        query = dict(zip(("text", "with"), example_texts(ctx), strict=False))
    boxes = [_box("text", f"First text, up to {prompt_limit(ctx)}", query), _box("with", "Second text", query)]
    return [_form(html.Div(boxes, className="side-by-side"), html.Div(_submit(), className="compare-fields"))]


def edits_form(ctx: Context, query: Query) -> list[Any]:
    """A box for a text and fields for two edits."""
    if not any(name in query for name in ("text", "edit", "edit2")):
        query = dict(zip(("text", "edit", "edit2"), [*example_texts(ctx)[:1], "top:3=0", "top:10=0"], strict=False))
    hint = f"{ctx.run.groups[0]}:17=0, top:10=0.5" + (", label:NAME=0" if ctx.analysed else "")
    edits = [
        dmc.TextInput(
            name=name,
            value=query.get(name, ""),
            label=label,
            placeholder=hint,
            spellCheck=False,
            className="compare-edit",
        )
        for name, label in (("edit", "First edit"), ("edit2", "Second edit"))
    ]
    return [
        _form(
            _box("text", f"Text for the model, up to {prompt_limit(ctx)}", query),
            html.Div(edits, className="side-by-side compare-edits"),
            html.Div(_submit(), className="compare-fields"),
        )
    ]


def runs_form(ctx: Context, query: Query) -> list[Any]:
    """A choice among the runs beside this one, or what to do where there are none."""
    names = sibling_names(ctx.run)
    if not names:
        return [
            message(
                "No run to compare with",
                "Runs of another model, such as this one after fine-tuning, can be compared when they lie in the same "
                f"folder as {ctx.run.path} and were exported with the same corpus and tokenizer.",
            )
        ]
    chosen = query.get("run", names[0])
    select = dmc.Select(
        name="run",
        data=names if chosen in names else [chosen, *names],
        value=chosen,
        label=f"Compare {ctx.name} with the run",
        allowDeselect=False,
        searchable=True,
        className="compare-run",
    )
    return [_form(html.Div([select, _submit()], className="compare-fields"))]


def compare_with(expert: Expert) -> Element:
    """The small form of an expert's page: another expert to compare it with. Plain elements, so that it is drawn with
    what stands around it."""
    known = Frozen(
        tree={"tag": "input", "props": {"type": "hidden", "name": "a", "value": str(expert)}, "children": []}
    )
    typed = {"name": "b", "placeholder": "group:id", "required": True, "spellCheck": False, "autoComplete": "off"}
    field = Frozen(tree={"tag": "input", "props": typed, "children": []})
    return _form(
        known, html.Label(["Compare with… ", field]), html.Button("Compare", type="submit", className="button")
    )


def example_experts(ctx: Context) -> list[Expert]:
    """Two of the run's most interesting experts that are readable: of one label, so that they share tokens, and of two
    groups where there are two."""
    first, last = ctx.run.groups[0], ctx.run.groups[-1]
    best = _most_interesting(ctx, first)[:1]
    label = ctx.experts(first)["specialised"].get(best[0], GENERAL) if best else GENERAL
    others = [Expert(last, expert) for expert in _most_interesting(ctx, last, label)[:2]]
    return list(dict.fromkeys([*(Expert(first, expert) for expert in best), *others]))[:2]


def _most_interesting(ctx: Context, group: int, label: str = "") -> list[int]:
    """Experts of a group by interest: readable ones first, and among them those of a label."""
    known = ctx.experts(group)
    readable = (known["tokens"] >= READABLE_TOKENS) & (known["max"] >= READABLE_SCORE)
    if ctx.tested:
        readable &= known["confirmed"]
    rank = readable.astype(int) + (readable & (known["specialised"] == label))
    ordered = known.assign(rank=rank).sort_values(["rank", "interest"], ascending=False)
    return ordered.index[:2].tolist()


def example_texts(ctx: Context) -> list[str]:
    """How a document begins, of each of the first two labels; fewer where documents came as token ids."""
    documents = ctx.run.documents
    texts = []
    for label in ctx.labels[:2]:
        of_label = documents[(documents["label"] == label) & (documents["tokens"] > 1)]
        text = ctx.run.text(int(of_label["doc"].iloc[0])) if len(of_label) else None
        if text:
            texts.append(text[:SAMPLE])
    return texts


def _form(*parts: Child) -> Element:
    return html.Form(list(parts), action=COMPARE_PATH, method="get", className="compare-form")


def _box(name: str, label: str, query: Query) -> Widget:
    return dmc.Textarea(
        name=name,
        value=query.get(name, ""),
        label=label,
        minRows=3,
        maxRows=10,
        autosize=True,
        required=True,
        withAsterisk=False,
        spellCheck=False,
        className="prompt-text",
    )


def _submit() -> Element:
    return html.Button("Compare", type="submit", className="button compare-submit")
