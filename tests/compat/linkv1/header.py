"""Frame 0 of the handshake, and the refusal (section 6). Frozen, see __init__.py."""

from dataclasses import dataclass

MAGIC = b"FLk1"
PAIR, RECOVER, RECONNECT = 1, 2, 3
REFUSAL = MAGIC + b"\x00\x01"


class HeaderError(ValueError):
    """The host drops the connection."""


@dataclass(frozen=True)
class Header:
    mode: int
    code_id: bytes | None = None
    key_id: bytes | None = None

    def encode(self) -> bytes:
        """The canonical bytes: version 2 if and only if there is a code id."""
        version = 2 if self.code_id is not None else 1
        rest = self.code_id or self.key_id or b""
        return MAGIC + bytes([version, self.mode]) + rest


def decode(data: bytes) -> Header:
    if len(data) < 6 or data[:4] != MAGIC:
        raise HeaderError("short, or another magic")
    version, mode, rest = data[4], data[5], data[6:]
    if version not in (1, 2) or mode not in (PAIR, RECOVER, RECONNECT):
        raise HeaderError("unknown version or mode")
    if mode == PAIR:
        if version == 1:
            return Header(PAIR)
        if len(rest) < 8:
            raise HeaderError("short code id")
        return Header(PAIR, code_id=rest[:8])
    if mode == RECOVER:
        if version != 1:
            raise HeaderError("recover has no version 2")
        return Header(RECOVER)
    if len(rest) < 16:
        raise HeaderError("short key id")
    return Header(RECONNECT, key_id=rest[:16])
