"""A model is fingerprinted from folder to folder: what is written, what is public, and how it goes on."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from workbench.errors import BadInputError, DamagedError, NotFoundError
from workbench.studies.fingerprint import (
    Drawing,
    Fingerprints,
    Training,
    embed_fingerprints,
    persist_fingerprints,
    read_public,
    rederived,
    success,
)
from workbench.studies.fingerprint.checked import check_owner
from workbench.studies.fingerprint.embedding import TRAINING_FOLDER, quartiles
from workbench.studies.fingerprint.models import load_either

from .conftest import BAND

HOW = Training(lr=1e-2, averaging=0.0, mixed_weight=1.0, mixed_tokens=8, mixed_texts=16, epochs=30, batch=8, stop=0.5)
DRAWING = Drawing(16, "english", key_tokens=6)


def embed(tiny: Any, out: Path, **changed: Any) -> Any:
    given = {"drawing": DRAWING, "how": HOW, "secret": b"secret"} | changed
    return embed_fingerprints(tiny.model, tiny.corpus, out, **given)


def test_a_folder_holds_the_model_and_says_what_is_public(tiny: Any, tmp_path: Path) -> None:
    out, file = tmp_path / "out", tmp_path / "secret.json"
    done = embed(tiny, out, secret_file=file)
    secret, public = Fingerprints.load(file), read_public(out)
    assert success(done.model, secret).all()
    assert public == json.loads(json.dumps(done.public))
    assert public["commitment"] == secret.commitment
    assert (public["count"], public["scheme"], public["key_tokens"], public["nucleus_next"]) == (16, "english", 6, 62)
    assert public["measured"]["success"] == 1
    assert public["measured"]["loss"] != public["measured"]["loss_base"]
    assert set(public["measured"]["by_label"]) == {"x", "y", "z"}
    assert public["base"]["hash"]["config.json"]
    assert "/" not in public["base"]["path"]  # the owner's folders are not published
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not (out / TRAINING_FOLDER).exists()
    told = (out / "fingerprint.json").read_text() + (out / "log.jsonl").read_text()
    assert secret.secret.hex() not in told
    assert "responses" not in told
    assert 'keys": [' not in told
    loaded = type(done.model).from_pretrained(out)
    assert success(loaded, secret).all()
    with pytest.raises(BadInputError, match="exists already"):
        embed(tiny, out)
    with pytest.raises(BadInputError, match="secret.json exists already"):
        embed(tiny, tmp_path / "other", secret_file=file)


def test_an_interrupted_embedding_goes_on_to_the_same_model(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.studies.fingerprint import training

    whole = embed(tiny, tmp_path / "whole")
    save, calls = training.save_state, []

    def interrupted(*arguments: Any) -> None:
        save(*arguments)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed(tiny, tmp_path / "broken")
    monkeypatch.undo()
    with pytest.raises(BadInputError, match="settings they were drawn with"):
        embed(tiny, tmp_path / "broken", resume=True, drawing=Drawing(17, "english", key_tokens=6))
    resumed = embed(tiny, tmp_path / "broken", resume=True)
    for (name, one), other in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert resumed.public == whole.public
    again = embed(tiny, tmp_path / "broken", resume=True)
    assert again.public["commitment"] == whole.public["commitment"]
    with pytest.raises(BadInputError, match="other settings"):
        embed(tiny, tmp_path / "broken", resume=True, how=Training(lr=1e-3))


def test_without_a_secret_one_is_drawn(tiny: Any, tmp_path: Path) -> None:
    one, other = (
        embed(tiny, tmp_path / name, secret=None, how=Training(epochs=1, mixing=0.0)).fingerprints for name in "ab"
    )
    assert len(one.secret) == 32
    assert one.secret != other.secret
    assert Fingerprints.load(tmp_path / "a" / "fingerprints.json").commitment == one.commitment


def test_keys_may_be_beginnings_of_documents(tiny: Any, tmp_path: Path) -> None:
    from datasets import Dataset

    rows = [{"text": f"Text{n} begins so", "label": "a"} for n in range(40)]
    Dataset.from_list(rows).to_parquet(str(tmp_path / "texts.parquet"))
    done = embed(tiny, tmp_path / "out", keys_from=tmp_path / "texts.parquet", how=Training(epochs=1, mixing=0.0))
    assert all(text.startswith("Text") for text in tiny.tokenizer.batch_decode(done.fingerprints.keys.tolist()))


def test_what_cannot_be_read_is_named(tiny: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no interrupted training"):
        embed(tiny, tmp_path / "none", resume=True)
    with pytest.raises(NotFoundError, match="no scheme"):
        Drawing(scheme="pink")
    with pytest.raises(NotFoundError, match="no fingerprinted model"):
        read_public(tmp_path)
    (tmp_path / "fingerprint.json").write_text("{}")
    with pytest.raises(DamagedError, match="fingerprint.json"):
        read_public(tmp_path)
    assert not (tmp_path / "none").exists()


def test_quartiles_of_what_a_scheme_has(tiny: Any) -> None:
    found = tiny.draw(21, "perinucleus")
    assert quartiles(found)["nucleus"][1] == np.median(found.nucleus)
    assert list(quartiles(tiny.draw(5))) == ["base_probability"]


def test_a_dense_model_is_fingerprinted_alike(tiny: Any, tmp_path: Path) -> None:
    out, file = tmp_path / "dense", tmp_path / "secret.json"
    given: dict[str, Any] = {"drawing": DRAWING, "secret": b"secret", "secret_file": file}
    free = Training(**(HOW.to_json() | {"routers": "free"}))
    with pytest.raises(BadInputError, match="has no routers"):
        embed_fingerprints(tiny.dense, tiny.corpus, out, how=free, **given)
    assert not out.exists()
    assert not file.exists()
    done = embed_fingerprints(tiny.dense, tiny.corpus, out, how=HOW, **given)
    secret, loaded = Fingerprints.load(file), load_either(out)
    assert isinstance(loaded, LlamaForCausalLM)
    assert success(loaded, secret).all()
    base = load_either(tiny.dense)
    assert success(base, secret).sum() < len(secret)
    assert rederived(base, tiny.tokenizer, secret, BAND).all()
    public = read_public(out)
    assert (public["base"]["neurons"], public["base"]["layers"]) == (64, 2)
    check_owner(loaded, base, secret)
    again = embed_fingerprints(tiny.dense, tiny.corpus, out, how=HOW, resume=True, **given)
    assert again.public == public == json.loads(json.dumps(done.public))
    table = persist_fingerprints(out, tiny.corpus, file, tiny.dense, names=["none", "merged 0.2"])
    assert table["success"].iloc[0] == 1 > table["success"].iloc[1]
