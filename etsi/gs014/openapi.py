"""The OpenAPI 3.1 description of the 014 interface, with the limits of this node in it."""

from typing import Any

import msgspec

from etsi.gs014 import provenance
from etsi.gs014.options import Gs014Options

Json = dict[str, Any]

_UUID = {"type": "string", "format": "uuid"}
_INT = {"type": "integer", "format": "int32", "minimum": 0}
_EXTENSIONS: Json = {"type": "array", "items": {"type": "object"}}
_ERRORS = {
    "400": "The request is malformed, or cannot be met as it is",
    "401": "The certificate names no SAE of this KME, or not one of those the keys are for",
    "405": "This method is not for this path",
    "408": "The body did not come in time",
    "413": "The body is too large",
    "415": "The body is compressed",
    "503": "Not now: out of keys, overloaded, or a fault of this side; see Retry-After",
}
_READ_BODY = ("408", "413", "415")


def document(options: Gs014Options, url: str = "/") -> bytes:
    """Return the description as JSON; `url` is where the node is, from where this is read."""
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "ETSI GS QKD 014 V1.1.1 key delivery",
                "version": "1.1.1",
                "description": "TLS with client certificates; all key sizes are in bits.",
            },
            "servers": [{"url": url}],
            "paths": _paths(options),
            "components": {
                "schemas": _schemas(options),
                "securitySchemes": {"certificate": {"type": "mutualTLS"}},
            },
            "security": [{"certificate": []}],
        }
    )


def _paths(options: Gs014Options) -> Json:
    number, size = _amounts(options)
    same = "The same as size; where both are given they must agree"
    by_query = [_query("number", number), _query("size", size)]
    by_query.append({**_query("key_size", _without_default(size)), "description": same})
    in_path = [_parameter("number", number), _parameter("size", size)]
    slave, master = _parameter("slave_SAE_ID"), _parameter("master_SAE_ID")
    root = "/api/v1/keys/{slave_SAE_ID}"
    return {
        f"{root}/status": {
            "parameters": [slave],
            "get": _operation("getStatus", "Get status", "Status"),
        },
        f"{root}/enc_keys": {
            "parameters": [slave],
            "get": _operation("getKeySimple", "Get key", "KeyContainer", by_query),
            "post": _operation("getKey", "Get key", "KeyContainer", by_query, "KeyRequest"),
        },
        f"{root}/enc_keys/number/{{number}}/size/{{size}}": {
            "parameters": [slave, *in_path],
            "get": _operation("getKeyByPath", "Get key, as some clients ask", "KeyContainer"),
        },
        "/api/v1/keys/{master_SAE_ID}/dec_keys": {
            "parameters": [master],
            "get": _operation(
                "getKeyWithKeyId",
                "Get key with one key ID",
                "KeyContainer",
                [{**_query("key_ID", _UUID), "required": True}],
            ),
            "post": _operation(
                "getKeyWithKeyIds", "Get key with key IDs", "KeyContainer", body="KeyIDs"
            ),
        },
        "/openapi.json": {
            "get": {
                "operationId": "getDescription",
                "summary": "This description",
                "responses": {
                    "200": _content("OpenAPI 3.1", {"type": "object"}),
                    **_errors(("401", "405", "503")),
                },
            }
        },
    }


def _operation(
    name: str, summary: str, result: str, parameters: list[Json] | None = None, body: str = ""
) -> Json:
    left_out = () if body else _READ_BODY
    codes = tuple(code for code in _ERRORS if code not in left_out)
    made: Json = {
        "operationId": name,
        "summary": summary,
        "responses": {"200": _content(summary, _ref(result)), **_errors(codes)},
    }
    if parameters:
        made["parameters"] = parameters
    if body:
        made["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _ref(body)}},
        }
    return made


