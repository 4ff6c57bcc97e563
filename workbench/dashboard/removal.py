"""The choice of labels whose experts are removed: in an address, as experts, and as the jobs that measure it.

The page Unlearning makes it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..analysis import MaskResult, RemovalCurve, read_curve, read_mask
from ..errors import BadInputError, NotAnalysedError, shell_command
from ..jobs import Request
from ..store.address import path_part, read_path_part
from ..store.edit_text import EditRow, LabelExperts, PromptEdit
from .edits import edited_experts
from .links import Address

if TYPE_CHECKING:
    from .context import Context

_OF_ROWS = ("matrix", "control", "activity_matched", "accuracy")  # arrays of a MaskResult with a row per label ablated
LARGEST_RATIO = 1000.0


@dataclass(frozen=True)
class Removal:
    """Which experts are removed.

    Attributes:
        labels: those whose specialised experts are; none for no experts.
        ratio: first label share over second that such an expert needs; None for that of the analysis.
        confirmed: only the confirmed ones.

    Examples:
        >>> from workbench.dashboard.removal import Removal
        >>> Removal(("lua", "c++"), 3).query()
        {'without': 'lua,c~2B~2B', 'ratio': '3'}
    """

    labels: tuple[str, ...] = ()
    ratio: float | None = None
    confirmed: bool = False

    def __bool__(self) -> bool:
        return bool(self.labels)

    def query(self) -> dict[str, str]:
        """Fields of the address; none where nothing is removed."""
        if not self.labels:
            return {}
        fields = {"without": ",".join(map(path_part, self.labels))}
        if self.ratio is not None:
            fields["ratio"] = f"{self.ratio:g}"
        return fields | ({"confirmed": "1"} if self.confirmed else {})

    def edit(self) -> PromptEdit:
        """The edit that removes them, as a prompt is run under it.

        Examples:
            >>> from workbench.dashboard.removal import Removal
            >>> str(Removal(("lua", "c++"), 3).edit())
            'label:lua/ratio:3=0, label:c~2B~2B/ratio:3=0'
        """
        chosen = (LabelExperts(label, self.confirmed, self.ratio or 0.0) for label in self.labels)
        return PromptEdit(tuple(map(EditRow, chosen)))

    def ratio_of(self, ctx: Context) -> float:
        """The ratio in force."""
        return self.ratio if self.ratio is not None else analysed_ratio(ctx)

    def experts(self, ctx: Context, group: int) -> NDArray[np.int64]:
        """Flat ids of the experts that go in a group, ascending."""
        named = edited_experts(self.edit(), ctx)
        return np.sort(named.loc[named["group"] == group, "expert"].to_numpy(np.int64))

    def mask_request(self, ctx: Context) -> Request:
        """The job that measures each label of the choice."""
        options = {"label": list(self.labels), "ratio": self.ratio_of(ctx), "name": self._name(self.ratio_of(ctx))}
        return Request("mask", options | ({"confirmed": True} if self.confirmed else {}))

    def curve_request(self) -> Request:
        """The job that makes their trade-off curve, which runs through all ratios."""
        options = {"label": list(self.labels), "name": self._name()}
        return Request("curve", options | ({"confirmed": True} if self.confirmed else {}))

    def _name(self, *more: float) -> str:
        chosen = repr((sorted(self.labels), self.confirmed, *more))
        return f"unlearning-{hashlib.sha256(chosen.encode()).hexdigest()[:12]}"

    def mask(self, ctx: Context) -> MaskResult | None:
        """The stored masking matrix of the choice, its own or the rows of the run's; None where there is none.

        Raises:
            DamagedError: a file is damaged.
            UnsupportedError: it is of another version or run.
        """
        own = read_mask(ctx.run, self._name(self.ratio_of(ctx)))
        every = ctx.mask() if own is None and not self.confirmed else None
        if every is None or every.ratio != self.ratio_of(ctx) or not set(self.labels) <= set(every.rows):
            return own
        at = [every.rows.index(label) for label in self.labels]
        removed = [every.removed_by_group[row] for row in at]
        arrays = {name: getattr(every, name)[at] for name in _OF_ROWS}
        return replace(every, rows=list(self.labels), removed_by_group=removed, **arrays)

    def curve(self, ctx: Context) -> RemovalCurve | None:
        """The stored trade-off curve of the choice, likewise."""
        own = read_curve(ctx.run, self._name())
        every = read_curve(ctx.run) if own is None and not self.confirmed else None
        if every is None or not set(self.labels) <= set(every.rows):
            return own
        return replace(every, points=every.points[every.points["label"].isin(self.labels)])


def analysed_ratio(ctx: Context) -> float:
    """The ratio that the experts of a run were analysed by.

    Raises:
        NotAnalysedError: they were not.
    """
    summary = ctx.summary() if ctx.analysed else None
    if summary is None:
        raise NotAnalysedError(f"experts have labels once you have run `{shell_command('analyze', ctx.run.path)}`.")
    return summary.settings.ratio


def named_labels(address: Address, known: Sequence[str]) -> tuple[str, ...]:
    """The labels that an address names, those the run does not know among them; one may be spelled plainly."""
    text = address.query.get("without", "")
    labels = tuple(map(read_path_part, text.split(","))) if text else ()
    return (text,) if text in known and not set(labels) <= set(known) else labels


def read_removal(address: Address, ctx: Context) -> Removal:
    """The choice that an address holds.

    Raises:
        BadInputError: a ratio that is none, or below that of the analysis.
        NotFoundError: a label that the run does not have.
        NotAnalysedError: labels, of a run that has not been analysed.
    """
    labels = named_labels(address, ctx.run.labels)
    if not labels:
        return Removal()
    for label in labels:
        ctx.run.check_label(label)
    least, text = analysed_ratio(ctx), address.query.get("ratio", "")
    chosen = Removal(tuple(dict.fromkeys(labels)), confirmed=address.query.get("confirmed") == "1")
    return checked(chosen, text, least, ctx)


def checked(removal: Removal, ratio: object, least: float, ctx: Context) -> Removal:
    """The choice with a ratio as it was typed; none for that of the analysis, ``least``.

    Raises:
        BadInputError: a ratio that is none, or out of range.
    """
    if ratio in ("", None):
        return removal
    try:
        value = float(str(ratio))
    except ValueError:
        value = math.nan
    if not least <= value <= LARGEST_RATIO:
        again = shell_command("analyze", ctx.run.path, "--ratio", f"{value:g}")
        lower = f" For this one, run `{again}`." if 1 <= value < least else ""
        raise BadInputError(
            f"the ratio {ratio!r:.40} is not a number from {least:g} to {LARGEST_RATIO:g}; the run was analysed at "
            f"{least:g}.{lower}"
        )
    return replace(removal, ratio=None if value == least else value)


def of_arguments(arguments: Sequence[str]) -> Removal:
    """The choice that a job measured, from its arguments."""
    given = [word.partition("=") for word in arguments]
    ratio = next((float(value) for name, _, value in given if name == "--ratio"), None)
    labels = tuple(value for name, _, value in given if name == "--label")
    return Removal(labels, ratio, "--confirmed" in arguments)
