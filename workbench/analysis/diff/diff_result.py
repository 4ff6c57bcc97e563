"""The result of `monet diff`: which experts a fine-tune changed, and how much of the change few of them hold."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import BadInputError
from ..results import Result, read_result

if TYPE_CHECKING:
    from ...store import Run

RANKED_TOKENS = 20  # tokens in either model from which an expert is ranked: fewer say little
CHANGES = {  # what experts are ranked by -> the column
    "mass": "mass_change",
    "output": "output_change",
    "contribution": "contribution_change",
    "moved": "contribution_moved",
}


@dataclass(frozen=True)
class DiffResult(Result):
    """How every expert of one model differs from the expert of the same id in another, on one corpus.

    Attributes:
        base, tuned: the models: ``path``, ``hash``, SHA-256 of each file, and of a transcoded one ``transcoded``, as in
            a manifest.
        corpus: name of what both read.
        documents, tokens, predicted: of the corpus: documents, tokens that count, and those of them that a model
            predicts, which all but the first of a window without a start-of-text token are.
        experts: one row per expert that is active in either model, by group, then expert:

            - ``group``, ``expert``: its address;
            - ``base_tokens``, ``tuned_tokens``: tokens where it is active in each model;
            - ``base_mass``, ``tuned_mass``, ``mass_change``: sum of its routing scores, and tuned minus base;
            - ``label``, ``label_share``: the label in which its mass per token changed most, and the part of its
              changes, over labels and in absolute value, that this one has; "" and 0 where nothing changed;
            - ``base_output``: length of its mean output in the base model, over all layers of the group;
            - ``output_change``: length of the difference of its mean outputs in the two models, for the same inputs
              (see ``workbench.analysis.diff.outputs``);
            - ``places``: places in front of a predicted token where it is active in either model;
            - ``base_contribution``, ``tuned_contribution``, ``contribution_change``: its mean contribution to the logit
              of the token that comes next, over these places, 0 where it is not active; NaN without places;
            - ``contribution_moved``: sum over these places of the absolute difference of its two contributions.

        labels: one row per label, in alphabetical order:

            - ``label``, ``tokens``: its tokens;
            - ``predicted``, ``base_loss``, ``tuned_loss``: its predicted tokens and their mean cross-entropy, nats;
            - ``rerouted``: routing mass in it that is on other experts than before, as a part of the base model's: half
              the sum of absolute changes over the mass.

        groups: one row per group: ``group``, ``distinct`` (experts active in either model), and for each change how
            many experts hold half of it: see ``holders``. ``base_mass`` holds that of the mass itself, to compare with.
    """

    kind: ClassVar[str] = "diff"
    version: ClassVar[int] = 1
    command: ClassVar[str] = "monet diff"
    tables: ClassVar[tuple[str, ...]] = ("experts", "labels", "groups")

    base: dict[str, Any]
    tuned: dict[str, Any]
    corpus: str
    documents: int
    tokens: int
    predicted: int
    experts: pd.DataFrame
    labels: pd.DataFrame
    groups: pd.DataFrame

    def ranked(self, by: str = "moved", n: int | None = None, *, min_tokens: int = RANKED_TOKENS) -> pd.DataFrame:
        """The rows of ``experts`` where a change is largest in absolute value, largest first; ties by address.

        Args:
            by: ``mass``, ``output``, ``contribution`` (mean change at a place) or ``moved`` (its sum over places).
            n: rows, at most; all by default.
            min_tokens: tokens where the expert is active in one of the two models, at least.

        Raises:
            BadInputError: there is no such ranking.

        Examples:
            >>> import pandas as pd
            >>> from workbench.analysis import DiffResult
            >>> experts = pd.DataFrame(
            ...     {"group": 0, "expert": [3, 7], "base_tokens": 50, "tuned_tokens": 60, "mass_change": [0.5, -2.0]}
            ... )
            >>> none = pd.DataFrame()
            >>> DiffResult({}, {}, "c", 1, 60, 59, experts, none, none).ranked("mass")["expert"].tolist()
            [7, 3]
        """
        if by not in CHANGES:
            raise BadInputError(f"experts cannot be ranked by {by!r:.80}; choose one of {', '.join(CHANGES)}.")
        enough = self.experts[["base_tokens", "tuned_tokens"]].max(axis=1) >= min_tokens
        size = self.experts.loc[enough, CHANGES[by]].abs().dropna()
        return self.experts.loc[size.sort_values(ascending=False, kind="stable").index[:n]]

    @classmethod
    def command_line(cls, run: Run, name: str | None) -> str:
        """The command that computes it; the run does not say which model was the base."""
        return f"{cls.command} BASE {shlex.quote(run.model_path)} CORPUS --run {shlex.quote(str(run.path))}"

    def to_json(self) -> dict[str, Any]:
        """Everything but the tables."""
        names = ("base", "tuned", "corpus", "documents", "tokens", "predicted")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The result that ``to_json`` and the tables describe."""
        return cls(**stored, **tables)


def holders(values: NDArray[np.floating[Any]], part: float = 0.5) -> int:
    """The least number of values that hold a part of their sum, which none of them takes from.

    Args:
        values: at least 0 each, in any order.
        part: of their sum, 0 to 1.

    Examples:
        >>> import numpy as np
        >>> from workbench.analysis.diff.diff_result import holders
        >>> holders(np.array([1.0, 5.0, 1.0, 3.0])), holders(np.zeros(3))
        (1, 0)
    """
    largest = np.sort(values)[::-1].cumsum()
    if not len(largest) or largest[-1] <= 0:
        return 0
    return int(np.searchsorted(largest, part * largest[-1] * (1 - 1e-12)) + 1)


def read_diff(run: Run) -> DiffResult | None:
    """What the last `monet diff … --run RUN` found, or None where there is nothing.

    Raises:
        DamagedError: the file is cut or changed.
        UnsupportedError: it is of another version, or belongs to another run.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_diff
        >>> found = read_diff(open_run("runs/demo"))  # None before `monet diff` has been run
        >>> found is None or found.tokens > 0
        True
    """
    return read_result(run, DiffResult)
