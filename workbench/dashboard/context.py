"""What the pages read: one run, its analysis and, once a prompt asks for it, its model."""

from __future__ import annotations

from contextlib import suppress
from functools import cache, cached_property, lru_cache
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..analysis import MaskResult, Overlap, label_overlap, read_mask
from ..analysis.specialisation.analyze_result import table_name
from ..errors import WorkbenchError
from ..report.origin import analysis, is_analysed
from ..report.palette import GENERALIST, label_colours

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run

CACHED_GROUPS = 8
SAMPLED_DOCUMENTS = 8  # whose text tells how many characters a token has
GENERAL = ""  # the `specialised` value of an expert without a label of its own


class Context:
    """A run as the dashboard shows it. Tables of a group are kept in memory once read; the model is loaded once.

    An analysis made while the dashboard runs is seen at the next page.

    Args:
        run: the opened run.
        model_path: folder or hub name of the model that prompts run on; by default the one the run was exported from.
    """

    def __init__(self, run: Run, model_path: str | Path | None = None) -> None:
        self.run = run
        self.model_path = str(model_path or run.model_path)
        self.colours = label_colours(run.labels)
        self._experts = lru_cache(maxsize=CACHED_GROUPS)(self._read_experts)
        self._ranking = lru_cache(maxsize=CACHED_GROUPS)(self._read_ranking)
        self._overlap = cache(lambda: label_overlap(self.run))
        self._model: MonetForCausalLM | None = None
        self._loading = Lock()

    @property
    def name(self) -> str:
        """Name of the run: its folder."""
        return Path(self.run.path).resolve().name

    @property
    def analysed(self) -> bool:
        """Whether `monet analyze` has been run."""
        return all(is_analysed(self.run, group) for group in self.run.groups)

    def _stamp(self, group: int) -> int:
        """Changes when the group is analysed again; 0 where it has not been."""
        path = self.run.analysis_path(table_name(group))
        return path.stat().st_mtime_ns if path.is_file() else 0

    def experts(self, group: int) -> pd.DataFrame:
        """Every expert seen, index `expert`: the store's columns, then what the analysis says of it: `specialised` (a
        label or ""), `monosemanticity`, `ratio` and `confirmed`.

        Without an analysis nobody is specialised and the scores are missing.
        """
        return self._experts(group, self._stamp(group))

    def _read_experts(self, group: int, _stamp: int) -> pd.DataFrame:
        table, derived = self.run.experts(group), analysis(self.run, group)
        names = [GENERAL, *self.run.labels]
        if derived is None:
            nobody = pd.Categorical([GENERAL] * len(table), names)
            return table.assign(specialised=nobody, monosemanticity=np.nan, ratio=np.nan, confirmed=False)
        return table.join(derived[["monosemanticity", "ratio", "confirmed"]]).assign(
            specialised=pd.Categorical(derived["specialised"].reindex(table.index), names)
        )

    def ranking(self, group: int) -> np.ndarray:
        """Flat ids of the experts seen, by falling mass; ties fall to the lower id."""
        return self._ranking(group)

    def _read_ranking(self, group: int) -> np.ndarray:
        table = self.experts(group)
        return table.index.to_numpy()[np.argsort(-table["mass"].to_numpy(), kind="stable")]

    def codes(self, group: int) -> np.ndarray:
        """Map of a group, (E, E) small integers: -1 unseen, 0 a generalist, n the n-th label of the run (from 1)."""
        keys, table = self.run.num_keys, self.experts(group)
        codes = np.full(
            keys * keys, -1, table["specialised"].cat.codes.dtype
        )  # a byte an expert: all go to the browser
        codes[table.index.to_numpy()] = table["specialised"].cat.codes
        return codes.reshape(keys, keys)

    def specialised(self, group: int) -> pd.Series:
        """Number of specialised experts of each label in a group."""
        return self.experts(group)["specialised"].value_counts().reindex(self.run.labels, fill_value=0)

    def colour(self, label: str) -> str:
        """Colour of a label; grey for generalists."""
        return self.colours.get(label, GENERALIST)

    @property
    def without_label(self) -> str:
        """What is said of an expert that has no label."""
        return "generalist" if self.analysed else "not analysed"

    def mask(self) -> MaskResult | None:
        """The masking matrix, or None where `monet mask` has not been run."""
        return read_mask(self.run)

    def overlap(self) -> Overlap:
        """How far the labels share their experts."""
        return self._overlap()

    @cached_property
    def context_length(self) -> int:
        """The most tokens that a prompt may have: the model's context."""
        from ..analysis.run_model import context_length

        return context_length(self.run, self.model_path)

    @cached_property
    def characters_per_token(self) -> float | None:
        """Of a few documents spread over the corpus; None where they came as token ids."""
        documents = self.run.documents.query("tokens > 0")
        chosen = documents.iloc[np.unique(np.linspace(0, len(documents) - 1, SAMPLED_DOCUMENTS).astype(int))]
        texts = [self.run.text(int(doc)) for doc in chosen["doc"]]
        if not texts or None in texts:
            return None
        return sum(len(text or "") for text in texts) / int(chosen["tokens"].sum())

    def prepare_model(self) -> None:
        """Loads the model while a prompt is being typed; what goes wrong is said when the prompt is run."""

        def load() -> None:
            with suppress(WorkbenchError):
                self.model()

        if self._model is None:
            Thread(target=load, daemon=True).start()

    def model(self) -> MonetForCausalLM:
        """The run's model in evaluation mode, loaded at the first call.

        Raises:
            WorkbenchError: the model cannot be read where the run says it is, or is another.
        """
        from ..analysis.run_model import load_run_model

        with self._loading:
            if self._model is None:
                self._model = load_run_model(self.run, self.model_path)
        return self._model
