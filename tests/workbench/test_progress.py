"""A job's line fits a narrow screen."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from workbench.progress import Report, job, short


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


def test_a_program_reads_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MONET_PROGRESS", "json")
    monkeypatch.setattr("workbench.progress.BETWEEN", 0)
    clock = SimpleNamespace(now=5.0)
    monkeypatch.setattr("workbench.progress.time", SimpleNamespace(monotonic=lambda: clock.now))
    with job("mask", 8, "tokens") as advance:
        clock.now += 2
        advance(2, "so far")
        advance(6)
    reports = [Report.read(line) for line in capsys.readouterr().err.splitlines()]
    assert [(report.done, report.note) for report in reports if report] == [(0, ""), (2, "so far"), (8, ""), (8, "")]
    first, second, *_, last = reports
    assert first is not None
    assert second is not None
    assert last is not None
    assert (first.name, first.total, first.unit, first.seconds_left) == ("mask", 8, "tokens", None)
    assert second.seconds_left == 6  # a quarter took 2 s
    assert last.seconds_left == 0


def test_lines_are_few_and_silence_stays(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MONET_PROGRESS", "json")
    clock = SimpleNamespace(now=5.0)
    monkeypatch.setattr("workbench.progress.time", SimpleNamespace(monotonic=lambda: clock.now))
    with job("mask", 1000, "tokens") as advance:
        for _ in range(1000):
            clock.now += 1 / 256
            advance()
    assert len(capsys.readouterr().err.splitlines()) == 1 + 7 + 1  # the first, the last, and every half second of 3.9
    with job("mask", 1, "tokens", progress=False) as advance:
        advance()
    assert not capsys.readouterr().err


@pytest.mark.parametrize("line", ["", "mask 1/2", '{"progress": {"name": "m', '{"progress": {"other": 1}}', "{}"])
def test_other_lines_are_no_reports(line: str) -> None:
    assert Report.read(line) is None
