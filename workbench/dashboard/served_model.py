"""The model of a run that a server answers prompts with: loaded once, in turns, with the logits it has shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock, Thread
from typing import TYPE_CHECKING

import pandas as pd
from filelock import FileLock, Timeout

from ..errors import BusyError, WorkbenchError
from ..explain.kept_logits import KeptLogits
from .turns import Turns

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from monet_model import MonetForCausalLM

    from ..store import Run

CACHED_LOGIT_VIEWS = 1000  # of a few kilobytes; each takes a few tenths of a second to compute


class ServedModel:
    """The model of a run. It is loaded when it is first asked for.

    Args:
        run: the opened run.
        model_path: folder or hub name of the model that prompts run on; by default the one the run was exported from.
        shared: folder of the processes that serve the run together; one of its own by default.
        device, dtype: where the model runs and in which precision, as for ``load_model``.
    """

    def __init__(
        self,
        run: Run,
        model_path: str | Path | None = None,
        shared: Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        self.run = run
        self.model_path = str(model_path or run.model_path)
        self._place = {"device": device, "dtype": dtype}
        self._kept_logits = KeptLogits(run, f"{device} {dtype}")
        self._logit_view = lru_cache(maxsize=CACHED_LOGIT_VIEWS)(self._read_logit_view)
        self._model: MonetForCausalLM | None = None
        self._loading = Lock()
        self._turns = Turns()
        if shared is None:
            self._own = TemporaryDirectory(prefix="monet-")  # removed with this object
            shared = Path(self._own.name)
        self.shared = shared

    @cached_property
    def context_length(self) -> int:
        """The most tokens that a prompt may have: the model's context."""
        from ..analysis.run_model import context_length

        return context_length(self.run, self.model_path)

    @property
    def chats(self) -> bool:
        """Whether the run's tokenizer has a chat template, which transformers keeps in a file of its own."""
        return (self.run.path / "tokenizer" / "chat_template.jinja").is_file()

    def prepare_model(self) -> None:
        """Load the model while a prompt is being typed; an error shows when the prompt is run."""

        def load() -> None:
            with suppress(WorkbenchError):
                self._loaded()

        if self._model is None and not self._loading.locked():
            Thread(target=load, daemon=True).start()

    def model(self) -> MonetForCausalLM:
        """The run's model in evaluation mode, loaded at the first call, for a request that has its turn: see ``Turns``.

        Raises:
            BusyError: too many requests run it, or wait for that.
            NotFoundError: there is no model where the run says.
            UnsupportedError: it is another model.
        """
        self._turns.take()
        return self._loaded()

    def _loaded(self) -> MonetForCausalLM:
        from ..analysis.run_model import load_run_model

        with self._loading:
            if self._model is None:
                self._model = load_run_model(self.run, self.model_path, **self._place)
        return self._model

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The turn to have the model write a text, which keeps the processor busy: one at a time.

        Raises:
            BusyError: it is writing another one.
        """
        try:
            turn = FileLock(self.shared / "writing.lock", thread_local=False, blocking=False).acquire()
        except Timeout as error:
            raise BusyError(
                "this server is writing another text; it writes one at a time. Try again in a few seconds."
            ) from error
        with turn:
            yield

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """The run's tokenizer.

        Raises:
            UnsupportedError: the run has none.
        """
        from ..analysis.run_model import run_tokenizer

        return run_tokenizer(self.run)

    def logit_view(self, group: int, expert: int, n: int) -> pd.DataFrame:
        """The top ``n`` promoted and suppressed tokens of an expert: see ``logit_view``. Those viewed once are
        kept beside the run, those viewed lately in memory.

        Raises:
            WorkbenchError: as ``model``, or there is no such expert.
        """
        return self._logit_view(group, expert, n)

    def _read_logit_view(self, group: int, expert: int, n: int) -> pd.DataFrame:
        from ..explain.logit_lens import checked_logit_view

        view = self._kept_logits.get(group, expert, n)
        if view is None:
            view = checked_logit_view(self.run, self.model(), group, expert, n)
            self._kept_logits.put(group, expert, n, view)
        return view
