from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.analysis.attribution.direct import attribute
from workbench.analysis.attribution.gradient import attribute_gradient
from workbench.errors import BadInputError
from workbench.studies.fingerprint import key_parts as module
from workbench.studies.fingerprint.answers import with_start
from workbench.studies.fingerprint.key_parts import KeyParts, key_parts, summed

from .marked import Marked


def _by_group(rows: object, size: int, layers: list[list[int]]) -> dict[int, float]:
    """What each expert of a prompt's attribution adds, over the layers of its group."""
    found: dict[int, float] = {}
    for row in rows.itertuples():  # type: ignore[attr-defined]
        group = next(at for at, some in enumerate(layers) if row.layer in some)
        unit = group * size + row.expert
        found[unit] = found.get(unit, 0.0) + row.contribution
    return found


def _of_key(parts: KeyParts, key: int) -> dict[int, float]:
    rows = parts.key == key
    return dict(zip(parts.unit[rows].tolist(), parts.value[rows].tolist(), strict=True))


@pytest.mark.parametrize("method", ["direct", "gradient"])
def test_parts_are_those_of_each_key_alone(either: Marked, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 5)  # so that batches end within the keys
    monkeypatch.setattr(module, "GRADIENT_BATCH", 5)
    model, known = either.model, either.fingerprints
    counted: list[float] = []
    parts = key_parts(model, known.keys, known.responses, method, lambda units=1, note="": counted.append(units))
    assert sum(counted) == len(known)
    groups, size = [list(group) for group in model.config.routing_groups], model.config.moe_experts**2
    for key, (ids, response) in enumerate(zip(with_start(model, known.keys), known.responses.tolist(), strict=True)):
        alone = attribute(model, ids[None], response)
        rows = alone.experts if method == "direct" else attribute_gradient(model, ids[None], response)
        expected = _by_group(rows, size, groups)
        found = _of_key(parts, key)
        assert found.keys() == expected.keys()
        np.testing.assert_allclose([found[unit] for unit in expected], list(expected.values()), atol=1e-5)
        assert parts.logit[key] == pytest.approx(alone.logit, abs=1e-4)
        if method == "direct":
            assert parts.names == alone.rest["component"].tolist()
            np.testing.assert_allclose(parts.rest[key], alone.rest["contribution"], atol=1e-5)


def test_experts_and_the_rest_sum_to_the_logit(either: Marked) -> None:
    for model in (either.model, either.base):
        parts = key_parts(model, either.fingerprints.keys, either.fingerprints.responses)
        total = np.bincount(parts.key, parts.value, len(parts.logit)) + parts.rest.sum(1)
        np.testing.assert_allclose(total, parts.logit, atol=1e-4)
        assert parts.completeness == pytest.approx(np.abs(total - parts.logit).max())
    assert np.isnan(key_parts(either.model, either.fingerprints.keys[:1], np.array([5]), "gradient").completeness)


def test_gradient_is_the_derivative_by_an_expert_s_factor(either: Marked) -> None:
    model, known = either.model, either.fingerprints
    parts = key_parts(model, known.keys[:2], known.responses[:2], "gradient")
    size, keys = model.config.moe_experts**2, model.config.moe_experts
    best = np.argmax(np.where(parts.key == 1, np.abs(parts.value), -1))
    group, expert = divmod(int(parts.unit[best]), size)
    ids, step, logits = with_start(model, known.keys[1:2]), 1e-2, []
    for factor in (1 + step, 1 - step):
        factors = torch.ones(keys, keys)
        factors.view(-1)[expert] = factor
        with torch.no_grad(), model.edit_experts({model.config.routing_groups[group][0]: factors}):
            logits.append(float(model(ids, use_cache=False).logits[0, -1, int(known.responses[1])]))
    assert parts.value[best] == pytest.approx((logits[0] - logits[1]) / (2 * step), rel=0.05)


def test_hits_are_the_likeliest_tokens(either: Marked) -> None:
    known = either.fingerprints
    with torch.no_grad():
        likeliest = either.model(with_start(either.model, known.keys), use_cache=False).logits[:, -1].argmax(1).numpy()
    assert key_parts(either.model, known.keys, likeliest).hit.all()
    wrong = (likeliest + 1) % 128
    assert not key_parts(either.model, known.keys, wrong).hit.any()


def test_rows_are_summed_by_key_and_unit() -> None:
    key, unit, value = summed(np.array([1, 0, 1, 1]), np.array([7, 2, 7, 0]), np.array([1.0, 2.0, 4.0, 8.0]))
    assert (key.tolist(), unit.tolist(), value.tolist()) == ([0, 1, 1], [2, 0, 7], [2.0, 8.0, 5.0])


def test_what_cannot_be_read_is_refused(either: Marked) -> None:
    keys = either.fingerprints.keys[:1]
    with pytest.raises(BadInputError, match="no method 'guess'; there are direct, gradient"):
        key_parts(either.model, keys, np.array([5]), "guess")
    with pytest.raises(BadInputError, match=r"responses must lie in 0 \.\. 127"):
        key_parts(either.model, keys, np.array([128]))
    either.model.train()
    try:
        with pytest.raises(BadInputError, match="training mode"):
            key_parts(either.model, keys, np.array([5]))
    finally:
        either.model.eval()
