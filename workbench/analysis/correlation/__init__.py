"""Correlation of routing scores with a per-document score, and what removing the correlated experts does."""
