"""A job's line fits a narrow screen."""

from __future__ import annotations

import re

import pytest

from workbench.progress import job, short


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0"), (9999, "9999"), (9999.6, "10k"), (12_345, "12k"), (994_499, "994k"), (3_440_000, "3440k")]
    + [(12_345_678, "12M"), (9_999_600, "10M"), (56e9, "56G"), (1e13, "10T"), (1e16, "10000T")],
)
def test_short_numbers(number: float, said: str) -> None:
    assert short(number) == said


def test_a_line_fits_eighty_characters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"COLUMNS": "80", "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    with job("export", 123_456_789, "characters") as advance:
        advance(98_765_432, "112,233 tokens/s, 12.3 GB")
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err).replace("\r", "\n").splitlines()
    last = [line for line in lines if line.strip()][-1]
    assert "99M/123M characters" in last
    assert "112,233 tokens/s, 12.3 GB" in last
    assert len(last.rstrip()) <= 80
