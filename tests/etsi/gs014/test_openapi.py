"""The description says what the routes do."""

import re
from typing import Any

import pytest

from tests.kit.site import ID_0, Site, request

METHODS = ("get", "post", "put", "delete", "patch")


def described(site: Site) -> Any:
    answer = site.get("/openapi.json")
    assert answer.status == 200
    return answer.json


def example(path: str) -> str:
    """Put values into a templated path."""
    path = re.sub(r"\{\w+_SAE_ID\}", "sae-2", path)
    return path.replace("{number}", "2").replace("{size}", "128")


def check(value: Any, schema: Any, schemas: Any) -> None:
    """Check a value against the few words of JSON Schema that the description uses."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    kinds = {"object": dict, "array": list, "string": str, "integer": int}
    assert type(value) is kinds[schema["type"]]
    if type(value) is list:
        for row in value:
            check(row, schema["items"], schemas)
    if type(value) is dict and "properties" in schema:
        assert set(schema.get("required", ())) <= set(value) <= set(schema["properties"])
        for name, member in value.items():
            check(member, schema["properties"][name], schemas)


def test_it_describes_each_route_and_each_method_of_it(site: Site) -> None:
    paths = described(site)["paths"]

    assert len(paths) == 5
    for path, methods in paths.items():
        for method in METHODS:
            query = f"?key_ID={ID_0}" if "dec_keys" in path else ""
            body: Any = {} if method == "post" else None
            answer = site.send(request(method.upper(), example(path) + query, body))
            assert (answer.status == 200) == (method in methods), (method, path)
            assert method in methods or answer.status == 405


@pytest.mark.parametrize("method", ["get", "post"])
def test_answers_are_as_described(site: Site, method: str) -> None:
    description = described(site)
    schemas = description["components"]["schemas"]

    for path, methods in description["paths"].items():
        for number, query in ((200, f"?key_ID={ID_0}"), (400, "?number=x")):
            if method not in methods or (number == 400 and not path.endswith("_keys")):
                continue
            body: Any = {} if method == "post" else None
            answer = site.send(request(method.upper(), example(path) + query, body))
            response = methods[method]["responses"][str(answer.status)]
            assert answer.status == number
            check(answer.json, response["content"]["application/json"]["schema"], schemas)


def test_every_reference_leads_somewhere_and_no_operation_is_named_twice(site: Site) -> None:
    description = described(site)
    schemas = description["components"]["schemas"]

    found = re.findall(r"#/components/schemas/(\w+)", str(description))
    names = [
        method["operationId"]
        for path in description["paths"].values()
        for name, method in path.items()
        if name in METHODS
    ]

    assert set(found) == set(schemas)
    assert len(set(names)) == len(names)
    assert description["openapi"].startswith("3.1")


def test_the_limits_in_it_are_those_of_the_node(site: Site) -> None:
    size = described(site)["components"]["schemas"]["KeyRequest"]["properties"]["size"]

    assert (size["minimum"], size["default"], size["maximum"]) == (64, 256, 8192)


def test_additional_slaves_are_some_and_each_is_named_once(site: Site) -> None:
    request = described(site)["components"]["schemas"]["KeyRequest"]["properties"]
    saes = request["additional_slave_SAE_IDs"]

    assert (saes["minItems"], saes["maxItems"], saes["uniqueItems"]) == (1, 16, True)
    assert all(member["type"][1] == "null" for member in request.values())
    assert request["key_size"]["maximum"] == request["size"]["maximum"]
