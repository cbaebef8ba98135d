"""Requests that whoever has no key of the store may send once, for one object, for a short while.

The condition is part of what is signed: who leaves `If-None-Match: *` away is refused by the store, so a
presigned request can never replace an object.
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from typing import NamedTuple

from backstay.domain.errors import StorageError, UsageError
from backstay.storage.names import check_name
from backstay.storage.s3_location import S3Location

_HEADERS = {"if-none-match": "*"}


class SignedPut(NamedTuple):
    """A PUT that may be sent until it expires, with exactly these headers beside its body's length."""

    url: str
    headers: dict[str, str]


class Presigner:
    """Signs puts below one location, with the keys that the AWS_ variables or the machine give.

    Raises:
        UsageError: the package boto3 is missing.
        StorageError: there is no key.
    """

    def __init__(self, location: S3Location) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise UsageError(
                "this installation cannot sign requests to S3: the package boto3 is missing",
                hint="install it with: python -m pip install 'backstay[s3-direct]'",
            ) from None
        self._at = location
        self._client = boto3.client(
            "s3",
            region_name=location.region,
            endpoint_url=location.endpoint or None,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path" if location.endpoint else "auto"},
                request_checksum_calculation="when_required",
            ),
        )

    def put(self, name: str, seconds: int) -> SignedPut:
        """A create-only put of one object. Raises StorageError."""
        from botocore.exceptions import BotoCoreError

        check_name(name)
        key = f"{self._at.prefix}/{name}" if self._at.prefix else name
        try:
            url: str = self._client.generate_presigned_url(
                "put_object",
                Params={"Bucket": self._at.bucket, "Key": key, "IfNoneMatch": "*"},
                ExpiresIn=seconds,
            )
        except BotoCoreError as error:
            raise StorageError(
                f"a request to {self._at} cannot be signed: {error}", hint="check the AWS_ variables"
            ) from error
        if "if-none-match" not in url.lower():
            raise StorageError(
                "the signed request would not be create-only", hint="install a boto3 of 1.35 or newer"
            )
        return SignedPut(url, dict(_HEADERS))
