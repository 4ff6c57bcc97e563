"""A run as a latent cache of Delphi, read back as Delphi's own loader reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

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
    width = run.manifest["settings"]["context"]
    documents = run.documents[run.documents["kept"]]
    spans = -(-(documents["tokens"] + documents["bos"].notna()) // width)
    first = (spans.cumsum() - spans)[found["doc"]].to_numpy()
    assert places[:, 0].tolist() == (first + found["position"] // width).tolist()
    assert places[:, 1].tolist() == (found["position"] % width).tolist()
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


def test_delphi_windows_are_what_the_model_read_with_the_start_of_text_token(windowed_run, tmp_path) -> None:
    run = open_run(windowed_run)
    cache = DelphiCache(write_delphi(run, tmp_path, 0, splits=3))
    read = []
    for doc in np.flatnonzero(run.documents["kept"]):
        ids = run.input_ids(doc).tolist()
        read += [ids[start : start + 8] for start in range(0, len(ids), 8)]
    assert len(read) == len(cache.tokens)
    for window, ids in zip(cache.tokens.tolist(), read, strict=True):
        assert window == ids + [0] * (8 - len(ids))
    assert not run.documents["kept"].all()
    opens = [n for n, ids in enumerate(read) if ids[0] == 1]
    for expert in run.top_experts(0, limit=20).index:
        same_as_run(cache, run, 0, int(expert))
        places, _ = cache.latent(int(expert))
        assert not len([window for window, position in places.tolist() if position == 0 and window in opens])
