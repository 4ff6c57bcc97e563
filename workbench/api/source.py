"""What the API reads a run through; the dashboard's ``Context`` is one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerFast

    from monet_model import MonetForCausalLM

    from ..notes import Notes
    from ..store import Run


class Source(Protocol):
    """A run with its tables, model and notes, each read when it is first asked for. Threads share it."""

    run: Run

    @property
    def name(self) -> str:
        """Name of the run."""

    @property
    def analysed(self) -> bool:
        """Whether `monet analyze` has been run."""

    @property
    def notes(self) -> Notes:
        """What people keep about the experts."""

    @property
    def context_length(self) -> int:
        """The most tokens that a prompt may have."""

    def experts(self, group: int) -> pd.DataFrame:
        """Every active expert of a group, indexed by ``expert``, with statistics and what the analysis derived."""

    def activations(self, group: int, expert: int) -> pd.DataFrame:
        """``Run.activations``."""

    def logit_view(self, group: int, expert: int, n: int) -> pd.DataFrame:
        """``workbench.explain.logit_view``."""

    def model(self) -> MonetForCausalLM:
        """The run's model in evaluation mode; BusyError where too many requests run it."""

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The run's tokenizer."""

    def writing(self) -> AbstractContextManager[None]:
        """The turn to have the model write a text; BusyError where it is writing another one."""
