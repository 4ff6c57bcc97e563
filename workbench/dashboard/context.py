"""What the pages read: one run, with its tables, its model, its long computations, its jobs and what people keep."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..jobs import Jobs
from ..notes import Notes, open_notes
from .computing import Computations
from .served_model import ServedModel
from .tables import Tables

if TYPE_CHECKING:
    from ..store import Run


class Context(Tables, ServedModel):
    """A run as the dashboard shows it: its tables, and the model that answers prompts.

    Args:
        run: the opened run.
        model_path: folder or hub name of the model that prompts run on; by default the one the run was exported from.
        embed_hosts: the sites whose pages may show cards of experts, beside this one.
        shared: folder of the processes that serve the run together; one of its own by default.
        device, dtype: where the model runs and in which precision, as for ``load_model``.
    """

    def __init__(
        self,
        run: Run,
        model_path: str | Path | None = None,
        embed_hosts: Sequence[str] = (),
        shared: Path | None = None,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        Tables.__init__(self, run)
        ServedModel.__init__(self, run, model_path, shared, device, dtype)
        self.embed_hosts = tuple(embed_hosts)
        self.jobs = Jobs(run)
        self.computations = Computations(self.shared)

    @property
    def name(self) -> str:
        """Name of the run: its folder."""
        return Path(self.run.path).resolve().name

    @cached_property
    def notes(self) -> Notes:
        """What people keep about the experts of the run.

        Raises:
            UnsupportedError: the run is on another machine.
        """
        return open_notes(self.run)
