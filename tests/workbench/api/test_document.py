"""The OpenAPI document: valid, complete, true of the server, and told in docs/http-api.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from workbench.api.server import PREFIX

from .conftest import Served

DOCS = Path(__file__).parents[3] / "docs" / "http-api.md"


@pytest.fixture
def document(http: Any) -> Any:
    return http.get(f"{PREFIX}/openapi.json").json


def test_it_is_openapi_3_1_and_its_schemas_are_schemas(document: Any) -> None:
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert document["info"]["title"]
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert schema.get("description"), name
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])


def test_every_operation_says_what_it_does_takes_and_answers(document: Any) -> None:
    names = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names.append(operation["operationId"])
            assert path.startswith(f"{PREFIX}/")
            assert operation["summary"], path
            assert {"400", "404"} <= set(operation["responses"]), (path, method)
            assert any(status.startswith("2") for status in operation["responses"])
            told = {part["name"] for part in operation.get("parameters", []) if part["in"] == "path"}
            assert told == set(re.findall(r"{(\w+)}", path))
    assert len(names) == len(set(names)) > 20


def test_every_path_and_method_has_a_line_for_curl(document: Any) -> None:
    """And each line is one that the server knows."""
    paths = {path: re.compile(re.sub(r"{\w+}", "[^/]+", path)) for path in document["paths"]}
    told = set()
    for line in re.findall(r"^curl .*$", DOCS.read_text(encoding="utf-8").replace("\\\n", " "), re.MULTILINE):
        address = re.search(r"'?(http://127\.0\.0\.1:8050[^' ]*)", line)
        assert address, line
        method = re.search(r"-X (\w+)", line)
        known = [path for path, pattern in paths.items() if pattern.fullmatch(urlsplit(address[1]).path)]
        if urlsplit(address[1]).path != f"{PREFIX}/openapi.json":
            assert known, line
            told.add((known[0], (method[1] if method else "POST" if " --json " in line else "GET").lower()))
    assert told == {(path, method) for path, methods in document["paths"].items() for method in methods}


def test_the_lines_for_curl_work(http: Any) -> None:
    """Those that read."""
    for line in re.findall(r"^curl -s '([^']+)'$", DOCS.read_text(encoding="utf-8"), re.MULTILINE):
        parts = urlsplit(line)
        answer = http.get(f"{parts.path}?{parts.query}")
        assert answer.status_code in (200, 404), (line, answer.text)  # the small run lacks some experts and labels
        assert answer.status_code == 200 or answer.json["error"]["message"]


@pytest.mark.parametrize("mode", GenerationMode)
def test_the_server_does_as_the_document_says(served: Served, mode: GenerationMode) -> None:
    """Requests made from the document, valid ones and others, get the answers that it describes."""

    def uncompressed(environ: dict[str, Any], start: Any) -> Any:
        return served.server({**environ, "HTTP_ACCEPT_ENCODING": "identity"}, start)

    schema = schemathesis.openapi.from_wsgi(f"{PREFIX}/openapi.json", uncompressed)
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not [*operation.iter_parameters(), *operation.body]:
            continue  # it takes nothing that could be wrong

        @settings(max_examples=4, deadline=None, derandomize=True, database=None, suppress_health_check=HealthCheck)
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers_as_described(case: Any) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance])  # no schema says what an edit is

        answers_as_described()
        asked += 1
    assert asked > 20
