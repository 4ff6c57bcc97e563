"""Measuring what a run costs to keep and to ask, beside the obvious ways of keeping the same activations."""
