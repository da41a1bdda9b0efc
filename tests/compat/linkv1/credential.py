"""A credential and its string (section 9). Frozen, see __init__.py."""

import json
from dataclasses import dataclass

from .codec import b64u, unb64u


@dataclass(frozen=True)
class Credential:
    address: str
    host_static_public: bytes
    token: bytes
    key_id: bytes

    def encode(self) -> str:
        members = {
            "address": self.address,
            "hostStaticPub": b64u(self.host_static_public),
            "token": b64u(self.token),
            "keyId": b64u(self.key_id),
        }
        return b64u(json.dumps(members, separators=(",", ":")).encode("utf-8"))


def decode(text: str) -> Credential:
    """ValueError for anything that is no credential."""
    members = json.loads(unb64u(text).decode("utf-8"))
    if not isinstance(members, dict):
        raise ValueError("not an object")
    address = members.get("address")
    unb64u(address, 32)
    return Credential(
        address,
        unb64u(members.get("hostStaticPub"), 32),
        unb64u(members.get("token"), 32),
        unb64u(members.get("keyId"), 16),
    )
