"""What `monet fingerprint locate` keeps in a run: the experts that carry a model's fingerprints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd

from ...analysis.results import read_result
from .kept import FingerprintResult

if TYPE_CHECKING:
    from ...store import Run

DIRECT, GRADIENT = "direct", "gradient"
METHODS = (DIRECT, GRADIENT)
HALF, MOST = 0.5, 0.9  # of the rise, that ``half`` and ``most`` experts hold


@dataclass(frozen=True)
class LocateResult(FingerprintResult):
    """Which experts add to the logits of fingerprints' responses, in the fingerprinted model against its base.

    An expert is one of a routing group: what it adds is summed over the layers of the group. Its *difference* is what
    it adds in the fingerprinted model minus what it adds in the base, in logits; the *rise* is the sum of the positive
    differences. Nothing here tells keys or responses, so a run can be published without the secret; which experts carry
    the fingerprints it does tell.

    Attributes:
        commitment: of the fingerprints.
        base: folder or hub name of the base model.
        method: ``direct``: exact parts of the response's logit at the key's last token, which sum to the logit with
            those of ``parts``; ``gradient``: derivatives of that logit by the expert's factor at every token of the
            key, through the whole model, a first-order estimate of what its removal takes, which sums to nothing.
        count: fingerprints.
        total: experts of the model.
        quantile: an expert is *dormant* if its mass in the run is at most this quantile of its group.
        completeness: the largest difference of a logit and the sum of its parts; NaN by gradient.
        half, most: experts that hold half and 90 % of the rise of the mean difference.
        overlap: of two fingerprints, on average: the share of the rise that they have in the same experts, 1 minus the
            total variation distance.
        overlap_base: the same of the positive contributions in the base model, to compare with.
        dormant: share of the rise, summed over fingerprints, that lies in dormant experts.
        dormant_base: the same of the positive contributions in the base model.
        experts: one row per expert that is active at a key in either model, by falling difference. Columns:

            - ``group``, ``expert``: the expert;
            - ``difference``, ``contribution``, ``base``: means over all fingerprints, of the difference and of what it
              adds in the fingerprinted and in the base model;
            - ``fingerprints``: at how many it is active in the fingerprinted model;
            - ``mass``, ``tokens``: in the run, over all documents.
        fingerprints: one row per fingerprint. Columns:

            - ``fingerprint``: its number in the secret file;
            - ``hit``, ``base_hit``: whether the response is the most likely next token in each model;
            - ``logit``, ``base``: the response's logit in each model;
            - ``experts``, ``rest``: how much of the rise of the logit is the experts' and everything else's; NaN by
              gradient;
            - ``rise``: sum of the positive differences of experts;
            - ``half``, ``most``: experts that hold half and 90 % of it;
            - ``dormant``: the share of it in dormant experts.
        strongest: the experts of largest difference of each fingerprint: ``fingerprint``, ``group``, ``expert``,
            ``difference``, ``contribution``, ``base``; by fingerprint, then falling difference.
        groups: one row per routing group: ``group``, ``difference`` and ``rise`` (means over fingerprints), ``share``
            (of the rise), ``half`` (how many of the ``half`` experts are its).
        parts: what makes the logit, as means over fingerprints; empty by gradient: ``component`` (``experts`` and the
            components of ``Attribution.rest``), ``contribution``, ``base``, ``difference``.
    """

    kind: ClassVar[str] = "fingerprint_locate"
    version: ClassVar[int] = 1
    command: ClassVar[str] = "monet fingerprint locate"
    tables: ClassVar[tuple[str, ...]] = ("experts", "fingerprints", "strongest", "groups", "parts")

    commitment: str
    base: str
    method: str
    count: int
    total: int
    quantile: float
    completeness: float
    half: int
    most: int
    overlap: float
    overlap_base: float
    dormant: float
    dormant_base: float
    experts: pd.DataFrame
    fingerprints: pd.DataFrame
    strongest: pd.DataFrame
    groups: pd.DataFrame
    parts: pd.DataFrame

    @property
    def elsewhere(self) -> float:
        """Share of the rise of the logits that is in no expert: attention, embedding, biases; NaN by gradient."""
        rise = self.fingerprints["logit"] - self.fingerprints["base"]
        return float(self.fingerprints["rest"].mean() / rise.mean())

    @classmethod
    def from_json(cls, stored: dict[str, Any], tables: dict[str, pd.DataFrame]) -> Self:
        """The result that ``to_json`` and the tables describe."""
        known: dict[str, Any] = {name: float("nan") if value is None else value for name, value in stored.items()}
        return cls(**known, **tables)


def read_located(run: Run, name: str | None = None) -> LocateResult | None:
    """What the last `monet fingerprint locate` found in a run; None where there is nothing.

    Args:
        run: an opened run.
        name: that the result was kept under; None for the unnamed one.

    Raises:
        DamagedError: a file is cut or changed.
        UnsupportedError: it is of another version, or belongs to another run.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.studies.fingerprint import read_located
        >>> read_located(open_run("runs/demo"), name="never-made") is None
        True
    """
    return read_result(run, LocateResult, name)
