"""A small v1 relay (sections 2 to 5, without shaping) that can misbehave on demand. Frozen.

As a program it takes --listen ADDR:PORT and the environment of section 5 (not the shaping) and
prints `listening on ADDR:PORT`:

    python3 -m linkv1.relay --listen 127.0.0.1:0
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timezone

from . import header, register, ws
from .codec import unb64u

PATH = "/v1/link"
MAX_CONTROL = 4096
ROLE_SEC = 30
PING_SEC = 30
RELAY_ONLY = ("registered", "found", "arrived", "relaying", "usage", "error")
TO_HOST, TO_CLIENT = "to host", "to client"


@dataclass
class Config:
    idle_sec: int = 300
    ip_rate_per_min: int = 60
    trust_proxy: bool = False
    allowed: set | None = None  # None: open to all
    origin: str | None = None


@dataclass
class Misbehaviour:
    """What it does wrong. Frames are counted from 0 per link and direction."""

    flip: dict = field(default_factory=dict)  # (direction, n) -> bit to flip
    drop: set = field(default_factory=set)  # (direction, n)
    repeat: set = field(default_factory=set)  # (direction, n): sent twice
    replace: dict = field(default_factory=dict)  # (direction, n) -> (opcode, bytes)
    close_after: dict = field(default_factory=dict)  # (direction, n) -> close code after the frame
    close_at_once: bool = False  # every upgraded socket, without a close frame
    never_answer: bool = False  # reads control messages and says nothing
    garbage: bytes | None = None  # raw bytes in place of any answer to a control message
    answer_with: dict | None = None  # this control message in place of any answer
    forge_refusal: bool = False  # a refusal to every client that reconnects, then close
    swallow: set = field(default_factory=set)  # types of control messages never answered


class Bad(Exception):
    """Close the socket with this code."""

    def __init__(self, code, reason=""):
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Link:
    def __init__(self, client, control, address):
        self.id = str(uuid.uuid4())
        self.client, self.control, self.address = client, control, address
        self.end = None
        self.state = "introduced"
        self.started = time.time()
        self.relay_started = None
        self.touched = time.monotonic()
        self.bytes = {TO_CLIENT: 0, TO_HOST: 0}
        self.frames = {TO_CLIENT: 0, TO_HOST: 0}
        self.mode = None


class Peer:
    """One socket and its role."""

    def __init__(self, socket, ip):
        self.socket = socket
        self.ip = ip
        self.role = "new"
        self.link = None
        self.addresses = {}  # address -> ts
        self.spoke = False
        self.code = None  # the code it was closed with by us

    def send(self, message):
        self.socket.send_frame(ws.TEXT, json.dumps(message, separators=(",", ":")).encode())


def iso(moment):
    text = datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


class Relay:
    def __init__(self, config=None, misbehaviour=None):
        self.config = config or Config(ip_rate_per_min=0)
        self.bad = misbehaviour or Misbehaviour()
        self.peers = set()
        self.holders = {}  # address -> Peer
        self.links = {}
        self.signatures = {}  # accepted signature -> when it may be forgotten, ms
        self.budgets = {}
        self.closed = deque(maxlen=32)
        self.totals = {"total": 0, "totalRelayed": 0, TO_CLIENT: 0, TO_HOST: 0}
        self.started = time.monotonic()
        self.spliced_frames = []  # (direction, n, opcode, bytes) as they came in, for tests
        self._tasks = set()

    # life

    async def start(self, host="127.0.0.1", port=0):
        self.server = await asyncio.start_server(self._connection, host, port, limit=1 << 20)
        self.host, self.port = self.server.sockets[0].getsockname()[:2]
        self.url = f"ws://{self.host}:{self.port}"
        self._spawn(self._sweep())
        return self

    def _spawn(self, work):
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self):
        self.server.close()
        for peer in list(self.peers):
            await self._close(peer, 1001)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def kill(self):
        """Drops everybody at once; the port stays free for a new one."""
        self.server.close()
        for peer in list(self.peers):
            peer.socket.abort()

    async def _sweep(self):
        beat = 0
        while True:
            await asyncio.sleep(0.1)
            beat += 1
            now = time.monotonic()
            for link in list(self.links.values()):
                if now - link.touched >= self.config.idle_sec:
                    await self._end_link(link, "idle", 4004)
            if beat % (PING_SEC * 10) == 0:
                for peer in list(self.peers):
                    peer.socket.send_frame(ws.PING, b"relay")

    # connections

    async def _connection(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        try:
            first, headers = await asyncio.wait_for(ws.read_head(reader), 10)
            words = first.split(" ")
            path = words[1].partition("?")[0] if len(words) == 3 else ""
            if path == PATH and ws.has_token(headers.get("upgrade", ""), "websocket"):
                target = ws.check_upgrade(first, headers)
                socket = ws.accept(reader, writer, target, headers)
                await self._serve(Peer(socket, self._ip(writer, headers)))
            else:
                await self._http(writer, words[0], path)
        except (ws.HandshakeError, asyncio.TimeoutError, ConnectionError):
            writer.close()
        finally:
            self._tasks.discard(asyncio.current_task())

    def _ip(self, writer, headers):
        forwarded = headers.get("x-forwarded-for", "").split(",")[0].strip()
        if self.config.trust_proxy and forwarded:
            return forwarded
        return writer.get_extra_info("peername")[0]

    async def _http(self, writer, method, path):
        status, body = "404 Not Found", {"error": "not_found"}
        if method == "GET" and path in ("/health", "/healthz"):
            status, body = "200 OK", {"status": "ok"}
        elif method == "GET" and path == "/v1/stats":
            status, body = "200 OK", self.stats()
        data = json.dumps(body).encode()
        writer.write(
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(data)}\r\n\r\n".encode() + data
        )
        await writer.drain()
        writer.close()

    async def _serve(self, peer):
        if self.bad.close_at_once:
            peer.socket.abort()
            return
        self.peers.add(peer)
        role_timer = asyncio.get_running_loop().call_later(
            ROLE_SEC, lambda: peer.spoke or self._spawn(self._close(peer, 4000))
        )
        try:
            await self._read(peer)
        except Bad as bad:
            await self._close(peer, bad.code, bad.reason)
        except ws.ProtocolError as error:
            peer.code = peer.code or error.code
        except (ws.Closed, ConnectionError):
            pass
        finally:
            role_timer.cancel()
            self.peers.discard(peer)
            await self._gone(peer)

    async def _read(self, peer):
        while True:
            spliced = peer.link is not None and peer.link.state == "relaying"
            peer.socket.max_message = ws.MAX_MESSAGE if spliced else MAX_CONTROL
            try:
                opcode, data = await self._message(peer)
            except ws.ProtocolError as error:
                spliced = peer.link is not None and peer.link.state == "relaying"
                if error.code == 1009 and not spliced:
                    peer.code = 4000
                raise
            if peer.link is not None and peer.link.state == "relaying":
                await self._forward(peer, opcode, data)
            else:
                await self._control(peer, opcode, data)

    async def _message(self, peer):
        """recv_message(), but one that is too long before the splice is closed 4000."""
        socket = peer.socket
        while True:
            try:
                frame = await socket.recv_frame()
                if frame.opcode >= ws.CLOSE:
                    await socket._control(frame)
                    continue
                message = socket._data(frame)
            except ws.ProtocolError as error:
                code = error.code
                if code == 1009 and socket.max_message == MAX_CONTROL:
                    if peer.link is not None and peer.link.state == "relaying":
                        socket.max_message = ws.MAX_MESSAGE
                    code = 4000
                await self._close(peer, code)
                raise ws.Closed(code) from error
            if message is not None:
                return message

    async def _close(self, peer, code, reason=""):
        peer.code = peer.code or code
        try:
            await asyncio.wait_for(peer.socket.drain(), 5)
            await peer.socket.close(code, reason, wait=False)
        except (ws.Closed, asyncio.TimeoutError, ConnectionError):
            peer.socket.abort()

    async def _gone(self, peer):
        if peer.role == "control":
            for address in peer.addresses:
                if self.holders.get(address) is peer:
                    del self.holders[address]
            for link in list(self.links.values()):
                if link.control is peer and link.state != "relaying":
                    await self._end_link(link, "host_gone", 4003)
        elif peer.link is not None:
            await self._end_link(peer.link, "peer_gone", 4003)

    async def _end_link(self, link, reason, code):
        if self.links.pop(link.id, None) is None:
            return
        if link.state == "relaying":
            self.closed.appendleft({
                "linkId": link.id, "relayStartedAt": iso(link.relay_started),
                "closedAt": iso(time.time()), "reason": reason,
                "bytesFromHost": link.bytes[TO_CLIENT], "bytesFromClient": link.bytes[TO_HOST],
            })
        link.state = "closed"
        for end in (link.client, link.end):
            if end is not None:
                await self._close(end, code)

    # control messages

    async def _control(self, peer, opcode, data):
        if opcode == ws.BINARY:
            raise Bad(4000, "binary before the splice")
        try:
            message = json.loads(data.decode("utf-8"))
        except UnicodeDecodeError:
            raise Bad(1007) from None
        except (ValueError, RecursionError):
            raise Bad(4000, "not JSON") from None
        kind = message.get("type") if isinstance(message, dict) else None
        handler = {
            "register": self._register, "resolve": self._resolve, "relay": self._relay,
            "accept": self._accept, "getUsage": self._usage,
        }.get(kind if isinstance(kind, str) else None)
        if handler is None:
            raise Bad(4000, "unknown type")
        peer.spoke = True
        if self.bad.never_answer or kind in self.bad.swallow:
            return
        if self.bad.garbage is not None:
            peer.socket.write(self.bad.garbage)
            return
        if self.bad.answer_with is not None:
            peer.send(self.bad.answer_with)
            return
        await handler(peer, message)

    @staticmethod
    def _name(message, member):
        value = message.get(member)
        if not isinstance(value, str) or not 1 <= len(value) <= 128:
            raise Bad(4000, member)
        return value

    def _spend(self, peer):
        limit = self.config.ip_rate_per_min
        if limit == 0:
            return
        window, count = self.budgets.get(peer.ip, (time.monotonic(), 0))
        if time.monotonic() - window >= 60:
            window, count = time.monotonic(), 0
        if count >= limit:
            raise Bad(4002)
        self.budgets[peer.ip] = (window, count + 1)

    async def _register(self, peer, message):
        if peer.role not in ("new", "control"):
            raise Bad(4000, "role")
        address = self._name(message, "address")
        self._spend(peer)
        origin = self.config.origin or peer.socket.headers.get("host", "").strip().lower()
        now = int(time.time() * 1000)
        auth = message.get("auth")
        try:
            public = register.check_auth(address, auth, origin, now)
        except ValueError as error:
            raise Bad(4007, str(error)) from error
        if self.config.allowed is not None and public not in self.config.allowed:
            raise Bad(4010)
        self.signatures = {s: t for s, t in self.signatures.items() if t >= now}
        holder = self.holders.get(address)
        stale = auth["sig"] in self.signatures
        if stale or holder is not None and auth["ts"] <= holder.addresses[address]:
            peer.send({"type": "error", "error": "register_stale"})
            return
        self.signatures[auth["sig"]] = auth["ts"] + register.WINDOW_MS
        if holder is not None and holder is not peer:
            await self._close(holder, 4005)
            await self._gone(holder)
        peer.role = "control"
        peer.addresses[address] = auth["ts"]
        self.holders[address] = peer
        peer.send({"type": "registered", "address": address})

    async def _resolve(self, peer, message):
        if peer.role != "new":
            raise Bad(4000, "role")
        address = self._name(message, "address")
        self._spend(peer)
        holder = self.holders.get(address)
        if holder is None:
            peer.send({"type": "error", "error": "unknown_address"})
            return
        peer.role = "client"
        peer.link = Link(peer, holder, address)
        self.links[peer.link.id] = peer.link
        self.totals["total"] += 1
        peer.send({"type": "found", "linkId": peer.link.id})
        holder.send({"type": "arrived", "linkId": peer.link.id, "address": address})

    async def _relay(self, peer, message):
        link = peer.link
        name = self._name(message, "linkId")
        if peer.role != "client" or link.id != name or link.state != "introduced":
            raise Bad(4000, "relay")
        link.state = "pending"
        link.touched = time.monotonic()
        link.control.send({"type": "relay", "linkId": link.id})

    async def _accept(self, peer, message):
        if peer.role != "new":
            raise Bad(4000, "role")
        link = self.links.get(self._name(message, "linkId"))
        if link is None or link.state != "pending":
            peer.send({"type": "error", "error": "unknown_link"})
            return
        peer.role, peer.link = "end", link
        link.end, link.state = peer, "relaying"
        link.relay_started = time.time()
        link.touched = time.monotonic()
        self.totals["totalRelayed"] += 1
        link.client.socket.max_message = ws.MAX_MESSAGE
        for end in (link.client, peer):
            end.send({"type": "relaying", "linkId": link.id})

    async def _usage(self, peer, _message):
        if peer.role != "control":
            raise Bad(4000, "getUsage")
        links = [link for link in self.links.values() if link.control is peer]
        connections = [
            {"linkId": link.id, "unlimited": True} for link in links if link.state == "relaying"
        ]
        peer.send({"type": "usage", "connections": connections})

    # the splice

    async def _forward(self, peer, opcode, data):
        link = peer.link
        direction, other = (TO_HOST, link.end) if peer is link.client else (TO_CLIENT, link.client)
        number = link.frames[direction]
        link.frames[direction] += 1
        link.bytes[direction] += len(data)
        self.totals[direction] += len(data)
        link.touched = time.monotonic()
        self.spliced_frames.append((direction, number, opcode, data))
        for spoiled_opcode, spoiled in self._spoil(link, direction, number, opcode, data):
            try:
                other.socket.send_frame(spoiled_opcode, spoiled)
                await other.socket.drain()
            except (ws.Closed, ConnectionError):
                return
        code = self.bad.close_after.get((direction, number))
        if code is not None:
            await self._end_link(link, "peer_gone", code)

    def _spoil(self, link, direction, number, opcode, data):
        if direction == TO_HOST and number == 0:
            link.mode = data[5] if len(data) > 5 else None
        where = (direction, number)
        if self.bad.forge_refusal and where == (TO_CLIENT, 0) and link.mode == header.RECONNECT:
            self.bad.close_after.setdefault(where, 4003)
            return [(ws.BINARY, header.REFUSAL)]
        if where in self.bad.drop:
            return []
        if where in self.bad.replace:
            return [self.bad.replace[where]]
        if where in self.bad.flip:
            bit = self.bad.flip[where]
            spoiled = bytearray(data)
            spoiled[bit // 8] ^= 1 << bit % 8
            data = bytes(spoiled)
        return [(opcode, data)] * (2 if where in self.bad.repeat else 1)

    # numbers

    def stats(self):
        live = []
        for link in self.links.values():
            entry = {"linkId": link.id} if link.state == "relaying" else {}
            entry |= {"state": link.state, "startedAt": iso(link.started)}
            if link.relay_started is not None:
                entry["relayStartedAt"] = iso(link.relay_started)
            entry["bytesFromHost"] = link.bytes[TO_CLIENT]
            entry["bytesFromClient"] = link.bytes[TO_HOST]
            live.append(entry)
        return {
            "uptimeSec": int(time.monotonic() - self.started),
            "addressRegistrations": len(self.holders),
            "links": {
                "live": len(live),
                "relaying": sum(entry["state"] == "relaying" for entry in live),
                "total": self.totals["total"], "totalRelayed": self.totals["totalRelayed"],
            },
            "bytesRelayed": {
                "fromHost": self.totals[TO_CLIENT], "fromClient": self.totals[TO_HOST]
            },
            "liveLinks": live,
            "recentlyClosed": list(self.closed),
        }


# as a program


def refuse(name, value):
    sys.exit(f"{name}: bad value {value!r}")


def integer(name, default, low, high):
    text = os.environ.get(name, "")
    if text == "":
        return default
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        refuse(name, text)
    return int(text)


def keys(name, text):
    result = set()
    for word in text.replace(",", " ").split():
        try:
            result.add(unb64u(word, 32))
        except ValueError:
            refuse(name, word)
    return result


def config_from_environment():
    config = Config(
        idle_sec=integer("LINK_RELAY_IDLE_SEC", 300, 1, 2**31),
        ip_rate_per_min=integer("LINK_IP_RATE_PER_MIN", 60, 0, 2**31),
        trust_proxy=integer("LINK_TRUST_PROXY", 0, 0, 1) == 1,
        origin=os.environ.get("LINK_ORIGIN", "").lower() or None,
    )
    for name, default, low in (("LINK_RELAY_MAX_BPS", 1 << 20, 0), ("LINK_RELAY_HOURLY_BYTES", 0, 0),
                               ("LINK_RELAY_TRICKLE_BPS", 16384, 1)):
        integer(name, default, low, 2**53)
    listed = keys("LINK_ALLOWED_REGISTER_KEYS", os.environ.get("LINK_ALLOWED_REGISTER_KEYS", ""))
    path = os.environ.get("LINK_ALLOWED_REGISTER_KEYS_FILE", "")
    if path:
        try:
            with open(path, encoding="utf-8") as file:
                for line in file:
                    listed |= keys("LINK_ALLOWED_REGISTER_KEYS_FILE", line.partition("#")[0])
        except OSError:
            refuse("LINK_ALLOWED_REGISTER_KEYS_FILE", path)
    if listed or path:
        config.allowed = listed
    return config


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen")
    arguments = parser.parse_args()
    config = config_from_environment()
    port = integer("LINK_PORT", 80, 1, 65535)
    host, _, listen_port = (arguments.listen or f"0.0.0.0:{port}").rpartition(":")
    relay = await Relay(config).start(host.strip("[]"), int(listen_port))
    print(f"listening on {relay.host}:{relay.port}", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await relay.stop()


if __name__ == "__main__":
    asyncio.run(main())
