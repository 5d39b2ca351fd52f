"""Problem documents (RFC 9457), as documented in /docs."""

from __future__ import annotations

from pydantic import BaseModel, Field

from api.http.validation import FieldError


class ProblemView(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(
        description="URI reference of the kind of problem; GET it for the remedy.",
        examples=["/problems/invalid-request"],
    )
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str = Field("", examples=["ratio: Input should be less than 1"])
    instance: str = Field("", examples=["/v1/jobs"])
    request_id: str = Field(
        "", description="As in the header X-Request-ID and in the service's log."
    )
    errors: list[FieldError] = []
