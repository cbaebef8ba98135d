"""Kinds of values that several endpoints take and show."""

import base64
from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

_FIRST_YEAR, _LAST_YEAR = 1970, 9000


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    return text


def _within_calendar(moment: datetime) -> datetime:
    if not _FIRST_YEAR < moment.year < _LAST_YEAR:
        raise ValueError(f"give a time between the years {_FIRST_YEAR} and {_LAST_YEAR}")
    return moment


Number = Annotated[int, Field(ge=1, le=2**53)]
Text = Annotated[str, AfterValidator(_without_nul)]
Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_without_nul)]
Comment = Annotated[str, Field(max_length=4000), AfterValidator(_without_nul)]
Search = Annotated[str, Query(max_length=255, description="part of a name"), AfterValidator(_without_nul)]
Cursor = Annotated[
    str, Query(max_length=255, description="`next` of the page before"), AfterValidator(_without_nul)
]
Limit = Annotated[int, Query(ge=1, le=1000)]
Moment = Annotated[AwareDatetime, AfterValidator(_within_calendar)]


class Body(BaseModel):
    """What a client sends: unknown fields are refused, for they are mistakes."""

    model_config = ConfigDict(extra="forbid")


class Reference(BaseModel):
    """Something that is described elsewhere."""

    id: int
    name: str


class PathView(BaseModel):
    """A path of a file server, whose bytes may be no text."""

    path: str
    path_base64: str | None = Field(
        default=None, description="the bytes, where they are not UTF-8; `path` then shows replacements"
    )

    @classmethod
    def of(cls, path: bytes) -> "PathView":
        """The path as it is shown."""
        try:
            return cls(path=path.decode())
        except UnicodeDecodeError:
            return cls(path=path.decode(errors="replace"), path_base64=base64.b64encode(path).decode())
