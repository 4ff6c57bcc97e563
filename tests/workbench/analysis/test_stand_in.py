"""The analyses on a GPU that is not there: the processor's results, no tensor left on the host, and every wait named.

Loops over batches wait for what the ops read, and for nothing else. Everything that reads one prompt may wait where
``ALLOWED`` says, each time for the reason that stands there.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench import open_run
from workbench.analysis import (
    Prompt,
    ablate,
    ablation_cost,
    attribute,
    attribute_corpus,
    attribute_gradient,
    attribute_neurons,
    generate_text,
    intervene,
    mask_labels,
    open_mlp,
    output_directions,
    purge_scores,
    react,
    read_prompt,
    removal_curve,
    token_divergence,
    trace_circuit,
)
from workbench.analysis.circuits.heads import open_edge
from workbench.analysis.correlation.continuations import Sampling, sample_texts
from workbench.analysis.removal.heldout import HeldOut
from workbench.analysis.removal.losses import document_losses, split_losses
from workbench.analysis.windows import Windows, read_windows
from workbench.store import Run

from ...stand_in.gpu import Gpu, moved

IDS = torch.tensor([[1, 20, 30, 44, 50]])
GROUPS, LAYERS = 2, 4  # of the golden models
NUMBERS = "cuda_ext/sparse.py:read_numbers to the host"
OF_PASS = {NUMBERS: 2 * GROUPS + LAYERS}  # what the ops read of a forward pass; see the tests of the model

ALLOWED = {
    # What the ops read.
    NUMBERS: "widths of lists of active keys, and whether lists are sound",
    "cuda_ext/ops/contributions.py:_contributions local_scalar_dense": "how many pairs a token has at most",
    "cuda_ext/reference/pairs.py:active_pairs index": "float64 has no kernel: the definition lists the active pairs",
    "cuda_ext/reference/pairs.py:active_pairs unique2": "the same: pairs that several heads reach",
    "cuda_ext/reference/pairs.py:strongest index": "the same",
    # What is copied once.
    "monet_model/edits.py:apply_edits to the GPU": "an edit, when it begins",
    "workbench/analysis/attribution/target.py:at to the GPU": "the target's token ids and weights",
    "workbench/analysis/attribution/target.py:check_ids to the GPU": "the prompt",
    "workbench/analysis/attribution/target.py:check_ids local_scalar_dense": "whether the prompt's ids are the model's",
    "workbench/analysis/attribution/target.py:_gradient local_scalar_dense": "whether a function has a finite gradient",
    "workbench/analysis/attribution/direct.py:attribute to the GPU": "the place of the last token",
    "workbench/analysis/checks.py:_check_routing to the GPU": "a window of the run, to see whether it is the model's",
    "workbench/analysis/checks.py:<listcomp> to the GPU": "the run's routing of it",
    "workbench/analysis/checks.py:<genexpr> local_scalar_dense": "how many active keys are the same",
    # What is returned as numbers and tables.
    "workbench/analysis/attribution/contributions.py:expert_contributions nonzero": "which experts are active",
    "workbench/analysis/attribution/corpus.py:_add local_scalar_dense": "the logits of a batch's occurrences",
    "workbench/analysis/attribution/corpus.py:_add to the host": "what attention and embeddings add to them",
    "workbench/analysis/attribution/direct.py:<genexpr> to the host": "a layer's experts; summed on the host, in order",
    "workbench/analysis/attribution/direct.py:attribute local_scalar_dense": "the logit, and the likeliest token",
    "workbench/analysis/attribution/direct.py:attribute to the host": "what attention and embedding add",
    "workbench/analysis/attribution/gradient.py:<dictcomp> to the host": "a layer's experts",
    "workbench/analysis/attribution/gradient.py:ablate to the host": "the changes, together",
    "workbench/analysis/circuits/edges.py:_listed nonzero": "which nodes have an edge",
    "workbench/analysis/circuits/edges.py:_listed to the host": "edges, which are many and kept on the host",
    "workbench/analysis/circuits/edges.py:batches local_scalar_dense": "the last position of some readers",
    "workbench/analysis/circuits/edges.py:edges_into local_scalar_dense": "the same, of a batch of them",
    "workbench/analysis/circuits/edges.py:places to the host": "a layer's nodes by position, once",
    "workbench/analysis/circuits/heads.py:open_edge local_scalar_dense": "the edge's weight beside attention",
    "workbench/analysis/circuits/heads.py:open_edge to the GPU": "the source's position",
    "workbench/analysis/circuits/heads.py:open_edge to the host": "weights by head",
    "workbench/analysis/circuits/heads.py:<genexpr> to the GPU": "position and number of an expert",
    "workbench/analysis/circuits/held.py:<genexpr> local_scalar_dense": "the targets' sum",
    "workbench/analysis/circuits/held.py:__init__ to the GPU": "the circuit's prompt and the targets' positions",
    "workbench/analysis/circuits/held.py:read to the GPU": "the targets' positions",
    "workbench/analysis/circuits/intervene.py:_next_tokens unique2": "the likeliest tokens before and after",
    "workbench/analysis/circuits/intervene.py:<dictcomp> to the host": "these, and their probabilities",
    "workbench/analysis/circuits/intervene.py:attention_moved to the host": "one number of an intervention",
    "workbench/analysis/circuits/intervene.py:nodes_after to the host": "what a layer's nodes write",
    "workbench/analysis/circuits/intervene.py:predict local_scalar_dense": "one number of an intervention",
    "workbench/analysis/circuits/intervene.py:routing_changed to the host": "two numbers of an intervention",
    "workbench/analysis/attribution/neurons.py:attribute_neurons to the host": "a layer's neurons",
    "workbench/analysis/circuits/neurons.py:open_mlp to the host": "the neurons of an MLP",
    "workbench/analysis/circuits/selection.py:select_nodes index": "which of the chosen experts are a layer's",
    "workbench/analysis/circuits/trace.py:_constants to the host": "edges from a layer's biases",
    "workbench/analysis/circuits/trace.py:_graph to the GPU": "the targets' positions",
    "workbench/analysis/circuits/trace.py:_graph to the host": "a layer's margins",
    "workbench/analysis/circuits/trace.py:_node_table to the GPU": "the targets' positions",
    "workbench/analysis/circuits/trace.py:_node_table to the host": "a layer's nodes",
    "workbench/analysis/circuits/trace.py:_told local_scalar_dense": "the logit and probability of a target",
    "workbench/analysis/circuits/trace.py:trace_circuit local_scalar_dense": "the likeliest token",
    "workbench/analysis/circuits/trace.py:trace_circuit to the host": "the prompt's ids",
}


@pytest.fixture(autouse=True)
def _short_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several windows to a batch, and several batches to a loop."""
    monkeypatch.setattr("workbench.analysis.windows.BATCH_TOKENS", 256)


