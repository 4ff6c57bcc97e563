"""The teacher: a dense model of LLaMA's shape, from a folder, a hub, or a GGUF file, with what identifies it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..checkpoint import checkpoint_hashes, model_folder
from ..device import read_device
from ..errors import BadInputError, DamagedError, NotFoundError, UnsupportedError
from ..extras import require
from ..importing import importing_transformers
from ..store.files import sha256

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class _Enough(Exception):
    """All that is wanted of a forward pass has been seen."""


@dataclass(frozen=True)
class Teacher:
    """A dense model whose MLPs are transcoded.

    Attributes:
        model: the model, in evaluation mode, float32, without gradients.
        tokenizer: None where its folder has none, which will do for a corpus of token ids.
        identity: hash of its files.
        name: where it came from.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    identity: str
    name: str

    @property
    def hidden(self) -> int:
        """Width of the residual stream."""
        return int(self.model.config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.model.device

    def mlp(self, layer: int) -> Any:
        """The MLP of a layer."""
        return self.model.model.layers[layer].mlp

    def check_layers(self, layers: Sequence[int]) -> None:
        """Raise BadInputError if the model lacks one of these layers."""
        count = self.model.config.num_hidden_layers
        if strays := [layer for layer in layers if layer not in range(count)]:
            raise BadInputError(f"{self.name} has no layer {strays[0]}; its layers are 0 to {count - 1}.")

    @torch.no_grad()
    def inputs(self, ids: Tensor, layers: Sequence[int]) -> Tensor:
        """What the MLPs of some layers read: (sequences, layers, tokens, hidden). Later layers are not run.

        Args:
            ids: (sequences, tokens) token ids.
            layers: ascending.
        """
        seen: list[Tensor] = []

        def keep(_module: Any, args: tuple[Tensor]) -> None:
            seen.append(args[0])
            if len(seen) == len(layers):
                raise _Enough

        hooks = [self.mlp(layer).register_forward_pre_hook(keep) for layer in layers]
        try:
            self.model.model(ids.to(self.device), use_cache=False)
        except _Enough:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack(seen, 1)

    @torch.no_grad()
    def gates(self, x: Tensor, layers: Sequence[int]) -> Tensor:
        """Activated gates of the neurons of some layers, side by side: (tokens, layers * neurons).

        Args:
            x: (layers, tokens, hidden) what the MLPs read.
            layers: whose MLPs.
        """
        mlps = [self.mlp(layer) for layer in layers]
        return torch.cat([mlp.act_fn(mlp.gate_proj(own)) for mlp, own in zip(mlps, x, strict=True)], -1)

    @torch.no_grad()
    def outputs(self, x: Tensor, layers: Sequence[int]) -> Tensor:
        """What the MLPs of some layers write: (layers, tokens, hidden); arguments as of ``gates``."""
        return torch.stack([self.mlp(layer)(own) for layer, own in zip(layers, x, strict=True)])


def load_teacher(name: str | Path, *, gguf_file: str | None = None, device: str | torch.device = "auto") -> Teacher:
    """Load a dense model of LLaMA's shape in float32.

    Args:
        name: a folder with config.json and safetensors, a name on a hub, or with ``gguf_file`` the file's folder.
        gguf_file: name of a GGUF file, which is de-quantised; needs the extra ``smollm``.
        device: as for ``workbench.device.read_device``.

    Raises:
        NotFoundError: there is no such model or file.
        DamagedError: its files cannot be read.
        UnsupportedError: it computes something that LLaMA's decoder layers do not, or a package is missing.

    Examples:
        >>> import tempfile
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from workbench.transcode import load_teacher
        >>> shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     LlamaForCausalLM(LlamaConfig(**shape, vocab_size=100)).save_pretrained(folder)
        ...     teacher = load_teacher(folder, device="cpu")
        >>> teacher.hidden, teacher.tokenizer is None
        (32, True)
    """
    with importing_transformers():
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from monet_model.mixed import check_llama_shaped

    options: dict[str, Any] = {}
    if gguf_file is None:
        folder = model_folder(name)
        known: Any = sorted(checkpoint_hashes(folder).items())
    else:
        folder = Path(name)
        if not (folder / gguf_file).is_file():
            raise NotFoundError(f"there is no GGUF file {folder / gguf_file}.")
        require("gguf", "smollm", "gguf, which reads GGUF files,")
        options["gguf_file"], known = gguf_file, sha256(folder / gguf_file)
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise DamagedError(f"the model {name} cannot be loaded: {error}") from error
    if gguf_file is not None:
        model = plain(model)
    try:
        check_llama_shaped(model)
    except ValueError as error:
        raise UnsupportedError(f"{name} cannot be transcoded: {error}") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    except (OSError, ValueError, KeyError):  # the folder has none
        tokenizer = None
    identity = hashlib.sha256(json.dumps(known).encode()).hexdigest()
    ready = model.eval().requires_grad_(False).to(read_device(device))
    return Teacher(ready, tokenizer, identity, str(name))


def plain(model: PreTrainedModel) -> PreTrainedModel:
    """A model read from GGUF as one that can be saved: the same weights, without a note that they were quantised."""
    settings = {k: v for k, v in model.config.to_dict().items() if k != "quantization_config"}
    made: PreTrainedModel = type(model)(type(model.config)(**settings))
    made.load_state_dict(model.state_dict())
    made.generation_config = model.generation_config
    return made
