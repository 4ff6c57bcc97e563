"""From a teacher and a corpus to a model with its figures: quality, exact resumption, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from workbench import load_model
from workbench.errors import BadInputError
from workbench.transcode import Teacher, TranscodeSettings, phases, transcode
from workbench.transcode.splice import mean_losses
from workbench.transcode.transcoder import affine_fit

Make = Callable[..., TranscodeSettings]


class Stop(Exception):
    """The crash of a transcoding."""


def _stop_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let training crash after so many states were saved."""
    saved: list[int] = []
    save = phases.save_state

    def counting(*args: Any) -> None:
        save(*args)
        saved.append(1)
        if len(saved) == count:
            raise Stop

    monkeypatch.setattr(phases, "save_state", counting)


def _log(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in row.items() if name != "tokens_per_second"} for row in rows]


def test_experts_explain_more_than_an_affine_map(
    teacher: Teacher, corpus: Dataset, settings: Make, tmp_path: Path
) -> None:
    how = settings(
        tokens=16 * 8 * 250, batch=8, lr=1e-2, topk=6, moe_dim=8, eval_every=250, save_every=250, revive_every=0
    )
    done = transcode(teacher, corpus, tmp_path / "out", how)
    fits = affine_fit(done.lesson)
    affine = done.lesson.heldout.unexplained(lambda x: torch.stack([f(y) for f, y in zip(fits, x, strict=True)]))
    for experts, line in zip(done.figures["unexplained"], affine["unexplained"], strict=True):
        assert experts < 0.95 * line


def test_the_saved_model_has_the_figures_it_is_saved_with(
    teacher: Teacher, corpus: Dataset, settings: Make, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = transcode(teacher, corpus, out, settings(kl_tokens=16 * 4 * 4))
    kept = json.loads((out / "transcode.json").read_text(encoding="utf-8"))
    assert kept["recovered"] == pytest.approx(done.figures["recovered"])
    losses = mean_losses(load_model(out, device="cpu"), done.lesson.heldout.sequences)
    assert losses == pytest.approx(kept["loss_by_label"])
    assert kept["settings"]["layers"] == [1, 2]
    log = _log(out)
    assert [row["step"] for row in log] == list(range(1, 15))
    assert [row["phase"] for row in log] == ["experts"] * 10 + ["distribution"] * 4
    assert set(log[4]["heldout"]) == {"unexplained", "unexplained_plain", "active_parameters"}
    assert len(log[4]["heldout"]["unexplained"]) == 2
    assert "recovered" in log[9]["heldout"]
    assert {"recovered", "loss", "rise", "unexplained"} <= set(log[-1]["heldout"])


@pytest.mark.parametrize("states", [1, 3, 4, 7, 8])
def test_a_resumed_transcoding_gives_the_same_bits(
    teacher_path: Path,
    corpus: Dataset,
    settings: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    states: int,
) -> None:
    how = settings(assistant=True, residual_experts=8, kl_tokens=16 * 4 * 5)
    whole = transcode(teacher_path, corpus, tmp_path / "whole", how, device="cpu")
    with monkeypatch.context() as patch:
        _stop_after(states, patch)
        with pytest.raises(Stop):
            transcode(teacher_path, corpus, tmp_path / "parts", how, device="cpu")
    parts = transcode(teacher_path, corpus, tmp_path / "parts", how, device="cpu", resume=True)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert whole.figures == parts.figures
    assert _log(tmp_path / "whole") == _log(tmp_path / "parts")


def test_a_finished_transcoding_can_go_on_with_distributions(
    teacher: Teacher, corpus: Dataset, settings: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"kl_tokens": 16 * 4 * 5}
    transcode(teacher, corpus, tmp_path / "whole", settings(**more))
    transcode(teacher, corpus, tmp_path / "parts", settings(heldout_sequences=1))
    transcode(teacher, corpus, tmp_path / "parts", settings(**more), resume=True)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_folder_in_use_and_another_transcoding_are_refused(
    teacher: Teacher, corpus: Dataset, settings: Make, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    transcode(teacher, corpus, out, settings())
    with pytest.raises(BadInputError, match="is not empty; resume"):
        transcode(teacher, corpus, out, settings())
    with pytest.raises(BadInputError, match="belongs to a training run with another configuration"):
        transcode(teacher, corpus, out, settings(lr=1e-3), resume=True)


def test_all_layers_can_be_transcoded(teacher: Teacher, corpus: Dataset, settings: Make, tmp_path: Path) -> None:
    done = transcode(teacher, corpus, tmp_path / "out", settings(layers=(0, 1, 2, 3), group_layers=2))
    assert done.model.config.dense_layers == []
    assert load_model(tmp_path / "out").config.routing_groups == [range(0, 2), range(2, 4)]


def test_bad_requests_write_nothing(teacher: Teacher, corpus: Dataset, settings: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(BadInputError, match="has no layer 7"):
        transcode(teacher, corpus, out, settings(layers=(1, 7)))
    assert not out.exists()


def test_a_loss_that_is_not_finite_is_said(teacher: Teacher, corpus: Dataset, settings: Make, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="experts: the loss is .* lower the learning rate"):
        transcode(teacher, corpus, tmp_path / "out", settings(lr=1e6, warmup=0))


def test_variants_can_share_a_cache(
    teacher: Teacher, corpus: Dataset, settings: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    transcode(teacher, corpus, tmp_path / "one", settings(), cache=cache)
    monkeypatch.setattr("workbench.transcode.cache.InputCache._run", None)  # nothing is left to be computed
    transcode(teacher, corpus, tmp_path / "two", settings(seed=1, experts=16), cache=cache)
    assert not (tmp_path / "two" / "work" / "cache").exists()
