"""How a client knows the server: by an authority that this machine trusts, or by one pinned certificate.

A server that made its own certificate is known by the SHA-256 of it (DER), which is shown where the server
runs, is part of every enrolment token, and is compared once; afterwards only that certificate is accepted.
"""

import hashlib
import hmac
import ssl

import httpx

from backstay.domain.errors import ServerError, ServerUnreachable

_CONNECT_SECONDS = 10.0


def trusting_authorities() -> ssl.SSLContext:
    """Accepts certificates that the operating system's authorities signed, for the host's name."""
    return ssl.create_default_context()


def trusting_only(pem: str) -> ssl.SSLContext:
    """Accepts this certificate alone, whatever name it bears.

    Raises:
        ServerError: it is no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    # The certificate itself is the anchor, whoever signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise ServerError(
            "the server's certificate that was kept cannot be read", hint="log in or enrol again"
        ) from error
    return context


def shown_certificate(url: str) -> str:
    """The certificate (PEM) that the server at `url` shows; nobody has checked it yet, and nothing is sent.

    Raises:
        ServerUnreachable: it does not answer, or speaks no TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with httpx.Client(verify=context, timeout=_CONNECT_SECONDS) as client:
            with client.stream("HEAD", url) as response:
                connection = response.extensions["network_stream"].get_extra_info("ssl_object")
                der = connection.getpeercert(True) if connection is not None else None
    except httpx.HTTPError as error:
        raise ServerUnreachable(
            f"the server at {url} cannot be reached: {error}", hint="check the address, and that it runs"
        ) from error
    if not der:
        raise ServerUnreachable(f"the server at {url} speaks no TLS", hint="check the address and the port")
    return ssl.DER_cert_to_PEM_cert(der)


def fingerprint_of(pem: str) -> str:
    """SHA-256 of the certificate (DER), 64 hexadecimal digits."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def pinned_certificate(url: str, fingerprint: str) -> str:
    """The server's certificate (PEM), which must have this fingerprint; colons and capitals do not matter.

    Raises:
        ServerError: it has another.
        ServerUnreachable: as `shown_certificate`.
    """
    pem = shown_certificate(url)
    wanted = fingerprint.replace(":", "").strip().lower()
    if not hmac.compare_digest(fingerprint_of(pem).encode(), wanted.encode()):
        raise ServerError(
            f"the server at {url} shows another certificate than it should: its fingerprint is "
            f"{fingerprint_of(pem)}",
            hint="make sure that it is your server; if it has a new certificate, take the new fingerprint "
            "from the server's own machine",
        )
    return pem
