"""Licences of the files in a package, from Debian's machine-readable copyright files and npm's package.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path

SPDX = {"expat": "MIT", "bsd-3-clause": "BSD-3-Clause", "bsd-2-clause": "BSD-2-Clause", "apache": "Apache-2.0"}
# Licences without conditions beyond attribution; the shipped sample prefers these.
PERMISSIVE = {
    "MIT", "BSD-3-Clause", "BSD-2-Clause", "Apache-2.0", "BSL-1.0", "PSF-2.0", "ISC", "Zlib", "zlib", "CC0", "CC0-1.0",
    "public-domain", "Unlicense", "WTFPL",
}  # fmt: skip
_WILDCARD = re.compile(r"[*?[]")


def normalise(name: str) -> str:
    """Return the SPDX spelling of a Debian licence name."""
    return SPDX.get(name.strip().lower(), name.strip())


@dataclass
class FileLicences:
    """What a DEP-5 copyright file says of single files: one licence per ``Files:`` glob, of which the last match wins.

    A glob matches a path or any tail of it, since packages install under other roots. Globs without wildcards are
    looked up: Boost has 38,851 of them for 15,456 files.
    """

    _every: str | None = None  # of all files: applies only where no other does, wherever it stands
    _named: dict[str, tuple[int, str]] = field(default_factory=dict)  # path -> its last place in the file, licence
    _globs: list[tuple[int, re.Pattern[str], str]] = field(default_factory=list)

    @classmethod
    def read(cls, copyright_text: str) -> FileLicences:
        """Read the ``Files:`` stanzas of a copyright file; one that is not machine-readable names no file."""
        read = cls()
        globs = ((glob, licence) for files, licence in _stanzas(copyright_text) for glob in files.split())
        for place, (glob, licence) in enumerate(globs):
            path = glob.removeprefix("./")
            if path == "*":
                read._every = licence if read._every is None else read._every
            elif _WILDCARD.search(path):
                read._globs.append((place, re.compile("(?:.*/)?" + translate(path)), licence))
            else:
                read._named[path] = place, licence
        return read

    def of(self, path: str) -> str | None:
        """Return the licence of a file, in its SPDX spelling; None if the copyright file says nothing of it."""
        parts = path.split("/")
        tails = ("/".join(parts[first:]) for first in range(len(parts)))
        place, licence = max((self._named[tail] for tail in tails if tail in self._named), default=(-1, self._every))
        for later, pattern, its in reversed(self._globs):
            if later < place:
                break
            if pattern.match(path):
                return its
        return licence


def _stanzas(copyright_text: str) -> Iterator[tuple[str, str]]:
    """The globs and the licence of each ``Files:`` stanza."""
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
            yield fields["Files"], normalise(fields["License"])


def npm_licence(root: Path) -> str | None:
    """Return the licence that ``package.json`` names, if any."""
    manifest = root / "package" / "package.json"
    if not manifest.exists():
        return None
    licence = json.loads(manifest.read_text(encoding="utf-8")).get("license")
    return licence if isinstance(licence, str) else None
