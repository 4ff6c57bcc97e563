"""A run's model and tokenizer, checked: where pages, reports and commands get them from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoint import load_model, model_folder
from ..errors import UnsupportedError, WorkbenchError
from .checks import check_same_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from monet_model import MonetForCausalLM

    from ..store import Run


def load_run_model(
    run: Run, path: str | Path | None = None, *, device: str = "auto", dtype: str = "auto"
) -> MonetForCausalLM:
    """Load the model that a run was exported from, in evaluation mode.

    Args:
        run: an opened run.
        path: folder or hub name of the model. Default: where the run was exported from.
        device, dtype: where it runs and in which precision, as for ``load_model``.

    Raises:
        NotFoundError: there is no model.
        DamagedError: its files cannot be read.
        UnsupportedError: it is another model than the run's.
    """
    model = load_model(run.model_path if path is None else path, device=device, dtype=dtype)
    check_same_model(run, model)
    return model


def run_tokenizer(run: Run) -> PreTrainedTokenizerFast:
    """The run's tokenizer.

    Raises:
        UnsupportedError: the run has none: its corpus came as token ids.
    """
    tokenizer = run.tokenizer()
    if tokenizer is None:
        raise UnsupportedError(
            f"{run.path} has no tokenizer (its corpus came as token ids), so text cannot be read; export it from a "
            "model folder that holds tokenizer.json."
        )
    return tokenizer


def context_length(run: Run, path: str | Path | None = None) -> int:
    """The most tokens that a run's model reads, without loading it.

    Where its config cannot be read, the context windows of the export; loading the model then tells what is wrong.
    """
    try:
        config = json.loads((model_folder(run.model_path if path is None else path) / "config.json").read_text())
        return int(config["max_position_embeddings"])
    except (WorkbenchError, OSError, ValueError, KeyError, TypeError):
        return run.geometry.width
