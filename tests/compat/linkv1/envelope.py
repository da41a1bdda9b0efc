"""The application envelope (section 7). Frozen, see __init__.py."""

import struct
from dataclasses import dataclass, field

from .codec import json_dumps, json_loads

CAP = b'{"t":"cap","env":[1]}'
FRAMED = 1
KINDS = ("req", "res", "evt", "cap")


class EnvelopeError(ValueError):
    """Malformed: the session ends."""


@dataclass
class Message:
    kind: str | None  # one of KINDS, or None: ignored
    meta: dict
    payload: bytes = b""
    framed: bool = False
    id: object = field(default=None)


def encode(meta: dict, payload: bytes = b"", *, framed: bool) -> bytes:
    text = json_dumps(meta).encode("utf-8")
    if not framed:
        if payload:
            raise ValueError("a legacy message carries no payload")
        return text
    return bytes([FRAMED]) + struct.pack(">I", len(text)) + text + payload


def decode(plaintext: bytes) -> Message:
    framed = plaintext[:1] == bytes([FRAMED])
    if framed:
        if len(plaintext) < 5:
            raise EnvelopeError("metaLen cut")
        length = int.from_bytes(plaintext[1:5], "big")
        if length > len(plaintext) - 5:
            raise EnvelopeError("metaLen past the end")
        text, payload = plaintext[5 : 5 + length], plaintext[5 + length :]
    elif plaintext[:1] == b"{":
        text, payload = plaintext, b""
    else:
        raise EnvelopeError("neither framed nor legacy")
    try:
        meta = json_loads(text)
    except ValueError as error:
        raise EnvelopeError(f"meta: {error}") from error
    if not isinstance(meta, dict):
        raise EnvelopeError("meta is not an object")
    kind = meta.get("t")
    if not isinstance(kind, str) or kind not in KINDS:
        kind = None
    if kind != "evt":
        payload = b""
    return Message(kind, meta, payload, framed, meta.get("id"))


def cap_allows_framed(meta: dict) -> bool:
    versions = meta.get("env")
    if not isinstance(versions, list):
        return False
    return any(isinstance(v, (int, float)) and not isinstance(v, bool) and v == 1 for v in versions)
