"""`python -m workbench.bench.attribution [MODEL] [--json]`: completeness and time of direct logit attribution.

On random prompts, for the model's own next token, beside the forward pass alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ..analysis.attribution.direct import Attribution, attribute
from ..checkpoint import load_model
from ..demo import DEMO
from .clock import Clock
from .common import Table, add_place, make_parser, place_of, print_result

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

WARM_UP = 3  # prompts that are not timed
TOP = 20  # experts


def measure(model: MonetForCausalLM, tokens: int, prompts: int, seed: int) -> dict[str, Any]:
    """Measure attributing the model's own next token to its top experts, over random prompts.

    Args:
        model: in evaluation mode.
        tokens: length of a prompt.
        prompts: number of prompts that are timed.
        seed: of the prompts.

    Returns:
        - device, dtype: where the model runs and in which precision.
        - tokens, prompts, threads: the setting.
        - active_experts: mean number of experts with a contribution.
        - completeness: largest difference between a logit and the sum of its contributions.
        - attribution_ms: median milliseconds of an attribution, from the forward pass to the table of the top experts.
        - forward_ms: median milliseconds of that forward pass alone.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(model.config.vocab_size, (WARM_UP + prompts, 1, tokens), generator=generator).to(model.device)
    attributions, attribution_ms = _timed(lambda prompt: _top(model, prompt), ids)
    with torch.no_grad():
        _, forward_ms = _timed(lambda prompt: model(prompt, logits_to_keep=1, use_cache=False), ids)
    return place_of(model) | {
        "tokens": tokens,
        "prompts": prompts,
        "threads": torch.get_num_threads(),
        "active_experts": sum(len(a.experts) for a in attributions) / prompts,
        "completeness": max(a.completeness for a in attributions),
        "attribution_ms": attribution_ms,
        "forward_ms": forward_ms,
    }


def _top(model: MonetForCausalLM, prompt: torch.Tensor) -> Attribution:
    attribution = attribute(model, prompt)
    attribution.top(TOP)
    return attribution


def _timed(function: Callable[[torch.Tensor], Any], prompts: torch.Tensor) -> tuple[list[Any], float]:
    """Results for all but the first prompts, and the median of their milliseconds."""
    for prompt in prompts[:WARM_UP]:
        function(prompt)
    clock = Clock("attribution", device=prompts.device)
    results = [clock.time(partial(function, prompt)) for prompt in prompts[WARM_UP:]]
    return results, clock.summary()["p50_ms"]


def tables(result: dict[str, Any]) -> list[Table]:
    """The result as tables."""
    title = (
        f"Attribution of {result['prompts']} prompts of {result['tokens']} tokens, model in {result['dtype']} on "
        f"{result['device']}, {result['threads']} threads of torch"
    )
    rows = [
        ["attribution, with its forward pass", f"{result['attribution_ms']:,.1f}", "ms, median"],
        ["forward pass alone", f"{result['forward_ms']:,.1f}", "ms, median"],
        ["experts with a contribution", f"{result['active_experts']:,.0f}", "mean"],
        ["|logit - sum of contributions|", f"{result['completeness']:.1e}", "largest"],
    ]
    return [(title, ["", "", ""], rows)]


def main(argv: list[str] | None = None) -> None:
    """Run the bench and print its tables, or one JSON document."""
    parser = make_parser("attribution", __doc__)
    parser.add_argument("model", nargs="?", default=str(DEMO), help="folder or hub name; the demo model by default")
    parser.add_argument("--tokens", type=int, default=128, help="tokens per prompt (128)")
    parser.add_argument("--prompts", type=int, default=30, help="prompts that are timed (30)")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts (0)")
    add_place(parser)
    options = parser.parse_args(argv)
    model = load_model(options.model, device=options.device, dtype=options.dtype)
    result = measure(model, options.tokens, options.prompts, options.seed)
    print_result(result, tables(result), options.json)


if __name__ == "__main__":
    main()
