"""What is wrong with a key of params.yaml, in one line: given, allowed, and what is close to it."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel

MOST = 80  # letters of what was given that a message repeats


def cut(text: str) -> str:
    """Return a text that a line of a message can hold."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text[: MOST + 1])
    return text if len(text) <= MOST else f"{text[:MOST]}…"


def some(names: list[str], most: int) -> str:
    """Return the first few names for a line, and how many more there are: a, b and 3 more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def key_of(error: Any) -> str:
    """Return the dotted key that a validation error is about."""
    return cut(".".join(str(part) for part in error["loc"]))


def causes(errors: list[Any]) -> list[Any]:
    """Return validation errors without those of lists that are too short since what was in them is
    refused: that is told already."""
    return [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(_inside(other["loc"], error["loc"]) for other in errors)
    ]


def _inside(loc: tuple[Any, ...], outer: tuple[Any, ...]) -> bool:
    return len(loc) > len(outer) and loc[: len(outer)] == outer


def explain(error: Any, model: type[BaseModel]) -> str:
    """Turn one validation error of a model into: key, what was given, what is allowed."""
    key = key_of(error) or "params"
    if error["type"] == "extra_forbidden":
        allowed = _siblings(error["loc"], model)
        close = difflib.get_close_matches(str(error["loc"][-1])[:MOST], allowed, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{key}: unknown key; {hint}allowed here: {', '.join(allowed)}"
    if error["type"] == "missing":
        return f"{key}: missing; add it"
    reason = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        reason = "Give keys with values, such as {multiple: 64, seed: 0} for a member of family"
    if error["type"] == "value_error" and isinstance(error["input"], dict | BaseModel):
        return f"{key}: {reason}" if error["loc"] else reason  # which names its keys
    if error["type"] == "string_type" and isinstance(error["input"], bool | None):
        reason += "; a word such as no, off or null wants quotes"
    return f"{key}: {cut(repr(error['input']))} was given; {reason[:1].lower() + reason[1:]}"


def _siblings(loc: tuple[Any, ...], model: type[BaseModel]) -> list[str]:
    """Return the keys allowed beside the last one of a path into a model."""
    for part in loc[:-1]:
        if isinstance(part, int) or part not in model.model_fields:
            continue
        model = _section_of(model.model_fields[part].annotation) or model
    return sorted(model.model_fields)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model inside an annotation such as ``tuple[SpaceBlock, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_section_of(arg) for arg in getattr(annotation, "__args__", ())]
    return next((section for section in inner if section), None)
