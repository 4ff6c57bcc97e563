"""Configuration: fields that count, what is refused, and the routing groups."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from monet_model import ExpertEdit, MonetConfig, MonetForCausalLM, export_edited_model


def test_config_reads_the_published_layout(golden: Any) -> None:
    config = AutoConfig.from_pretrained(golden.path)
    raw = json.loads((golden.path / "config.json").read_text())
    assert isinstance(config, MonetConfig)
    for name in raw:
        if name.startswith("moe_"):
            assert getattr(config, name) == raw[name], name
    assert config.architectures == ["MonetForCausalLM"]
    assert config.routing_groups == [range(0, 2), range(2, 4)]
    assert config.experts_per_group == 16 * 16


def test_config_uses_rope_theta_at_the_top_level(golden: Any, tmp_path: Path, oracle: Any, error: Any) -> None:
    """Published configs carry ``rope_theta`` beside ``rope_scaling``, not inside ``rope_parameters``."""
    folder = tmp_path / "model"
    shutil.copytree(golden.path, folder)
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"rope_theta": 37.0}))
    model = MonetForCausalLM.from_pretrained(folder).eval()
    ids = golden.expected["input_ids"]
    with torch.no_grad():
        logits = model(ids).logits
    assert model.config.rope_parameters["rope_theta"] == 37.0
    assert error(logits, golden.expected["logits"]) > 1e-3
    assert error(logits, oracle(model)(ids)) < 1e-5


def test_config_survives_saving_and_loading(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 5, "num_attention_heads": 2, "moe_dim": 6,
        "moe_heads": 3, "moe_experts": 12, "moe_topk": 5, "moe_groups": 3, "moe_decompose": "horizontal",
        "output_router_probs": True, "router_aux_loss_coef": 2e-4, "rope_theta": 123.0,
    }  # fmt: skip
    config = MonetConfig(**fields)
    config.save_pretrained(tmp_path)
    again = MonetConfig.from_pretrained(tmp_path)
    unstable = {"transformers_version", "_name_or_path"}
    assert {k: v for k, v in again.to_dict().items() if k not in unstable} == {
        k: v for k, v in config.to_dict().items() if k not in unstable
    }


@pytest.mark.parametrize(
    ("layers", "groups", "spans"),
    [
        (4, 1, [range(0, 1), range(1, 2), range(2, 3), range(3, 4)]),
        (5, 2, [range(0, 2), range(2, 4), range(4, 5)]),
        (3, 8, [range(0, 3)]),
    ],
)
def test_config_routing_groups_cover_all_layers(layers: int, groups: int, spans: list[range]) -> None:
    config = MonetConfig(num_hidden_layers=layers, moe_groups=groups)
    assert config.routing_groups == spans
    assert [layer in spans[group] for layer, group in enumerate(config.layer_groups)] == [True] * layers


@pytest.mark.parametrize(
    ("dense", "size", "spans", "groups"),
    [
        ([0, 1, 5], 2, [range(2, 4), range(4, 5)], [-1, -1, 0, 0, 1, -1]),
        ([0, 1, 2, 5], 9, [range(3, 5)], [-1, -1, -1, 0, 0, -1]),
        ([1, 4], 2, [(0, 2), (3, 5)], [0, -1, 0, 1, -1, 1]),
        ([0, 1, 2, 3, 4, 5], 2, [], [-1] * 6),
    ],
)
def test_config_routing_groups_divide_the_layers_that_are_not_dense(
    dense: list[int], size: int, spans: list[Any], groups: list[int]
) -> None:
    shape: dict[str, Any] = {"num_hidden_layers": 6, "intermediate_size": 8, "hidden_act": "silu"}
    config = MonetConfig(**shape, moe_groups=size, dense_layers=dense)
    assert config.routing_groups == spans
    assert config.layer_groups == groups


def test_config_names_dense_layers_only_where_there_are_any(tmp_path: Path) -> None:
    """Checkpoints without any are what they were, and older versions read them."""
    for number, dense in enumerate(([], [0, 3])):
        fields: dict[str, Any] = {"intermediate_size": 8, "hidden_act": "silu"} if dense else {}
        folder = tmp_path / str(number)
        MonetConfig(**fields, dense_layers=dense, num_hidden_layers=4).save_pretrained(folder)
        assert json.loads((folder / "config.json").read_text()).get("dense_layers", []) == dense
        assert MonetConfig.from_pretrained(folder).dense_layers == dense
    assert "dense_layers" not in (tmp_path / "0" / "config.json").read_text()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"dense_layers": [32]}, "dense_layers must be layers of the model, 0 .. 31"),
        ({"dense_layers": [-1]}, "dense_layers must be layers"),
        ({"dense_layers": [1, 0]}, "ascending"),
        ({"dense_layers": [1, 1]}, "each once"),
        ({"dense_layers": [0], "intermediate_size": None}, "intermediate_size"),
        ({"dense_layers": [0], "hidden_act": "nothing"}, "hidden_act 'nothing'"),
        ({"dense_layers": [0], "edited_layers": [0]}, "edited_layers"),
    ],
)
def test_config_refuses_dense_layers_that_cannot_be_built(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(Exception, match="validation error") as caught:
        MonetConfig(**{"num_hidden_layers": 32, "intermediate_size": 8, "hidden_act": "silu"} | fields)
    assert named in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"moe_dim": 0}, "moe_dim"),
        ({"moe_heads": 0}, "moe_heads"),
        ({"moe_topk": 0}, "moe_topk"),
        ({"moe_groups": -1}, "moe_groups"),
        ({"moe_experts": 0}, "moe_experts"),
        ({"moe_topk": 512}, "moe_topk"),
        ({"moe_experts": 40_000}, "moe_experts"),
        ({"moe_dim": 3}, "moe_dim"),
        ({"hidden_act": "silu"}, "hidden_act"),
        ({"moe_decompose": "diagonal"}, "moe_decompose"),
        ({"hidden_size": 30, "num_attention_heads": 4}, "hidden size"),
    ],
)
def test_config_refuses_fields_out_of_range(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(Exception, match=named) as caught:
        MonetConfig(**fields)
    # transformers wraps a ValueError of `validate_architecture` in its own validation error.
    assert isinstance(caught.value, ValueError) or isinstance(caught.value.__cause__, ValueError | TypeError)


def test_config_takes_an_odd_unit_count_for_horizontal_experts() -> None:
    assert MonetConfig(moe_dim=3, moe_decompose="horizontal").moe_dim == 3


def test_config_is_written_for_readers_of_either_spelling(make_model: Any, tmp_path: Path) -> None:
    """Before version 5, transformers reads ``rope_theta``, and takes 10,000 where it finds none."""
    model = make_model(rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    model.save_pretrained(tmp_path / "model")
    export_edited_model(tmp_path / "model", ExpertEdit.from_experts(model, {0: [1]}), tmp_path / "edited")
    for name in ("model", "edited"):
        written = json.loads((tmp_path / name / "config.json").read_text())
        assert written["rope_theta"] == written["rope_parameters"]["rope_theta"] == 500.0
        again = MonetConfig.from_pretrained(tmp_path / name)
        assert again.rope_parameters == model.config.rope_parameters
        again.rope_parameters["rope_theta"] = 600.0
        assert json.loads(again.to_json_string())["rope_theta"] == 600.0


def test_config_says_precision_and_scaling_of_positions_to_older_readers(make_model: Any, tmp_path: Path) -> None:
    scaling = {"rope_type": "linear", "factor": 2.0}
    model = make_model(rope_parameters=scaling | {"rope_theta": 500.0}).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["rope_theta"], written["rope_scaling"], written["torch_dtype"]) == (500.0, scaling, "bfloat16")
    again = MonetConfig.from_pretrained(tmp_path)
    assert again.rope_parameters == model.config.rope_parameters
    assert again.dtype == torch.bfloat16
