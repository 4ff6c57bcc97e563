"""A dense LLaMA-shaped model of the size of a Monet model, trained on the same tokens in the same order."""

from __future__ import annotations

import hashlib
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from monet_model.precision import bfloat16_products
from monet_model.train_state import Log, load_state, save_state
from monet_model.training import Sequences, TrainingConfig, heldout_loss, learning_rate, make_optimizer, read_config

from ..errors import BadInputError, NotFoundError
from ..memory import keep_heap
from ..progress import job

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM

    from monet_model import MonetConfig

HELDOUT_SEQUENCES = 32  # per label, whose loss is measured during training


def dense_config(monet: MonetConfig) -> LlamaConfig:
    """Return the LLaMA configuration of a Monet model's size: a gated MLP per layer instead of experts and router.

    Vocabulary, hidden size, layers, attention, norms and tying of the head stay the same. All layers have the MLP width
    that brings the number of parameters closest to the Monet model's.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from monet_model import MonetForCausalLM

    same = (
        *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
        *("max_position_embeddings", "rms_norm_eps", "rope_parameters", "tie_word_embeddings"),
        *("bos_token_id", "eos_token_id", "pad_token_id", "initializer_range"),
    )
    shape = {name: getattr(monet, name) for name in same}
    with torch.device("meta"):
        wanted = MonetForCausalLM(monet).num_parameters()
        one, two = (LlamaForCausalLM(LlamaConfig(**shape, intermediate_size=n)).num_parameters() for n in (1, 2))
    return LlamaConfig(**shape, intermediate_size=round((wanted - one) / (two - one)) + 1)


def train_dense(config: Path, corpus: Path, out: Path) -> LlamaForCausalLM:
    """Train the dense counterpart of a Monet model; ``out`` then holds it with its tokenizer and log.

    Seed, tokens, their order, steps, optimizer and learning rates are those of ``monet train``; without routers there
    are no auxiliary losses and no revivals. An interrupted training in ``out`` continues.

    Args:
        config: the Monet model's ``training.json``.
        corpus: folder with ``train/``, ``heldout/`` and ``tokenizer/``.
        out: folder for the result.

    Raises:
        BadInputError: the state in ``out`` is damaged or belongs to another training, or the loss stopped being finite.
    """
    from transformers import AutoTokenizer, LlamaForCausalLM

    from ..corpus import load_corpus
    from ..corpus.tokens import label_sequences, token_stream

    monet, how = read_config(config)
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    tokens = token_stream(load_corpus(corpus, "train"), tokenizer, how.seed)
    heldout = label_sequences(load_corpus(corpus, "heldout"), tokenizer, how.sequence, HELDOUT_SEQUENCES)
    sequences = Sequences(tokens, how.sequence, how.seed)
    keep_heap()
    torch.manual_seed(how.seed)
    model = LlamaForCausalLM(dense_config(monet)).train()
    optimizer = make_optimizer(model, how)
    identity = _identity(model.config, how, tokens.tobytes())
    out.mkdir(parents=True, exist_ok=True)
    try:
        done = load_state(out, model, optimizer, identity)
    except ValueError as error:
        raise BadInputError(str(error)) from error
    log, size = Log(out, done), how.sequence * how.batch
    threads = _Threads(model, how.replicas, how.autocast)
    began, first = time.monotonic(), done
    with job("training", how.steps * size, "tokens") as advance:
        advance(done * size)
        for step in range(done, how.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, how)
            loss = threads.step(sequences.batch(step, how.batch))
            norm = float(nn.utils.clip_grad_norm_(model.parameters(), how.clip))
            optimizer.step()
            optimizer.zero_grad()
            done = step + 1
            row: dict[str, Any] = {"step": done, "tokens": done * size, "lr": learning_rate(step, how)}
            row |= {"loss": loss, "grad_norm": norm}
            if not math.isfinite(row["loss"]):
                raise BadInputError(f"training diverged: the loss is {row['loss']} at step {step}.")
            last = done == how.steps
            if done % how.eval_every == 0 or last:
                row["heldout"] = {label: heldout_loss(model, rows) for label, rows in heldout.items()}
            if done % how.log_every == 0 or "heldout" in row:
                log.add(row | {"tokens_per_second": (done - first) * size / (time.monotonic() - began)})
            if done % how.save_every == 0 or last:
                save_state(out, model, optimizer, done, identity)
            advance(size, f"loss {row['loss']:.3f}")
    model.eval().save_pretrained(out)
    tokenizer.save_pretrained(out)
    return model


def load_dense(folder: Path) -> LlamaForCausalLM:
    """Load the model that ``train_dense`` saved in a folder, in float32 and in evaluation mode.

    Raises:
        NotFoundError: the folder holds none, as until a training has ended.
    """
    from transformers import LlamaForCausalLM

    if not (folder / "model.safetensors").is_file():
        raise NotFoundError(f"there is no trained model in {folder}; run the step `dense` to its end first.")
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)


class _Threads:
    """Threads that share a training step, each with a part of the batch; weights are shared, gradients averaged."""

    def __init__(self, model: LlamaForCausalLM, count: int, autocast: bool) -> None:
        self.autocast = autocast
        self.models = [model, *(deepcopy(model) for _ in range(count - 1))]
        for other in self.models[1:]:
            for own, shared in zip(other.parameters(), model.parameters(), strict=True):
                own.data = shared.data
        self.pool = ThreadPoolExecutor(count)

    def _run(self, model: LlamaForCausalLM, ids: Tensor) -> float:
        with bfloat16_products(ids.device, self.autocast):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        return float(loss.detach())

    def step(self, ids: Tensor) -> float:
        """Return the mean loss of a batch (sequences, tokens); its gradients are left in the first model."""
        losses = list(self.pool.map(self._run, self.models, ids.chunk(len(self.models))))
        with torch.no_grad():
            for first, *others in zip(*(model.parameters() for model in self.models), strict=True):
                for other in others:
                    first.grad.add_(other.grad)
                    other.grad = None
                first.grad.div_(len(self.models))
        return sum(losses) / len(losses)


def _identity(config: LlamaConfig, how: TrainingConfig, tokens: bytes) -> str:
    """Hash of everything that determines the weights."""
    shape = {name: value for name, value in config.to_dict().items() if name != "transformers_version"}
    digest = hashlib.sha256(json.dumps([asdict(how), shape], sort_keys=True, default=str).encode())
    digest.update(tokens)
    return digest.hexdigest()
