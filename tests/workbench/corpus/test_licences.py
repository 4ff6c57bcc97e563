"""Licences of single files, from Debian's copyright files and npm's package.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.corpus.licences import FileLicences, normalise, npm_licence

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2001 Ada
License: GPL-2+

Files: includes/libs/*.php
 vendor/*
Copyright: 2010 Bob
License: Expat
 Permission is hereby granted
 .
 Files: not/a/rule

Files: vendor/zip/*
License: BSD-3-clause
"""


def test_the_last_rule_that_matches_decides() -> None:
    licences = FileLicences.read(COPYRIGHT)
    assert licences.of("usr/share/app/index.php") == "GPL-2+"
    assert licences.of("usr/share/app/includes/libs/a.php") == "MIT"
    assert licences.of("usr/share/app/vendor/x/y.php") == "MIT"
    assert licences.of("vendor/zip/z.php") == "BSD-3-Clause"
    assert licences.of("not/a/rule") == "GPL-2+"


def test_the_rule_for_every_file_yields_wherever_it_stands() -> None:
    licences = FileLicences.read("Files: a/*\nLicense: MIT\n\nFiles: *\nLicense: ISC\n")
    assert licences.of("a/b") == "MIT"
    assert licences.of("c") == "ISC"
    assert FileLicences.read("Anybody may copy this.").of("c") is None


@pytest.mark.parametrize(
    ("globs", "licence"),
    [
        (["b/c.h", "b/*"], "second"),
        (["b/*", "b/c.h"], "second"),
        (["./b/c.h", "x/c.h"], "first"),
        (["a/b/c.h", "c.h"], "second"),
        (["c.h", "a/b/c.h"], "second"),
        (["c.h", "c.?"], "second"),
        (["c.?", "c.h", "d/*"], "second"),
        (["B/c.h", ".h"], None),
    ],
)
def test_files_named_and_globs_decide_in_their_order(globs: list[str], licence: str | None) -> None:
    names = ["first", "second", "third"]
    text = "\n\n".join(f"Files: {glob}\nLicense: {name}" for glob, name in zip(globs, names, strict=False))
    assert FileLicences.read(text).of("usr/a/b/c.h") == licence


def test_names_are_spelt_as_spdx_does() -> None:
    assert [normalise(n) for n in ("Expat", " apache ", "GPL-2+")] == ["MIT", "Apache-2.0", "GPL-2+"]


def test_npm_licence(tmp_path: Path) -> None:
    assert npm_licence(tmp_path) is None
    (tmp_path / "package").mkdir()
    manifest = tmp_path / "package" / "package.json"
    manifest.write_text(json.dumps({"license": "MIT"}))
    assert npm_licence(tmp_path) == "MIT"
    manifest.write_text(json.dumps({"license": {"type": "MIT"}}))
    assert npm_licence(tmp_path) is None
