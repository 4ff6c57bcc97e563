"""Steps that bring a run of an older schema to the next one.

A step is a module here and a line in ``STEPS``. Its ``migrate(run, manifest, staging, advance)`` reads the run,
writes every file that changes to ``staging`` (``Staging``), calls ``advance``
with the tokens done, one count per group, and returns the new manifest. It never touches the run itself:
``workbench.store.migrate.migrate_run`` moves the files into their places.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from ...progress import Progress
from ..remote import Place
from .staging import Staging

Step = Callable[[Place, dict[str, Any], Staging, Progress], dict[str, Any]]

STEPS = {1: "v1_to_v2", 2: "v2_to_v3"}  # schema version -> module that brings a run of it to the next version


def load_step(version: int) -> Step:
    """The step that brings a run from ``version`` to the next one; imported only now, as it may need torch."""
    step: Step = import_module(f".{STEPS[version]}", __name__).migrate
    return step
