"""Sealed frames (section 6): ChaCha20-Poly1305 with a counter that is never sent. Frozen."""

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305


class SealError(ValueError):
    """The frame does not authenticate, or the counter is used up: the session ends."""


class Cipher:
    """One direction."""

    def __init__(self, key: bytes, counter: int = 0):
        self.key = key
        self.counter = counter
        self._aead = ChaCha20Poly1305(key)

    def _nonce(self) -> bytes:
        if self.counter >= 2**64 - 1:
            raise SealError("counter used up")
        nonce = bytes(4) + struct.pack("<Q", self.counter)
        self.counter += 1
        return nonce

    def seal(self, plaintext: bytes) -> bytes:
        return self._aead.encrypt(self._nonce(), plaintext, None)

    def open(self, sealed: bytes) -> bytes:
        if len(sealed) < 16:
            raise SealError("shorter than a tag")
        try:
            return self._aead.decrypt(self._nonce(), sealed, None)
        except InvalidTag:
            raise SealError("does not authenticate") from None
