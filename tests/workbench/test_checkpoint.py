"""Loading a model: what is wrong with a folder is said, by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from monet_model.held import is_held
from workbench.checkpoint import load_llama
from workbench.errors import DamagedError, NotFoundError, UnsupportedError, WorkbenchError
from workbench.export import load_model

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A model's folder to damage."""
    return Path(shutil.copytree(GOLDEN / "tiny-vd", tmp_path / "model"))


@pytest.mark.parametrize("name", ["tiny-vd", "tiny-hd"])
def test_a_model_is_loaded_to_compute_with(name) -> None:
    model = load_model(GOLDEN / name)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_half_precision_weights_become_float32(folder) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(
        {n: w.half() if w.ndim > 1 else w for n, w in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    assert {p.dtype for p in load_model(folder).parameters()} == {torch.float32}


def test_no_folder(tmp_path) -> None:
    with pytest.raises(WorkbenchError, match="there is no model folder .*nowhere"):
        load_model(tmp_path / "nowhere")


def test_a_file_for_a_folder(folder) -> None:
    with pytest.raises(WorkbenchError, match="there is no model folder .*config.json"):
        load_model(folder / "config.json")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_is_missing(folder, name) -> None:
    (folder / name).unlink()
    with pytest.raises(WorkbenchError, match=f"has no {name}"):
        load_model(folder)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"model_type": "llama"})])
def test_config_of_no_monet_model(folder, content) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(WorkbenchError, match="config.json is not"):
        load_model(folder)


@pytest.mark.parametrize("kept", [0, 4, 100, 5000, -1])
def test_truncated_weights(folder, kept) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(WorkbenchError, match=r"model\.safetensors is truncated or damaged"):
        load_model(folder)


def test_a_model_in_shards(folder) -> None:
    whole = load_model(folder).state_dict()
    weights = load_file(folder / "model.safetensors")
    places = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(weights)}
    for part in set(places.values()):
        save_file({n: w for n, w in weights.items() if places[n] == part}, folder / part, {"format": "pt"})
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert all(tensor.equal(whole[name]) for name, tensor in load_model(folder).state_dict().items())
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(WorkbenchError, match=r"has no part-1\.safetensors"):
        load_model(folder)


def test_missing_weights(folder) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.2.router.w1.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WorkbenchError, match=r"lacks 1 weights: model\.layers\.2\.router\.w1\.weight"):
        load_model(folder)


def test_weights_of_another_shape(folder) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 64}))
    with pytest.raises(WorkbenchError, match=r"has other shapes .* 2 weights: lm_head\.weight, model\.embed_tokens"):
        load_model(folder)


def test_config_that_cannot_be(folder) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"moe_topk": 99}))
    with pytest.raises(WorkbenchError, match="moe_topk"):
        load_model(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.0.router.norm1.running_var"])
def test_weights_that_are_not_finite(folder, name, value) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[name].view(-1)[-1] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WorkbenchError, match=f"NaN or infinity in {name}"):
        load_model(folder)


@pytest.fixture
def half(folder, monkeypatch) -> Path:
    """A model's folder with weights in bfloat16, to be held as they are."""
    weights = load_file(folder / "model.safetensors")
    kept = {"norm1", "norm2"}  # statistics of routers, float32 in any checkpoint
    narrow = {
        k: v if kept & set(k.split(".")) or not v.is_floating_point() else v.bfloat16() for k, v in weights.items()
    }
    save_file(narrow, folder / "model.safetensors", {"format": "pt"})
    monkeypatch.setattr("workbench.checkpoint.HELD_BYTES", 0)
    return folder


def test_large_weights_in_half_precision_are_held_as_they_are(half, monkeypatch) -> None:
    ids = torch.arange(2, 50)[None]
    held = load_model(half, device="cpu")
    assert is_held(held.lm_head)
    monkeypatch.setattr("workbench.checkpoint.HELD_BYTES", 2**40)
    copied = load_model(half, device="cpu")
    assert not is_held(copied.lm_head)
    with torch.no_grad():
        assert torch.equal(held(ids).logits, copied(ids).logits)


def test_weights_of_two_precisions_are_not_rounded_to_be_held(half) -> None:
    weights = load_file(half / "model.safetensors")
    weights["model.layers.0.moe.u1.weight"] = weights["model.layers.0.moe.u1.weight"].float() + 1e-5
    save_file(weights, half / "model.safetensors", {"format": "pt"})
    model = load_model(half, device="cpu")
    assert not is_held(model.lm_head)
    assert torch.equal(model.model.layers[0].moe.u1.weight, weights["model.layers.0.moe.u1.weight"])


@pytest.mark.parametrize("asked", ["bfloat16", torch.bfloat16])
def test_the_precision_asked_for_is_the_models(half, asked) -> None:
    model = load_model(half, device="cpu", dtype=asked)
    assert model.dtype == torch.bfloat16
    assert not is_held(model.lm_head)
    assert model.model.layers[0].router.norm1.running_mean.dtype == torch.float32


def test_weights_in_half_precision_that_are_not_finite_are_refused_too(half) -> None:
    weights = load_file(half / "model.safetensors")
    weights["lm_head.weight"][7, 3] = float("nan")
    save_file(weights, half / "model.safetensors", {"format": "pt"})
    with pytest.raises(WorkbenchError, match=r"NaN or infinity in lm_head\.weight"):
        load_model(half)


def test_a_hub_name_may_name_a_revision(monkeypatch, folder) -> None:
    asked = []

    def snapshot_download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert load_model("org/model@v1.0").config.model_type == "monet"
    assert load_model("org/model").config.model_type == "monet"
    assert asked == [("org/model", "v1.0"), ("org/model", None)]


def test_a_hub_name_is_read_from_the_cache_without_a_network(hub_model) -> None:
    for name, folder in hub_model.items():
        stored = load_file(folder / "model.safetensors")
        assert torch.equal(load_model(name, device="cpu").lm_head.weight, stored["lm_head.weight"])
    one, other = (load_model(name, device="cpu").lm_head.weight for name in ("owner/tiny", "owner/tiny@early"))
    assert not torch.equal(one, other)
    for absent in ("owner/other", "owner/tiny@late"):
        with pytest.raises(NotFoundError, match=f"no model folder {absent}, and no hub"):
            load_model(absent)


@pytest.fixture
def llama(tmp_path) -> Path:
    """The folder of a small dense model in half precision."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(**shape, vocab_size=50)).half().save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def test_a_dense_model_is_loaded_to_compute_with(llama) -> None:
    model, stored = load_llama(llama, device="cpu"), load_file(llama / "model.safetensors")
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in model.parameters())
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, stored[name].float())


def test_a_dense_models_damage_is_named(llama) -> None:
    weights = load_file(llama / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    for changed, message in (
        ({n: w for n, w in weights.items() if n != name}, f"lacks 1 weights: {name}"),
        (weights | {name: weights[name].T.contiguous()}, f"other shapes than its config for 1 weights: {name}"),
        (weights | {name: weights[name] * torch.nan}, f"NaN or infinity in {name}"),
    ):
        save_file(changed, llama / "model.safetensors", {"format": "pt"})
        with pytest.raises(DamagedError, match=message):
            load_llama(llama)
    (llama / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(DamagedError, match="is not JSON"):
        load_llama(llama)


def test_either_loader_refuses_the_others_models(llama) -> None:
    with pytest.raises(UnsupportedError, match="not a Monet model's"):
        load_model(llama)
    with pytest.raises(UnsupportedError, match="not a LLaMA model's"):
        load_llama(GOLDEN / "tiny-vd")
