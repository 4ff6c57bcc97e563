"""Random models of published shapes, and the processor time that something takes with them."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from monet_model import MonetConfig, MonetForCausalLM


def random_model(config: MonetConfig) -> MonetForCausalLM:
    """A random model whose router logits have a standard deviation of about 1, so that about moe_topk are active."""
    torch.manual_seed(0)
    model = MonetForCausalLM(config).eval()
    for layer in model.model.layers:
        if layer.router is not None:
            for w in (layer.router.w1, layer.router.w2):
                torch.nn.init.normal_(w.weight, std=config.hidden_size**-0.5)
    return model


def cpu_seconds(act: Callable[[], object]) -> float:
    """Return the seconds of processor time that a call takes."""
    begun = time.process_time()
    act()
    return time.process_time() - begun
