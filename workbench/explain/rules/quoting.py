"""Texts of the corpus inside a rule's sentence."""

from __future__ import annotations

from ...store.token_text import visible

START = "the start of the document"  # where no token stands in front


def quoted_exactly(text: str) -> str:
    """A text of the corpus in backticks, or in “ ” where it holds one, with blanks and control characters visible.

    ``START`` stays as it is.

    Examples:
        >>> from workbench.explain.rules.quoting import quoted_exactly
        >>> quoted_exactly(" a\\n"), quoted_exactly("`")
        ('`·a↵`', '“`”')
    """
    if text == START:
        return text
    shown = visible(text)
    return f"“{shown}”" if "`" in shown else f"`{shown}`"
