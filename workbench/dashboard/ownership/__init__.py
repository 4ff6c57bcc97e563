"""The parts of the page of a model's fingerprints."""
