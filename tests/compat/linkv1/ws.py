"""A small strict WebSocket (RFC 6455) for asyncio, both sides. Frozen, see __init__.py.

What a peer may not do raises ProtocolError and closes the connection with 1002 (1009 when it is too
big). What a *test* may do is anything: send_frame() takes every bit of a frame, write() any bytes.
No subprotocol, no extension, ever.
"""

import asyncio
import base64
import hashlib
import os
import ssl as ssl_module
from dataclasses import dataclass
from urllib.parse import urlsplit

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_MESSAGE = 16 * 1024 * 1024
MAX_HEAD = 16 * 1024
STREAM_LIMIT = 256 * 1024
CLOSE_WAIT_SEC = 5
NO_STATUS, ABNORMAL = 1005, 1006


class Closed(Exception):
    """The connection is over: code of the peer's close frame, 1005 without one in it, 1006 without
    a close frame at all."""

    def __init__(self, code, reason=""):
        super().__init__(f"closed {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class ProtocolError(Exception):
    """The peer broke RFC 6455."""

    def __init__(self, text, code=1002):
        super().__init__(text)
        self.code = code


class HandshakeError(Exception):
    """No upgrade: what came instead."""

    def __init__(self, text, status=None, headers=None, body=b""):
        super().__init__(text)
        self.status = status
        self.headers = headers or {}
        self.body = body


@dataclass
class Frame:
    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    masked: bool = False


def apply_mask(data: bytes, key: bytes) -> bytes:
    count = len(data)
    if count == 0:
        return b""
    pad = (key * (count // 4 + 1))[:count]
    return (int.from_bytes(data, "little") ^ int.from_bytes(pad, "little")).to_bytes(
        count, "little"
    )


def encode_frame(opcode, payload=b"", *, fin=True, rsv=0, mask=True, declared=None, form=None):
    """One frame, right or wrong. `declared` overrides the length, `form` (7, 16 or 64) how the
    length is written, `mask` may be a key of four bytes."""
    length = len(payload) if declared is None else declared
    if form is None:
        form = 7 if length < 126 else 16 if length < 65536 else 64
    key = mask if isinstance(mask, bytes) else os.urandom(4)
    flag = 0x80 if mask else 0
    head = bytes([(0x80 if fin else 0) | (rsv << 4) | opcode])
    if form == 7:
        head += bytes([flag | length])
    elif form == 16:
        head += bytes([flag | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([flag | 127]) + length.to_bytes(8, "big")
    return head + (key + apply_mask(payload, key) if mask else payload)


def abort(transport):
    try:
        transport.abort()
    except AttributeError:  # Python 3.11 when the connection is lost already
        pass


class WebSocket:
    def __init__(self, reader, writer, *, client, max_message=MAX_MESSAGE, headers=None, target=""):
        self.reader = reader
        self.writer = writer
        self.client = client
        self.max_message = max_message
        self.headers = headers or {}  # of the response (client) or the request (server)
        self.target = target
        self.answer_pings = True
        self.pongs = asyncio.Queue()
        self.pings_seen = 0
        self.close_sent = False
        self._parts = None

    # raw access

    def write(self, data: bytes):
        self.writer.write(data)

    def send_frame(self, opcode, payload=b"", **how):
        how.setdefault("mask", self.client)
        self.writer.write(encode_frame(opcode, payload, **how))

    async def drain(self):
        try:
            await self.writer.drain()
        except (ConnectionError, OSError) as error:
            raise Closed(ABNORMAL, str(error)) from error

    def abort(self):
        """Drops the TCP connection without a close frame."""
        abort(self.writer.transport)

    async def _exactly(self, count):
        try:
            return await self.reader.readexactly(count)
        except (asyncio.IncompleteReadError, ConnectionError, OSError) as error:
            raise Closed(ABNORMAL, str(error)) from error

    async def recv_frame(self) -> Frame:
        """The next frame, unmasked, checked by itself; answers nothing."""
        head = await self._exactly(2)
        fin, rsv, opcode = bool(head[0] & 0x80), (head[0] >> 4) & 7, head[0] & 15
        masked, length = bool(head[1] & 0x80), head[1] & 127
        self._check_head(fin, rsv, opcode, masked, length)
        if length >= 126:
            length = await self._long_length(2 if length == 126 else 8)
        if length > self.max_message:
            raise ProtocolError("too big", 1009)
        key = await self._exactly(4) if masked else None
        payload = await self._exactly(length) if length else b""
        return Frame(opcode, apply_mask(payload, key) if key else payload, fin, rsv, masked)

    def _check_head(self, fin, rsv, opcode, masked, length):
        if rsv:
            raise ProtocolError("reserved bits")
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise ProtocolError("reserved opcode")
        if opcode >= CLOSE and (not fin or length > 125):
            raise ProtocolError("control frame fragmented or too long")
        if masked == self.client:
            raise ProtocolError("masking on the wrong side")

    async def _long_length(self, size):
        length = int.from_bytes(await self._exactly(size), "big")
        if length < (126 if size == 2 else 65536) or length >> 63:
            raise ProtocolError("length not in its shortest form")
        return length

    # messages

    async def recv_message(self):
        """(TEXT or BINARY, bytes). Text is not checked for UTF-8. Raises Closed at the end."""
        try:
            while True:
                frame = await self.recv_frame()
                if frame.opcode >= CLOSE:
                    await self._control(frame)
                    continue
                message = self._data(frame)
                if message is not None:
                    return message
        except ProtocolError as error:
            await self.close(error.code, wait=False)
            raise

    def _data(self, frame):
        if frame.opcode == CONTINUATION:
            if self._parts is None:
                raise ProtocolError("continuation of nothing")
        elif self._parts is not None:
            raise ProtocolError("a new message inside another")
        else:
            self._parts = (frame.opcode, [], 0)
        opcode, parts, size = self._parts
        parts.append(frame.payload)
        self._parts = (opcode, parts, size + len(frame.payload))
        if self._parts[2] > self.max_message:
            raise ProtocolError("too big", 1009)
        if not frame.fin:
            return None
        self._parts = None
        return opcode, b"".join(parts)

    async def _control(self, frame):
        if frame.opcode == PING:
            self.pings_seen += 1
            if self.answer_pings and not self.close_sent:
                self.send_frame(PONG, frame.payload)
        elif frame.opcode == PONG:
            self.pongs.put_nowait(frame.payload)
        else:
            await self._closing(frame.payload)

    async def _closing(self, payload):
        if len(payload) == 1:
            raise ProtocolError("close frame of one byte")
        code = int.from_bytes(payload[:2], "big") if payload else NO_STATUS
        if payload and not (1000 <= code <= 1014 and code not in (1004, 1005, 1006)):
            if not 3000 <= code <= 4999:
                raise ProtocolError(f"close code {code}")
        try:
            reason = payload[2:].decode("utf-8")
        except UnicodeDecodeError:
            raise ProtocolError("close reason is not UTF-8", 1007) from None
        if not self.close_sent:
            self.close_sent = True
            self.send_frame(CLOSE, payload[:2])
        await self._finish()
        raise Closed(code, reason)

    async def recv(self):
        """str for text (UTF-8 checked), bytes for binary."""
        opcode, data = await self.recv_message()
        if opcode == BINARY:
            return data
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            await self.close(1007, wait=False)
            raise ProtocolError("text is not UTF-8", 1007) from None

    async def send(self, data):
        if isinstance(data, str):
            self.send_frame(TEXT, data.encode("utf-8"))
        else:
            self.send_frame(BINARY, data)
        await self.drain()

    # the end

    async def _finish(self):
        try:
            self.writer.close()
            await asyncio.wait_for(self.writer.wait_closed(), CLOSE_WAIT_SEC)
        except (ConnectionError, OSError, asyncio.TimeoutError, ssl_module.SSLError):
            abort(self.writer.transport)

    async def close(self, code=1000, reason="", wait=True):
        """Sends a close frame and, with `wait`, reads on until the peer's. Returns the peer's code
        (1006 when none came)."""
        if not self.close_sent:
            self.close_sent = True
            self.send_frame(CLOSE, code.to_bytes(2, "big") + reason.encode("utf-8"))
        result = ABNORMAL
        if wait:
            try:
                while True:
                    await asyncio.wait_for(self.recv_message(), CLOSE_WAIT_SEC)
            except Closed as closed:
                result = closed.code
            except (ProtocolError, asyncio.TimeoutError):
                pass
        await self._finish()
        return result


def accept_key(key: str) -> str:
    return base64.b64encode(hashlib.sha1(key.encode("ascii") + GUID).digest()).decode("ascii")


async def read_head(reader):
    """(first line, headers by lower-case name; repeated ones joined by ', ')."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
        raise HandshakeError(f"no complete head: {error}") from error
    if len(head) > MAX_HEAD:
        raise HandshakeError("head too long")
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise HandshakeError("malformed header line")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return first, headers


def has_token(value: str, token: str) -> bool:
    return token in (part.strip().lower() for part in value.split(","))


def request_head(target, host, key, extra=()):
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    lines += [f"{name}: {value}" for name, value in extra]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def connect(url, *, host=None, extra=(), local_addr=None, ssl=None, **options) -> WebSocket:
    """Upgrades at the exact URL. `host` overrides the Host header, `extra` are more headers."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    if parts.scheme == "wss" and ssl is None:
        ssl = ssl_module.create_default_context()
    reader, writer = await asyncio.open_connection(
        parts.hostname, port, ssl=ssl, local_addr=local_addr, limit=STREAM_LIMIT
    )
    try:
        return await upgrade(reader, writer, parts, host=host, extra=extra, **options)
    except BaseException:
        abort(writer.transport)
        raise


async def upgrade(reader, writer, parts, *, host=None, extra=(), **options) -> WebSocket:
    key = base64.b64encode(os.urandom(16)).decode("ascii")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    writer.write(request_head(target, host or parts.netloc.lower(), key, extra))
    first, headers = await read_head(reader)
    status = first.split(" ", 2)
    if len(status) < 2 or status[0] != "HTTP/1.1" or not status[1].isdigit():
        raise HandshakeError(f"not an HTTP answer: {first!r}")
    if status[1] != "101":
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        raise HandshakeError(f"status {status[1]}", int(status[1]), headers, body)
    if headers.get("upgrade", "").lower() != "websocket":
        raise HandshakeError("Upgrade is not websocket", 101, headers)
    if not has_token(headers.get("connection", ""), "upgrade"):
        raise HandshakeError("Connection is not Upgrade", 101, headers)
    if headers.get("sec-websocket-accept") != accept_key(key):
        raise HandshakeError("wrong Sec-WebSocket-Accept", 101, headers)
    if "sec-websocket-extensions" in headers or "sec-websocket-protocol" in headers:
        raise HandshakeError("an extension or subprotocol that was not wanted", 101, headers)
    return WebSocket(reader, writer, client=True, headers=headers, target=target, **options)


def check_upgrade(first, headers):
    """The target of a proper upgrade request, or HandshakeError."""
    words = first.split(" ")
    if len(words) != 3 or words[0] != "GET" or words[2] != "HTTP/1.1":
        raise HandshakeError("not a GET of HTTP/1.1", 400)
    if headers.get("upgrade", "").lower() != "websocket":
        raise HandshakeError("no upgrade", 426)
    if not has_token(headers.get("connection", ""), "upgrade"):
        raise HandshakeError("no Connection: Upgrade", 400)
    if headers.get("sec-websocket-version") != "13":
        raise HandshakeError("version", 426)
    try:
        if len(base64.b64decode(headers.get("sec-websocket-key", ""), validate=True)) != 16:
            raise ValueError
    except ValueError:
        raise HandshakeError("Sec-WebSocket-Key", 400) from None
    return words[1]


def accept(reader, writer, target, headers, **options) -> WebSocket:
    """Answers a request that check_upgrade() has passed."""
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept_key(headers["sec-websocket-key"]).encode() + b"\r\n\r\n"
    )
    return WebSocket(reader, writer, client=False, headers=headers, target=target, **options)
