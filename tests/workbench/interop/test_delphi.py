"""A run as a latent cache of Delphi, read back as Delphi's own loader reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from safetensors.numpy import load_file

from workbench.export import export_run
from workbench.interop import write_delphi
from workbench.store import open_run


class DelphiCache:
    """A module's latent cache, read as Delphi's loader does (EleutherAI/delphi, delphi/latents/loader.py): the files'
    names are the first and last latent, latents count from the first, and all files hold the same tokens."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.spans = sorted(tuple(map(int, file.stem.split("_"))) for file in folder.glob("*.safetensors"))
        self.files = {span: load_file(folder / "{}_{}.safetensors".format(*span)) for span in self.spans}
        self.tokens = self.files[self.spans[0]]["tokens"]

    def latent(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Locations (n, 2): window, position; and activations (n,)."""
        first = [span for span in self.spans if span[0] <= number][-1][0]
        (data,) = [self.files[span] for span in self.spans if span[0] == first]
        here = data["locations"][:, 2].astype(np.int64) + first == number
        return data["locations"][here, :2].astype(np.int64), data["activations"][here]


def same_as_run(cache: DelphiCache, run: Any, group: int, expert: int) -> None:
    """An expert's activations in the cache are the run's, token by token."""
    places, activations = cache.latent(expert)
    found = run.activations(group, expert)
    found = found[found["score"] > 1e-5]
    first, end = {}, 0
    for doc in run.documents.query("kept and tokens > 0").itertuples():
        first[doc.doc] = end + (doc.bos is not pd.NA) - doc.row
        end += (doc.bos is not pd.NA) + doc.tokens
    assert -(-end // cache.tokens.shape[1]) == len(cache.tokens)
    expected = [divmod(first[token.doc] + token.row, cache.tokens.shape[1]) for token in found.itertuples()]
    assert [tuple(place) for place in places.tolist()] == expected
    assert cache.tokens[places[:, 0], places[:, 1]].tolist() == found["token"].tolist()
    np.testing.assert_allclose(activations, found["score"], rtol=2**-10, atol=2**-25)  # half precision


@pytest.mark.parametrize("splits", [1, 5])
def test_a_delphi_cache_of_all_experts(sound_run, tmp_path, splits) -> None:
    run = open_run(sound_run)
    folder = write_delphi(run, tmp_path, 1, splits=splits)
    assert folder == tmp_path / "model.layers.2.router"
    cache = DelphiCache(folder)
    assert [first for first, _ in cache.spans] == [0, *(last + 1 for _, last in cache.spans[:-1])]
    assert cache.spans[-1][1] == run.num_keys**2 - 1
    assert len(cache.spans) == splits
    for data in cache.files.values():
        assert {name: str(value.dtype) for name, value in data.items()} == {
            "locations": "uint16",
            "activations": "float16",
            "tokens": "int64",
        }
        assert (data["tokens"] == cache.tokens).all()
        order = data["locations"].astype(np.int64) @ [2**32, 2**16, 1]
        assert (np.diff(order) > 0).all()
    for expert in run.experts(1).index[::16]:
        same_as_run(cache, run, 1, int(expert))
    assert cache.config["cache_ctx_len"] == cache.tokens.shape[1] == run.manifest["settings"]["context"]
    assert cache.config["n_tokens"] == cache.tokens.size
    assert cache.config["model_name"] == run.model_path


def test_a_delphi_cache_of_named_experts_holds_only_those(sound_run, tmp_path) -> None:
    run = open_run(sound_run)
    cache = DelphiCache(write_delphi(run, tmp_path, 0, [np.int64(200), 3, 3]))
    for expert in (3, 200):
        assert len(cache.latent(expert)[1])
        same_as_run(cache, run, 0, expert)
    assert sum(len(data["activations"]) for data in cache.files.values()) == sum(
        len(cache.latent(e)[1]) for e in (3, 200)
    )


def test_delphi_lines_are_the_kept_documents_back_to_back(windowed_run, tmp_path) -> None:
    run = open_run(windowed_run)
    cache = DelphiCache(write_delphi(run, tmp_path, 0, splits=3))
    kept = run.documents.query("kept and tokens > 0")
    assert len(kept) < len(run.documents)
    texts = [run.input_ids(doc).tolist() for doc in kept["doc"]]
    ids = sum(texts, [])
    assert cache.tokens.shape == (-(-len(ids) // 8), 8)
    assert cache.tokens.ravel()[: len(ids)].tolist() == ids
    assert (cache.tokens.ravel()[len(ids) :] == 0).all()
    opens = {sum(map(len, texts[:n])) for n, bos in enumerate(kept["bos"].notna()) if bos}
    assert opens
    for expert in run.top_experts(0, limit=20).index:
        same_as_run(cache, run, 0, int(expert))
        places, _ = cache.latent(int(expert))
        assert not opens & {line * 8 + position for line, position in places.tolist()}


def test_no_delphi_line_is_only_padding_where_control_tokens_and_empty_documents_are_many(
    bare_run_path, tmp_path
) -> None:
    pad = 2
    rows = [[1, *range(30, 39), 0, *range(40, 45), *[pad] * 20], [1], [1], *[[1, 50 + n, 3] for n in range(6)], [1]]
    Dataset.from_list([{"input_ids": ids, "label": "a"} for ids in rows]).to_parquet(tmp_path / "corpus.parquet")
    model = open_run(bare_run_path).model_path
    export_run(model, tmp_path / "corpus.parquet", tmp_path / "run", context=4)
    run = open_run(tmp_path / "run")
    cache = DelphiCache(write_delphi(run, tmp_path, 0))
    assert run.tokenizer().pad_token_id == pad
    assert not (cache.tokens == pad).all(axis=1).any()
    assert (cache.tokens == pad).sum() < 4
    shown = [[1, *range(30, 39), *range(40, 45)], *[[1, 50 + n, 3] for n in range(6)]]
    assert cache.tokens[cache.tokens != pad].tolist() == sum(shown, [])
    for expert in run.top_experts(0, limit=20).index:
        same_as_run(cache, run, 0, int(expert))


def test_delphi_caches_of_a_run_without_routing_have_no_lines(sampled_run, tmp_path, monkeypatch) -> None:
    run = open_run(sampled_run)
    monkeypatch.setitem(run.documents, "kept", False)
    monkeypatch.setattr(run, "activations", lambda *_: pd.DataFrame({"row": np.zeros(0, np.int64), "score": 0.0}))
    cache = DelphiCache(write_delphi(run, tmp_path, 0, [3]))
    assert cache.tokens.shape == (0, run.manifest["settings"]["context"])


def test_delphi_configs_hold_no_null_characters_and_no_lone_surrogates(sound_run, tmp_path, monkeypatch) -> None:
    run = open_run(sound_run)
    monkeypatch.setitem(run.manifest["corpus"], "path", "a\0b\udcff")
    cache = DelphiCache(write_delphi(run, tmp_path, 0, [3]))
    assert cache.config["dataset_repo"] == "a\u2400b\ufffd"
