"""`python -m workbench.bench.circuit_truth RUN [--prompts 100] [--json]`: do circuits predict what ablating does?

Prompts are the beginnings of documents that `monet mask` measures on, which nothing was chosen by. The target is the
likeliest next token against the second. Each circuit's strongest nodes are zero-ablated one by one in the real model,
with everything recomputed, and the change of the target is ranked against four predictions: the circuit's, gradient
attribution, direct logit attribution, and a shuffled order of the circuit's. The nodes that each of them would have
chosen are ablated as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from ..analysis.attribution.direct import attribute
from ..analysis.attribution.gradient import attribute_gradient
from ..analysis.circuits.intervene import intervene
from ..analysis.circuits.trace import trace_circuit
from ..analysis.removal.heldout import HeldOut
from ..analysis.run_model import load_run_model
from ..progress import job
from ..store import open_run
from .common import Table, make_parser, print_result

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..progress import Progress
    from ..store import Run

KEY = ["layer", "position", "expert"]
LENGTH = 48  # tokens of a prompt
NODES = 1000  # of a circuit, among which the other methods choose
RANKED = ["circuit", "gradient", "direct", "shuffled"]
MASK_SEED = 0  # of the split into documents that experts are chosen on, and those that are measured on


def measure(run: Run, model: MonetForCausalLM, prompts: int, top: int, seed: int, progress: Progress) -> dict[str, Any]:
    """Ablate the strongest nodes of circuits, and rank the changes against predictions.

    Args:
        run: a run.
        model: its model, in evaluation mode.
        prompts: number of prompts, each of another document.
        top: nodes ablated per prompt and method.
        seed: of the prompts, the shuffles and the random nodes.
        progress: counts prompts.

    Returns:
        - prompts, top, tokens: the setting.
        - spearman: for each of ``circuit``, ``gradient``, ``direct`` and ``shuffled``, the mean over prompts of its
          rank correlation with the true changes, over the circuit's top nodes, with a 95 % interval (bootstrap over
          prompts).
        - logit_spearman: the same of a circuit that explains the likeliest token's logit alone, not a difference.
        - moved: mean absolute change of the target when one of the nodes is ablated that ``circuit``, ``gradient`` or
          ``direct`` ranks highest, or one of ``random``, drawn among the circuit's other nodes.
        - sign: fraction of the top nodes whose ablation changes the target in the predicted direction.
        - routing_changed, attention_moved: means over the ablations of the circuit's top nodes, as in ``intervene``.
        - held: fraction of these ablations in which no key of the routing changed, and ``spearman`` over those alone
          and over the others, all prompts together.
    """
    generator = np.random.default_rng(seed)
    rows, ranks = [], []
    for ids in _prompts(run, prompts, generator):
        rows.append(_ablations(model, ids, top, generator))
        ranks.append(_logit_rank(model, ids, top))
        progress(1)
    table = pd.concat(rows, keys=range(len(rows)), names=["prompt"]).reset_index("prompt")
    best = table[table["chosen"] == "circuit"]
    still = best["routing_changed"] == 0
    by_prompt = best.groupby("prompt")
    return {
        "prompts": len(rows),
        "top": top,
        "tokens": LENGTH,
        "spearman": {
            name: _mean(by_prompt.apply(lambda part, name=name: _rank(part, name)), generator) for name in RANKED
        },
        "logit_spearman": _mean(pd.Series(ranks), generator),
        "moved": {name: float(part["actual"].abs().mean()) for name, part in table.groupby("chosen")},
        "sign": float((np.sign(best["circuit"]) == np.sign(best["actual"])).mean()),
        "routing_changed": float(best["routing_changed"].mean()),
        "attention_moved": float(best["attention_moved"].mean()),
        "held": {
            "fraction": float(still.mean()),
            "spearman": _rank(best[still], "circuit"),
            "spearman_of_others": _rank(best[~still], "circuit"),
        },
    }


def _prompts(run: Run, prompts: int, generator: np.random.Generator) -> list[torch.Tensor]:
    """The first tokens of random documents that the mask's losses are measured on, (1, tokens) each."""
    measuring = HeldOut.split(run, MASK_SEED).measuring
    long = measuring.loc[measuring["tokens"] >= LENGTH, "doc"].to_numpy()
    chosen = generator.choice(long, min(prompts, len(long)), replace=False)
    return [torch.as_tensor(np.asarray(run.input_ids(int(doc)))[:LENGTH]).long()[None] for doc in chosen]


