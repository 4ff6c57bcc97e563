"""Passes of a model over the same documents, one after another, each kept once it is done, for ``resume``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError
from ..progress import Progress
from .work import Arrays, State

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run
    from .results import Result


def kept_passes(
    run: Run,
    cls: type[Result],
    name: str | None,
    model: MonetForCausalLM,
    settings: dict[str, Any],
    *,
    stored: bool = True,
    resume: bool = False,
) -> State | None:
    """The state in which the passes of a model are kept.

    Args:
        run, cls, name: of the result.
        model: where it runs and in which precision belong to the settings, because both change the last digits.
        settings: what the passes depend on, in JSON types.
        stored: whether the result will be.
        resume: keep what an earlier analysis of the same run and settings has finished.

    Returns:
        The state; None where no result will be stored beside it.

    Raises:
        BadInputError: there is something to resume, of other settings, or nothing is ever kept to resume.
    """
    if not stored:
        if resume:
            raise BadInputError(
                "a result of some labels that has no name is not stored, and what it was broken off at neither; give "
                "it a name with --name, or begin anew without --resume."
            )
        return None
    computed = {"device": model.device.type, "dtype": str(model.model.norm.weight.dtype)}
    return State(run, cls, name, computed | settings, resume)


def digest(arrays: Iterable[NDArray[Any]]) -> str:
    """A short digest of arrays, in their order: which experts an analysis chose, among its settings."""
    made = hashlib.sha256()
    for array in arrays:
        made.update(f"{array.dtype} {array.shape}:".encode() + np.ascontiguousarray(array).tobytes())
    return made.hexdigest()[:16]


class Passes:
    """Takes the passes of an analysis in their order, which must be the same each time.

    Args:
        state: what keeps them; None keeps nothing.
        units: of the progress, in one pass.
        advance: told of the units of passes that were done before.
    """

    def __init__(self, state: State | None, units: float, advance: Progress) -> None:
        self._state, self._units, self._advance, self._number = state, units, advance, -1

    def __call__(self, compute: Callable[[], Arrays]) -> Arrays:
        """The next pass: as it was kept, or computed and kept."""
        self._number += 1
        if self._state is None:
            return compute()
        if self._state.has(self._number):
            self._advance(self._units)
            return self._state.load(self._number)
        arrays = compute()
        self._state.save(self._number, arrays)
        return arrays
