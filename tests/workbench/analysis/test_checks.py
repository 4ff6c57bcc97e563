"""Which model is this: another shape, another checkpoint, another precision, an edit."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from monet_model import ExpertEdit, MonetForCausalLM
from workbench.analysis import attribute_corpus, mask_labels, measure_edit, removal_curve
from workbench.analysis.checks import check_same_model
from workbench.checkpoint import load_model, loaded_from
from workbench.errors import BadInputError, UnsupportedError
from workbench.export import export_run
from workbench.store import Run, open_run


def test_check_same_model_refuses_another_shape_and_training_mode(run: Run, make_model: Any) -> None:
    with pytest.raises(UnsupportedError, match=r"keys, heads and router layers are \(8, 2, \[0, 2\]\)"):
        check_same_model(run, make_model())
    with pytest.raises(BadInputError, match=r"call model\.eval\(\)"):
        check_same_model(run, make_model().train())


def test_check_same_model_takes_half_precision_and_an_edit(run: Run, model: MonetForCausalLM) -> None:
    check_same_model(run, copy.deepcopy(model).bfloat16())
    off = torch.zeros(run.num_keys, run.num_keys)
    with model.edit_experts(dict.fromkeys(run.group_layers, off)):
        check_same_model(run, model)


def test_check_same_model_refuses_weights_changed_in_memory(run: Run, model: MonetForCausalLM) -> None:
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.model.layers[0].router.w2.weight.add_(0.3 * torch.randn(other.model.layers[0].router.w2.weight.shape))
    with pytest.raises(UnsupportedError, match="does not route as the one that"):
        check_same_model(run, other)


def test_check_same_model_compares_routing_where_there_are_no_files(run: Run, model: MonetForCausalLM) -> None:
    made = MonetForCausalLM(copy.deepcopy(model.config)).eval()
    made.name_or_path = ""
    assert loaded_from(made) is None
    with pytest.raises(UnsupportedError, match="does not route as the one that"):
        check_same_model(run, made)
    made.load_state_dict(model.state_dict())
    check_same_model(run, made)


def test_loaded_from_is_none_for_a_hub_name_that_is_not_cached(model: MonetForCausalLM) -> None:
    other = copy.deepcopy(model)
    other.name_or_path = "nobody/no-such-model"
    assert loaded_from(other) is None


def test_check_same_model_takes_a_copy_of_the_files_at_another_path(run: Run, tmp_path: Path) -> None:
    check_same_model(run, load_model(shutil.copytree(run.model_path, tmp_path / "copy")))


# a checkpoint retrained at the same path


def retrain(folder: Path) -> None:
    """Overwrite a model's weights with others of the same shapes that route alike: only experts differ."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    for name, tensor in weights.items():
        if "router" not in name and "layers.0" in name and tensor.ndim > 1:
            weights[name] = tensor + 0.01 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1))
    save_file(weights, file, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def retrained(bare_run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose model was retrained where it was exported from."""
    folder = tmp_path_factory.mktemp("retrained")
    shutil.copytree(bare_run_path.parent / "model", folder / "model")
    shutil.copy(bare_run_path.parent / "corpus.parquet", folder / "corpus.parquet")
    export_run(folder / "model", folder / "corpus.parquet", folder / "run")
    run = open_run(folder / "run")
    check_same_model(run, load_model(run.model_path))
    edit = ExpertEdit.from_experts(load_model(run.model_path), {run.group_layers[0]: torch.tensor([3])})
    edit.save(folder / "edit.safetensors")
    retrain(folder / "model")
    return run


def prompt_page(run: Run) -> object:
    from workbench.dashboard.context import Context
    from workbench.dashboard.prompting.answer import read_answer

    return read_answer(Context(run), {"text": "local x = 1"})


def text_report(run: Run) -> object:
    from workbench.report.text import text_report

    return text_report(run, "local x = 1", "json", Path(run.path).parent / "text.json")


def edit_report(run: Run) -> object:
    from workbench.report.edit import edit_report

    folder = Path(run.path).parent
    return edit_report(run, folder / "edit.safetensors", "json", folder / "edit.json")


def edit_effect(run: Run) -> object:
    return measure_edit(run, load_model(run.model_path), ExpertEdit.load(Path(run.path).parent / "edit.safetensors"))


def logits(run: Run) -> object:
    from workbench.explain import logit_view

    return logit_view(run, MonetForCausalLM.from_pretrained(run.model_path), 0, 3)


ASKED: dict[str, Callable[[Run], object]] = {
    "prompt page": prompt_page,
    "text report": text_report,
    "edit report": edit_report,
    "edit effect": edit_effect,
    "logit view": logits,
    "mask": lambda run: mask_labels(run, load_model(run.model_path)),
    "curve": lambda run: removal_curve(run, load_model(run.model_path)),
    "corpus attribution": lambda run: attribute_corpus(run, load_model(run.model_path), 5),
}


@pytest.mark.parametrize("asked", ASKED)
def test_retrained_checkpoint_at_the_same_path_is_refused_everywhere(retrained: Run, asked: str) -> None:
    then = retrained.manifest["model"]["hash"]["model.safetensors"][:12]
    with pytest.raises(UnsupportedError, match=f"SHA-256 of model.safetensors is [0-9a-f]{{12}}, and was {then} then"):
        ASKED[asked](retrained)
