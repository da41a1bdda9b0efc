"""SPAKE2 (RFC 9382, P256-SHA256-HKDF-HMAC) on P-256 in plain integers, and the welcome (section 6).

    client                                      host
    F0 header, F1 pA = w*M + x*G  ───────────▶
                                  ◀───────────  F2 pB = w*N + y*G
    F3 cA = HMAC(KcA, TT)         ───────────▶  checks cA
    checks cB                     ◀───────────  F4 cB = HMAC(KcB, TT)
                                  ◀───────────  F5 sealed welcome

Frozen, see __init__.py. Not constant time.
"""

import hashlib
import hmac
import os
import struct
from dataclasses import dataclass

from .codec import hkdf, hmac_sha256, len_str

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
IDENTITY = None
ID_A = b"FrontierLink/v1/client"
ID_B = b"FrontierLink/v1/host"


class Spake2Error(ValueError):
    """An invalid point, the identity, w = 0: the exchange is aborted."""


def on_curve(x: int, y: int) -> bool:
    return (y * y - (x * x * x - 3 * x + B)) % P == 0


def negate(point):
    return None if point is None else (point[0], -point[1] % P)


def add(a, b):
    """Affine addition with every special case; one inversion each, fast enough for tests."""
    if a is None:
        return b
    if b is None:
        return a
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return IDENTITY
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(scalar: int, point):
    result = IDENTITY
    for bit in bin(scalar % ORDER)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def encode_point(point) -> bytes:
    if point is None:
        raise Spake2Error("the identity")
    return b"\x04" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


def decode_point(data: bytes):
    """65 bytes of uncompressed SEC1, a point of the curve (cofactor 1: of the group)."""
    if len(data) != 65 or data[0] != 4:
        raise Spake2Error("not an uncompressed point")
    x, y = int.from_bytes(data[1:33], "big"), int.from_bytes(data[33:], "big")
    if x >= P or y >= P or not on_curve(x, y):
        raise Spake2Error("not on the curve")
    return x, y


def decompress(data: bytes):
    x = int.from_bytes(data[1:], "big")
    y = pow((x * x * x - 3 * x + B) % P, (P + 1) // 4, P)
    if y & 1 != data[0] & 1:
        y = P - y
    if not on_curve(x, y):
        raise Spake2Error("not on the curve")
    return x, y


# RFC 9382, section 6, P-256
M = decompress(bytes.fromhex("02886e2f97ace46e55ba9dd7242579f2993b64e16ef3dcab95afd497333d8fa12f"))
N = decompress(bytes.fromhex("03d8bbd6c639c62937b04d997f38c3770719c629d7014d49a24b4f98baa1292b49"))


def password_scalar(password: str) -> int:
    okm = hkdf(password.encode("utf-8"), b"", b"FrontierLink/SPAKE2/v1 w", 40)
    w = int.from_bytes(okm, "big") % ORDER
    if w == 0:
        raise Spake2Error("w = 0")
    return w


def random_scalar(random48: bytes | None = None) -> int:
    while True:
        scalar = int.from_bytes(random48 or os.urandom(48), "big") % ORDER
        if scalar != 0:
            return scalar
        if random48 is not None:
            raise Spake2Error("0 as the ephemeral scalar")


def _length_prefixed(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data


@dataclass(frozen=True)
class Keys:
    """Everything that follows from an exchange of pA and pB."""

    K: bytes
    TT: bytes
    hash: bytes
    Ke: bytes
    Ka: bytes
    KcA: bytes
    KcB: bytes
    cA: bytes
    cB: bytes
    client_to_host: bytes
    host_to_client: bytes


def derive(pA: bytes, pB: bytes, K: bytes, w: int, aad: bytes, id_a=ID_A, id_b=ID_B) -> Keys:
    parts = (id_a, id_b, pA, pB, K, w.to_bytes(32, "big"))
    tt = b"".join(_length_prefixed(part) for part in parts)
    digest = hashlib.sha256(tt).digest()
    ke, ka = digest[:16], digest[16:]
    kc = hkdf(ka, b"", b"ConfirmationKeys" + aad, 32)
    okm = hkdf(ke, digest, b"FrontierLink/transport/v1", 64)
    return Keys(
        K, tt, digest, ke, ka, kc[:16], kc[16:],
        hmac_sha256(kc[:16], tt), hmac_sha256(kc[16:], tt), okm[:32], okm[32:],
    )


class Side:
    """One end of one exchange. `share` is to be sent; finish() takes the other's."""

    def __init__(self, password: str, aad: bytes, *, client: bool, random48: bytes | None = None):
        self.client = client
        self.aad = aad
        self.w = password_scalar(password)
        self.scalar = random_scalar(random48)
        self.mine, self.other = (M, N) if client else (N, M)
        point = add(multiply(self.w, self.mine), multiply(self.scalar, G))
        self.share = encode_point(point)

    def finish(self, share: bytes) -> Keys:
        unmasked = add(decode_point(share), negate(multiply(self.w, self.other)))
        K = encode_point(multiply(self.scalar, unmasked))
        pA, pB = (self.share, share) if self.client else (share, self.share)
        return derive(pA, pB, K, self.w, self.aad)


def same(a: bytes, b: bytes) -> bool:
    return hmac.compare_digest(a, b)


@dataclass(frozen=True)
class Welcome:
    address: str
    host_static_public: bytes
    token: bytes
    key_id: bytes

    def encode(self) -> bytes:
        return len_str(self.address) + self.host_static_public + self.token + self.key_id


def decode_welcome(data: bytes) -> Welcome:
    if len(data) < 4:
        raise ValueError("short welcome")
    length = int.from_bytes(data[:4], "big")
    if length > 256 or len(data) != 4 + length + 32 + 32 + 16:
        raise ValueError("welcome of a wrong length")
    rest = data[4 + length :]
    return Welcome(data[4 : 4 + length].decode("utf-8"), rest[:32], rest[32:64], rest[64:])
