"""The workbench on a GPU beside the processor: the same run, losses, contributions and circuits (`make gpu-check`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from workbench import export_run, load_model, open_run
from workbench.analysis import (
    attribute_corpus,
    mask_labels,
    output_directions,
    react,
    token_divergence,
    trace_circuit,
)
from workbench.analysis.attribution.text import attribute_text
from workbench.explain import logit_view
from workbench.store import Run
from workbench.store.verify import verify_run

DEMO = Path("monet_model/demo").absolute()

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch sees")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The first documents of the demo's sample, exported on the processor and on the GPU, in float32."""
    folder = tmp_path_factory.mktemp("gpu")
    made = []
    for device in ("cpu", "cuda"):
        export_run(DEMO, DEMO / "heldout.parquet", folder / device, limit=4, device=device, dtype="float32")
        made.append(open_run(folder / device))
    return made[0], made[1]


def test_a_run_made_on_a_gpu_is_sound_and_the_same(runs: tuple[Run, Run]) -> None:
    here, there = runs
    assert verify_run(there.path) == []
    for group in here.groups:
        ours, theirs = (run.experts(group, ["tokens", "mass"]) for run in runs)
        together = pd.concat([ours, theirs], axis=1, keys=["cpu", "cuda"]).fillna(0)
        # Matrix products round otherwise, so keys at a router's threshold may be active on one device alone.
        assert np.isclose(together["cpu"]["mass"].sum(), together["cuda"]["mass"].sum(), rtol=1e-4)
        apart = (together["cpu"]["tokens"] - together["cuda"]["tokens"]).abs().sum()
        assert apart < 1e-3 * together["cpu"]["tokens"].sum()


def test_losses_and_ablations_agree(runs: tuple[Run, Run]) -> None:
    here, _ = runs
    label = here.labels[0]
    both = [
        mask_labels(here, load_model(DEMO, device=device, dtype="float32"), labels=[label], ratio=2, min_tokens=2)
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(both[1].baseline, both[0].baseline, atol=1e-3)
    np.testing.assert_allclose(both[1].matrix, both[0].matrix, atol=5e-3)


def test_attribution_and_circuits_are_complete_there() -> None:
    text = attribute_text(DEMO, "public static void", device="cuda", dtype="float32")
    assert abs(text.attribution.completeness) < 1e-3
    model = load_model(DEMO, device="cuda", dtype="float32")
    circuit = trace_circuit(model, torch.tensor([[0, 300, 400, 500]], device="cuda"), nodes=32)
    assert circuit.completeness < 1e-9


def test_what_reads_documents_agrees(runs: tuple[Run, Run]) -> None:
    here, _ = runs
    model, there = (load_model(DEMO, device=device, dtype="float32") for device in ("cpu", "cuda"))
    assert token_divergence(here, model, there, [0, 1])["kl"].max() < 1e-4
    expert = int(here.top_experts(0, limit=1).index[0])
    ours, theirs = (output_directions(here, one, 0).cosines(expert) for one in (model, there))
    np.testing.assert_allclose(theirs, ours, atol=1e-2)
    first, second = (logit_view(here, one, 0, expert, 3)["token"].tolist() for one in (model, there))
    assert first[0] == second[0]
    token = int(here.tokens([5])["token"].iloc[0])
    ours, theirs = (attribute_corpus(here, one, token) for one in (model, there))
    assert theirs.occurrences == ours.occurrences
    assert theirs.logit == pytest.approx(ours.logit, abs=1e-2)


def test_edits_at_positions_agree() -> None:
    ids = torch.tensor([[0, 300, 400, 500, 600]])
    found = []
    for device in ("cpu", "cuda"):
        model = load_model(DEMO, device=device, dtype="float32")
        with model.edit_experts({0: torch.zeros(512, 512)}, positions=[2, slice(4, None)]), torch.no_grad():
            found.append(model(ids.to(device)).logits.cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-2)


def test_a_reaction_of_a_circuit_agrees() -> None:
    ids, changes = torch.tensor([[0, 300, 400, 500]]), []
    for device in ("cpu", "cuda"):
        model = load_model(DEMO, device=device, dtype="float32")
        circuit = trace_circuit(model, ids, 700, nodes=16)
        best = circuit.nodes.query("kind == 'expert'")["value"].abs().idxmax()
        changes.append(react(model, circuit, {int(best): 0.0}).after)
    assert changes[1] == pytest.approx(changes[0], abs=1e-2)


def test_the_checkpoints_own_precision_runs() -> None:
    model = load_model(DEMO, device="cuda", dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    with torch.no_grad():
        logits = model(torch.tensor([[0, 300, 400, 500]], device="cuda")).logits
    assert bool(logits.isfinite().all())
