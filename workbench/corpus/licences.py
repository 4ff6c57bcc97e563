"""Licences of the files in a package, from Debian's machine-readable copyright files and npm's package.json."""

from __future__ import annotations

import json
import re
from fnmatch import translate
from pathlib import Path

SPDX = {"expat": "MIT", "bsd-3-clause": "BSD-3-Clause", "bsd-2-clause": "BSD-2-Clause", "apache": "Apache-2.0"}
# Licences without conditions beyond attribution; the shipped sample prefers these.
PERMISSIVE = {
    "MIT", "BSD-3-Clause", "BSD-2-Clause", "Apache-2.0", "BSL-1.0", "PSF-2.0", "ISC", "Zlib", "zlib", "CC0", "CC0-1.0",
    "public-domain", "Unlicense", "WTFPL",
}  # fmt: skip


def normalise(name: str) -> str:
    """Return the SPDX spelling of a Debian licence name."""
    return SPDX.get(name.strip().lower(), name.strip())


Rule = tuple[re.Pattern[str] | None, str]


def _path_pattern(glob: str) -> re.Pattern[str] | None:
    """Compile a glob to match a path or any tail of it, since packages install under other roots; None for `*`."""
    return None if glob == "*" else re.compile("(?:.*/)?" + translate(glob.removeprefix("./")))


def debian_rules(copyright_text: str) -> list[Rule]:
    """Return (path pattern, licence) per `Files:` stanza of a DEP-5 copyright file, in order; the last match wins."""
    rules: list[Rule] = []
    for stanza in re.split(r"\n\s*\n", copyright_text):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if not line[:1].isspace() and ":" in line:
                key, _, value = line.partition(":")
                fields[key] = value.strip()
            elif key != "License":  # after a licence's short name comes its text
                fields[key] = fields.get(key, "") + " " + line.strip()
        if "Files" in fields and fields.get("License"):
            rules += [(_path_pattern(glob), normalise(fields["License"])) for glob in fields["Files"].split()]
    return rules


def match_rule(rules: list[Rule], path: str) -> str | None:
    """Return the licence of the last rule that matches ``path``; rules for all files apply only where no other does."""
    for pattern, licence in reversed(rules):
        if pattern is not None and pattern.match(path):
            return licence
    return next((licence for pattern, licence in rules if pattern is None), None)


def npm_licence(root: Path) -> str | None:
    """Return the licence that ``package.json`` names, if any."""
    manifest = root / "package" / "package.json"
    if not manifest.exists():
        return None
    licence = json.loads(manifest.read_text(encoding="utf-8")).get("license")
    return licence if isinstance(licence, str) else None
