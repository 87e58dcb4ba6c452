"""A certificate authority of the test's own, and a server's certificate by it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID: Final = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files. ``stranger``: another authority, which signed nothing here."""

    authority: Path
    stranger: Path
    server: Path
    server_key: Path


def make_certificates(folder: Path, address: str = "127.0.0.1") -> Certificates:
    """The server's certificate names ``address`` alone."""
    key, authority = _authority("The operator's authority")
    _, stranger = _authority("A stranger")
    server_key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    server = _builder(_name(address), authority.subject, server_key).add_extension(names, critical=False)
    found = Certificates(*(folder / f"{name}.pem" for name in ("authority", "stranger", "server", "server-key")))
    found.authority.write_bytes(_pem(authority))
    found.stranger.write_bytes(_pem(stranger))
    found.server.write_bytes(_pem(server.sign(key, hashes.SHA256())))
    found.server_key.write_bytes(
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return found


def _authority(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    basic = x509.BasicConstraints(ca=True, path_length=0)
    builder = _builder(_name(name), _name(name), key).add_extension(basic, critical=True)
    return key, builder.sign(key, hashes.SHA256())


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), now - VALID, now + VALID
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
