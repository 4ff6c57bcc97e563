"""What a transcoding may be asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from workbench.errors import BadInputError
from workbench.transcode import TranscodeSettings
from workbench.transcode.settings import parse_layers


@pytest.mark.parametrize(("text", "layers"), [("8-11", (8, 9, 10, 11)), ("0, 4-5,2", (0, 2, 4, 5)), ("7", (7,))])
def test_layers_are_read(text: str, layers: tuple[int, ...]) -> None:
    assert parse_layers(text) == layers


@pytest.mark.parametrize("text", ["", "8-", "11-8", "a", "1,,2", "-1"])
def test_layers_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="--layers takes"):
        parse_layers(text)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"layers": ()}, "no layers"),
        ({"tokens": 0}, "tokens must be at least 1"),
        ({"kl_tokens": -1}, "kl_tokens must be 0 or more"),
        ({"residual_experts": 2}, "residual_experts must be above 2"),
        ({"group_layers": 0}, "group_layers"),
        ({"save_every": 5}, "multiple of revive_every"),
        ({"sequence": 1}, "at least 2 tokens"),
    ],
)
def test_settings_out_of_range_are_refused(
    settings: Callable[..., TranscodeSettings], changed: dict[str, object], named: str
) -> None:
    with pytest.raises(BadInputError, match=named):
        settings(**changed)


def test_groups_divide_the_layers(settings: Callable[..., TranscodeSettings]) -> None:
    assert settings(layers=(0, 2, 3), group_layers=2).groups == [(0, 2), (3,)]
    assert settings(layers=(0, 2, 3)).groups == [(0, 2, 3)]
