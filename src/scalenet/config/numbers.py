"""The kinds of values that params.yaml holds: bounded numbers, seeds, shares, names, patterns."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WrapValidator

MOST_TRIES = 10**6


def number(value: Any) -> Any:
    """Accept numbers that YAML 1.1 reads as strings (``1e-5``); refuse booleans."""
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError("should be a number") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("should be a finite number")
    return value


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("should be odd")
    return value


def _auto_or_count(value: Any, validate: Callable[[Any], Any]) -> Any:
    """Say in one message what two kinds of values allow."""
    try:
        return validate(value)
    except ValueError:
        raise ValueError("should be auto, or a whole number from 1 to 1000") from None


def _grouping(value: str) -> str:
    """Accept a regular expression with a group, which Python's ``re`` understands."""
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ValueError(f"should be a regular expression ({error})") from error
    if not groups:
        raise ValueError("should hold a part in (…), which is the group, such as '^(.*)_'")
    return value


Int = Annotated[int, BeforeValidator(number)]
Float = Annotated[float, BeforeValidator(number)]
Count = Annotated[Int, Field(ge=1, le=10**9)]
Tries = Annotated[Int, Field(ge=1, le=MOST_TRIES)]
Few = Annotated[Int, Field(ge=1, le=1000)]  # what a step, a layer or a generation has some of
Width = Annotated[Int, Field(ge=1, le=2**16)]  # channels
Side = Annotated[Int, Field(ge=1, le=2**13)]  # px
Images = Annotated[Int, Field(ge=0, le=10**9)]
AutoOrCount = Annotated[Few | Literal["auto"], WrapValidator(_auto_or_count)]
Seed = Annotated[Int, Field(ge=0, lt=2**31)]
Positive = Annotated[Float, Field(ge=1e-12, le=1e15)]
Factor = Annotated[Float, Field(ge=0.01, le=100)]  # what something is multiplied by
Weight = Annotated[Float, Field(ge=0, le=1e9)]
Share = Annotated[Float, Field(ge=0, le=1)]
PositiveShare = Annotated[Float, Field(gt=0, le=1)]
Inside = Annotated[Float, Field(gt=0, lt=1)]
Kernel = Annotated[Int, Field(ge=1, le=15, json_schema_extra={"odd": True}), AfterValidator(_odd)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]
Column = Annotated[str, Field(min_length=1)]
Scorers = Annotated[str, Field(pattern=r"^(local|(tcp|tls)://[^\s/@]+:\d+)$")]
Pattern = Annotated[str, AfterValidator(_grouping)]
Channels = Annotated[Literal[1, 3], BeforeValidator(number)]
