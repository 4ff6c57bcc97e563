"""Edits of experts in the address of a prompt: read, written, and as the model takes them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import WorkbenchError
from ..store.address import Expert, read_expert
from .links import Address

if TYPE_CHECKING:
    from torch import Tensor

    from .context import Context

MOST = 200  # experts named one by one: they are part of the address


@dataclass(frozen=True)
class PromptEdit:
    """What is edited while a prompt runs.

    Attributes:
        factors: (group, expert) -> factor, for experts named one by one.
        without: label whose specialised experts are removed; "" for none.
    """

    factors: dict[Expert, float] = field(default_factory=dict)
    without: str = ""

    def __bool__(self) -> bool:
        return bool(self.factors or self.without)

    @property
    def text(self) -> str:
        """The factors as they are typed and kept in the address."""
        return ", ".join(f"{group}:{expert}={factor:g}" for (group, expert), factor in self.factors.items())

    def query(self) -> dict[str, str]:
        """Fields of the address."""
        return {name: value for name, value in (("edit", self.text), ("without", self.without)) if value}

    def toggled(self, group: int, expert: int) -> PromptEdit:
        """The same edit with an expert removed, or left alone again where it was edited."""
        factors, edited = dict(self.factors), Expert(group, expert)
        if factors.pop(edited, None) is None:
            factors[edited] = 0.0
        return PromptEdit(factors, self.without)


def read_edit(address: Address, ctx: Context) -> PromptEdit:
    """The edit that an address asks for.

    Raises:
        WorkbenchError: a factor that cannot be read, an expert that is not there, too many of them, or a label that the
            run does not have.
    """
    factors = {}
    for item in filter(None, (part.strip() for part in re.split(r"[,;\n]", address.query.get("edit", "")))):
        name, _, factor = item.partition("=")
        try:
            value = float(factor) if factor else 0.0
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise WorkbenchError(f"{item!r} is no edit; write group:id=factor, such as {ctx.run.groups[0]}:17=0.")
        factors[read_expert(name, ctx.run.groups, ctx.run.num_keys)] = value
    if len(factors) > MOST:
        raise WorkbenchError(f"the address names {len(factors)} experts; {MOST} can be edited here, more in Python.")
    without = address.query.get("without", "")
    if without and without not in ctx.run.labels:
        raise WorkbenchError(f"there is no label {without!r} in this run; it has {', '.join(ctx.run.labels)}.")
    if without and not ctx.analysed:
        raise WorkbenchError(f"no expert has a label before `monet analyze {ctx.run.path}` has been run.")
    return PromptEdit(factors, without)


def matrices(edit: PromptEdit, ctx: Context) -> dict[int, Tensor]:
    """The edit as ``edit_experts`` takes it: layer that owns a router -> (E, E) factors. A named factor wins."""
    import torch

    keys, made = ctx.run.num_keys, {}
    for group, layer in zip(ctx.run.groups, ctx.run.group_layers, strict=True):
        factors = torch.ones(keys**2)
        if edit.without:
            experts = ctx.experts(group)
            factors[torch.tensor(experts.index[experts["specialised"] == edit.without].to_numpy())] = 0.0
        for (named, expert), factor in edit.factors.items():
            if named == group:
                factors[expert] = factor
        if not bool((factors == 1).all()):
            made[layer] = factors.view(keys, keys)
    return made
