"""Owns Bitwarden's crypto as a server's tests need it: an account's keys, EncStrings both ways, a throw-away CA.

Bitwarden's security white paper names the steps; the numbers were checked against bw 2026.6.0.
"""

import base64
import datetime
import hashlib
import hmac
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

PBKDF2, ARGON2ID = 0, 1
BLOCK = 128


@dataclass(frozen=True)
class Kdf:
    """How a master password becomes a key; memory in MiB. The numbers are the least that bw accepts."""

    kind: int = PBKDF2
    iterations: int = 5000
    memory: int | None = None
    parallelism: int | None = None

    def master_key(self, email: str, password: str) -> bytes:
        """Return the 32 bytes."""
        salt = email.strip().lower().encode()
        if self.kind == PBKDF2:
            return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, self.iterations, 32)
        memory, lanes = (self.memory or 16) * 1024, self.parallelism or 1
        derived: bytes = Argon2id(
            salt=hashlib.sha256(salt).digest(), length=32, iterations=self.iterations, lanes=lanes, memory_cost=memory
        ).derive(password.encode())
        return derived


LIGHT_ARGON2ID = Kdf(ARGON2ID, iterations=2, memory=16, parallelism=1)


@dataclass(frozen=True)
class Keys:
    """What an account's server stores of its keys; `user_key` is the test's own knowledge and opens the items."""

    user_key: bytes
    auth_hash: str
    wrapped_user_key: str
    public_key: str
    wrapped_private_key: str


def make_keys(email: str, password: str, kdf: Kdf) -> Keys:
    """Return the keys of a new account."""
    master = kdf.master_key(email, password)
    user_key = os.urandom(64)
    private = rsa.generate_private_key(65537, 2048)
    der = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Keys(
        user_key=user_key,
        auth_hash=_text(hashlib.pbkdf2_hmac("sha256", master, password.encode(), 1, 32)),
        wrapped_user_key=encrypt(_expand(master, b"enc") + _expand(master, b"mac"), user_key),
        public_key=_text(public),
        wrapped_private_key=encrypt(user_key, der),
    )


def encrypt(key: bytes, clear: bytes) -> str:
    """Return the EncString of type 2 (AES-256-CBC, HMAC-SHA256)."""
    padder, iv = padding.PKCS7(BLOCK).padder(), os.urandom(16)
    encryptor = Cipher(algorithms.AES(key[:32]), modes.CBC(iv)).encryptor()
    content = encryptor.update(padder.update(clear) + padder.finalize()) + encryptor.finalize()
    mac = hmac.digest(key[32:], iv + content, "sha256")
    return f"2.{_text(iv)}|{_text(content)}|{_text(mac)}"


def decrypt(key: bytes, enc_string: str) -> bytes:
    """Return the clear bytes of an EncString of type 2; a wrong mac fails the test."""
    kind, _, rest = enc_string.partition(".")
    iv, content, mac = (base64.b64decode(part) for part in rest.split("|"))
    assert kind == "2"
    assert hmac.compare_digest(mac, hmac.digest(key[32:], iv + content, "sha256"))
    decryptor = Cipher(algorithms.AES(key[:32]), modes.CBC(iv)).decryptor()
    unpadder = padding.PKCS7(BLOCK).unpadder()
    return unpadder.update(decryptor.update(content) + decryptor.finalize()) + unpadder.finalize()


def _expand(key: bytes, info: bytes) -> bytes:
    return HKDFExpand(hashes.SHA256(), 32, info).derive(key)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


@dataclass(frozen=True)
class Authority:
    """A CA made for one test run, and the certificate for this machine's loopback that it signed (PEM files)."""

    ca: Path
    certificate: Path
    key: Path


def make_authority(folder: Path) -> Authority:
    """Write a CA and a leaf for localhost and 127.0.0.1 into the folder."""
    ca_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a throw-away CA")])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    ca = _certificate(issuer, ca_key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = _certificate(subject, leaf_key).issuer_name(issuer).add_extension(names, critical=False)
    made = Authority(folder / "ca.pem", folder / "leaf.pem", folder / "leaf.key")
    made.ca.write_bytes(ca.issuer_name(issuer).sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    made.certificate.write_bytes(leaf.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return made


def _certificate(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
    )
