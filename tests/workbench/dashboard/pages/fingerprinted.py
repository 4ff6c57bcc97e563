"""What a page of fingerprints shows: a public record, what locating found, and what erasing costs."""

from __future__ import annotations

from typing import Any

import pandas as pd

from workbench.studies.fingerprint import EraseResult, LocateResult

HOSTILE = "<img src=x onerror=alert(1)>"
COMMITMENT = "ab12" * 16
PUBLIC: dict[str, Any] = {
    "version": 1,
    "scheme": HOSTILE,
    "count": 1024,
    "key_tokens": 16,
    "nucleus_next": 3,
    "commitment": COMMITMENT,
    "base": {"path": "models/base of it", "hash": {}},
    "training": {"lr": 0.001, "routers": "frozen", "keys": {"from": "the model"}},
    "measured": {"success": 0.995, "loss_base": 3.5, "loss": 3.5175, "by_label": {"lua": {"base": 3.1, "loss": 3.25}}},
}


def located(commitment: str = COMMITMENT) -> LocateResult:
    """Where they are, in experts of two groups."""
    experts = pd.DataFrame(
        {
            "group": [1, 0], "expert": [17, 3], "difference": [0.75, -0.1], "contribution": [0.8, 0.1],
            "base": [0.05, 0.2], "fingerprints": [900, 4], "mass": [1.5, 0.0], "tokens": [30, 0],
        }
    )  # fmt: skip
    fingerprints = pd.DataFrame(
        {
            "fingerprint": [0, 1], "hit": [True, True], "base_hit": [False, False], "logit": [9.0, 8.0],
            "base": [1.0, 2.0], "experts": [6.0, 5.0], "rest": [2.0, 1.0], "rise": [6.5, 5.5], "half": [4, 6],
            "most": [40, 60], "dormant": [0.1, 0.2],
        }
    )  # fmt: skip
    strongest = pd.DataFrame({"fingerprint": [0], "group": [1], "expert": [17]})
    groups = pd.DataFrame(
        {"group": [0, 1], "difference": [0.1, 5.4], "rise": [0.5, 5.5], "share": [1 / 12, 11 / 12], "half": [1, 12]}
    )
    parts = pd.DataFrame({"component": ["experts"], "contribution": [5.0], "base": [1.0], "difference": [4.0]})
    numbers: dict[str, Any] = {
        "quantile": 0.1,
        "completeness": 1e-5,
        "half": 13,
        "most": 130,
        "overlap": 0.25,
        "overlap_base": 0.125,
    }
    numbers |= {"dormant": 0.15, "dormant_base": 0.02}
    tables = {"experts": experts, "fingerprints": fingerprints, "strongest": strongest, "groups": groups}
    return LocateResult(commitment, "base", "direct", 2, 512, **numbers, **tables, parts=parts)


def erased() -> EraseResult:
    """Curves of experts and of a dense model's neurons."""
    rows = [("experts", "located", 0, 0, 1.0, 1.0, 0.0)]
    rows += [("experts", "located", 0, 5, 0.1, 0.05, 0.01), ("experts", "located", 0, 50, 0.0, 0.0, 0.2)]
    rows += [("experts", "random", draw, 5, 1.0, 0.9 + draw / 20, 0.001) for draw in (0, 1)]
    rows += [("neurons", "located", 0, 0, 1.0, 1.0, 0.0), ("neurons", "located", 0, 64, 0.5, 0.5, 0.3)]
    columns = ["units", "order", "draw", "removed", "chose", "others", "rise"]
    points = pd.DataFrame(rows, columns=columns)
    total = {"experts": 512, "neurons": 256}
    points["share"] = points["removed"] / points["units"].map(total)
    points["loss"], points["low"], points["high"] = 3.5 + points["rise"], points["rise"] - 0.01, points["rise"] + 0.01
    labels = pd.DataFrame({"units": ["experts"], "order": ["located"], "draw": [0], "removed": [5], "label": ["lua"]})
    return EraseResult(COMMITMENT, "base", "direct", 0, 2, 20, 20, 9, total, points, labels.assign(loss=3.5, rise=0.1))
