"""Baselines for knowledge exclusivity: a dense model and a sparse autoencoder trained on a Monet model's own tokens."""

from .results import read_baselines

__all__ = ["read_baselines"]
