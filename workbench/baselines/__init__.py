"""Baselines for knowledge exclusivity: a dense model and a sparse autoencoder on the tokens that a Monet read."""

from .results import read_baselines

__all__ = ["read_baselines"]
