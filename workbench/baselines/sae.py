"""A plain top-k sparse autoencoder of the residual stream in the middle of a dense model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from ..progress import job
from ..store.files import write_json

if TYPE_CHECKING:
    import numpy as np
    from transformers import LlamaForCausalLM

    from monet_model import MonetForCausalLM

WEIGHTS, SETTINGS = "sae.safetensors", "sae.json"
MEAN_TOKENS = 16_384  # from which the mean and the scale of activations are estimated


@dataclass(frozen=True)
class SaeSettings:
    """Shape and training of an autoencoder.

    Attributes:
        width: number of features.
        k: features active per token.
        tokens: activations to train on.
        batch: sequences per step.
        sequence: tokens per sequence.
        lr: learning rate of Adam; it falls linearly to 0 over the last fifth.
        seed: of the order of sequences and the initial weights.
    """

    width: int = 4096
    k: int = 32
    tokens: int = 3_072_000
    batch: int = 16
    sequence: int = 256
    lr: float = 1e-3
    seed: int = 0

    @property
    def steps(self) -> int:
        """Training steps."""
        return self.tokens // (self.batch * self.sequence)


class TopKSae(nn.Module):
    """``x ~ scale (sum_f a_f d_f + b)``, a being the ``k`` largest of ``relu(W (x / scale - b))``; the rest are 0.

    As Gao et al. 2024 (arXiv 2406.04093, section 2.3) define it, without their auxiliary loss. Directions ``d_f`` have
    unit length.

    Args:
        width: hidden size of the model.
        features: number of features.
        k: features active per token.
    """

    scale: Tensor

    def __init__(self, width: int, features: int, k: int) -> None:
        super().__init__()
        self.k = k
        self.bias = nn.Parameter(torch.zeros(width))
        self.decoder = nn.Parameter(nn.functional.normalize(torch.randn(features, width), dim=-1))
        self.encoder = nn.Parameter(self.decoder.detach().clone())
        self.register_buffer("scale", torch.ones(()))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the active features of residual streams (tokens, width), and their activations: (tokens, k) each."""
        values, features = ((x / self.scale - self.bias) @ self.encoder.T).topk(self.k, sorted=False)
        return features, values.relu()

    def write(self, features: Tensor, values: Tensor) -> Tensor:
        """Return what features write into the stream, without the bias: (tokens, width)."""
        return self.scale * embedding_bag(features, self.decoder, per_sample_weights=values, mode="sum")

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction (tokens, width)."""
        return self.write(*self.encode(x)) + self.scale * self.bias

    @torch.no_grad()
    def normalise(self) -> None:
        """Rescale the directions to unit length."""
        self.decoder.copy_(nn.functional.normalize(self.decoder, dim=-1))


def middle_layer(model: LlamaForCausalLM | MonetForCausalLM) -> int:
    """Return the layer after which the autoencoder reads: the last one of the first half."""
    return int(model.config.num_hidden_layers) // 2 - 1


@torch.no_grad()
def residual(model: LlamaForCausalLM, ids: Tensor) -> Tensor:
    """Return the residual stream after the middle layer, (sequences, tokens, hidden)."""
    states = model.model(ids, use_cache=False, output_hidden_states=True).hidden_states
    assert states is not None
    stream: Tensor = states[middle_layer(model) + 1]
    return stream


def train_sae(model: LlamaForCausalLM, tokens: np.ndarray, out: Path, settings: SaeSettings) -> TopKSae:
    """Train an autoencoder on a dense model's activations over its own training tokens; ``out`` then holds it.

    Args:
        model: the dense model, in evaluation mode.
        tokens: (n,) the token stream.
        out: folder for the weights and ``SETTINGS``, which holds the settings and ``dead``, the fraction of
            features that were never active in the last fifth of the training.
        settings: of the autoencoder and its training.

    Returns:
        The autoencoder, in evaluation mode.
    """
    from monet_model.training import Sequences

    sequences = Sequences(tokens, settings.sequence, settings.seed + 1)  # not in the order of the model's training
    torch.manual_seed(settings.seed)
    sae = TopKSae(model.config.hidden_size, settings.width, settings.k)
    sample = residual(model, sequences.batch(0, MEAN_TOKENS // settings.sequence)).flatten(0, 1)
    sae.scale.copy_(sample.var(0, correction=0).sum().sqrt())
    with torch.no_grad():
        sae.bias.copy_(sample.mean(0) / sae.scale)
    optimizer = torch.optim.Adam(sae.parameters(), lr=settings.lr)
    last_fifth = settings.steps - settings.steps // 5
    used = torch.zeros(settings.width, dtype=torch.bool)
    with job("autoencoder", settings.steps * settings.batch * settings.sequence, "tokens") as advance:
        for step in range(settings.steps):
            x = residual(model, sequences.batch(step, settings.batch)).flatten(0, 1)
            features, values = sae.encode(x)
            error = (sae.write(features, values) + sae.scale * sae.bias - x) / sae.scale
            loss = error.square().sum(-1).mean()  # the fraction of variance unexplained
            optimizer.param_groups[0]["lr"] = settings.lr * min(1.0, (settings.steps - step) / (settings.steps / 5))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sae.normalise()
            if step >= last_fifth:
                used[features[values > 0]] = True
            advance(len(x), f"unexplained {float(loss.detach()):.3f}")
    save_sae(sae, asdict(settings) | {"dead": 1 - float(used.float().mean())}, out)
    return sae.eval()


def save_sae(sae: TopKSae, about: dict[str, float], out: Path) -> None:
    """Save an autoencoder and its settings in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    save_file(sae.state_dict(), out / WEIGHTS)
    write_json(out / SETTINGS, about)


def load_sae(folder: Path) -> tuple[TopKSae, dict[str, float]]:
    """Load the autoencoder that ``save_sae`` saved in a folder, in float32, and its settings."""
    about = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    weights = {name: values.float() for name, values in load_file(folder / WEIGHTS).items()}
    sae = TopKSae(weights["decoder"].shape[1], len(weights["decoder"]), about["k"])
    sae.load_state_dict(weights)
    return sae.eval(), about
