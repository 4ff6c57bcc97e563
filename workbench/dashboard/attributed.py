"""What a job that attributed a token found: the experts that write it, each a link to its page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..analysis import read_writers
from ..analysis.attribution.prompt import read_token
from ..errors import BadInputError
from ..store.address import Expert
from ..store.token_text import visible, visible_label
from .elements import Element, html
from .links import expert_link
from .parts import label_mark, panel, table, term

if TYPE_CHECKING:
    from ..analysis import TokenWriters
    from ..jobs import Job
    from .context import Context

EXPERTS = 50


def attributed(ctx: Context, job: Job) -> Element | None:
    """The experts that a job found, by what they add; None where the run keeps no such result.

    Raises:
        DamagedError, UnsupportedError: as ``read_writers``; or the run has no tokenizer.
    """
    given = dict(word[2:].split("=", 1) for word in job.arguments if word.startswith("--") and "=" in word)
    try:
        found = read_writers(ctx.run, read_token(ctx.tokenizer(), given.get("target", "")), given.get("label"))
    except BadInputError:  # the tokenizer of a run that was exported anew has no such token
        found = None
    if found is None:
        return None
    documents = "all documents" if found.label is None else f"documents of {visible_label(found.label)}"
    more = f"; the {EXPERTS} of largest size of {len(found.experts):,}" if len(found.experts) > EXPERTS else ""
    note = [
        f"Mean over {found.occurrences:,} places in {documents} where it comes next, in logits{more}. ",
        f"Its mean logit there is {found.logit:.4f}; all experts of all layers, attention and the embedding add up to "
        f"{found.total:.4f}.",
    ]
    head = ["expert", "label", "layer", term("contribution"), "active at"]
    rows = table(head, _rows(ctx, found), "Experts that write the token", numeric=2)
    return panel(["Experts that write ", html.Code(visible(found.target_text), className="quoted")], rows, note=note)


def _rows(ctx: Context, found: TokenWriters) -> Iterator[list[Any]]:
    for row in found.experts.head(EXPERTS).itertuples(index=False):
        expert = Expert(row.group, row.expert)
        known = ctx.row(*expert)
        label = "" if known is None else known["specialised"]
        yield [
            html.A(f"{expert}", href=expert_link(*expert)),
            label_mark(label, ctx.colour(label), ctx.kind(*expert)),
            f"{row.layer}",
            f"{row.contribution:+.4f}",
            f"{row.active:,}",
        ]
