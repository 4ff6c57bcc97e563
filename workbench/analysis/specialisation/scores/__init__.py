"""Monosemanticity scores, one per file."""
