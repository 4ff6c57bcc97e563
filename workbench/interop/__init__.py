"""A run's activations in the layouts of other tools, each as that project publishes it."""

from __future__ import annotations

from .delphi import write_delphi
from .neuronpedia import write_neuronpedia

__all__ = ["write_delphi", "write_neuronpedia"]
