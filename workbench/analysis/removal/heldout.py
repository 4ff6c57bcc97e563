"""A run's documents in two disjoint parts: experts are chosen on one, and their ablation is measured on the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...errors import BadInputError
from ..checks import check_labels
from ..sums import LEFT_OUT, LabelSums, read_label_sums
from ..units import document_units, split_documents, split_units
from ..windows import Windows, read_windows

if TYPE_CHECKING:
    from ...store import Run


@dataclass(frozen=True)
class HeldOut:
    """A run's documents, split into a choosing and a measuring part.

    Attributes:
        run: the run.
        documents: its documents that have tokens and routing, with columns doc, unit (``document_units``), label (its
            number in ``labels``), row, tokens, bos and measures (whether it is one of the measuring part).
        labels: the labels that have documents in both parts, in the run's order.
        skipped: the run's other labels; their documents are in neither part.
    """

    run: Run
    documents: pd.DataFrame
    labels: list[str]
    skipped: list[str]

    @classmethod
    def split(cls, run: Run, seed: int) -> HeldOut:
        """Split the documents whose routing the run keeps, as ``split_documents`` does.

        Near copies stay together, and so do the documents of a project where a label has several (``split_units``).

        A label with fewer than two such documents of two tokens or more, near copies counted once, is skipped.

        Raises:
            BadInputError: fewer than two labels are left.
        """
        check_labels(run)
        units = {"unit": document_units(run.documents), "together": split_units(run.documents)}
        table = run.documents.assign(**units).query("tokens > 1 and kept").reset_index(drop=True)
        label = table["label"].astype(object).map(run.check_label).to_numpy(np.int64)
        measures = split_documents(label, table["tokens"].to_numpy(), seed, table["together"].to_numpy())
        both = [part in label[measures] and part in label[~measures] for part in range(len(run.labels))]
        labels = [name for name, there in zip(run.labels, both, strict=True) if there]
        skipped = [name for name in run.labels if name not in labels]
        if len(labels) < 2:
            raise BadInputError(
                f"{len(labels)} of the {len(run.labels)} labels of {run.path} have two documents of two tokens or more "
                "with routing kept that are no copies of each other: one to choose experts on and one to measure on. "
                f"{', '.join(map(repr, skipped))} {'has' if len(skipped) == 1 else 'have'} fewer, and two labels are "
                "needed. Export more documents, or keep more routing."
            )
        number = np.cumsum(both) - 1
        table = table[["doc", "row", "tokens", "bos", "unit"]].assign(label=number[label], measures=measures)
        return cls(run, table[np.array(both)[label]].reset_index(drop=True), labels, skipped)

    def number(self, label: str) -> int:
        """The number of a label in ``labels``.

        Raises:
            NotFoundError: the run has no such label.
            BadInputError: it was skipped.
        """
        self.run.check_label(label)
        if label in self.skipped:
            raise BadInputError(
                f"label {label!r} of {self.run.path} has fewer than two documents of two tokens or more with routing "
                "kept, near copies counted once: one to choose experts on and one to measure on. Export more "
                "documents, or keep more routing."
            )
        return self.labels.index(label)

    def choosing_sums(self, group: int) -> LabelSums:
        """Mass and active tokens of every expert by label over the choosing part, from the stored routing.

        Stored probabilities are in half precision, so masses are good to about 3 decimal digits.
        """
        label = self.choosing.set_index("doc")["label"]
        number = label.reindex(self.run.documents["doc"], fill_value=LEFT_OUT).to_numpy(np.int64)
        ((_, sums),) = read_label_sums(self.run, [group], number, len(self.labels), f"sums of group {group}")
        return sums

    @property
    def choosing(self) -> pd.DataFrame:
        """The documents of the choosing part."""
        return self.documents[~self.documents["measures"]].reset_index(drop=True)

    @property
    def measuring(self) -> pd.DataFrame:
        """The documents of the measuring part."""
        return self.documents[self.documents["measures"]].reset_index(drop=True)

    def measuring_windows(self) -> Windows:
        """The measuring part as the model reads it; documents are numbered as in ``measuring``."""
        return read_windows(self.run, self.measuring)
