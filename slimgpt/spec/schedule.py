"""`ScheduleSpec`: how the ratio is spread over the layers.

Imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from slimgpt.spec.names import Several, Spec

ScheduleShape = Literal[
    "log", "linear", "uniform", "log-decrease", "linear-decrease", "explicit", "global", "measured"
]


def _share(value: Any) -> Any:
    """Tell whoever gives a percentage which ratio it is.

    Raises:
        PydanticCustomError: the value is more than 1, and less than 100.
    """
    try:
        percent = float(value)
    except (TypeError, ValueError, OverflowError):
        return value
    if 1 < percent < 100:
        raise PydanticCustomError(
            "less_than",
            "Input should be less than 1: a ratio is a share of 1, {share} removes {percent}%",
            {"share": f"{percent / 100:g}", "percent": f"{percent:g}", "lt": 1.0},
        )
    return value


Ratio = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False), BeforeValidator(_share)]
MAX_LAYERS = 4096
"""Several times the layers of the deepest models."""


class ScheduleSpec(Spec):
    """How the ratio is spread over depth (paper section 4.3, Eq. 6)."""

    shape: ScheduleShape = Field(
        "log",
        description="Shape of the ratio over depth; `global` lets the method's own scores "
        "choose (FLAP); `measured` cuts every attention and FFN by what that costs the model's "
        "output, as measured on calibration text.",
    )
    first_ratio: Ratio | None = Field(
        None, description="r_0, the ratio of the first layer; at most one of the two ends."
    )
    last_ratio: Ratio | None = Field(None, description="r_(n-1), the ratio of the last layer.")
    ratios: Annotated[Several[Ratio], Field(max_length=MAX_LAYERS)] | None = Field(
        None, description="One ratio a layer, for `explicit`; scaled together to meet the target."
    )

    @model_validator(mode="after")
    def _consistent(self) -> ScheduleSpec:
        if (self.shape == "explicit") != (self.ratios is not None):
            raise ValueError("shape `explicit` needs `ratios`, and other shapes take none")
        if self.first_ratio is not None and self.last_ratio is not None:
            raise ValueError("set `first_ratio` or `last_ratio`, not both: the target fixes one")
        ends = self.first_ratio is not None or self.last_ratio is not None
        if ends and self.shape in ("uniform", "explicit", "global", "measured"):
            raise ValueError(f"shape `{self.shape}` takes neither `first_ratio` nor `last_ratio`")
        return self
