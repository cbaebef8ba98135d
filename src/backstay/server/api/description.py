"""The API's description (OpenAPI): how one says who one is, and what every refusal looks like."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from backstay.server.problems import MEDIA_TYPE


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str
    status: int
    title: str
    detail: str = Field(description="what happened, and to what")
    hint: str = Field(description="what to do next; may be empty")
    error: str | None = Field(default=None, description="the kind of error")


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, text in (
        ("4XX", "refused: the document says why, and what to do"),
        ("5XX", "not possible at this time, or a defect of Backstay"),
    )
}

_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "an API token, within its scopes"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-backstay",
        "description": "a browser's session, by POST /api/v1/session; without TLS the cookie is `backstay`. "
        "What changes something also carries the header X-CSRF-Token",
    },
}


def describe(app: FastAPI) -> None:
    """Complete what FastAPI says of `app`."""
    plain = app.openapi

    def whole() -> dict[str, Any]:
        schema = plain()
        components = schema.setdefault("components", {})
        components["securitySchemes"] = _SCHEMES
        components.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        schema["security"] = [{name: []} for name in _SCHEMES]
        return schema

    app.openapi = whole  # type: ignore[method-assign]
