"""What the pages read: one run, its analysis and, once it is needed, its model."""

from __future__ import annotations

from contextlib import suppress
from functools import cache, cached_property, lru_cache
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..analysis import SCORES, MaskResult, Overlap, label_overlap, read_mask
from ..analysis.specialisation.analyze_result import table_name
from ..errors import WorkbenchError
from ..report.expert import mass_ranking
from ..report.origin import analysis, is_analysed
from ..report.palette import NO_LABEL_COLOUR, label_colours

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run

CACHED_GROUPS = 8
CACHED_LOGIT_VIEWS = 1000  # of a few kilobytes; each takes about a second to compute
SAMPLED_DOCUMENTS = 8  # whose text tells how many characters a token has
GENERAL = ""  # the `specialised` value of a generalist


class Context:
    """A run as the dashboard shows it. Each group's tables are kept in memory once read; the model is loaded once.

    An analysis that is run while the dashboard is up shows on the next page opened.

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
        self._logit_view = lru_cache(maxsize=CACHED_LOGIT_VIEWS)(self._read_logit_view)
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
        """Every active expert of a group, indexed by `expert`.

        Returns:
            The columns of ``run.experts(group)``, then `specialised` (categorical: a label or ""), `confirmed`, and
            every score that the run was analysed for, with its `q:{score}` if it was tested. Before `monet analyze`, no
            expert is specialised, and monosemanticity and ratio are missing.
        """
        return self._experts(group, self._stamp(group))

    def _read_experts(self, group: int, _stamp: int) -> pd.DataFrame:
        table, derived = self.run.experts(group), analysis(self.run, group)
        names = [GENERAL, *self.run.labels]
        if derived is None:
            unknown = pd.Categorical([GENERAL] * len(table), names)
            return table.assign(specialised=unknown, monosemanticity=np.nan, ratio=np.nan, confirmed=False)
        known = [name for score in SCORES for name in (score, f"q:{score}") if name in derived]
        return table.join(derived[[*known, "confirmed"]]).assign(
            specialised=pd.Categorical(derived["specialised"].reindex(table.index), names)
        )

    def ranking(self, group: int) -> np.ndarray:
        """Flat ids of the active experts by mass, largest first; of equal ones the lower id comes first."""
        return self._ranking(group)

    def _read_ranking(self, group: int) -> np.ndarray:
        return mass_ranking(self.experts(group)["mass"])

    def codes(self, group: int) -> np.ndarray:
        """Map of a group, (E, E) small integers: -1 never active, 0 a generalist, n the n-th label (from 1)."""
        keys, table = self.run.num_keys, self.experts(group)
        dtype = table["specialised"].cat.codes.dtype  # a byte per expert: all go to the browser
        codes = np.full(keys * keys, -1, dtype)
        codes[table.index.to_numpy()] = table["specialised"].cat.codes
        return codes.reshape(keys, keys)

    def specialised(self, group: int) -> pd.DataFrame:
        """Number of specialised experts of each label in a group, and how many of them are confirmed.

        Returns:
            Indexed by label; columns `experts` and `confirmed`.
        """
        table = self.experts(group)
        counts = table.groupby("specialised", observed=False)["confirmed"].agg(["size", "sum"])
        counts = counts.set_axis(["experts", "confirmed"], axis=1).astype(int)
        return counts.set_axis(counts.index.astype(str)).reindex(self.run.labels, fill_value=0)

    def colour(self, label: str) -> str:
        """Colour of a label; grey for generalists."""
        return self.colours.get(label, NO_LABEL_COLOUR)

    @property
    def without_label(self) -> str:
        """What an expert without a label is called."""
        return "generalist" if self.analysed else "not analysed"

    def mask(self) -> MaskResult | None:
        """The masking matrix, or None where `monet mask` has not been run.

        Raises:
            DamagedError: its file is damaged.
            UnsupportedError: it is of another version or run.
        """
        return read_mask(self.run)

    def overlap(self) -> Overlap:
        """How far the labels share experts."""
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
        """Load the model while a prompt is being typed; an error shows when the prompt is run."""

        def load() -> None:
            with suppress(WorkbenchError):
                self.model()

        if self._model is None:
            Thread(target=load, daemon=True).start()

    def model(self) -> MonetForCausalLM:
        """The run's model in evaluation mode, loaded at the first call.

        Raises:
            NotFoundError: there is no model where the run says.
            UnsupportedError: it is another model.
        """
        from ..analysis.run_model import load_run_model

        with self._loading:
            if self._model is None:
                self._model = load_run_model(self.run, self.model_path)
        return self._model

    def logit_view(self, group: int, expert: int, n: int) -> pd.DataFrame:
        """The top ``n`` promoted and suppressed tokens of an expert; those viewed lately are kept.

        Raises:
            WorkbenchError: as ``model``, or there is no such expert.
        """
        return self._logit_view(group, expert, n)

    def _read_logit_view(self, group: int, expert: int, n: int) -> pd.DataFrame:
        from ..explain import logit_view

        return logit_view(self.run, self.model(), group, expert, n)
