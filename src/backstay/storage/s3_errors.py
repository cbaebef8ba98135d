"""What the answers of an S3 server, and its silence, mean to somebody who stores objects.

The client library tells both as text: the server's `<Code>` and `<Message>`, the HTTP status, or
the kind of the connection's error. Only what this page knows, and the server's own message, is
passed on: never a header, never a request.
"""

import re
from typing import NamedTuple

from backstay.domain.errors import StorageError, StorageFull, StorageUnavailable
from backstay.storage.s3_location import S3Location

_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,200})")
_STATUS = re.compile(r"(?:status code: |status: )(\d{3})\b")


class Meaning(NamedTuple):
    """How one finding is told; `reason` and `hint` may name {bucket}, {region} and {server}."""

    kind: type[StorageError]
    reason: str
    hint: str


_KEYS = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary keys, AWS_SESSION_TOKEN"
_RIGHTS = (
    "the key needs s3:GetObject, s3:PutObject and s3:DeleteObject on the objects, "
    "and s3:ListBucket on the bucket {bucket}"
)
_REGION = Meaning(
    StorageError,
    "the bucket {bucket} is not in the region {region}",
    "name its region in AWS_REGION, or in the location with ?region=",
)
_DENIED = Meaning(StorageError, "access is denied to this key", _RIGHTS)
_WRONG_SECRET = Meaning(StorageError, "the secret key does not belong to the access key", _KEYS)
_EXPIRED = Meaning(StorageError, "the temporary key has expired or is not valid", "ask for a new one")
_UNKNOWN_KEY = Meaning(StorageError, "{server} does not know this access key", _KEYS)
_CLOCK = Meaning(
    StorageError, "the clock of this machine differs too much from the server's", "set the clock, by NTP say"
)
_BUSY = Meaning(StorageUnavailable, "{server} asks to be used more slowly", "try again later")
_TROUBLE = Meaning(StorageUnavailable, "{server} has an error of its own", "try again later")
_FULL = Meaning(StorageFull, "the storage is full", "make room or raise the quota, then run it again")
_TOO_BIG = Meaning(StorageError, "the object is larger than the server takes", "check the server's limits")
_NO_BUCKET = Meaning(
    StorageError,
    "there is no bucket {bucket} at {server}",
    "make the bucket first, or check its name, the endpoint and the region",
)
_NOT_OFFERED = Meaning(
    StorageError, "{server} does not offer what this needs", "use a server that knows conditional writes"
)
NO_KEYS = Meaning(
    StorageError,
    "no access key was found",
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
)

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, and what MinIO and Ceph add.
_BY_CODE: dict[str, Meaning] = {
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem", "MethodNotAllowed"), _DENIED),
    **dict.fromkeys(("InvalidAccessKeyId", "NotSignedUp", "InvalidSecurity"), _UNKNOWN_KEY),
    **dict.fromkeys(("ExpiredToken", "InvalidToken", "TokenRefreshRequired"), _EXPIRED),
    **dict.fromkeys(
        ("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "Redirect"), _REGION
    ),
    **dict.fromkeys(("IllegalLocationConstraintException", "IncorrectEndpoint"), _REGION),
    **dict.fromkeys(
        ("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests"), _BUSY
    ),
    **dict.fromkeys(("InternalError", "ServiceUnavailable", "OperationAborted", "RequestTimeout"), _TROUBLE),
    "ConditionalRequestConflict": Meaning(
        StorageUnavailable, "another put of the same name is under way", "try again"
    ),
    **dict.fromkeys(
        ("QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"),
        _FULL,
    ),
    **dict.fromkeys(("EntityTooLarge", "MaxMessageLengthExceeded"), _TOO_BIG),
    "SignatureDoesNotMatch": _WRONG_SECRET,
    "RequestTimeTooSkewed": _CLOCK,
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": _NO_BUCKET,
    "NotImplemented": _NOT_OFFERED,
    "InvalidObjectState": Meaning(
        StorageError, "the object lies in an archive class", "restore it from the archive class first"
    ),
}

_BY_STATUS: dict[int, Meaning] = {
    301: _REGION,
    307: _REGION,
    401: _UNKNOWN_KEY,
    403: _DENIED,
    408: _TROUBLE,
    409: _TROUBLE,
    413: _TOO_BIG,
    429: _BUSY,
    501: _NOT_OFFERED,
    503: _BUSY,
    507: _FULL,
}

# In this order: the first text that occurs decides. The words are those of object_store, reqwest and rustls.
_BY_TEXT: tuple[tuple[str, Meaning], ...] = (
    ("//169.254.16", NO_KEYS),  # 169.254.169.254 and 169.254.170.2: where machines of AWS ask for keys
    (
        "InvalidCertificate",
        Meaning(
            StorageError,
            "the certificate of {server} is not trusted",
            "check the endpoint's name; for a private authority, name its certificate file in AWS_CA_BUNDLE",
        ),
    ),
    (
        "InvalidContentType",
        Meaning(
            StorageError, "{server} does not speak TLS", "write http:// if it is meant to be unencrypted"
        ),
    ),
    (
        "dns error",
        Meaning(StorageUnavailable, "the name of {server} is not known", "check its name and the network"),
    ),
    (
        "kind: Timeout",
        Meaning(
            StorageUnavailable, "{server} did not answer in time", "check the network, or try again later"
        ),
    ),
    (
        "ConnectionRefused",
        Meaning(
            StorageUnavailable,
            "{server} refuses connections",
            "check that the server runs, and the port of the endpoint",
        ),
    ),
    (
        "kind: Connect",
        Meaning(StorageUnavailable, "{server} cannot be reached", "check the endpoint and the network"),
    ),
    (
        "HTTP error",
        Meaning(
            StorageUnavailable, "the connection to {server} broke", "check the network, or try again later"
        ),
    ),
    ("without LOCATION", _REGION),
)


def code_of(error: BaseException) -> str:
    """The server's error code, or empty where its answer had none."""
    match = _CODE.search(str(error))
    return match[1] if match else ""


def status_of(error: BaseException) -> int:
    """The HTTP status of the server's answer, or 0 where there was no answer."""
    match = _STATUS.search(str(error))
    return int(match[1]) if match else 0


def s3_error(error: BaseException, doing: str, location: S3Location) -> StorageError:
    """The StorageError that says what `error` prevented.

    Args:
        error: as the client library raised it.
        doing: the attempt, to follow "cannot": `store packs/ab/ab12 in s3://bucket`.
    """
    meaning = _meaning(error)
    words = {"bucket": location.bucket, "region": location.region, "server": location.server}
    return meaning.kind(
        f"cannot {doing}: {meaning.reason.format_map(words)}", hint=meaning.hint.format_map(words)
    )


def _meaning(error: BaseException) -> Meaning:
    text, code, status = str(error), code_of(error), status_of(error)
    for part, meaning in _BY_TEXT[:1]:
        if part in text:
            return meaning
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return _TROUBLE
    if status:
        message = _MESSAGE.search(text)
        said = f" ({message[1].strip()})" if message else ""
        reason = f"the server answered {code or status}{said}"
        return Meaning(StorageError, _literal(reason), "check the endpoint, the region and the bucket")
    for part, meaning in _BY_TEXT:
        if part in text:
            return meaning
    return Meaning(
        StorageError,
        _literal(text.partition("\n")[0][:200]),
        "check the endpoint, the region and the AWS_ variables of the environment",
    )


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
