"""A transcoded model in two parts: packed, it is small and measured; built again, it is the model that was packed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import Tensor

from workbench import load_model
from workbench.errors import BadInputError, DamagedError, NotFoundError, UnsupportedError
from workbench.transcode import Teacher, TranscodeSettings, load_teacher, transcode
from workbench.transcode.shipped import EXPERTS, pack, unpack, weights_hash
from workbench.transcode.splice import mean_losses

from ...conftest import _write_tokenizer

Make = Callable[..., TranscodeSettings]


@pytest.fixture(scope="module")
def made(teacher_path: Path, corpus: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transcoded model of two banks, in a folder beside what was shipped of it and the teacher."""
    folder = tmp_path_factory.mktemp("shipped")
    shape = {"layers": (1, 2), "experts": 32, "moe_dim": 4, "heads": 2, "topk": 4, "residual_experts": 8}
    how = TranscodeSettings(**shape, tokens=16 * 4 * 10, sequence=16, batch=4, heldout_sequences=3)
    shutil.copytree(teacher_path, folder / "teacher")
    transcode(folder / "teacher", corpus, folder / "whole", how, device="cpu")
    pack(folder / "whole", folder / "teacher", corpus, folder / "packed", "tiny")
    unpack(folder / "packed", folder / "teacher", folder / "again")
    return folder


@torch.no_grad()
def _logits(folder: Path) -> Tensor:
    ids = torch.arange(3, 35).view(2, 16)
    logits: Tensor = load_model(folder, device="cpu")(ids).logits
    return logits


def test_only_what_the_teacher_lacks_is_packed_in_half_precision(made: Path) -> None:
    whole, packed, teacher = (
        load_file(made / name) for name in ("whole/model.safetensors", f"packed/{EXPERTS}", "teacher/model.safetensors")
    )
    assert not packed.keys() & teacher.keys()
    assert packed.keys() == whole.keys() - teacher.keys()
    matrices = {tensor.dtype for name, tensor in packed.items() if ".norm" not in name}
    assert matrices == {torch.float16}
    statistics = {name: tensor for name, tensor in packed.items() if ".norm" in name}
    assert statistics
    assert all(torch.equal(tensor, whole[name]) for name, tensor in statistics.items())
    assert {file.name for file in (made / "packed").iterdir()} == {
        EXPERTS,
        "config.json",
        "transcode.json",
        "log.jsonl",
    }


def test_the_built_model_has_the_packed_weights_and_the_logits_of_the_first(made: Path) -> None:
    whole, again = (load_file(made / name / "model.safetensors") for name in ("whole", "again"))
    packed = load_file(made / "packed" / EXPERTS)
    assert whole.keys() == again.keys()
    for name, tensor in again.items():
        assert torch.equal(tensor, packed[name].float() if name in packed else whole[name]), name
        torch.testing.assert_close(tensor, whole[name], rtol=2**-11, atol=2**-24)  # of half precision
    torch.testing.assert_close(_logits(made / "again"), _logits(made / "whole"), rtol=0, atol=0.02)
    assert not torch.equal(_logits(made / "again"), _logits(made / "whole"))
    configs = [json.loads((made / name / "config.json").read_text()) for name in ("whole", "again")]
    assert configs[0] == configs[1]


def test_figures_are_those_of_the_weights_as_shipped(made: Path, corpus: Dataset) -> None:
    from workbench.transcode.sequences import read_sequences

    before, after = (json.loads((made / name / "transcode.json").read_text()) for name in ("whole", "again"))
    held = read_sequences(corpus, load_teacher(made / "teacher", device="cpu"), 16, 1, 3).heldout
    assert mean_losses(load_model(made / "again", device="cpu"), held) == pytest.approx(after["loss_by_label"])
    assert after["unrounded"]["loss_by_label"] == before["loss_by_label"]
    assert after["rise"] != before["rise"]
    assert after["rise"] == pytest.approx(before["rise"], abs=1e-2)
    assert (after["teacher"], after["weights"]) == ("tiny", "float16")
    assert str(made) not in (made / "packed" / "transcode.json").read_text()


