"""The page at ``/docs``: the published schema as one HTML page, without scripts or other hosts."""

from __future__ import annotations

import html
import re
from typing import Any, Final

import msgspec

_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem 1.25rem 4rem; }
h1 { margin-bottom: 0; }
h2 { border-bottom: 1px solid #8886; margin-top: 2.5rem; text-transform: capitalize; }
details { border: 1px solid #8886; border-radius: .4rem; margin: .5rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; }
.method { border-radius: .25rem; color: #fff; display: inline-block; font-weight: 600;
          margin-right: .5rem; min-width: 3.5rem; padding: 0 .4rem; text-align: center; }
.get { background: #1668b8; } .post { background: #1b7f46; } .put { background: #9a5a00; }
.delete { background: #b3261e; }
table { border-collapse: collapse; margin: .5rem 0; width: 100%; }
td, th { border-bottom: 1px solid #8884; padding: .25rem .5rem; text-align: left;
         vertical-align: top; }
pre { background: #8882; border-radius: .4rem; overflow-x: auto; padding: .6rem; }
code { font-family: ui-monospace, monospace; font-size: .92em; }
"""


def docs_page(document: dict[str, Any]) -> bytes:
    """Write the page of an OpenAPI document."""
    operations: dict[str, list[str]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            shown = _operation(path, method, operation)
            operations[operation["tags"][0]].append(shown)
    parts = [
        f"<h2>{_text(tag)}</h2>{''.join(listed)}" for tag, listed in operations.items() if listed
    ]
    schemas = "".join(
        f'<details id="{_text(name)}"><summary><code>{_text(name)}</code></summary>'
        f"{_schema(schema)}</details>"
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    info = document["info"]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(info['title'])} HTTP</title><style>{_STYLE}</style></head><body>"
        f"<h1>{_text(info['title'])} {_text(info['version'])}</h1><p>{_text(info['summary'])} "
        'The same for programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"{''.join(parts)}<h2>types</h2>{schemas}</body></html>"
    )
    return page.encode()


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parameters = "".join(
        f"<tr><td><code>{_text(each['name'])}</code></td><td>{_text(each['in'])}"
        f"{', required' if each['required'] else ''}</td>"
        f"<td>{_words(each.get('description', ''))}</td></tr>"
        for each in operation["parameters"]
    )
    body = operation.get("requestBody", {}).get("content", {})
    answers = "".join(
        f"<li>{_text(status)}: {_content(answer.get('content', {}))}</li>"
        for status, answer in operation["responses"].items()
    )
    return (
        f'<details><summary><span class="method {_text(method)}">{_text(method.upper())}</span>'
        f"<code>{_text(path)}</code> {_words(operation['summary'])}</summary>"
        f"<p>{_words(operation['description'])}</p>{_role(operation)}"
        f"{f'<table>{parameters}</table>' if parameters else ''}"
        f"{f'<p>Body: {_content(body)}</p>' if body else ''}<ul>{answers}</ul></details>"
    )


def _role(operation: dict[str, Any]) -> str:
    role = operation.get("x-role")
    return f"<p>Needs the role <code>{_text(role)}</code>.</p>" if role else ""


def _content(content: dict[str, Any]) -> str:
    return ", ".join(
        f"<code>{_text(kind)}</code> {_schema(about['schema'])}" for kind, about in content.items()
    )


def _schema(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = _text(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if list(schema) == ["type"]:
        return _text(schema["type"])
    text = msgspec.json.format(msgspec.json.encode(schema)).decode()
    return f"<pre>{_text(text)}</pre>"


def _words(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(text)).replace("\n\n", "</p><p>")


def _text(text: object) -> str:
    return html.escape(str(text))