def _ablations(model: MonetForCausalLM, ids: torch.Tensor, top: int, generator: np.random.Generator) -> pd.DataFrame:
    """One row per node ablated and method that chose it: what each method predicts, and what happens."""
    target = _target(model, ids)
    circuit = trace_circuit(model, ids, target, nodes=NODES)
    nodes = circuit.nodes[circuit.nodes["kind"] == "expert"].set_index("node")
    nodes = nodes.assign(circuit=-nodes["value"])  # what ablating changes
    for name, table in (
        ("gradient", attribute_gradient(model, ids, target)),
        ("direct", attribute(model, ids, target).experts),
    ):
        known = table.set_index(KEY)["contribution"].reindex(pd.MultiIndex.from_frame(nodes[KEY]), fill_value=0.0)
        nodes[name] = -known.to_numpy()
    chosen = {name: nodes[name].abs().nlargest(top).index for name in ("circuit", "gradient", "direct")}
    chosen["random"] = pd.Index(generator.choice(nodes.index.difference(chosen["circuit"]), top, replace=False))
    ablated = sorted(set().union(*chosen.values()))
    measured = intervene(model, circuit, [[node] for node in ablated]).set_index(pd.Index(ablated))
    tables = []
    for name, mine in chosen.items():
        table = nodes.loc[mine, ["circuit", "gradient", "direct"]].join(measured)
        shuffled = generator.permutation(table["circuit"].to_numpy())
        tables.append(table.assign(chosen=name, shuffled=shuffled))
    return pd.concat(tables, ignore_index=True)


def _logit_rank(model: MonetForCausalLM, ids: torch.Tensor, top: int) -> float:
    circuit = trace_circuit(model, ids, _target(model, ids)[0], nodes=top)
    nodes = circuit.nodes["node"][circuit.nodes["kind"] == "expert"]
    measured = intervene(model, circuit, [[node] for node in nodes])
    return float(spearmanr(measured["predicted"], measured["actual"]).statistic)


@torch.no_grad()
def _target(model: MonetForCausalLM, ids: torch.Tensor) -> tuple[int, int]:
    """The two likeliest next tokens."""
    first, second = model(ids, logits_to_keep=1, use_cache=False).logits[0, -1].topk(2).indices.tolist()
    return first, second


def _rank(part: pd.DataFrame, name: str) -> float:
    return float(spearmanr(part[name], part["actual"]).statistic)


def _mean(values: pd.Series, generator: np.random.Generator) -> dict[str, float]:
    """Mean, and the 95 % interval of bootstrap resamples over prompts."""
    known: NDArray[np.float64] = values.dropna().to_numpy(np.float64)
    means = generator.choice(known, (2000, len(known))).mean(1)
    return {
        "mean": float(known.mean()),
        "low": float(np.quantile(means, 0.025)),
        "high": float(np.quantile(means, 0.975)),
    }


def tables(result: dict[str, Any]) -> list[Table]:
    """The result as tables."""
    title = (
        f"{result['prompts']} prompts of {result['tokens']} tokens, {result['top']} nodes each: rank correlation of "
        "what is predicted with what ablating does"
    )

    def row(name: str, one: dict[str, float]) -> list[str]:
        return [name, f"{one['mean']:.2f}", f"{one['low']:.2f} to {one['high']:.2f}"]

    ranks = [row(name, one) for name, one in result["spearman"].items()]
    ranks.append(row("circuit of a logit alone", result["logit_spearman"]))
    moved = [[name, f"{value:.4f}"] for name, value in sorted(result["moved"].items(), key=lambda one: -one[1])]
    held = result["held"]
    rest = [
        ["changes in the predicted direction", f"{result['sign']:.1%}"],
        ["keys of the routing that change", f"{result['routing_changed']:.2%}"],
        ["attention that moves", f"{result['attention_moved']:.2%}"],
        ["ablations that change no key", f"{held['fraction']:.1%}"],
        ["  rank correlation of these", f"{held['spearman']:.2f}"],
        ["  rank correlation of the others", f"{held['spearman_of_others']:.2f}"],
    ]
    return [
        (title, ["prediction", "Spearman", "95 % interval"], ranks),
        ("Mean absolute change of the target, per ablated node, by who chose it", ["chosen by", "logits"], moved),
        ("Where what is held misleads", ["", ""], rest),
    ]


def main(argv: list[str] | None = None) -> None:
    """Run the study and print its tables, or one JSON document."""
    parser = make_parser("circuit_truth", __doc__)
    parser.add_argument("run", help="folder of an exported run")
    parser.add_argument("--prompts", type=int, default=100, help="documents (100)")
    parser.add_argument("--top", type=int, default=50, help="nodes ablated per prompt and method (50)")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts (0)")
    options = parser.parse_args(argv)
    run = open_run(options.run)
    with job("circuits", options.prompts, "prompts") as progress:
        result = measure(run, load_run_model(run), options.prompts, options.top, options.seed, progress)
    print_result(result, tables(result), options.json)


if __name__ == "__main__":
    main()