def test_tokenizer_and_chat_template_come_from_the_teacher(made: Path, tmp_path: Path) -> None:
    teacher = shutil.copytree(made / "teacher", tmp_path / "teacher")
    _write_tokenizer(teacher)
    (teacher / "chat_template.jinja").write_text("{{ messages }}")
    out = unpack(made / "packed", teacher, tmp_path / "out")
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"} <= {
        file.name for file in out.iterdir()
    }


def test_the_teacher_is_known_by_its_weights_and_not_by_its_files(made: Path, tmp_path: Path) -> None:
    teacher = shutil.copytree(made / "teacher", tmp_path / "teacher")
    weights = load_file(teacher / "model.safetensors")
    save_file(weights, teacher / "model.safetensors", {"format": "pt", "written by": "another version"})
    unpack(made / "packed", teacher, tmp_path / "out")
    one, other = (load_teacher(made / "teacher", device="cpu").model for _ in range(2))
    assert weights_hash(one) == weights_hash(other)
    with torch.no_grad():
        other.model.layers[3].mlp.down_proj.weight[0, 0] += 1e-6
    assert weights_hash(one) != weights_hash(other)


def test_another_teacher_is_refused(made: Path, corpus: Dataset, tmp_path: Path) -> None:
    teacher = load_teacher(made / "teacher", device="cpu")
    with torch.no_grad():
        teacher.model.model.layers[0].mlp.up_proj.weight[0, 0] += 1
    teacher.model.save_pretrained(tmp_path / "other")
    with pytest.raises(BadInputError, match="another model than the one that was transcoded: its weights have"):
        unpack(made / "packed", tmp_path / "other", tmp_path / "out")
    with pytest.raises(BadInputError, match=r"they differ in model\.layers\.0\.mlp\.up_proj\.weight"):
        pack(made / "whole", tmp_path / "other", corpus, tmp_path / "packed", "tiny")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_another_corpus_is_refused(made: Path, corpus: Dataset, tmp_path: Path) -> None:
    other = corpus.map(lambda row: {"input_ids": row["input_ids"][::-1]})
    with pytest.raises(BadInputError, match="the corpus is another than the one it was transcoded with"):
        pack(made / "whole", made / "teacher", other, tmp_path / "packed", "tiny")
    assert not (tmp_path / "packed").exists()


def test_a_weight_beyond_half_precision_is_refused(made: Path, corpus: Dataset, tmp_path: Path) -> None:
    whole = shutil.copytree(made / "whole", tmp_path / "whole")
    weights = load_file(whole / "model.safetensors")
    name = next(name for name in weights if name.endswith("moe.b1"))
    weights[name][0, 0] = 1e5
    save_file(weights, whole / "model.safetensors", {"format": "pt"})
    with pytest.raises(UnsupportedError, match=rf"{name} exceeds 65,504"):
        pack(whole, made / "teacher", corpus, tmp_path / "packed", "tiny")


def test_what_is_missing_or_damaged_is_named(made: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="exists already"):
        unpack(made / "packed", made / "teacher", made / "again")
    packed = shutil.copytree(made / "packed", tmp_path / "packed")
    weights = load_file(packed / EXPERTS)
    save_file(dict(list(weights.items())[1:]), packed / EXPERTS)
    with pytest.raises(DamagedError, match=r"does not fit .*config\.json"):
        unpack(packed, made / "teacher", tmp_path / "out")
    (packed / EXPERTS).write_bytes(b"x")
    with pytest.raises(DamagedError, match="is damaged"):
        unpack(packed, made / "teacher", tmp_path / "out")
    (packed / EXPERTS).unlink()
    with pytest.raises(NotFoundError, match="there is no .*experts"):
        unpack(packed, made / "teacher", tmp_path / "out")
    (packed / "transcode.json").write_text("{}")
    with pytest.raises(DamagedError, match=r"transcode\.json lacks"):
        unpack(packed, made / "teacher", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_loaded_teacher_is_taken(made: Path, corpus: Dataset, tmp_path: Path, teacher: Teacher) -> None:
    figures = pack(made / "whole", teacher, corpus, tmp_path / "packed", "tiny")
    assert figures == json.loads((tmp_path / "packed" / "transcode.json").read_text())
