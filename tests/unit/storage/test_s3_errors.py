import http.server
import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from backstay.domain.errors import ObjectNotFound, StorageError, StorageFull, StorageUnavailable, UsageError
from backstay.storage.s3 import S3Storage
from backstay.storage.s3_location import S3Location

_TOO_LONG = "x" * 5000


@contextmanager
def _server(status, body, *, tls=None):
    """An HTTP server whose every answer is this one."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_DELETE = _answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    """Keys in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")


def _body(code, message="Told by the server."):
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (503, _body("SlowDown"), StorageUnavailable, "more slowly"),
        (503, b"", StorageUnavailable, "more slowly"),
        (429, b"", StorageUnavailable, "more slowly"),
        (500, _body("InternalError"), StorageUnavailable, "error of its own"),
        (502, b"<html>Bad Gateway</html>", StorageUnavailable, "error of its own"),
        (409, _body("ConditionalRequestConflict"), StorageUnavailable, "another put"),
        (403, _body("RequestTimeTooSkewed"), StorageError, "clock"),
        (403, _body("ExpiredToken"), StorageError, "expired"),
        (403, _body("AccessDenied"), StorageError, "denied"),
        (403, b"", StorageError, "denied"),
        (400, _body("AuthorizationHeaderMalformed"), StorageError, "not in the region us-east-1"),
        (301, _body("PermanentRedirect"), StorageError, "not in the region us-east-1"),
        (507, b"", StorageFull, "full"),
        (400, _body("XMinioStorageFull"), StorageFull, "full"),
        (501, _body("NotImplemented"), StorageError, "does not offer"),
        (400, _body("EntityTooLarge"), StorageError, "larger"),
        (418, _body("Teapot", "I am {bucket}"), StorageError, r"Teapot \(I am \{bucket\}\)"),
        (418, _body("Teapot", _TOO_LONG), StorageError, "Teapot"),
        (404, _body("NoSuchBucket"), StorageError, "no bucket bucket"),
    ],
)
@pytest.mark.parametrize("operation", ["put", "get", "size", "list", "delete"])
def test_answers_of_a_server(operation, status, body, kind, words):
    """Each refusal of a server becomes one plain sentence of the right kind, for every operation."""
    acts = {
        "put": lambda: storage.put("x", [b"1"]),
        "get": lambda: storage.get("x"),
        "size": lambda: storage.size("x"),
        "list": lambda: list(storage.list("")),
        "delete": lambda: storage.delete("x"),
    }
    with _server(status, body) as endpoint:
        storage = S3Storage(S3Location("bucket", "p", endpoint))
        with pytest.raises(StorageError, match=words) as caught:
            acts[operation]()
    error = caught.value
    assert type(error) is kind
    assert error.hint and "\n" not in error.what and len(error.what) < 500
    assert "hunter2" not in error.what + error.hint and "AKIA" not in error.what


def test_a_certificate_that_is_not_trusted(certificate, monkeypatch):
    """It is said to be that; with the authority's file in AWS_CA_BUNDLE the same server is trusted."""
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with _server(404, _body("NoSuchKey"), tls=tls) as endpoint:
        at = S3Location("bucket", "", endpoint)
        with pytest.raises(StorageError, match=r"certificate .* is not trusted") as caught:
            S3Storage(at).get("x")
        assert "AWS_CA_BUNDLE" in caught.value.hint and not caught.value.retryable
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        with pytest.raises(ObjectNotFound):
            S3Storage(at).get("x")


@pytest.fixture
def certificate(tmp_path):
    """A file with a key and a certificate for 127.0.0.1 that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + signed.public_bytes(Encoding.PEM)
    )
    return file


def test_authorities_that_cannot_be_read(tmp_path, monkeypatch):
    """A wrong AWS_CA_BUNDLE is named."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="absent") as caught:
        S3Storage(S3Location("bucket", "", "https://127.0.0.1:1"))
    assert "AWS_CA_BUNDLE" in caught.value.hint


def test_a_variable_that_cannot_be_understood(monkeypatch):
    """A variable of obstore's own with a wrong value is an error, not a defect."""
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "perhaps")
    with pytest.raises(StorageError, match="perhaps"):
        S3Storage(S3Location("bucket", "", "http://127.0.0.1:1"))
