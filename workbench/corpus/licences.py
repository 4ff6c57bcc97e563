"""Which licence a file of a package is under: Debian's machine-readable copyright files and npm's package.json."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

SPDX = {"expat": "MIT", "bsd-3-clause": "BSD-3-Clause", "bsd-2-clause": "BSD-2-Clause", "apache": "Apache-2.0"}
# Licences without conditions beyond attribution; a shipped sample takes these first.
PERMISSIVE = {
    "MIT", "BSD-3-Clause", "BSD-2-Clause", "Apache-2.0", "BSL-1.0", "PSF-2.0", "ISC", "Zlib", "zlib", "CC0", "CC0-1.0",
    "public-domain", "Unlicense", "WTFPL",
}  # fmt: skip


def normalise(name: str) -> str:
    """The SPDX spelling of a Debian licence name where the two differ."""
    return SPDX.get(name.strip().lower(), name.strip())


def debian_rules(copyright_text: str) -> list[tuple[str, str]]:
    """(glob, licence) of every `Files:` stanza of a DEP-5 copyright file, in order; the last match decides."""
    rules = []
    for stanza in re.split(r"\n\s*\n", copyright_text):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[key] = fields.get(key, "") + " " + line.strip()
            elif ":" in line:
                key, _, value = line.partition(":")
                fields[key] = value.strip()
                if key == "License":  # only the short name matters here, not the text below it
                    fields["licence"] = value.strip()
        if "Files" in fields and fields.get("licence"):
            rules += [(glob, normalise(fields["licence"])) for glob in fields["Files"].split()]
    return rules


def match_rule(rules: list[tuple[str, str]], path: str) -> str | None:
    """The licence of the last rule whose glob matches ``path`` or a tail of it (packages install under other roots)."""
    parts = path.split("/")
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    for glob, licence in reversed(rules):
        if glob != "*" and any(fnmatchcase(tail, glob.removeprefix("./")) for tail in tails):
            return licence
    return next((licence for glob, licence in rules if glob == "*"), None)


def npm_licence(root: Path) -> str | None:
    """The licence that ``package.json`` names, if any."""
    manifest = root / "package" / "package.json"
    if not manifest.exists():
        return None
    licence = json.loads(manifest.read_text(encoding="utf-8")).get("license")
    return licence if isinstance(licence, str) else None
