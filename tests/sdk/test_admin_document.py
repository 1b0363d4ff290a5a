"""The admin API's document is valid OpenAPI 3.1, and names what an SDK's generator needs."""

import json
import urllib.request

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def document(demo) -> dict:
    with urllib.request.urlopen(demo.address + "/admin/v1/openapi.json", timeout=10) as answer:
        return json.load(answer)


def test_valid(document):
    assert document["openapi"].startswith("3.1")
    errors = [f"{list(error.path)}: {error.message}" for error in OpenAPIV31SpecValidator(document).iter_errors()]
    assert not errors, "\n".join(errors)


def test_operations_have_names_of_their_own(document):
    operations = [
        operation
        for item in document["paths"].values()
        for method, operation in item.items()
        if method in METHODS
    ]
    names = [operation["operationId"] for operation in operations]
    assert len(names) > 60
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    assert all(operation["tags"] for operation in operations)
