"""The training loop: it learns, resumes exactly, and refuses bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from monet_model import MonetConfig, MonetForCausalLM
from monet_model.training import Sequences, TrainingConfig, learning_rate, make_optimizer, read_config, train

SHAPE: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "moe_dim": 4,
    "moe_heads": 2,
    "moe_experts": 8,
    "moe_topk": 3,
    "moe_groups": 2,
    "pad_token_id": None,
}
HOW = TrainingConfig(
    tokens=2 * 16 * 24,
    sequence=16,
    batch=2,
    replicas=2,
    lr=1e-2,
    warmup=4,
    save_every=10,
    eval_every=10,
    log_every=5,
    revive_every=5,
)


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    """A stream that can be learnt: each token is the last one plus one, or a jump."""
    rng = np.random.default_rng(0)
    steps = np.where(rng.random(4000) < 0.9, 1, rng.integers(1, 32, 4000))
    return (np.cumsum(steps) % 32).astype(np.uint16)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


class _Stop(Exception):
    pass


MIXED: dict[str, Any] = {"num_hidden_layers": 3, "dense_layers": [0, 2], "intermediate_size": 24, "hidden_act": "silu"}


@pytest.mark.parametrize(("stop", "fields"), [(1, {}), (10, {}), (17, {}), (10, MIXED)])
def test_train_resumed_equals_an_uninterrupted_run(
    tmp_path: Path, tokens: np.ndarray, stop: int, fields: dict[str, Any]
) -> None:
    heldout = {"all": torch.from_numpy(tokens[:64].astype(np.int64)).view(4, 16)}
    shape = SHAPE | fields
    train(MonetConfig(**shape), HOW, tokens, tmp_path / "whole", heldout=heldout)

    def interrupt(done: int, _loss: float) -> None:
        if done == stop:
            raise _Stop

    with pytest.raises(_Stop):
        train(MonetConfig(**shape), HOW, tokens, tmp_path / "broken", heldout=heldout, report=interrupt)
    train(MonetConfig(**shape), HOW, tokens, tmp_path / "broken", heldout=heldout, resume=True)
    whole, broken = _weights(tmp_path / "whole"), _weights(tmp_path / "broken")
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)

    def log(folder: str) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in (tmp_path / folder / "log.jsonl").read_text().splitlines()]
        return [{key: value for key, value in row.items() if key != "tokens_per_second"} for row in rows]

    assert log("whole") == log("broken")
    assert [row["step"] for row in log("whole")] == [5, 10, 15, 20, 24]
    assert [row["step"] for row in log("whole") if "revived" in row] == [5, 10]
    assert all("heldout" in row for row in log("whole") if row["step"] in (10, 20, 24))


def test_train_learns_and_saves_a_loadable_model(tmp_path: Path, tokens: np.ndarray) -> None:
    train(MonetConfig(**SHAPE), replace(HOW, tokens=2 * 16 * 150), tokens, tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert rows[0]["lm_loss"] > 3.0
    assert rows[-1]["lm_loss"] < 1.8
    model = MonetForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = torch.arange(10)[None] % 32
    assert model(ids).logits.argmax(-1)[0, 2:].tolist() == list(range(3, 11))


def test_train_replicas_average_to_a_single_step(tmp_path: Path, tokens: np.ndarray) -> None:
    """Two replicas that see the same sequence must step as one replica that sees it once."""
    same = np.tile(tokens[:16], 20)
    shape = SHAPE | {"router_aux_loss_coef": 0.0}
    how = replace(HOW, tokens=16 * 2 * 3, log_every=1, revive_every=0)
    two = train(MonetConfig(**shape), how, same, tmp_path / "two")
    sequences = Sequences(same, 16, how.seed)
    torch.manual_seed(how.seed)
    one = MonetForCausalLM(MonetConfig(**shape)).train()
    optimizer = make_optimizer(one, how)
    for step in range(3):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, how)
        ids = sequences.batch(step, 2)
        assert torch.equal(ids[0], ids[1])
        one(input_ids=ids[:1], labels=ids[:1]).loss.backward()
        torch.nn.utils.clip_grad_norm_(one.parameters(), how.clip)
        optimizer.step()
        optimizer.zero_grad()
    for (name, mine), expected in zip(two.state_dict().items(), one.state_dict().values(), strict=True):
        assert torch.allclose(mine, expected, atol=1e-6), name


def test_learning_rate_rises_then_falls() -> None:
    how = replace(HOW, tokens=2 * 16 * 100, warmup=10, lr=1.0, final_lr=0.1)
    rates = [learning_rate(step, how) for step in range(how.steps)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert sorted(rates[10:], reverse=True) == rates[10:]
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)


def test_sequences_show_each_once_per_epoch_and_cut_elsewhere_next() -> None:
    sequences = Sequences(np.arange(105, dtype=np.uint16), 10, seed=3)
    first = [sequences.batch(step, 1)[0] for step in range(sequences.per_epoch)]
    assert len({int(row[0]) for row in first}) == sequences.per_epoch == 9
    assert len({int(row[0]) % 10 for row in first}) == 1
    assert all(torch.equal(row, torch.arange(int(row[0]), int(row[0]) + 10)) for row in first)
    again = Sequences(np.arange(105, dtype=np.uint16), 10, seed=3)
    assert torch.equal(again.batch(1, 5)[0], first[5])  # whatever was asked before
    starts = {int(sequences.batch(9 * epoch, 1)[0][0]) % 10 for epoch in range(6)}
    assert len(starts) > 1


def test_optimizer_decays_only_matrices() -> None:
    model = MonetForCausalLM(MonetConfig(**SHAPE))
    decayed, kept = make_optimizer(model, HOW).param_groups
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {p.ndim for p in kept["params"]} == {1}
    assert kept["weight_decay"] == 0
    assert len(decayed["params"]) + len(kept["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no training configuration"),
        ("{", "is not JSON"),
        ("[]", "one object with `model` and `training`"),
        ('{"model": {}, "training": {"tokens": 1, "speed": 2}}', r"unknown training fields \['speed'\]"),
        ('{"model": {}, "training": {"tokens": 0}}', "tokens must be at least 1"),
        ('{"model": {}, "training": {"tokens": 1, "batch": 3, "replicas": 2}}', "multiple of replicas"),
        ('{"model": {"moe_topk": 512}, "training": {"tokens": 1}}', "moe_topk"),
        ('{"model": {}, "training": {}}', "tokens"),
    ],
)
def test_read_config_names_what_is_wrong(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=said):
        read_config(path)


def test_train_refuses_bad_input_before_writing(tmp_path: Path, tokens: np.ndarray) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="too few"):
        train(MonetConfig(**SHAPE), HOW, tokens[:20], out)
    with pytest.raises(ValueError, match="token id 40 is outside"):
        train(MonetConfig(**SHAPE), HOW, np.full(1000, 40, np.uint16), out)
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty"):
        train(MonetConfig(**SHAPE), HOW, tokens, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_train_refuses_a_foreign_or_damaged_state(tmp_path: Path, tokens: np.ndarray) -> None:
    how = replace(HOW, tokens=2 * 16 * 10)
    train(MonetConfig(**SHAPE), how, tokens, tmp_path)
    with pytest.raises(ValueError, match="another configuration or corpus"):
        train(MonetConfig(**SHAPE), replace(how, lr=1.0), tokens, tmp_path, resume=True)
    with pytest.raises(ValueError, match="another configuration or corpus"):
        train(MonetConfig(**SHAPE), how, tokens[1:], tmp_path, resume=True)
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is damaged"):
        train(MonetConfig(**SHAPE), how, tokens, tmp_path, resume=True)


def test_train_stops_when_the_loss_is_not_finite(tmp_path: Path, tokens: np.ndarray) -> None:
    with pytest.raises(FloatingPointError, match="lower lr"):
        train(MonetConfig(**SHAPE), replace(HOW, lr=1e30, warmup=0, clip=1e30), tokens, tmp_path / "out")
