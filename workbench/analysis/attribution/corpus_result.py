"""The result of `monet attribute-corpus`: the experts that write a token, on average over its occurrences."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd

from ..results import Result, read_result, write_result

if TYPE_CHECKING:
    from ...store import Run
    from .corpus import CorpusAttribution

SETTINGS = ("target", "target_text", "label", "occurrences", "logit", "total")


@dataclass(frozen=True)
class TokenWriters(Result):
    """A ``CorpusAttribution`` as a run keeps it, one for every token and label.

    Attributes:
        target: the token id.
        target_text: its text, as it was asked for.
        label: the label whose documents were read, or None for all.
        occurrences: how often the token comes next in them.
        logit: mean logit of the token there.
        total: sum of all contributions.
        experts: one row per expert of a layer that is active at an occurrence, largest absolute contribution first:

            - group: its layer group.
            - layer: the layer.
            - expert: flat id.
            - contribution: mean over all occurrences, in logits.
            - active: number of occurrences where it is active.
        rest: component and mean contribution, as in ``Attribution``.
    """

    kind: ClassVar[str] = "attribution"
    version: ClassVar[int] = 1
    command: ClassVar[str] = "monet attribute-corpus"
    tables: ClassVar[tuple[str, ...]] = ("experts", "rest")

    target: int
    target_text: str
    label: str | None
    occurrences: int
    logit: float
    total: float
    experts: pd.DataFrame
    rest: pd.DataFrame

    @classmethod
    def of(cls, found: CorpusAttribution, run: Run, target_text: str) -> Self:
        """The attribution of a token in a run, its experts with their groups."""
        assert isinstance(found.target, int)
        experts = found.top(len(found.experts))
        group_of = {layer: group for group in run.groups for layer in run.layers_of(group)}
        experts.insert(0, "group", experts["layer"].map(group_of))
        known = (found.target, target_text, found.label, found.occurrences, found.logit, found.total)
        return cls(*known, experts, found.rest)

    @classmethod
    def command_line(cls, run: Run, name: str | None) -> str:
        """The command that computes it; the name it is kept under says which token only to programs."""
        return f"{cls.command} {shlex.quote(str(run.path))} --target TOKEN"

    def to_json(self) -> dict[str, Any]:
        """Return the settings and sums, in JSON types; the tables are kept as Parquet."""
        return {name: getattr(self, name) for name in SETTINGS}

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The result that ``to_json`` and the tables describe."""
        return cls(**{name: stored[name] for name in SETTINGS}, **tables)


def _name(target: int, label: str | None) -> str:
    of_label = "" if label is None else f"-{hashlib.sha256(label.encode()).hexdigest()[:12]}"
    return f"token-{target}{of_label}"


def keep_writers(run: Run, result: TokenWriters) -> None:
    """Keep a result in the run, in place of the last one of its token and label.

    Raises:
        OSError: nothing can be written there.
    """
    write_result(run, result, _name(result.target, result.label))


def read_writers(run: Run, target: int, label: str | None = None) -> TokenWriters | None:
    """Return what `monet attribute-corpus` kept of a token; None where there is nothing.

    Args:
        run: an opened run.
        target: the token id.
        label: the label whose documents were read; None for all.

    Raises:
        DamagedError: the file is cut or changed.
        UnsupportedError: the file is of a version that cannot be read, or of another run.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_writers
        >>> found = read_writers(open_run("runs/demo"), 17)  # None before `monet attribute-corpus` has been run
        >>> found is None or found.occurrences > 0
        True
    """
    return read_result(run, TokenWriters, _name(target, label))
