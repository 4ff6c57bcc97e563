"""What the routing tells of a block of experts: text scores, p-values, labels on halves of the documents."""

from __future__ import annotations

from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...progress import Progress, silent
from ..activations import Activations, Block, CrossTable, Reader
from ..units import document_units, label_units
from ..work import Arrays, opened_again
from .analyze_result import Settings
from .label_null import LabelNull
from .p_values import shifts
from .precision import sampled_shares
from .replication import Halves
from .scores import TextScore, scores_of_kind
from .shares import label_shares

if TYPE_CHECKING:
    from ...store import Run
    from ...store.remote import Place
    from ...store.sample import Sample

HALVES = "halves:"  # opens the names of what ``Halves.found`` returns
PRECISION = ("share:whole", "share:sample")


class Evidence:
    """Computes what the routing tells of a block of experts; threads may share it, and workers get a copy.

    Labels are shuffled among documents (``LabelNull``), of which near copies of one label are one. Text scores do not
    depend on labels, so their null shifts the text against the routing: each token's routing is paired with the token
    some distance on, which keeps how experts behave from token to token and breaks only their tie to the text.

    Args:
        run: an opened run, or a sample of one.
        settings: of the analysis. Experts active at fewer tokens whose routing is read than ``min_tokens`` are neither
            scored nor tested.

    Attributes:
        halves: of the documents that are read; None where fewer than two labels are in both.
    """

    def __init__(self, run: Run, settings: Settings) -> None:
        self._run, self._settings, self._reader = run, settings, Reader(run)
        s = settings
        self.halves = Halves.of(run, s.ratio, s.min_tokens, s.permutations, s.fdr, s.seed)
        documents = run.documents[run.documents["kept"]]
        label, tokens = (
            documents["label"].map(run.check_label).to_numpy(np.int64),
            documents["tokens"].to_numpy(np.int64),
        )
        self._pair, pair_label = label_units(document_units(documents), label)
        sizes = np.bincount(self._pair, tokens, len(pair_label)).astype(np.int64)
        self._null = LabelNull(pair_label, sizes, len(run.labels), s.permutations, s.seed) if s.permutations else None
        self._document = self._reader.document()
        token = self._reader.token()
        distances = shifts(self._reader.tokens, s.seed) if s.permutations else []
        self._texts = [token, *(np.roll(token, -distance) for distance in distances)]
        self._label, self._label_tokens = label, np.bincount(label, tokens, len(run.labels)).astype(np.int64)
        self._shares: dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self._run.path, self._run.drawn, self._settings)

    def blocks(self) -> list[Block]:
        """The experts of all groups."""
        return [block for group in self._run.groups for block in self._reader.blocks(group)]

    def __call__(self, block: Block, advance: Progress = silent) -> Arrays:
        """What the routing tells of a block.

        Returns:
            experts, tokens: (n,) ids of those active, and their active tokens; tested: (m,) ids of those with enough;
            ``{score}``: (texts, m) for text scores, the true text first; ``p:{score}``: (m,) for label scores; what
            ``Halves.found`` returns; and of a sample, ``PRECISION``: (m,) of the tested.
        """
        activations = self._reader.read(block, advance)
        going = partial(advance, 0)  # other units than the progress counts
        table = activations.by(self._document)
        experts, tokens = activations.active()
        tested = experts[tokens >= self._settings.min_tokens]
        found: Arrays = {"experts": experts, "tokens": tokens, "tested": tested}
        found |= self._text_scores(activations, tested, going)
        if self._null is not None:
            merged = table.merged(self._pair)
            p = self._null.p_values(merged, tested, lambda *_: going()) if len(tested) else {}
            found |= {f"p:{name}": p.get(name, np.zeros(0)) for name in self._null.scores}
        if self.halves is not None:
            halves = self.halves.found(table, lambda *_: going())
            found |= {f"{HALVES}{name}": values for name, values in halves.items()}
        if self._run.drawn is not None:
            found |= self._precision(block.group, table, tested)
        return found

    def _text_scores(self, activations: Activations, tested: NDArray[np.int64], going: Any) -> Arrays:
        found = {name: np.zeros((len(self._texts), len(tested))) for name in scores_of_kind(TextScore)}
        for number, text in enumerate(self._texts if len(tested) else []):
            vocabulary = activations.counts(text)
            for name, score in scores_of_kind(TextScore).items():
                found[name][number] = score.compute(*vocabulary).reindex(tested).to_numpy()
            going()
        return found

    def _precision(self, group: int, table: CrossTable, tested: NDArray[np.int64]) -> Arrays:
        label, whole = self._first_label(group)
        share = sampled_shares(table, self._label, self._label_tokens, tested, label[tested])
        return dict(zip(PRECISION, (whole[tested], share), strict=True))

    def _first_label(self, group: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The label in which each expert has its largest share, and that share, of all documents: (E * E,) each."""
        with self._lock:
            if group not in self._shares:
                columns = [f"mass:{label}" for label in self._run.labels]
                experts = self._run.experts(group, columns)
                mass = np.stack([experts[column].to_numpy(np.float64) for column in columns])
                shares = label_shares(mass, self._run.label_tokens[self._run.labels].to_numpy())
                label, share = np.zeros(self._run.num_keys**2, np.int64), np.zeros(self._run.num_keys**2)
                label[experts.index], share[experts.index] = shares.argmax(0), shares.max(0)
                self._shares[group] = label, share
            return self._shares[group]


def _opened(path: Place, drawn: Sample | None, settings: Settings) -> Evidence:
    return Evidence(opened_again(path, drawn), settings)
