"""The host's keys and the register auth (section 4). Frozen, see __init__.py."""

import hashlib
import os
import time
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .codec import b64u, hkdf, len_str, unb64u
from .noise import public_key

WINDOW_MS = 300_000
DEFAULT_PORTS = {"ws": 80, "wss": 443}


class Identity:
    """A host: its static key and what follows from it."""

    def __init__(self, static_private: bytes | None = None):
        self.static_private = static_private or os.urandom(32)
        self.static_public = public_key(self.static_private)
        self.register_seed = hkdf(
            self.static_private, b"", b"frontier-link-register-ed25519-v1", 32
        )
        self.register_key = Ed25519PrivateKey.from_private_bytes(self.register_seed)
        self.register_public = self.register_key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        self.address = address_of(self.register_public)


def address_of(register_public: bytes) -> str:
    return b64u(hashlib.sha256(register_public).digest())


def origin_of(url: str) -> str:
    """What an HTTP client puts in Host, lower-cased."""
    parts = urlsplit(url)
    name = parts.hostname.lower()
    if ":" in name:
        name = f"[{name}]"
    if parts.port is None or parts.port == DEFAULT_PORTS[parts.scheme.lower()]:
        return name
    return f"{name}:{parts.port}"


def signed_message(address: str, ts: int, nonce: str, origin: str) -> bytes:
    parts = (address, str(ts), nonce, origin)
    return b"frontier-link-register-v1" + b"".join(len_str(part) for part in parts)


def make_auth(identity, origin, *, address=None, ts=None, nonce=None) -> dict:
    ts = int(time.time() * 1000) if ts is None else ts
    nonce = b64u(os.urandom(16)) if nonce is None else nonce
    message = signed_message(address or identity.address, ts, nonce, origin)
    return {
        "alg": "ed25519",
        "pub": b64u(identity.register_public),
        "ts": ts,
        "nonce": nonce,
        "sig": b64u(identity.register_key.sign(message)),
    }


def register_message(identity, origin, **fields) -> dict:
    auth = make_auth(identity, origin, **fields)
    return {"type": "register", "address": fields.get("address") or identity.address, "auth": auth}


def check_auth(address: str, auth, origin: str, now_ms: int) -> bytes:
    """The relay's checks. The register public key, or ValueError (4007)."""
    if not isinstance(auth, dict) or auth.get("alg") != "ed25519":
        raise ValueError("auth is not an object of the shape")
    ts, nonce = auth.get("ts"), auth.get("nonce")
    if not isinstance(ts, int) or isinstance(ts, bool):
        raise ValueError("ts")
    if not isinstance(nonce, str) or not 1 <= len(nonce) <= 88:
        raise ValueError("nonce")
    public, signature = unb64u(auth.get("pub"), 32), unb64u(auth.get("sig"), 64)
    if abs(now_ms - ts) > WINDOW_MS:
        raise ValueError("expired")
    if address != address_of(public):
        raise ValueError("not the key's address")
    try:
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature, signed_message(address, ts, nonce, origin))
    except InvalidSignature:
        raise ValueError("signature") from None
    return public
