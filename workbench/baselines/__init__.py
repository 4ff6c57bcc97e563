"""Baselines for knowledge exclusivity: a dense model and a sparse autoencoder on the tokens that a Monet read."""
