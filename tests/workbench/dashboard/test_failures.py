"""Each kind of error has its own status and heading; unexpected ones are logged."""

from __future__ import annotations

import logging

import pytest

from workbench import errors
from workbench.dashboard.failures import message_or, text_of
from workbench.errors import KINDS, kind_of


def test_every_kind_of_error_has_status_and_heading() -> None:
    kinds = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.WorkbenchError)]
    assert set(KINDS) == set(kinds)
    assert kind_of(errors.NotFoundError("x")).status == 404
    assert kind_of(errors.NotAnalysedError("x")).status == 409
    assert kind_of(RuntimeError("x")).status == 500


def test_unexpected_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert "RuntimeError: odd" in text_of(RuntimeError("odd"))
    assert "the dashboard failed" in caplog.text


def test_message_or_draws_a_message_for_damage_only() -> None:
    def fail(error: Exception) -> None:
        raise error

    assert "cut off" in str(message_or(fail, errors.DamagedError("cut off"))[0].children).lower()
    with pytest.raises(errors.NotFoundError):
        message_or(fail, errors.NotFoundError("x"))
    assert message_or(lambda: [1, 2]) == [1, 2]
    assert message_or(lambda: 1) == [1]