@pytest.fixture
def there(model: MonetForCausalLM) -> MonetForCausalLM:
    """The model of ``exported`` on the stand-in."""
    return moved(model)


@pytest.fixture
def windows(run: Run) -> Windows:
    """All documents of the run."""
    read = read_windows(run, run.documents)
    assert len(read.batches) > 3
    return read


def _edits(run: Run) -> dict[int, torch.Tensor]:
    factors = torch.ones(run.num_keys, run.num_keys)
    factors[:3] = 0
    return dict.fromkeys(run.group_layers, factors)


def _passes(count: int) -> Counter[str]:
    return Counter({name: count * number for name, number in OF_PASS.items()})


class _Watch:
    """A progress that notes what has been waited for when it is told of a batch."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.before: Counter[str] = Counter()

    def __call__(self, _done: int = 0) -> None:
        self.before = Counter(self.gpu.waits)


def _same(found: pd.DataFrame, expected: pd.DataFrame, **close: float) -> None:
    close = {"rtol": 1e-3, "atol": 1e-4} | close
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_exact=False, **close)


@pytest.mark.parametrize("edited", [False, True])
def test_no_batch_of_losses_is_waited_for(
    gpu: Gpu, run: Run, model: MonetForCausalLM, there: MonetForCausalLM, windows: Windows, edited: bool
) -> None:
    edits = _edits(run) if edited else {}
    expected, watch, batches = document_losses(model, windows, edits), _Watch(gpu), len(windows.batches)
    with gpu.on():
        found = document_losses(there, windows, edits, watch)
    of_loop = _passes(batches) + Counter({"monet_model/edits.py:apply_edits to the GPU": GROUPS * edited})
    assert watch.before == of_loop
    assert gpu.waits - of_loop == {"workbench/analysis/removal/losses.py:_sums to the host": batches}
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-4)
    assert found.tokens.tolist() == expected.tokens.tolist()


def test_no_batch_of_split_losses_is_waited_for(
    gpu: Gpu, run: Run, model: MonetForCausalLM, there: MonetForCausalLM, windows: Windows
) -> None:
    marked, watch = np.arange(run.tokens_total) % 3 == 0, _Watch(gpu)
    expected = split_losses(model, windows, {}, marked)
    with gpu.on():
        found = split_losses(there, windows, {}, marked, watch)
    assert watch.before == _passes(len(windows.batches))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.loss, other.loss, rtol=1e-4)
        assert one.tokens.tolist() == other.tokens.tolist()


def test_no_batch_of_a_divergence_is_waited_for(
    gpu: Gpu, run: Run, model: MonetForCausalLM, there: MonetForCausalLM, windows: Windows
) -> None:
    other, documents, watch = copy.deepcopy(model), run.documents["doc"].to_numpy(), _Watch(gpu)
    other.model.norm.weight.data.mul_(1.5)
    expected, other_there = token_divergence(run, model, other, documents), moved(other)
    with gpu.on():
        found = token_divergence(run, there, other_there, documents, watch)
    assert watch.before == _passes(2 * len(windows.batches))
    _same(found, expected)


def test_no_batch_of_output_directions_is_waited_for(
    gpu: Gpu, run: Run, model: MonetForCausalLM, there: MonetForCausalLM
) -> None:
    expected, watch = output_directions(run, model, 1), _Watch(gpu)
    expert = int(expected.used.flatten().nonzero()[0])
    with gpu.on():
        found = output_directions(run, there, 1, advance=watch)
        assert set(watch.before) - {name for name in ALLOWED if "checks.py" in name} == {NUMBERS}
        np.testing.assert_allclose(found.cosines(expert), expected.cosines(expert), rtol=1e-3, atol=1e-4)
        _same(found.similar(expert, 5), expected.similar(expert, 5))


def test_masking_waits_for_nothing_else(gpu: Gpu, run: Run, model: MonetForCausalLM, there: MonetForCausalLM) -> None:
    expected = mask_labels(run, model, labels=run.labels[:1], min_tokens=2)
    with gpu.on():
        found = mask_labels(run, there, labels=run.labels[:1], min_tokens=2)
    assert set(gpu.waits) <= {*ALLOWED, "workbench/analysis/removal/losses.py:_sums to the host"}
    np.testing.assert_allclose(found.baseline, expected.baseline, rtol=1e-4)
    np.testing.assert_allclose(found.matrix, expected.matrix, atol=1e-3)


def test_a_curve_and_a_purge_wait_for_the_losses_alone(
    gpu: Gpu, run: Run, model: MonetForCausalLM, there: MonetForCausalLM
) -> None:
    def curve(model: MonetForCausalLM) -> pd.DataFrame:
        return removal_curve(run, model, labels=run.labels[:1], thresholds=[1.5], budget=9, min_tokens=2).points

    def purge(model: MonetForCausalLM) -> pd.DataFrame:
        return purge_scores(run, model, thresholds=[0.1], column="tokens", min_documents=2).points

    passes = {curve: 1 + 3, purge: 1 + 3}
    batches = {curve: len(HeldOut.split(run, 0).measuring_windows().batches)}
    for act, count in passes.items():
        expected = act(model)
        assert (expected["removed"] > 0).all()
        with gpu.on():
            _same(act(there), expected)
        waits = Counter({name: many for name, many in gpu.waits.items() if "checks.py" not in name})
        fetched = waits.pop("workbench/analysis/removal/losses.py:_sums to the host")
        assert fetched == count * batches.get(act, fetched // count)
        # What the ops read in each batch, and in the look whether the model is the run's; and each edit, once.
        assert set(waits) == {NUMBERS, "monet_model/edits.py:apply_edits to the GPU"}
        assert waits[NUMBERS] <= _passes(fetched + 1)[NUMBERS]
        gpu.waits.clear()


def test_the_cost_of_an_ablation(gpu: Gpu, run: Run, model: MonetForCausalLM, there: MonetForCausalLM) -> None:
    expert = int(run.top_experts(1, limit=1).index[0])
    expected = ablation_cost(run, model, 1, expert, documents=6)
    with gpu.on():
        _same(ablation_cost(run, there, 1, expert, documents=6), expected)


@pytest.mark.parametrize(
    "target",
    [None, 3, (4, 9), lambda logits: logits.softmax(-1)[5]],
    ids=["likeliest", "token", "pair", "function"],
)
def test_an_attribution(gpu: Gpu, model: MonetForCausalLM, there: MonetForCausalLM, target: Any) -> None:
    expected = attribute(model, IDS, target)
    with gpu.on():
        found = attribute(there, IDS, target)
    assert set(gpu.waits) <= set(ALLOWED)
    assert found.completeness < 1e-4
    _same(found.experts, expected.experts)
    _same(found.rest, expected.rest)


def test_a_gradient_attribution_and_true_ablation(gpu: Gpu, model: MonetForCausalLM, there: MonetForCausalLM) -> None:
    expected = attribute_gradient(model, IDS, 3)
    experts = [(0, 1), (2, 5), (2, 6), (0, 9)]
    with gpu.on():
        _same(attribute_gradient(there, IDS, 3), expected)
        assert set(gpu.waits) <= set(ALLOWED)
        gpu.waits.clear()
        changes = ablate(there, IDS, 3, experts)
    np.testing.assert_allclose(changes, ablate(model, IDS, 3, experts), rtol=1e-3, atol=1e-4)
    once = {"target.py:check_ids to the GPU": 1, "target.py:at to the GPU": 2, "gradient.py:ablate to the host": 1}
    assert gpu.waits == _passes(1 + len(experts)) + Counter(
        {"monet_model/edits.py:apply_edits to the GPU": len(experts)}
        | {f"workbench/analysis/attribution/{name}": count for name, count in once.items()}
    )


def test_an_attribution_over_a_corpus(
    gpu: Gpu, run: Run, model: MonetForCausalLM, there: MonetForCausalLM, windows: Windows
) -> None:
    expected = attribute_corpus(run, model, 44)
    with gpu.on():
        found = attribute_corpus(run, there, 44)
    assert set(gpu.waits) <= set(ALLOWED)
    read = sum(bool(((batch.ids[:, 1:] == 44) & batch.predicted).any()) for batch in windows.batches)
    for what in ("local_scalar_dense", "to the host"):  # once in a batch, and not for each of its windows
        assert gpu.waits[f"workbench/analysis/attribution/corpus.py:_add {what}"] == read
    assert found.occurrences == expected.occurrences
    _same(found.experts, expected.experts)
    _same(found.rest, expected.rest)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_circuit_is_traced_opened_and_tested(
    gpu: Gpu, model: MonetForCausalLM, there: MonetForCausalLM, dtype: torch.dtype
) -> None:
    expected = trace_circuit(model, IDS, 3, nodes=12, dtype=dtype)
    experts = expected.nodes.query("kind == 'expert'")["node"].tolist()
    groups = [[experts[0]], experts[1:3]]
    with gpu.on():
        found = trace_circuit(there, IDS, 3, nodes=12, dtype=dtype)
        _same(found.nodes.astype({"kind": str}), expected.nodes.astype({"kind": str}))
        assert found.completeness < 1e-4
        _same(intervene(there, found, groups), intervene(model, expected, groups))
        reaction, here = react(there, found, {experts[0]: 0.0}), react(model, expected, {experts[0]: 0.0})
        assert reaction.after == pytest.approx(here.after, rel=1e-3, abs=1e-4)
        _same(reaction.nodes, here.nodes)
        edge = found.edges[(found.edges["kind"] == "value") & (found.edges["source"] < 5)].iloc[0]
        ends = int(edge["source"]), int(edge["target"])
        assert open_edge(there, found, *ends)["weight"].sum() == pytest.approx(edge["weight"], rel=1e-3, abs=1e-5)
    assert set(gpu.waits) <= set(ALLOWED)


def test_a_mixed_model_is_read_there(gpu: Gpu, mixed: MonetForCausalLM) -> None:
    """Its dense layers too: attributed, traced, opened into neurons and scaled."""
    parts, neurons = attribute(mixed, IDS, 3).rest, attribute_neurons(mixed, IDS, 3)
    by_gradient = attribute_neurons(mixed, IDS, 3, gradient=True)
    expected = trace_circuit(mixed, IDS, 3, nodes=12, dtype=torch.float32)
    mlp = int(expected.nodes.query("kind == 'mlp'")["node"].iloc[0])
    opened, scaled = open_mlp(mixed, expected, mlp), intervene(mixed, expected, [[mlp]])
    there = moved(mixed)
    with gpu.on():
        _same(attribute(there, IDS, 3).rest, parts)
        _same(attribute_neurons(there, IDS, 3), neurons)
        _same(attribute_neurons(there, IDS, 3, gradient=True), by_gradient)
        found = trace_circuit(there, IDS, 3, nodes=12, dtype=torch.float32)
        _same(found.nodes.astype({"kind": str}), expected.nodes.astype({"kind": str}))
        neurons_there = open_mlp(there, found, mlp).sort_values("neuron", ignore_index=True)
        _same(neurons_there, opened.sort_values("neuron", ignore_index=True))
        _same(intervene(there, found, [[mlp]]), scaled)
    assert set(gpu.waits) <= set(ALLOWED)


def test_a_layers_nodes_are_grouped_by_position_once(gpu: Gpu, there: MonetForCausalLM) -> None:
    """Not for every batch of readers at every layer behind it."""
    with gpu.on():
        trace_circuit(there, IDS, 3, nodes=12)
    assert gpu.waits["workbench/analysis/circuits/edges.py:places to the host"] == LAYERS + 1  # and the embeddings


@pytest.fixture(scope="module")
def written(bare_run_path: Path) -> tuple[MonetForCausalLM, Prompt]:
    """A model with a tokenizer, and a prompt."""
    opened = open_run(bare_run_path)
    tokenizer = opened.tokenizer()
    assert tokenizer is not None
    model = MonetForCausalLM.from_pretrained(opened.model_path).eval()
    return model, Prompt.tokenise(tokenizer, "def add(a, b):", 64)


def test_everything_that_is_read_off_a_prompt(gpu: Gpu, written: tuple[MonetForCausalLM, Prompt]) -> None:
    model, prompt = written
    factors = torch.rand(model.config.moe_experts, model.config.moe_experts)
    questions: list[Callable[[Any], Any]] = [
        lambda reading: reading.top_experts(3),
        lambda reading: reading.most_active(5),
        lambda reading: reading.next_tokens(4),
        lambda reading: reading.until(4).next_tokens(4),
        lambda reading: pd.DataFrame({"scores": reading.expert_scores(0, 5)}),
        lambda reading: pd.DataFrame({"values": [reading.loss(), *reading.probabilities([3, 4])]}),
        lambda reading: reading.top_contributions(reading.attribute(3), 5),
    ]
    with model.edit_experts({0: factors}, [2, 3]):
        here = read_prompt(model, prompt)
    there = moved(model)
    with gpu.on():
        with there.edit_experts({0: factors}, [2, 3]):
            reading = read_prompt(there, prompt)
        for question in questions:
            _same(question(reading), question(here))


def test_generation_waits_for_the_logits_alone(gpu: Gpu, written: tuple[MonetForCausalLM, Prompt]) -> None:
    model, prompt = written
    expected = generate_text(model, prompt, max_new_tokens=5)
    there, waits = moved(model), []
    with gpu.on():
        found = generate_text(there, prompt, max_new_tokens=5, progress=lambda *_: waits.append(Counter(gpu.waits)))
    assert found.tokens == expected.tokens
    assert waits[3] - waits[2] == _passes(1) + Counter(
        {"workbench/analysis/generation.py:generate_text to the host": 1}
    )


def test_continuations_are_drawn(gpu: Gpu, written: tuple[MonetForCausalLM, Prompt]) -> None:
    model, prompt = written
    sampling = Sampling(continuations=2, new_tokens=3)
    there = moved(model)
    with gpu.on():
        texts = sample_texts(there, prompt.tokenizer, {0: prompt.ids}, {}, sampling)
    assert [len(some) for some in texts] == [2]
