"""`python -m workbench.bench.precision RUN [--json]`: what a model in half precision does otherwise than in float32.

Both read the same documents of a run: how far the keys that their routers choose agree, how much routing scores and
losses differ, and, where a label is named, how exclusive the knowledge of its experts is in either.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..analysis import mask_labels
from ..analysis.divergence.divergence import sample_documents
from ..analysis.run_model import load_run_model
from ..analysis.windows import Batch, read_windows
from ..device import DTYPES
from ..progress import Progress, job, silent
from ..store import open_run
from .common import Table, make_parser, print_result

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run

DOCUMENTS = 70


@torch.inference_mode()
def compare(
    run: Run, exact: MonetForCausalLM, narrow: MonetForCausalLM, documents: int, advance: Progress = silent
) -> dict[str, Any]:
    """Compare what two models of one run do at the same tokens.

    Returns:
        JSON types:

        - tokens: token rows compared.
        - shared: by group, the share of active keys (of a token, head and set) that both have, of all that either has.
        - same_top: by group, the share of tokens, heads and sets whose likeliest key is the same.
        - probability: by group, the mean absolute difference of the probabilities of keys that both have.
        - kl: mean divergence, in nats per token, of the narrow model's next-token distribution from the exact one's.
        - loss, loss_narrow: mean loss of either, in nats per predicted token.
        - same_token: share of positions at which both rank the same token first.
    """
    import pandas as pd

    windows = read_windows(run, pd.DataFrame({"doc": sample_documents(run, documents)}))
    groups = len(run.groups)
    both, either, top, seen = (np.zeros(groups) for _ in range(4))
    apart, sums, tokens = np.zeros(groups), np.zeros(4), 0
    for batch in windows.batches:
        found = [_read(model, batch) for model in (exact, narrow)]
        for group, (ours, theirs) in enumerate(zip(found[0][0], found[1][0], strict=True)):
            active, others = ours > 0, theirs > 0
            common = active & others
            both[group] += int(common.sum())
            either[group] += int((active | others).sum())
            top[group] += int((ours.argmax(-1) == theirs.argmax(-1)).sum())
            seen[group] += ours[..., 0].numel()
            apart[group] += float((ours - theirs).abs()[common].sum())
        first, second = found[0][1], found[1][1]
        predicted = batch.predicted
        next_ids = batch.ids[:, 1:][predicted]
        p, q = (one[:, :-1][predicted].double().log_softmax(-1) for one in (first, second))
        sums[0] += float((p.exp() * (p - q)).sum())
        sums[1:3] -= [float(one.gather(-1, next_ids[:, None]).sum()) for one in (p, q)]
        sums[3] += int((p.argmax(-1) == q.argmax(-1)).sum())
        tokens += len(next_ids)
        advance(len(next_ids))
    kl, loss, loss_narrow, same = (sums / max(tokens, 1)).tolist()
    return {
        "tokens": tokens,
        "shared": (both / either).tolist(),
        "same_top": (top / seen).tolist(),
        "probability": (apart / np.maximum(both, 1)).tolist(),
        "kl": kl,
        "loss": loss,
        "loss_narrow": loss_narrow,
        "same_token": same,
    }


def _read(model: MonetForCausalLM, batch: Batch) -> tuple[list[Tensor], Tensor]:
    """The dense routing of each group at real tokens, (tokens, sets * heads, keys), and the logits, on the host."""
    out = model(batch.ids.to(model.device), use_cache=False, output_router_probs=True)
    routing = [
        torch.cat([side[batch.real.to(side.device)] for side in sides], 1).float().cpu()
        for sides in out.router_probs
        if sides is not None
    ]
    return routing, out.logits.float().cpu()


def exclusivity(run: Run, model: MonetForCausalLM, label: str) -> dict[str, float]:
    """The rise of the losses of a label and of all others, in nats per token, without the label's experts."""
    result = mask_labels(run, model, labels=[label], progress=True)
    return {"target": result.delta_target, "others": result.delta_others, "selectivity": result.selectivity}


def tables(result: dict[str, Any]) -> list[Table]:
    """The result as tables."""
    title = f"{result['dtype']} beside float32, {result['tokens']:,} tokens"
    rows = [
        [
            f"group {group}",
            *(f"{result[name][group]:.4f}" for name in ("shared", "same_top")),
            f"{result['probability'][group]:.1e}",
        ]
        for group in range(len(result["shared"]))
    ]
    found = [(title, ["", "active keys shared", "same first key", "difference of probabilities"], rows)]
    losses = [
        ["loss, float32", f"{result['loss']:.4f}", "nats per token"],
        [f"loss, {result['dtype']}", f"{result['loss_narrow']:.4f}", "nats per token"],
        ["divergence", f"{result['kl']:.1e}", "nats per token"],
        ["same token first", f"{result['same_token']:.4f}", "of positions"],
    ]
    found.append(("Next tokens", ["", "", ""], losses))
    if "exclusivity" in result:
        head = ["", "rise of the label's loss", "of the others'", "selectivity"]
        lines = [
            [name, *(f"{one[part]:.4f}" for part in ("target", "others", "selectivity"))]
            for name, one in result["exclusivity"].items()
        ]
        found.append((f"Without the experts of {result['label']}", head, lines))
    return found


def main(argv: list[str] | None = None) -> None:
    """Compare and print."""
    parser = make_parser("precision", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--device", default="auto", help="where both run (auto)")
    parser.add_argument("--dtype", choices=DTYPES[2:], default="bfloat16", help="what is compared (bfloat16)")
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help=f"spread over the labels ({DOCUMENTS})")
    parser.add_argument("--label", help="also ablate the experts of this label, with both")
    options = parser.parse_args(argv)
    run = open_run(options.run)
    exact, narrow = (load_run_model(run, device=options.device, dtype=name) for name in ("float32", options.dtype))
    with job("compare", int(run.documents["tokens"].sum()), "tokens", True) as advance:
        result = compare(run, exact, narrow, options.documents, advance) | {"dtype": options.dtype}
    if options.label is not None:
        both = {"float32": exact, options.dtype: narrow}
        found = {name: exclusivity(run, model, options.label) for name, model in both.items()}
        result |= {"label": options.label, "exclusivity": found}
    print_result(result, tables(result), options.json)


if __name__ == "__main__":
    main()