def _schemas(options: Gs014Options) -> Json:
    number, size = _amounts(options)
    identifier = {"oneOf": [_object({"key_ID": _UUID, "key_ID_extension": {}}, 1), _UUID]}
    saes = {
        "type": "array",
        "items": {"type": "string"},
        "minItems": 1,
        "maxItems": options.max_sae_id_count,
        "uniqueItems": True,
        "description": "Not the slave of the path; left out if there are none",
    }
    ids = {
        "type": "array",
        "items": identifier,
        "minItems": 1,
        "maxItems": options.max_keys_per_request,
    }
    octets = {"type": "string", "contentEncoding": "base64"}
    extension = _object({provenance.NAME: _ref("Provenance")}, 0)
    key = _object({"key_ID": _UUID, "key": octets, "key_extension": extension}, 2)
    return {
        "Status": _status(),
        "KeyRequest": _key_request(number, size, saes),
        "KeyIDs": _object({"key_IDs": ids, "key_IDs_extension": {}}, 1),
        "Provenance": _provenance(),
        "KeyContainer": _object({"keys": {"type": "array", "items": key}}, 1),
        "Error": _object({"message": {"type": "string"}, "details": _EXTENSIONS}, 1),
    }


def _key_request(number: Json, size: Json, saes: Json) -> Json:
    members = {
        "number": number,
        "size": size,
        "key_size": _without_default(size),
        "additional_slave_SAE_IDs": saes,
        "extension_mandatory": _EXTENSIONS,
        "extension_optional": _EXTENSIONS,
    }
    text = (
        "null is as if the member were not there. Amounts that are given twice, as size and "
        "key_size or in query and body, must agree. A name that is one of these but for case, an "
        "underscore or a missing letter is refused; others are ignored"
    )
    made = _object({name: _or_null(schema) for name, schema in members.items()}, 0)
    return {**made, "description": text}


def _or_null(schema: Json) -> Json:
    return {**schema, "type": [schema["type"], "null"]}


def _without_default(schema: Json) -> Json:
    return {name: value for name, value in schema.items() if name != "default"}


def _provenance() -> Json:
    nodes = {"type": "array", "items": {"type": "string"}}
    properties = {
        "hops": _INT,
        "paths": {"type": "array", "items": nodes, "description": "From the master's KME on"},
        "trusted_nodes": nodes,
        "age_s": {"type": ["number", "null"], "description": "Of the oldest bit, in seconds"},
    }
    text = (
        f'Ask with {{"{provenance.NAME}": true}} among the extensions of a key request. Where it '
        "is not known, an optional one is left out, and a mandatory one answered with 400; so for "
        "keys of SAEs at several KMEs, of which each copy has come its own way"
    )
    return {**_object(properties, len(properties)), "description": text}


def _status() -> Json:
    ids = ("source_KME_ID", "target_KME_ID", "master_SAE_ID", "slave_SAE_ID")
    counts = (
        "key_size",
        "stored_key_count",
        "max_key_count",
        "max_key_per_request",
        "max_key_size",
        "min_key_size",
        "max_SAE_ID_count",
    )
    properties: Json = {name: {"type": "string"} for name in ids} | dict.fromkeys(counts, _INT)
    return _object(properties, len(properties))


def _amounts(options: Gs014Options) -> tuple[Json, Json]:
    number = {
        "type": "integer",
        "minimum": 1,
        "maximum": options.max_keys_per_request,
        "default": 1,
    }
    size = {
        "type": "integer",
        "multipleOf": 8,
        "minimum": options.min_key_size_bits,
        "maximum": options.max_key_size_bits,
        "default": options.key_size_bits,
    }
    return number, size


def _object(properties: Json, required: int) -> Json:
    """Make an object schema of which the first `required` members must be there."""
    made: Json = {"type": "object", "properties": properties}
    if required:
        made["required"] = list(properties)[:required]
    return made


def _parameter(name: str, schema: Json | None = None) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": schema or {"type": "string"}}


def _query(name: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "schema": schema}


def _errors(codes: tuple[str, ...]) -> Json:
    return {code: _content(_ERRORS[code], _ref("Error")) for code in codes}


def _content(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
