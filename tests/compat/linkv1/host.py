"""A v1 host: registers, accepts, pairs, is reconnected to (sections 6 and 8). Frozen."""

import asyncio
import os
import random
from dataclasses import dataclass, field

from . import control, header, noise, register, spake2, ws
from .session import Session

SPAKE2_FRAME_SEC = 15
NOISE_FRAME_SEC = 10
GUESSES = 5
MAX_DIAL_BACKS = 64
BACKOFF_SEC = (0.5, 10)


class HandshakeFailed(Exception):
    """The connection is dropped; the text says why (to tests, never to the peer)."""


@dataclass
class Code:
    """An open pairing code, or the recovery key."""

    password: str
    code_id: bytes | None = None
    recovery: bool = False
    failures: int = 0
    in_flight: set = field(default_factory=set)
    burned: bool = False

    def reserve(self, attempt) -> bool:
        used = len(self.in_flight) + (0 if self.recovery else self.failures)
        if self.burned or used >= GUESSES:
            return False
        self.in_flight.add(attempt)
        return True

    def wrong(self):
        self.failures += 1
        if not self.recovery and self.failures >= GUESSES:
            self.burned = True

    def succeeded(self, attempt):
        if self.recovery:
            return
        self.burned = True
        for other in self.in_flight - {attempt}:
            other.cancel()


