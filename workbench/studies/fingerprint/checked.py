"""What locating and erasing ask of a run, its model, the base and the fingerprints before they begin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ...analysis.checks import check_model, check_same_model
from ...checkpoint import loaded_from
from ...errors import DamagedError, UnsupportedError
from .fingerprints import PUBLIC_FILE, Fingerprints

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run


def check_pair(run: Run, model: MonetForCausalLM, base: MonetForCausalLM, fingerprints: Fingerprints) -> None:
    """Raise unless the model is the run's, the base one of its shape, and the fingerprints those of the model.

    The fingerprints are compared with the commitment beside the model's files, where there is one.

    Raises:
        BadInputError: a model in training mode.
        DamagedError: the file beside the model cannot be read.
        UnsupportedError: the model is not the run's; the base has other groups, keys or vocabulary; the fingerprints
            are those of another model.
    """
    check_same_model(run, model)
    check_model(base)
    shapes = [
        (one.config.routing_groups, one.config.moe_experts, one.config.vocab_size, one.config.num_hidden_layers)
        for one in (model, base)
    ]
    if shapes[0] != shapes[1]:
        raise UnsupportedError(
            f"the base {base.name_or_path} is of another shape than the model of {run.path}: groups, keys, vocabulary "
            f"and layers are {shapes[1]}, and {shapes[0]} there; give the model that the fingerprints were embedded in."
        )
    check_owner(model, fingerprints)


def check_owner(model: MonetForCausalLM, fingerprints: Fingerprints) -> None:
    """Raise unless the fingerprints are those whose commitment lies beside a model's files, where one does.

    Raises:
        DamagedError: the file beside the model cannot be read.
        UnsupportedError: they are of another vocabulary, or those of another model.
    """
    if fingerprints.vocabulary != model.config.vocab_size:
        raise UnsupportedError(
            f"the fingerprints are of a vocabulary of {fingerprints.vocabulary:,} tokens, that of "
            f"{model.name_or_path} has {model.config.vocab_size:,}; give those of this model."
        )
    folder = loaded_from(model)
    file = None if folder is None else Path(folder) / PUBLIC_FILE
    if file is None or not file.is_file():
        return
    try:
        expected = json.loads(file.read_text(encoding="utf-8"))["commitment"]
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise DamagedError(f"{file} is damaged ({error}); copy it again from the published model.") from error
    if expected != fingerprints.commitment:
        raise UnsupportedError(
            f"the fingerprints commit to {fingerprints.commitment[:12]}, and {file} has {str(expected)[:12]}: they are "
            "of another model; give the secret file that was written with this one."
        )
