"""Types and ranges in words, from the JSON schemas of the typed sections and documents."""

from __future__ import annotations

from typing import Any


def section(part: dict[str, Any], schema: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the section that a key holds, if it holds one: its class and its schema."""
    for option in (part, *part.get("anyOf", ())):
        if "$ref" in option:
            title = option["$ref"].rpartition("/")[2]
            return title, schema["$defs"][title]
    return "", part


def kind(part: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return a type and its range in words."""
    if "anyOf" in part:
        return " or ".join(kind(option, schema) for option in part["anyOf"])
    if "$ref" in part:
        return "section"
    if "const" in part or "enum" in part:
        return " or ".join(f"`{value}`" for value in part.get("enum", [part.get("const")]))
    if "prefixItems" in part:
        return f"[{', '.join(kind(item, schema) for item in part['prefixItems'])}]"
    if part.get("type") == "array":
        if section(part["items"], schema)[0]:
            return f"list of sections{_length(part)}"
        return f"list{_length(part)}, each a {kind(part['items'], schema)}"
    if part.get("type") == "object":
        return f"sections{_length(part)}"
    names = {"integer": "whole number", "number": "number", "string": "text", "null": "null",
             "boolean": "true or false"}  # fmt: skip
    pattern = f" like `{part['pattern']}`" if "pattern" in part else ""
    return f"{'odd ' * ('odd' in part)}{names[part['type']]}{pattern}{_range(part)}"


def _range(part: dict[str, Any]) -> str:
    least, above = part.get("ge", part.get("minimum")), part.get("gt", part.get("exclusiveMinimum"))
    most, below = part.get("le", part.get("maximum")), part.get("lt", part.get("exclusiveMaximum"))
    if least is not None and most is not None:
        return f", {_number(least)} to {_number(most)}"
    ends = {"from": least, "above": above, "up to": most, "below": below}
    return "".join(f", {word} {_number(end)}" for word, end in ends.items() if end is not None)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e7 else f"{value:g}"


def _length(part: dict[str, Any]) -> str:
    least = part.get("minItems", part.get("minProperties", 0))
    most = part.get("maxItems", part.get("maxProperties"))
    return f", {least} to {most}" if most else f", at least {least}" if least else ""
