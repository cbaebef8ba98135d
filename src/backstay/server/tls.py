"""The server's certificate: given, or made by itself and known to agents by its fingerprint."""

import datetime
import hashlib
import ipaddress
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backstay.domain.errors import ServerError, UsageError
from backstay.server.settings import ServerSettings

_YEARS = 10
_BACKDATED = datetime.timedelta(days=2)
"""Agents whose clock is behind by a day must still take it for valid."""


def certificate_files(settings: ServerSettings) -> tuple[Path, Path] | None:
    """The certificate's and the private key's file, made where they are to be; None without TLS.

    Raises:
        UsageError: files are wanted and not given.
        ServerError: they cannot be read or made.
    """
    if settings.tls == "off":
        return None
    if settings.tls == "files":
        if settings.certificate is None or settings.private_key is None:
            raise UsageError(
                "TLS with your own certificate needs two files", hint="give --certificate and --private-key"
            )
        return settings.certificate, settings.private_key
    certificate, key = settings.folder / "tls.crt", settings.folder / "tls.key"
    if not certificate.exists() or not key.exists():
        _make(settings, certificate, key)
    return certificate, key


def fingerprint_of(settings: ServerSettings) -> str:
    """SHA-256 of the certificate (DER), hexadecimal, that agents insist upon.

    Empty without TLS, and where a given certificate is signed by somebody else: then agents check its chain.
    """
    files = certificate_files(settings)
    if files is None:
        return ""
    try:
        certificate = x509.load_pem_x509_certificate(files[0].read_bytes())
    except (OSError, ValueError) as error:
        raise ServerError(
            f"the certificate {files[0]} cannot be read: {error}", hint="give a PEM file with --certificate"
        ) from error
    if certificate.issuer != certificate.subject:
        return ""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def _make(settings: ServerSettings, certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    host = urlsplit(settings.public_url).hostname or socket.gethostname()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(pem)
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    except OSError as error:
        raise ServerError(
            f"the certificate {certificate} cannot be written: {error.strerror}",
            hint="check the folder's owner and mode",
        ) from error


def _names(host: str) -> list[x509.GeneralName]:
    try:
        first: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        first = x509.DNSName(host)
    return [first, x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
