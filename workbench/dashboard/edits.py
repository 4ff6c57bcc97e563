"""Edits of experts in the address of a prompt: read, written, and as the model takes them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from ..errors import BadInputError, NotAnalysedError
from ..store.address import Expert, read_expert
from .links import Address

if TYPE_CHECKING:
    from monet_model import ExpertEdit, MonetForCausalLM

    from .context import Context

MAX_NAMED = 200  # experts edited one by one: all are part of the address


@dataclass(frozen=True)
class PromptEdit:
    """An edit as the address of a prompt spells it; ``expert_edit`` makes the model's edit of it.

    Attributes:
        factors: factor of each expert that is named.
        without: label whose specialised experts are removed; "" for none.
    """

    factors: dict[Expert, float] = field(default_factory=dict)
    without: str = ""

    def __bool__(self) -> bool:
        return bool(self.factors or self.without)

    @property
    def text(self) -> str:
        """The factors as they are typed and kept in the address."""
        return ", ".join(f"{expert}={factor:g}" for expert, factor in self.factors.items())

    def query(self) -> dict[str, str]:
        """Fields of the address."""
        return {name: value for name, value in (("edit", self.text), ("without", self.without)) if value}

    def toggled(self, expert: Expert) -> PromptEdit:
        """The same edit with an expert removed, or no longer edited where it was."""
        factors = dict(self.factors)
        if factors.pop(expert, None) is None:
            factors[expert] = 0.0
        return PromptEdit(factors, self.without)


def read_edit(address: Address, ctx: Context) -> PromptEdit:
    """The edit that an address asks for.

    Raises:
        BadInputError: a factor that cannot be read, or too many experts.
        NotFoundError: an expert or label that the run does not have.
        NotAnalysedError: a label, of a run that has not been analysed.
    """
    factors = {}
    for item in filter(None, (part.strip() for part in re.split(r"[,;\n]", address.query.get("edit", "")))):
        name, _, factor = item.partition("=")
        try:
            value = float(factor) if factor else 0.0
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise BadInputError(f"{item!r} is not an edit; write group:id=factor, such as {ctx.run.groups[0]}:17=0.")
        factors[read_expert(name, ctx.run.groups, ctx.run.num_keys)] = value
    if len(factors) > MAX_NAMED:
        raise BadInputError(
            f"the edit names {len(factors)} experts; this page takes {MAX_NAMED}, and Python's ExpertEdit any number."
        )
    without = address.query.get("without", "")
    if without:
        ctx.run.check_label(without)
        if not ctx.analysed:
            raise NotAnalysedError(f"experts have labels once you have run `monet analyze {ctx.run.path}`.")
    return PromptEdit(factors, without)


def expert_edit(edit: PromptEdit, ctx: Context, model: MonetForCausalLM) -> ExpertEdit:
    """The edit as the model takes it: experts specialised in the label at factor 0; an expert's own factor wins."""
    from monet_model import ExpertEdit

    named = [(expert.group, expert.id, factor) for expert, factor in edit.factors.items()]
    tables = []
    if edit.without:
        for group in ctx.run.groups:
            specialised = ctx.experts(group)["specialised"]
            ids = specialised.index[specialised == edit.without]
            tables.append(pd.DataFrame({"group": group, "expert": ids, "factor": 0.0}))
    tables.append(pd.DataFrame(named, columns=["group", "expert", "factor"]))
    frame = pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)
    frame = frame.drop_duplicates(["group", "expert"], keep="last")
    return ExpertEdit.from_frame(model, frame[frame["factor"] != 1])


def count_removed(edit: ExpertEdit) -> int:
    """Number of experts that an edit removes."""
    return sum(int((factors == 0).sum()) for factors in edit.factors.values())
