"""Licences of single files, from Debian's copyright files and npm's package.json."""

from __future__ import annotations

import json
from pathlib import Path

from workbench.corpus.licences import debian_rules, match_rule, normalise, npm_licence

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
    rules = debian_rules(COPYRIGHT)
    assert match_rule(rules, "usr/share/app/index.php") == "GPL-2+"
    assert match_rule(rules, "usr/share/app/includes/libs/a.php") == "MIT"
    assert match_rule(rules, "usr/share/app/vendor/x/y.php") == "MIT"
    assert match_rule(rules, "vendor/zip/z.php") == "BSD-3-Clause"
    assert match_rule(rules, "not/a/rule") == "GPL-2+"


def test_the_rule_for_every_file_yields_wherever_it_stands() -> None:
    rules = debian_rules("Files: a/*\nLicense: MIT\n\nFiles: *\nLicense: ISC\n")
    assert match_rule(rules, "a/b") == "MIT"
    assert match_rule(rules, "c") == "ISC"
    assert match_rule([], "c") is None


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
