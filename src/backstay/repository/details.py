"""The part of a restore point's record that names files: only a private key reads it."""

from collections.abc import Iterator

import msgspec

from backstay.repository.manifest import Manifest
from backstay.repository.pack import PREFIX, BlobKind
from backstay.repository.tree import PutBlob, ReadBlob
from backstay.repository.wire import Id, decode_record

VERSION = 1

_BLOB_BYTES = 1 << 20
"""A list of problems is split into blobs of about this many bytes."""


class Problem(msgspec.Struct, array_like=True, frozen=True):
    """A file that is not in the restore point as it should be: why, in words, and its grade."""

    path: bytes
    reason: str
    grade: int


class StepRecord(msgspec.Struct, array_like=True, frozen=True):
    """One of the six steps, as it went: times in nanoseconds since the epoch, figures by name."""

    name: str
    state: str
    started_ns: int
    ended_ns: int
    figures: dict[str, int | float]
    messages: list[str]


class Details(msgspec.Struct, array_like=True, frozen=True):
    """What was asked for and how it went; and all that the manifest says, so that it could be made anew.

    Attributes:
        manifest: the manifest, with its `details` left empty.
        paths: the set's paths, as bytes.
        rules: text of the content rule.
        steps: the six steps.
        problems: ids of the blobs that list the problems.
    """

    version: int
    manifest: Manifest
    paths: list[bytes]
    rules: str
    steps: list[StepRecord]
    problems: list[Id]


class _ProblemList(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    rows: list[Problem]


_encoder = msgspec.msgpack.Encoder()
_details = msgspec.msgpack.Decoder(Details)
_problems = msgspec.msgpack.Decoder(_ProblemList)


def put_problems(problems: list[Problem], put: PutBlob) -> list[bytes]:
    """Store the list of problems, and return the ids of its blobs."""
    ids: list[bytes] = []
    rows: list[Problem] = []
    size = 0
    for problem in problems:
        rows.append(problem)
        size += len(problem.path) + len(problem.reason)
        if size >= _BLOB_BYTES:
            ids.append(_put_list(rows, put))
            rows, size = [], 0
    if rows:
        ids.append(_put_list(rows, put))
    return ids


def _put_list(rows: list[Problem], put: PutBlob) -> bytes:
    return put(BlobKind.DETAILS, _encoder.encode(_ProblemList(VERSION, rows)), b"")


def put_details(details: Details, put: PutBlob) -> bytes:
    """Store the details, and return their id."""
    references = b"".join(blob[:PREFIX] for blob in details.problems)
    return put(BlobKind.DETAILS, _encoder.encode(details), references)


def read_details(blob_id: bytes, read: ReadBlob) -> Details:
    """The details of a restore point. Raises DamagedObject, UnsupportedVersion, KeyMissing."""
    return decode_record(_details, read(blob_id), f"details {blob_id.hex()[:16]}", VERSION)


def read_problems(details: Details, read: ReadBlob) -> Iterator[Problem]:
    """Every problem that the details list. Raises DamagedObject, UnsupportedVersion, KeyMissing."""
    for blob_id in details.problems:
        name = f"problem list {blob_id.hex()[:16]}"
        yield from decode_record(_problems, read(blob_id), name, VERSION).rows
