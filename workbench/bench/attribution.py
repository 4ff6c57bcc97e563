"""`python -m workbench.bench.attribution [MODEL]`: completeness and time of direct attribution, on random prompts."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from ..analysis.attribution.direct import Attribution, attribute
from ..checkpoint import load_model
from ..demo import DEMO

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

WARM_UP = 3  # prompts that are not timed
TOP = 20


def measure(model: MonetForCausalLM, tokens: int, prompts: int, seed: int) -> dict[str, Any]:
    """Figures of attributing the model's own next token to its top experts, over random prompts.

    Returns:
        tokens, prompts and threads; active_experts, the mean number with a contribution; completeness, the largest
        difference between a logit and the sum of its contributions; and in milliseconds, medians: attribution (with its
        forward pass, to the table of the top experts) and forward (that pass alone).
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(model.config.vocab_size, (WARM_UP + prompts, 1, tokens), generator=generator)
    found, attribution = _timed(lambda prompt: _top(model, prompt), ids)
    with torch.no_grad():
        _, forward = _timed(lambda prompt: model(prompt, logits_to_keep=1, use_cache=False), ids)
    return {
        "tokens": tokens,
        "prompts": prompts,
        "threads": torch.get_num_threads(),
        "active_experts": sum(len(one.experts) for one in found) / prompts,
        "completeness": max(one.completeness for one in found),
        "attribution_ms": attribution,
        "forward_ms": forward,
    }


def _top(model: MonetForCausalLM, prompt: torch.Tensor) -> Attribution:
    found = attribute(model, prompt)
    found.top(TOP)
    return found


def _timed(function: Callable[[torch.Tensor], Any], prompts: torch.Tensor) -> tuple[list[Any], float]:
    """Results, and the median of the milliseconds, of all but the first prompts."""
    results, times = [], []
    for number, prompt in enumerate(prompts):
        start = time.perf_counter()
        result = function(prompt)
        if number >= WARM_UP:
            results.append(result)
            times.append((time.perf_counter() - start) * 1000)
    return results, median(times)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=str(DEMO), help="folder or hub name; the demo model by default")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompts", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(json.dumps(measure(load_model(given.model), given.tokens, given.prompts, given.seed), indent=2))


if __name__ == "__main__":
    main()
