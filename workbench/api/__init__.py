"""The HTTP API under ``/api/v1``: what the packages answer, as JSON; one set of models checks it and documents it."""

from .server import serve_api
from .source import Source

__all__ = ["Source", "serve_api"]
