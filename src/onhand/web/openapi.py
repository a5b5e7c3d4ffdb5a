"""The published schema, OpenAPI 3.1: made of the routes and types that run.

A handler's docstring is its operation's words; :func:`described` names the types that it reads and
answers.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from msgspec import Struct

from onhand import __version__
from onhand.web.problem import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from litestar import Litestar
    from litestar.handlers import HTTPRouteHandler

Function = TypeVar("Function", bound="Callable[..., Any]")

JSON: Final = "application/json"
_REF: Final = "#/components/schemas/{name}"
_PATH_TYPE: Final = re.compile(r"\{(\w+):\w+\}")
_NAME_LENGTH_MAX: Final = 64
_PATH_LENGTHS_MAX: Final = {
    "customer_id": 128,
    "hold_id": 128,
    "order_id": 128,
    "return_id": 128,
    "task_id": 192,
}
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and body have the same answer for 7 days, and one effect.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
# The sections of the description in the order in which they read; a test holds them complete.
_TAGS: Final = (
    "reads",
    "publishing",
    "orders",
    "associates",
    "returns",
    "customers",
    "set-up",
    "operating",
)
_TAG_OF: Final = {
    "availability": "reads",
    "events": "publishing",
    "promises": "orders",
    "holds": "orders",
    "orders": "orders",
    "customers": "customers",
    "aisle": "associates",
    "returns": "returns",
    "return-policy": "returns",
}
_STATUS_WORDS: Final = {200: "Done.", 201: "Created.", 202: "Accepted.", 503: "Not ready."}


class Description(Struct, frozen=True, kw_only=True):
    """What an operation reads and answers, for the schema."""

    parameters: type[Struct] | None = None
    body: Any = None
    body_required: bool = True
    body_media_types: tuple[str, ...] = (JSON,)
    idempotent: bool = False
    answer: Any = None
    media_type: str = JSON
    statuses: Mapping[int, Any] = {}

    def types(self) -> Iterator[Any]:
        """List every type that it names."""
        yield from filter(None, (self.body, self.answer, *self.statuses.values()))


def described(**fields: Any) -> Callable[[Function], Function]:
    """Say what a handler reads and answers; see :class:`Description`."""

    def mark(function: Function) -> Function:
        function.__description__ = Description(**fields)  # type: ignore[attr-defined]
        return function

    return mark


def openapi_document(app: Litestar) -> dict[str, Any]:
    """Describe every route of the application."""
    operations = sorted(_operations(app), key=lambda each: (each[0], each[1]))
    types = list({id(each): each for *_, about in operations for each in about.types()}.values())
    schemas, components = msgspec.json.schema_components([*types, Problem], ref_template=_REF)
    schema_of = {id(kind): schema for kind, schema in zip(types, schemas, strict=False)}
    paths: dict[str, dict[str, Any]] = {}
    for path, method, handler, about in operations:
        operation = _operation(path, handler, about, schema_of)
        paths.setdefault(path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "onhand",
            "version": __version__,
            "summary": "What is in stock, where, and what of it can still be promised.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "tags": [{"name": tag} for tag in _TAGS],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `onhand token create --role ROLE`.",
                }
            },
        },
    }


def _operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler, Description]]:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            about = getattr(handler.fn, "__description__", None)
            if about is None:
                continue
            for method in handler.http_methods:
                yield _PATH_TYPE.sub(r"{\1}", route.path_format), method, handler, about


def _operation(
    path: str,
    handler: HTTPRouteHandler,
    about: Description,
    schema_of: Mapping[int, dict[str, Any]],
) -> dict[str, Any]:
    summary, _, more = inspect.cleandoc(handler.fn.__doc__ or "").partition("\n")
    role = next((each.role for each in handler.guards or () if hasattr(each, "role")), None)
    operation: dict[str, Any] = {
        "operationId": handler.fn.__name__,
        "summary": summary,
        "description": more.strip(),
        "tags": [_tag(path)],
        "parameters": [
            *_path_parameters(path),
            *_query_parameters(about),
            *([_IDEMPOTENCY_KEY] if about.idempotent else ()),
        ],
        "responses": _responses(about, schema_of),
    }
    if about.body is not None:
        content = {each: {"schema": schema_of[id(about.body)]} for each in about.body_media_types}
        operation["requestBody"] = {"required": about.body_required, "content": content}
    if role is not None:
        operation["security"] = [{"token": []}]
        operation["x-role"] = role
    return operation


def _responses(about: Description, schema_of: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    answers = {200: about.answer} if about.answer is not None or not about.statuses else {}
    responses: dict[str, Any] = {}
    for status, kind in sorted({**answers, **about.statuses}.items()):
        schema = schema_of[id(kind)] if kind is not None else {"type": "string"}
        responses[str(status)] = {
            "description": _STATUS_WORDS[status],
            "content": {about.media_type: {"schema": schema}},
        }
    responses["default"] = {
        "description": "A problem; `code` says which.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}},
    }
    return responses


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {
                "type": "string",
                "minLength": 1,
                "maxLength": _PATH_LENGTHS_MAX.get(name, _NAME_LENGTH_MAX),
            },
        }
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _query_parameters(about: Description) -> list[dict[str, Any]]:
    if about.parameters is None:
        return []
    listed = []
    for field in msgspec.structs.fields(about.parameters):
        schema = _without_null(msgspec.json.schema(field.type))
        description = schema.pop("description", "")
        if not field.required and field.default is not None:
            schema["default"] = field.default
        listed.append(
            {
                "name": field.name,
                "in": "query",
                "required": field.required,
                "description": description,
                "schema": schema,
            }
        )
    return listed


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    # A parameter is left out, never null.
    options = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if len(options) == 1:
        return {**{key: value for key, value in schema.items() if key != "anyOf"}, **options[0]}
    if "enum" in schema:
        schema["enum"] = [each for each in schema["enum"] if each is not None]
    return schema


def _tag(path: str) -> str:
    if not path.startswith("/v1/"):
        return "operating"
    steps = path.split("/")
    if "tasks" in steps:
        return "associates"
    return _TAG_OF.get(steps[2], "set-up")
