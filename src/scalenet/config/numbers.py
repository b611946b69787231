"""The kinds of values that params.yaml holds: numbers within bounds, seeds, shares, names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WrapValidator


def number(value: Any) -> Any:
    """Accept numbers that YAML 1.1 reads as strings (``1e-5``); refuse booleans."""
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    if isinstance(value, str):
        value = float(value)
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
        raise ValueError("should be auto, or a whole number that is at least 1") from None


Int = Annotated[int, BeforeValidator(number)]
Float = Annotated[float, BeforeValidator(number)]
Count = Annotated[Int, Field(ge=1)]
AutoOrCount = Annotated[Count | Literal["auto"], WrapValidator(_auto_or_count)]
Seed = Annotated[Int, Field(ge=0, lt=2**31)]
Positive = Annotated[Float, Field(gt=0)]
Weight = Annotated[Float, Field(ge=0)]
Share = Annotated[Float, Field(ge=0, le=1)]
PositiveShare = Annotated[Float, Field(gt=0, le=1)]
Inside = Annotated[Float, Field(gt=0, lt=1)]
Kernel = Annotated[Int, Field(ge=1, le=15), AfterValidator(_odd)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Channels = Annotated[Literal[1, 3], BeforeValidator(number)]
