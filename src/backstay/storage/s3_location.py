"""Where an S3 repository is: `s3://bucket/prefix?endpoint=https://host&region=name`, without any key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from backstay.domain.errors import StorageError, UsageError
from backstay.storage.names import check_name

DEFAULT_REGION = "us-east-1"

_OPTIONS = frozenset({"endpoint", "region"})
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_PATH = re.compile(r"[A-Za-z0-9._~/-]*")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


@dataclass(frozen=True)
class S3Location:
    """A prefix in a bucket.

    Args:
        prefix: an object name without `/` at its end, or empty.
        endpoint: URL of the server; empty for Amazon's own.
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = DEFAULT_REGION

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Self:
        """What `text` says; the environment fills in the endpoint and the region where it names none.

        The variables are those of AWS's SDK reference: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL,
        AWS_REGION, AWS_DEFAULT_REGION.

        Raises:
            UsageError: it is no such location. The message never repeats what might be a key.
        """
        try:
            url = urlsplit(text)
            options = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
        except ValueError:
            raise _unreadable("it is not a URL") from None
        if "@" in url.netloc:
            raise _unreadable(
                "the location of a repository holds no keys",
                "leave them out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead",
            )
        if not _OPTIONS.issuperset(options) or url.fragment:
            raise _unreadable("it has options other than endpoint and region")
        if not _BUCKET.fullmatch(url.netloc):
            raise _unreadable("it names no bucket")
        return cls(
            url.netloc,
            _prefix(url.path),
            _endpoint(options.get("endpoint") or _first(environment, _ENDPOINTS)),
            _region(options.get("region") or _first(environment, _REGIONS) or DEFAULT_REGION),
        )

    @property
    def url(self) -> str:
        """The location in full, so that it can be opened again with other environment variables."""
        options = {}
        if self.endpoint:
            options["endpoint"] = self.endpoint
        if self.region != DEFAULT_REGION:
            options["region"] = self.region
        return str(self) + (f"?{urlencode(options, safe=':/')}" if options else "")

    @property
    def server(self) -> str:
        """Who answers for it, in a few words."""
        return self.endpoint or f"Amazon S3 in {self.region}"

    def __str__(self) -> str:
        """The short form: bucket and prefix."""
        return f"s3://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


def _prefix(path: str) -> str:
    prefix = path.strip("/")
    try:
        return check_name(prefix) if prefix else ""
    except StorageError as error:
        raise _unreadable("its prefix holds characters that are not safe", error.hint) from None


def _endpoint(text: str) -> str:
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - its getter is what checks the number
    except ValueError:
        url = urlsplit("")
    lawful = (
        url.scheme in ("http", "https")
        and "@" not in url.netloc
        and _HOST.fullmatch(url.hostname or "")
        and _PATH.fullmatch(url.path)
        and not (url.query or url.fragment)
    )
    if text and not lawful:
        raise UsageError(
            "the endpoint of the S3 storage cannot be understood",
            hint="write it as https://host or http://host:port, in the location or in AWS_ENDPOINT_URL",
        )
    return text.rstrip("/")


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise UsageError(
            "the region of the S3 storage cannot be understood", hint="write it as eu-central-1, say"
        )
    return text


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


def _unreadable(why: str, hint: str = "") -> UsageError:
    return UsageError(
        f"that is not the location of an S3 storage: {why}",
        hint=hint or "write s3://bucket/prefix, or s3://bucket/prefix?endpoint=https://host&region=name",
    )
