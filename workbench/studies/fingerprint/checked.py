"""What locating and erasing ask of a run, its model, the base and the fingerprints before they begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...analysis.checks import check_model, check_same_model
from ...checkpoint import checkpoint_hashes, loaded_from
from ...errors import UnsupportedError
from .fingerprints import PUBLIC_FILE, Fingerprints
from .public import read_public

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from monet_model import MonetForCausalLM

    from ...store import Run


def check_pair(run: Run, model: MonetForCausalLM, base: MonetForCausalLM, fingerprints: Fingerprints) -> None:
    """Raise unless the model is the run's, the base one of its shape, and the fingerprints those of the model.

    Fingerprints and base are compared with what the model's folder says of them, where it has ``fingerprint.json``.

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
    check_owner(model, base, fingerprints)


def check_owner(model: PreTrainedModel, base: PreTrainedModel, fingerprints: Fingerprints) -> None:
    """Raise unless fingerprints and base are those that a model's public file tells, where it has one.

    Raises:
        DamagedError: the file beside the model cannot be read.
        UnsupportedError: they are of another vocabulary, or those of another model; the base is another one.
    """
    if fingerprints.vocabulary != model.config.vocab_size:
        raise UnsupportedError(
            f"the fingerprints are of a vocabulary of {fingerprints.vocabulary:,} tokens, that of "
            f"{model.name_or_path} has {model.config.vocab_size:,}; give those of this model."
        )
    folder = loaded_from(model)
    if folder is None or not (folder / PUBLIC_FILE).is_file():
        return
    public = read_public(folder)
    if public["commitment"] != fingerprints.commitment:
        raise UnsupportedError(
            f"the fingerprints commit to {fingerprints.commitment[:12]}, and {folder / PUBLIC_FILE} has "
            f"{str(public['commitment'])[:12]}: they are of another model; give the secret file that was written with "
            "this one."
        )
    of_base, given = public.get("base", {}).get("hash"), loaded_from(base)
    if of_base and given is not None and checkpoint_hashes(given) != of_base:
        raise UnsupportedError(
            f"the base {given} is not the model that the fingerprints of {folder} were embedded in: the hashes of its "
            "files are others; give that one, as it was."
        )
