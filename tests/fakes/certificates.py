"""Certificates of a test's own authority: good, expired and for another host; made in a moment, trusted by nobody else."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_DAY = timedelta(days=1)


def make_key(algorithm: str = "ES256") -> Key:
    """A private key for ``ES256`` or ``RS256``."""
    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else rsa.generate_private_key(65537, 2048)


def self_signed(key: Key, name: str) -> x509.Certificate:
    """A certificate authority of that name."""
    return _sign(name, key, name, key, None, 2 * _DAY, is_authority=True)


@dataclass(frozen=True)
class Authority:
    """A certificate authority whose files are below ``directory``."""

    directory: Path
    name: str = "stagepin test authority"

    @cached_property
    def _key(self) -> Key:
        return make_key()

    @cached_property
    def ca_file(self) -> Path:
        """Its own certificate, for whoever should trust it."""
        return _write(self.directory / f"{self.name}.pem", self_signed(self._key, self.name))

    def issue(self, name: str, host: str = "127.0.0.1", *, lasts: timedelta = _DAY) -> tuple[Path, Path]:
        """Certificate and key files for an IP address or a name; ``lasts`` below zero is expired."""
        key = make_key()
        certificate = _write(self.directory / f"{name}.crt", _sign(name, key, self.name, self._key, host, lasts))
        key_file = self.directory / f"{name}.key"
        pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        key_file.write_bytes(key.private_bytes(pem, pkcs8, plain))
        return certificate, key_file


def _write(file: Path, certificate: x509.Certificate) -> Path:
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return file


def _sign(name: str, key: Key, issuer: str, by: Key, host: str | None, lasts: timedelta, *, is_authority: bool = False) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _DAY)
        .not_valid_after(now + lasts)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if host:
        is_address = host.replace(".", "").isdecimal()
        alternative = x509.IPAddress(ipaddress.ip_address(host)) if is_address else x509.DNSName(host)
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    return builder.sign(by, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
