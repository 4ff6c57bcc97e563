"""Which circuit an address asks for: text, position, target, edit and size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...analysis.attribution.prompt import Prompt
from ...errors import BadInputError
from ..edits import read_edit
from ..prompting.answer import check_characters
from ..prompting.samples import sample_texts

if TYPE_CHECKING:
    from ...store.edit_text import PromptEdit
    from ..context import Context

FIELDS = ("text", "at", "target", "minus", "nodes", "edit", "without")  # of an address that choose the circuit
NODES = 512
SIZES = (64, 128, 256, 512, 1024)  # experts that become nodes of their own


@dataclass(frozen=True)
class Asked:
    """One circuit, before it is traced.

    Attributes:
        whole: the text of the address, tokenised.
        at: number of its token, from 1, behind which the target stands.
        target, minus: token ids; None for the likeliest token, and for no difference.
        nodes: how many experts become nodes.
        edit: the edit of experts that the model is under.
    """

    whole: Prompt
    at: int
    target: int | None
    minus: int | None
    nodes: int
    edit: PromptEdit

    @property
    def prompt(self) -> Prompt:
        """What the circuit reads: the text up to that token."""
        return self.whole.until(self.at)

    @property
    def name(self) -> tuple[object, ...]:
        """What tells it from every other circuit of the run."""
        return ("circuit", self.whole.text, self.at, self.target, self.minus, self.nodes, str(self.edit))


def read_asked(ctx: Context, query: Mapping[str, str]) -> Asked:
    """The circuit that the fields of an address ask for; without a text that of a sample.

    Raises:
        BadInputError: no text, of a run that has no sample; a text that is empty or too long; or a number or an edit
            that cannot be read.
        NotFoundError: an edit of an expert or label that the run does not have.
        NotAnalysedError: an edit of a label, of a run that has not been analysed.
        UnsupportedError: the run has no tokenizer.
    """
    fields = dict(query)
    if "text" not in fields:
        samples = sample_texts(ctx)
        if not samples:
            raise BadInputError("there is no text; type one.")
        fields["text"] = samples[0][1]
    check_characters(ctx, fields)
    whole = Prompt.tokenise(ctx.tokenizer(), fields["text"], ctx.context_length)
    tokens = len(whole.shown)
    at, target, minus, nodes = (_number(fields, name) for name in ("at", "target", "minus", "nodes"))
    if at is not None and not 1 <= at <= tokens:
        raise BadInputError(f"there is no token {at}; the text has {tokens:,}, from 1 on.")
    size = NODES if nodes is None else nodes
    if not 1 <= size <= SIZES[-1]:
        raise BadInputError(f"a circuit here has 1 to {SIZES[-1]:,} experts, got nodes={size:,}.")
    return Asked(whole, tokens if at is None else at, target, minus, size, read_edit(fields, ctx))


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if text and not re.fullmatch(r"\d{1,9}", text):
        raise BadInputError(f"the address says {name}={text[:40]!r}; write a number there.")
    return int(text) if text else None
