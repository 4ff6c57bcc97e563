"""The API on the dashboard's server: its areas, its document, and every other address below /api."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from flask import Flask, Response, current_app, jsonify, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from . import circuits, documents, edits, experts, failures, notes, prompts, run, search
from .source import Source

PREFIX = "/api/v1"
AREAS = (run, experts, search, prompts, circuits, edits, notes, documents)
ERRORS = (400, 401, 403, 404, 409, 413, 415, 429, 500, 501)
METHODS = ("GET", "POST", "PATCH", "DELETE")


def serve_api(server: Flask, source: Source) -> None:
    """Have a server answer the API of a run, and ``/api/v1/openapi.json``, the OpenAPI 3.1 document of it.

    Args:
        server: of the dashboard; its other routes stay as they are.
        source: the run.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.dashboard import create_app
        >>> client = create_app(open_run("runs/demo")).server.test_client()  # which has the API
        >>> client.get("/api/v1/run").json["groups"]
        [0, 1]
        >>> client.get("/api/v1/experts?group=7").json["error"]["kind"]
        'not-found'
    """
    api = APIBlueprint(
        "api",
        __name__,
        url_prefix=PREFIX,
        abp_responses=dict.fromkeys(ERRORS, failures.Failure),
        operation_id_callback=lambda *, name, path, method: name,
    )
    api.before_request(failures.refusal)
    api.register_error_handler(Exception, failures.of_error)
    for area in AREAS:
        area.register(api, source)
    document = _document(api)
    server.add_url_rule(f"{PREFIX}/openapi.json", "api.openapi", lambda: jsonify(document))
    server.validation_error_callback = failures.of_validation  # type: ignore[attr-defined]  # the blueprint calls it
    server.register_blueprint(api)
    for rule in ("/api/", "/api/<path:rest>"):
        server.add_url_rule(rule, "no_api", _unknown, methods=(*METHODS, "PUT", "TRACE"))


def _document(api: APIBlueprint) -> dict[str, Any]:
    """The document, which an application of its own writes: the dashboard's would have its other routes described."""
    describing = OpenAPI(
        __name__,
        info=Info(
            title="Monet workbench",
            version=version("monet-workbench"),
            description="Experts of a run, their examples, labels and explanations; prompts, attribution and edits.",
        ),
        security_schemes={"password": {"type": "http", "scheme": "bearer"}},
        openapi_extensions={"security": [{}, {"password": []}]},  # where the server was given one
        doc_ui=False,
        validation_error_status=400,
        validation_error_model=failures.Failure,
    )
    describing.register_api(api)
    document: dict[str, Any] = describing.api_doc
    return document


def _unknown(rest: str = "") -> Response:
    """The answer at an address that the API does not have, or not for this method: pages have all other addresses."""
    addresses = current_app.create_url_adapter(request)
    assert addresses is not None
    allowed = [method for method in METHODS if str(addresses.match(method=method)[0]).startswith("api.")]
    error: HTTPException = MethodNotAllowed(allowed) if allowed else NotFound(f"the API has no address /api/{rest}.")
    answer = failures.of_error(error)
    if allowed:
        answer.headers["Allow"] = ", ".join(allowed)
    return answer
