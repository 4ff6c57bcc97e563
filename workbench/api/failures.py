"""What the API refuses, and the one JSON shape that says so."""

from __future__ import annotations

import json
import logging
import re
from urllib.parse import urlsplit

from flask import Response, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from ..errors import WorkbenchError, kind_of
from .models import Answer

_log = logging.getLogger(__name__)
WITH_BODY = ("POST", "PATCH")
LISTED = 3  # fields of a request that are named
KINDS = {403: "other-site", 404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "not-json"}


class FailureText(Answer):
    """What went wrong."""

    kind: str
    message: str


class Failure(Answer):
    """The answer in place of one that cannot be given."""

    error: FailureText


def failure(status: int, kind: str, message: str) -> Response:
    """The answer that says what went wrong."""
    content = {"error": {"kind": kind, "message": message}}
    return Response(json.dumps(content), status, mimetype="application/json")


def kind_name(error: WorkbenchError) -> str:
    """The name of an error's kind, which is that of its page in docs/errors.

    Examples:
        >>> from workbench.api.failures import kind_name
        >>> from workbench.errors import NotAnalysedError
        >>> kind_name(NotAnalysedError("run `monet analyze` first."))
        'not-analysed'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__.removesuffix("Error")).lower()


def of_error(error: Exception) -> Response:
    """The answer to a request whose handling raised an error; an unexpected one goes to the log, with its traceback."""
    status = kind_of(error).status
    if isinstance(error, WorkbenchError):
        return failure(status, kind_name(error), str(error))
    if isinstance(error, HTTPException):
        return failure(error.code or 500, KINDS.get(error.code or 500, "bad-input"), error.description or error.name)
    _log.error("the API failed", exc_info=error)
    return failure(status, "unexpected", f"{type(error).__name__}; the server's log has the traceback.")


def of_validation(error: ValidationError) -> Response:
    """The answer to a request that does not fit its model: names the fields."""
    told = [
        f"{'.'.join(map(str, found['loc'])) or 'the request'}: {found['msg']}"
        for found in error.errors(include_url=False, include_input=False, include_context=False)[:LISTED]
    ]
    return failure(400, "bad-input", "; ".join(told) + ".")


def refusal() -> Response | None:
    """The answer to a request that would change something or run the model and may not; None where it may.

    A page of another site can have a browser send a form here, but no JSON without asking first, which nothing allows.
    """
    if request.method not in (*WITH_BODY, "DELETE"):
        return None
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        return failure(403, KINDS[403], f"a page of {origin} may not change this run.")
    if request.method in WITH_BODY and not request.is_json:
        return failure(415, KINDS[415], "send JSON, with the header Content-Type: application/json.")
    if request.method in WITH_BODY and not isinstance(request.get_json(silent=True), dict):
        return failure(400, "bad-input", "the request is no JSON object.")
    return None
