"""Small encodings that every part of the wire uses. Frozen, see __init__.py."""

import base64
import hashlib
import hmac
import json
import re
import struct

_B64U = re.compile(r"[A-Za-z0-9_-]*\Z")


def b64u(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64u(text, length=None) -> bytes:
    """Strict: no padding, no other letters, one spelling a value. ValueError otherwise."""
    if not isinstance(text, str) or not _B64U.match(text) or len(text) % 4 == 1:
        raise ValueError("not base64url")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64u(data) != text:
        raise ValueError("not the canonical base64url")
    if length is not None and len(data) != length:
        raise ValueError(f"{len(data)} bytes, not {length}")
    return data


def len_str(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack(">I", len(data)) + data


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 with SHA-256."""
    prk = hmac_sha256(salt or bytes(32), ikm)
    okm, block = b"", b""
    for i in range(1, -(-length // 32) + 1):
        block = hmac_sha256(prk, block + info + bytes([i]))
        okm += block
    return okm[:length]


class Int(int):
    """An integer that remembers its spelling."""

    text = "0"


class Real(float):
    """Any other number, with its spelling (also those no float can hold)."""

    text = "0.0"


def _int(text):
    if len(text) > 4000:  # CPython refuses to convert longer ones
        return _real(text)
    value = Int(text)
    value.text = text
    return value


def _real(text):
    value = Real(text)
    value.text = text
    return value


def _no_constant(text):
    raise ValueError(f"{text} is not JSON")


def json_loads(data: bytes):
    """One strict UTF-8 JSON value whose numbers keep their text. ValueError otherwise."""
    try:
        return json.loads(
            data.decode("utf-8"), parse_int=_int, parse_float=_real, parse_constant=_no_constant
        )
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def json_dumps(value) -> str:
    """The shortest JSON, numbers that came from json_loads in the text they came in."""
    if isinstance(value, (Int, Real)):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{json_dumps(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(json_dumps(v) for v in value) + "]"
    return json.dumps(value, allow_nan=False)
