"""Noise_NKpsk0_25519_ChaChaPoly_SHA256, revision 34 (section 6).

    client (initiator)                          host (responder, static key pinned by the client)
    F0 header, F1 psk, e, es   ────────────▶
                               ◀────────────    F2 e, ee
    Split: the initiator sends with the first cipher state.

Frozen, see __init__.py.
"""

import hashlib
import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .codec import hmac_sha256

NAME = b"Noise_NKpsk0_25519_ChaChaPoly_SHA256"
MESSAGE_LEN = 48


class NoiseError(ValueError):
    """The handshake fails."""


def public_key(private: bytes) -> bytes:
    key = X25519PrivateKey.from_private_bytes(private).public_key()
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _dh(private: bytes, public: bytes) -> bytes:
    try:
        key = X25519PrivateKey.from_private_bytes(private)
        return key.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:  # a low-order point
        raise NoiseError("invalid public key") from error


def _hkdf(chaining_key: bytes, ikm: bytes, outputs: int):
    temp = hmac_sha256(chaining_key, ikm)
    out, block = [], b""
    for i in range(1, outputs + 1):
        block = hmac_sha256(temp, block + bytes([i]))
        out.append(block)
    return out


class Handshake:
    """Both roles; `ephemeral` is for vectors only."""

    def __init__(self, *, initiator, prologue, static, psk, ephemeral=None):
        """static: the host's public key for the initiator, its private key for the responder."""
        self.initiator = initiator
        self.static = static
        self.psk = psk
        self.ephemeral = ephemeral or os.urandom(32)
        self.h = NAME.ljust(32, b"\0") if len(NAME) <= 32 else hashlib.sha256(NAME).digest()
        self.ck = self.h
        self.k = None
        self.n = 0
        self._mix_hash(prologue)
        self._mix_hash(static if initiator else public_key(static))

    def _mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def _mix_key(self, ikm):
        self.ck, self.k = _hkdf(self.ck, ikm, 2)
        self.n = 0

    def _mix_psk(self):
        self.ck, temp, self.k = _hkdf(self.ck, self.psk, 3)
        self._mix_hash(temp)
        self.n = 0

    def _nonce(self):
        nonce = bytes(4) + struct.pack("<Q", self.n)
        self.n += 1
        return nonce

    def _seal_empty(self):
        sealed = ChaCha20Poly1305(self.k).encrypt(self._nonce(), b"", self.h)
        self._mix_hash(sealed)
        return sealed

    def _open_empty(self, sealed):
        try:
            plaintext = ChaCha20Poly1305(self.k).decrypt(self._nonce(), sealed, self.h)
        except InvalidTag:
            raise NoiseError("does not authenticate") from None
        if plaintext:
            raise NoiseError("a payload where none belongs")
        self._mix_hash(sealed)

    def _mix_e(self, public):
        self._mix_hash(public)
        self._mix_key(public)  # psk handshakes mix every ephemeral key into the chaining key

    def write_message1(self) -> bytes:
        self._mix_psk()
        public = public_key(self.ephemeral)
        self._mix_e(public)
        self._mix_key(_dh(self.ephemeral, self.static))
        return public + self._seal_empty()

    def read_message1(self, message: bytes):
        if len(message) != MESSAGE_LEN:
            raise NoiseError("wrong length")
        self._mix_psk()
        self.remote = message[:32]
        self._mix_e(self.remote)
        self._mix_key(_dh(self.static, self.remote))
        self._open_empty(message[32:])

    def write_message2(self) -> bytes:
        public = public_key(self.ephemeral)
        self._mix_e(public)
        self._mix_key(_dh(self.ephemeral, self.remote))
        return public + self._seal_empty()

    def read_message2(self, message: bytes):
        if len(message) != MESSAGE_LEN:
            raise NoiseError("wrong length")
        self._mix_e(message[:32])
        self._mix_key(_dh(self.ephemeral, message[:32]))
        self._open_empty(message[32:])

    def split(self):
        """(client to host, host to client)."""
        return tuple(_hkdf(self.ck, b"", 2))
