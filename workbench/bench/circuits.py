"""`python -m workbench.bench.circuits [MODEL] [--large] [--json]`: time, memory and completeness of tracing a circuit.

On random prompts, for the model's own next token, each circuit with all of its edges, beside the forward pass alone.
``--large`` takes a random model of the 1.4B shape instead, traced in float32, one prompt of 64 tokens and 2,000 nodes.
"""

from __future__ import annotations

import resource
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from monet_model.device import device_name

from ..analysis.circuits.trace import circuit_memory, trace_circuit
from ..checkpoint import load_model
from ..demo import DEMO
from ..device import read_device, read_dtype
from .clock import Clock
from .common import Table, add_place, dtype_name, make_parser, print_result

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

# The 1.4B model of the paper (arXiv 2412.04139, table 6), but for its vocabulary, which no edge reads.
LARGE: dict[str, Any] = {
    "vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16, "moe_dim": 16,
    "moe_heads": 8, "moe_experts": 512, "moe_topk": 8, "moe_groups": 4, "max_position_embeddings": 2048,
}  # fmt: skip


def measure(
    model: MonetForCausalLM, tokens: int, nodes: int, prompts: int, seed: int, dtype: torch.dtype = torch.float64
) -> dict[str, Any]:
    """Trace the circuits of random prompts.

    Args:
        model: in evaluation mode.
        tokens: length of a prompt.
        nodes: experts that become nodes.
        prompts: number of prompts that are timed, after one that is not.
        seed: of the prompts.
        dtype: what is traced in, whatever the model's own precision.

    Returns:
        - device, model_dtype: where the model runs and in which precision.
        - tokens, nodes, prompts, threads, dtype: the setting.
        - edges: mean number of edges.
        - completeness: the worst of the circuits.
        - rest_value: mean fraction of the absolute value of the experts' nodes and the rest's that is the rest's.
        - trace_ms, forward_ms: median milliseconds of tracing, forward pass included, and of that pass alone.
        - estimated_bytes, peak_bytes: what ``circuit_memory`` says, and by how much the peak memory rose: of the GPU,
          if the model is on one, or else of the process.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(model.config.vocab_size, (prompts + 1, 1, tokens), generator=generator).to(model.device)
    estimate = circuit_memory(model, tokens, nodes, dtype)
    with torch.no_grad():
        model(ids[0], logits_to_keep=1, use_cache=False)
    before = _peak(model.device)
    clocks = {name: Clock(name, device=model.device) for name in ("trace", "forward")}
    circuits = []
    for number, prompt in enumerate(ids):
        ask = partial(trace_circuit, model, prompt, nodes=nodes, dtype=dtype, max_memory=4 * estimate)
        circuit = clocks["trace"].time(ask) if number else ask()
        if number:
            circuits.append(circuit)
        with torch.no_grad():
            clocks["forward"].time(partial(model, prompt, logits_to_keep=1, use_cache=False))
    size = [circuit.nodes.groupby("kind", observed=True)["value"].agg(lambda v: v.abs().sum()) for circuit in circuits]
    return {
        "device": device_name(model.device),
        "model_dtype": dtype_name(model.dtype),
        "tokens": tokens,
        "nodes": nodes,
        "prompts": prompts,
        "threads": torch.get_num_threads(),
        "dtype": dtype_name(dtype),
        "edges": sum(len(circuit.edges) for circuit in circuits) / prompts,
        "completeness": max(circuit.completeness for circuit in circuits),
        "rest_value": sum(float(one["rest"] / (one["rest"] + one["expert"])) for one in size) / prompts,
        "trace_ms": clocks["trace"].summary()["p50_ms"],
        "forward_ms": clocks["forward"].summary()["p50_ms"],
        "estimated_bytes": estimate,
        "peak_bytes": _peak(model.device) - before,
    }


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def tables(result: dict[str, Any]) -> list[Table]:
    """The result as tables."""
    title = (
        f"Circuits of {result['prompts']} prompts of {result['tokens']} tokens, {result['nodes']:,} nodes, in "
        f"{result['dtype']}, model in {result['model_dtype']} on {result['device']}, {result['threads']} threads of "
        "torch"
    )
    rows = [
        ["tracing, with its forward pass", f"{result['trace_ms']:,.0f}", "ms, median"],
        ["forward pass alone", f"{result['forward_ms']:,.1f}", "ms, median"],
        ["edges", f"{result['edges']:,.0f}", "mean"],
        ["completeness", f"{result['completeness']:.1e}", "worst relative error of a node"],
        ["value of experts in rest nodes", f"{result['rest_value']:.1%}", "mean, of all experts' absolute value"],
        ["memory, as estimated before", f"{result['estimated_bytes'] / 1e9:.2f}", "GB"],
        ["rise of the peak memory", f"{result['peak_bytes'] / 1e9:.2f}", "GB"],
    ]
    return [(title, ["", "", ""], rows)]


def main(argv: list[str] | None = None) -> None:
    """Run the bench and print its table, or one JSON document."""
    parser = make_parser("circuits", __doc__)
    parser.add_argument("model", nargs="?", default=str(DEMO), help="folder or hub name; the demo model by default")
    parser.add_argument("--large", action="store_true", help="a random model of the 1.4B shape instead")
    parser.add_argument("--tokens", type=int, help="tokens per prompt (128; 64 with --large)")
    parser.add_argument("--nodes", type=int, help="experts that become nodes (512; 2,000 with --large)")
    parser.add_argument("--prompts", type=int, help="prompts that are timed (5; 1 with --large)")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts (0)")
    add_place(parser)
    options = parser.parse_args(argv)
    if options.large:
        from monet_model import MonetConfig
        from monet_model.bench import PUBLISHED, settled

        device = read_device(options.device)
        model = settled(MonetConfig(**LARGE), device, read_dtype(options.dtype, device, PUBLISHED))
        dtype, setting = torch.float32, (64, 2000, 1)
    else:
        model = load_model(options.model, device=options.device, dtype=options.dtype)
        dtype, setting = torch.float64, (128, 512, 5)
    given = (options.tokens, options.nodes, options.prompts)
    tokens, nodes, prompts = (usual if value is None else value for value, usual in zip(given, setting, strict=True))
    result = measure(model, tokens, nodes, prompts, options.seed, dtype)
    print_result(result, tables(result), options.json)


if __name__ == "__main__":
    main()
