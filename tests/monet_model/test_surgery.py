"""Surgery on a checkpoint that is named by its hub name: the files beside the weights come along."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from monet_model import ExpertEdit, MonetForCausalLM, export_edited_model

GOLDEN = Path(__file__).parents[1] / "golden"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A checkpoint with a tokenizer that is in the hub's cache, on a machine without a network."""
    repository = tmp_path / "hub" / "models--owner--tiny"
    shutil.copytree(GOLDEN / "tiny-vd", repository / "snapshots" / COMMIT)
    for name in ("tokenizer.json", "tokenizer_config.json", "README.md"):
        (repository / "snapshots" / COMMIT / name).write_text(name)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return "owner/tiny"


def test_surgery_on_a_hub_name_keeps_the_tokenizer(hub_name: str, tmp_path: Path) -> None:
    edit = ExpertEdit.from_experts(MonetForCausalLM.from_pretrained(hub_name), {0: [3]})
    out = tmp_path / "edited"
    export_edited_model(hub_name, edit, out)
    assert (out / "tokenizer.json").read_text() == "tokenizer.json"
    assert (out / "tokenizer_config.json").read_text() == "tokenizer_config.json"
    assert not (out / "README.md").exists()
    assert MonetForCausalLM.from_pretrained(out).config.edited_layers == [0]


def test_surgery_on_an_unknown_hub_name_is_refused(hub_name: str, tmp_path: Path) -> None:
    edit = ExpertEdit.from_experts(MonetForCausalLM.from_pretrained(hub_name), {0: [3]})
    with pytest.raises(ValueError, match="no Monet checkpoint could be loaded from owner/other"):
        export_edited_model("owner/other", edit, tmp_path / "edited")
    assert not (tmp_path / "edited").exists()
