"""The grid's own certificates (X.509, RFC 5280).

    root            made at `up`, sealed with the grid's identities
      signs
    intermediate    of one gateway node, sealed to it: path length 0, names below DOMAIN only
      signs
    leaf            for *.DOMAIN, renewed by the node itself

A stolen gateway can so vouch for nothing but its own domains, and the root key is on no node.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tfgrid.core import errors

__all__ = ["Authority", "Leaf"]

_EARLY: Final = dt.timedelta(hours=1)
_CA_USAGE: Final = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
    encipher_only=False, decipher_only=False,
)  # fmt: skip
_LEAF_USAGE: Final = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, key_cert_sign=False, crl_sign=False,
    encipher_only=False, decipher_only=False,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A server's certificate with its chain, and its key; `pem` is what HAProxy reads."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)

    @property
    def pem(self) -> bytes:
        """Chain and key in one, to be kept 0600."""
        return self.certificate_pem + self.key_pem


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate that may sign others, with its chain up to but without the root, and its key.

    For the root itself `certificate_pem` is empty of chain: what clients trust is `root_pem`.
    """

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)
    root_pem: bytes

    @classmethod
    def create(cls, name: str, *, now_ms: int, validity_days: int = 3650) -> Self:
        """A new root."""
        key = ec.generate_private_key(ec.SECP256R1())
        named = _named(name)
        builder = _builder(named, named, key.public_key(), now_ms, validity_days)
        builder = _for_authority(builder, path_length=1, domains=())
        made = builder.sign(key, hashes.SHA256())
        pem = made.public_bytes(serialization.Encoding.PEM)
        return cls(certificate_pem=pem, key_pem=_key_pem(key), root_pem=pem)

    def intermediate(
        self, name: str, domains: tuple[str, ...], *, now_ms: int, validity_days: int = 365
    ) -> Authority:
        """An authority that may vouch for names under `domains` only.

        Make no further authority.

        Raises:
            errors.NotAllowed: TFG-3507, this authority may not make others.

        """
        own = self._certificate()
        if own.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0:
            raise errors.NotAllowed("TFG-3507", "this authority may not make others", where=name)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(name), own.subject, key.public_key(), now_ms, validity_days)
        builder = _for_authority(builder, path_length=0, domains=domains)
        made = builder.add_extension(self._key_identifier(), critical=False)
        pem = made.sign(self._key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        return Authority(certificate_pem=pem, key_pem=_key_pem(key), root_pem=self.root_pem)

    def leaf(self, names: tuple[str, ...], *, now_ms: int, validity_days: int = 90) -> Leaf:
        """A server certificate for `names` (a wildcard is a name).

        Raises:
            errors.NotAllowed: TFG-3507, a name is outside what this authority may vouch for.

        """
        permitted = self._permitted()
        for name in names:
            if permitted and not any(_below(name, domain) for domain in permitted):
                raise errors.NotAllowed(
                    "TFG-3507", f"this authority may not vouch for {name}",
                    where=name, permitted=list(permitted),
                )  # fmt: skip
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self._certificate().subject
        listed = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        made = (
            _builder(_named(names[0]), issuer, key.public_key(), now_ms, validity_days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(listed, critical=False)
            .add_extension(_LEAF_USAGE, critical=True)
            .add_extension(usage, critical=False)
            .add_extension(self._key_identifier(), critical=False)
            .sign(self._key(), hashes.SHA256())
        )
        chain = b"" if self.certificate_pem == self.root_pem else self.certificate_pem
        pem = made.public_bytes(serialization.Encoding.PEM) + chain
        return Leaf(certificate_pem=pem, key_pem=_key_pem(key))

    def _certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate_pem)

    def _key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self.key_pem, password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key().public_key())

    def _permitted(self) -> tuple[str, ...]:
        try:
            found = self._certificate().extensions.get_extension_for_class(x509.NameConstraints)
        except x509.ExtensionNotFound:
            return ()
        return tuple(each.value for each in found.value.permitted_subtrees or ())


def _below(name: str, domain: str) -> bool:
    return name == domain or name.endswith("." + domain)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_ms: int, days: int
) -> x509.CertificateBuilder:
    now = dt.datetime.fromtimestamp(now_ms // 1000, tz=dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLY)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _for_authority(
    builder: x509.CertificateBuilder, *, path_length: int, domains: tuple[str, ...]
) -> x509.CertificateBuilder:
    basic = x509.BasicConstraints(ca=True, path_length=path_length)
    builder = builder.add_extension(basic, critical=True).add_extension(_CA_USAGE, critical=True)
    if not domains:
        return builder
    permitted = [x509.DNSName(domain) for domain in domains]
    constraints = x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None)
    return builder.add_extension(constraints, critical=True)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