class Host:
    def __init__(self, relays, identity=None, *, on_request=None, on_event=None, announce=True,
                 frame_sec=None):
        self.relays = list(relays)
        self.identity = identity or register.Identity()
        self.on_request = on_request
        self.on_event = on_event
        self.announce = announce
        self.spake2_sec = frame_sec or SPAKE2_FRAME_SEC
        self.noise_sec = frame_sec or NOISE_FRAME_SEC
        self.codes = []
        self.tokens = {}  # key id -> token
        self.live = {}  # key id -> set of sessions
        self.sessions = asyncio.Queue()  # each new session, for tests
        self.failures = asyncio.Queue()  # each failed handshake, for tests
        self.registered = {}  # relay -> Event
        self.control_sockets = {}
        self._tasks = set()
        self._last_ts = 0

    @property
    def address(self):
        return self.identity.address

    # life

    async def start(self):
        for relay in self.relays:
            self.registered[relay] = asyncio.Event()
            self._spawn(self._hold(relay))
        for relay in self.relays:
            await self.registered[relay].wait()
        return self

    async def stop(self):
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for socket in self.control_sockets.values():
            socket.abort()
        for sessions in list(self.live.values()):
            for session in list(sessions):
                await session.close()

    def _spawn(self, work):
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def open_code(self, password, code_id=None):
        code = Code(password, code_id)
        self.codes.append(code)
        return code

    def set_recovery(self, password):
        code = Code(password, recovery=True)
        self.codes.append(code)
        return code

    async def revoke(self, key_id):
        self.tokens.pop(key_id, None)
        for session in list(self.live.pop(key_id, ())):
            await session.close("revoked")

    # the control socket

    async def _hold(self, relay):
        delay, limit = BACKOFF_SEC
        while True:
            try:
                await self._control(relay)
                delay = BACKOFF_SEC[0]
            except (OSError, ws.Closed, ws.ProtocolError, ws.HandshakeError,
                    control.ControlError, asyncio.TimeoutError):
                pass
            self.registered[relay].clear()
            await asyncio.sleep(delay * random.uniform(0.5, 1))
            delay = min(delay * 2, limit)

    def _next_ts(self):
        """Strictly newer than the last, also within one millisecond."""
        auth = register.make_auth(self.identity, "")
        self._last_ts = max(auth["ts"], self._last_ts + 1)
        return self._last_ts

    async def _control(self, relay):
        socket = await control.connect(relay)
        self.control_sockets[relay] = socket
        slots = asyncio.Semaphore(MAX_DIAL_BACKS)
        try:
            origin = register.origin_of(relay)
            message = register.register_message(self.identity, origin, ts=self._next_ts())
            await control.send(socket, message)
            answer = await control.expect(socket, "registered")
            if answer.get("address") != self.address:
                raise control.ControlError("registered another address")
            self.registered[relay].set()
            while True:
                self._control_message(relay, slots, await control.recv(socket))
        finally:
            socket.abort()

    def _control_message(self, relay, slots, message):
        if message["type"] == "relay" and isinstance(message.get("linkId"), str):
            if not slots.locked():
                self._spawn(self._dial_back(relay, slots, message["linkId"]))

    # one introduction

    async def _dial_back(self, relay, slots, link_id):
        async with slots:
            socket = await control.connect(relay)
            try:
                await control.send(socket, {"type": "accept", "linkId": link_id})
                message = await control.expect(socket, "relaying")
                if message.get("linkId") != link_id:
                    raise control.ControlError("relaying another link")
                await self.serve(socket)
            except (HandshakeFailed, control.ControlError, ws.Closed, ws.ProtocolError,
                    asyncio.TimeoutError, asyncio.CancelledError) as error:
                self.failures.put_nowait(error)
                await socket.close(1000, wait=False)

    async def _frame(self, socket, timeout):
        opcode, data = await asyncio.wait_for(socket.recv_message(), timeout)
        if opcode != ws.BINARY:
            raise HandshakeFailed("a text frame")
        return data

    async def serve(self, socket):
        """The host's end of the handshake on a live splice. Starts a session."""
        try:
            head = header.decode(await self._frame(socket, self.spake2_sec))
        except header.HeaderError as error:
            raise HandshakeFailed(f"header: {error}") from error
        if head.mode == header.RECONNECT:
            await self._reconnect(socket, head)
        else:
            await self._pair(socket, head)

    def _find_code(self, head):
        recovery = head.mode == header.RECOVER
        for code in self.codes:
            if not code.burned and code.recovery == recovery and code.code_id == head.code_id:
                return code
        return None

    async def _pair(self, socket, head):
        code, attempt = self._find_code(head), asyncio.current_task()
        if code is None or not code.reserve(attempt):
            raise HandshakeFailed("no such open code")
        try:
            session, key_id = await self._spake2(socket, head, code, attempt)
        finally:
            code.in_flight.discard(attempt)
        await self._run(session, key_id)

    async def _spake2(self, socket, head, code, attempt):
        side = spake2.Side(code.password, head.encode(), client=False)
        try:
            keys = side.finish(await self._frame(socket, self.spake2_sec))
        except spake2.Spake2Error as error:
            raise HandshakeFailed(f"pA: {error}") from error
        await socket.send(side.share)
        confirmation = await self._frame(socket, self.spake2_sec)
        if code.burned:
            raise HandshakeFailed("the code went meanwhile")
        if not spake2.same(confirmation, keys.cA):
            code.wrong()
            raise HandshakeFailed("wrong code")
        code.succeeded(attempt)
        key_id, token = os.urandom(16), os.urandom(32)
        self.tokens[key_id] = token  # before cB: the client must never hold more than the host
        await socket.send(keys.cB)
        session = self._session(socket, keys.host_to_client, keys.client_to_host)
        welcome = spake2.Welcome(self.address, self.identity.static_public, token, key_id)
        await socket.send(session.sender.seal(welcome.encode()))
        return session, key_id

    async def _reconnect(self, socket, head):
        first = await self._frame(socket, self.noise_sec)
        token = self.tokens.get(head.key_id)
        if token is None:
            await socket.send(header.REFUSAL)
            raise HandshakeFailed("unknown key id")
        handshake = noise.Handshake(
            initiator=False, prologue=head.encode(), static=self.identity.static_private, psk=token
        )
        try:
            handshake.read_message1(first)
        except noise.NoiseError as error:
            raise HandshakeFailed(f"message 1: {error}") from error
        await socket.send(handshake.write_message2())
        client_to_host, host_to_client = handshake.split()
        session = self._session(socket, host_to_client, client_to_host)
        await self._run(session, head.key_id)

    def _session(self, socket, send_key, recv_key):
        return Session(socket, send_key, recv_key, on_request=self.on_request,
                       on_event=self.on_event, announce=self.announce)

    async def _run(self, session, key_id):
        if key_id not in self.tokens:  # revoked meanwhile
            raise HandshakeFailed("revoked")
        self.live.setdefault(key_id, set()).add(session)
        session.ended.add_done_callback(lambda _: self.live.get(key_id, set()).discard(session))
        session.key_id = key_id
        await session.start()
        self.sessions.put_nowait(session)
