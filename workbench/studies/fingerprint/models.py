"""What may be fingerprinted: a Monet model, or a dense one of transformers' LLaMA; where the two differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...checkpoint import checkpoint_hashes, describe_model, load_llama, load_model, model_folder, model_type
from ...errors import BadInputError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def load_either(
    path: str | Path, *, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto"
) -> PreTrainedModel:
    """Load a Monet model, or a LLaMA model where the folder's config says so, in evaluation mode.

    Args:
        path, device, dtype: as for ``workbench.checkpoint.load_model``.

    Raises:
        WorkbenchError: as ``load_model``.

    Examples:
        >>> from workbench.studies.fingerprint.models import load_either
        >>> type(load_either("monet_model/demo")).__name__
        'MonetForCausalLM'
        >>> type(load_either("workbench/baselines/models/dense")).__name__
        'LlamaForCausalLM'
    """
    load = load_llama if model_type(model_folder(path)) == "llama" else load_model
    return load(path, device=device, dtype=dtype)


def describe_either(path: str | Path, folder: Path, model: PreTrainedModel) -> dict[str, Any]:
    """What identifies a model, as ``workbench.checkpoint.describe_model`` has it; a dense one has no experts to tell.

    Args:
        path: as the model was asked for.
        folder: of its files.
        model: it.
    """
    from monet_model import MonetForCausalLM

    if isinstance(model, MonetForCausalLM):
        return describe_model(path, folder, model)
    config = model.config
    return {
        "path": str(folder.resolve()) if Path(path).exists() else str(path),
        "hash": checkpoint_hashes(folder),
        "layers": config.num_hidden_layers,
        "neurons": config.intermediate_size,
        "vocabulary": config.vocab_size,
    }


def freeze_routers(model: PreTrainedModel, frozen: bool = True) -> None:
    """Freeze or unfreeze a model's routers, as ``MonetForCausalLM.freeze_routers`` does.

    Raises:
        BadInputError: they are to be trained, and the model has none.
    """
    from monet_model import MonetForCausalLM

    if isinstance(model, MonetForCausalLM):
        model.freeze_routers(frozen)
    elif not frozen:
        raise BadInputError(f"{model.name_or_path} is a dense model and has no routers: leave out --routers free.")
