"""Control messages as an endpoint speaks them (sections 2 and 3). Frozen, see __init__.py."""

import asyncio
import json

from . import ws

PATH = "/v1/link"
STEP_SEC = 8
MAX_CONTROL = 256 * 1024


class ControlError(Exception):
    """The relay does not follow the protocol."""


def link_url(relay_url: str) -> str:
    """A relay is named without a path; a query is kept."""
    base, _, query = relay_url.partition("?")
    return base.rstrip("/") + PATH + (f"?{query}" if query else "")


async def connect(relay_url, **options):
    return await asyncio.wait_for(ws.connect(link_url(relay_url), **options), STEP_SEC)


async def send(socket, message: dict):
    await socket.send(json.dumps(message, separators=(",", ":")))


async def recv(socket) -> dict:
    """The next control message. ControlError for what is none."""
    text = await socket.recv()
    if not isinstance(text, str) or len(text) > MAX_CONTROL:
        raise ControlError("a binary or huge frame before the splice")
    try:
        message = json.loads(text)
    except ValueError as error:
        raise ControlError("not JSON") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ControlError("not an object with a type")
    return message


async def expect(socket, kind, timeout=STEP_SEC) -> dict:
    """The next control message, which has to be of this type."""
    message = await asyncio.wait_for(recv(socket), timeout)
    if message["type"] != kind:
        raise ControlError(f"{kind} expected, got {json.dumps(message)[:200]}")
    return message
