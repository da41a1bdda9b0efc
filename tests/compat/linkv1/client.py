"""A v1 client: resolves, pairs, reconnects (sections 6 and 8). Frozen, see __init__.py."""

import asyncio

from . import control, header, noise, spake2, ws
from .credential import Credential
from .seal import Cipher, SealError
from .session import Session, SessionEnded

SPAKE2_FRAME_SEC = 15
NOISE_FRAME_SEC = 10
BACKOFF_SEC = (0.4, 8)


class Unreachable(Exception):
    """No relay led to the host; not final. `causes` has one entry a relay."""

    def __init__(self, causes):
        super().__init__("; ".join(f"{relay}: {cause!r}" for relay, cause in causes))
        self.causes = causes


class UnknownAddress(Exception):
    """This relay knows no such host."""


class WrongCode(Exception):
    """The host closed after it had seen cA."""


class PairingBroken(Exception):
    """Something else went wrong after cA was sent: nothing more is tried."""


class Refused(Exception):
    """This relay brought a refusal."""


class Revoked(Exception):
    """All relays that answered brought a refusal."""


class HandshakeFailed(Exception):
    """The handshake failed in a way that is not final."""


MOVE_ON = (OSError, ws.Closed, ws.ProtocolError, ws.HandshakeError, control.ControlError,
           asyncio.TimeoutError, HandshakeFailed, UnknownAddress, noise.NoiseError)


async def splice(relay, address, **options):
    """A socket that is the client's end of a live splice. (socket, linkId)."""
    socket = await control.connect(relay, **options)
    try:
        await control.send(socket, {"type": "resolve", "address": address})
        found = await asyncio.wait_for(control.recv(socket), control.STEP_SEC)
        if found["type"] == "error" and found.get("error") == "unknown_address":
            raise UnknownAddress(address)
        if found["type"] != "found" or not isinstance(found.get("linkId"), str):
            raise control.ControlError(f"found expected, got {found['type']}")
        await control.send(socket, {"type": "relay", "linkId": found["linkId"]})
        relaying = await control.expect(socket, "relaying")
        if relaying.get("linkId") != found["linkId"]:
            raise control.ControlError("relaying another link")
        return socket, found["linkId"]
    except BaseException:
        socket.abort()
        raise


async def _frame(socket, timeout):
    opcode, data = await asyncio.wait_for(socket.recv_message(), timeout)
    if opcode != ws.BINARY:
        raise HandshakeFailed("a text frame")
    return data


async def pair_on(socket, address, code, code_id=None, *, recover=False, options=None,
                  timeout=SPAKE2_FRAME_SEC):
    """(Credential, Session) on a live splice."""
    head = header.Header(header.RECOVER if recover else header.PAIR, code_id=code_id).encode()
    side = spake2.Side(code, head, client=True)
    await socket.send(head)
    await socket.send(side.share)
    try:
        keys = side.finish(await _frame(socket, timeout))
    except spake2.Spake2Error as error:
        raise HandshakeFailed(f"pB: {error}") from error
    await socket.send(keys.cA)
    try:
        confirmation = await _frame(socket, timeout)
    except ws.Closed as error:
        raise WrongCode("the host closed after cA") from error
    except (asyncio.TimeoutError, ws.ProtocolError, HandshakeFailed) as error:
        raise PairingBroken(repr(error)) from error
    if not spake2.same(confirmation, keys.cB):
        raise PairingBroken("cB is wrong")
    try:
        receiver = Cipher(keys.host_to_client)
        welcome = spake2.decode_welcome(receiver.open(await _frame(socket, timeout)))
    except (ws.Closed, ws.ProtocolError, asyncio.TimeoutError, HandshakeFailed, SealError,
            ValueError) as error:
        raise PairingBroken(f"welcome: {error!r}") from error
    if welcome.address != address:
        raise PairingBroken("welcome of another address")
    credential = Credential(
        welcome.address, welcome.host_static_public, welcome.token, welcome.key_id
    )
    session = Session(socket, keys.client_to_host, keys.host_to_client,
                      recv_counter=receiver.counter, **(options or {}))
    return credential, await session.start()


async def reconnect_on(socket, credential, *, options=None, timeout=NOISE_FRAME_SEC):
    """A Session on a live splice, or Refused."""
    head = header.Header(header.RECONNECT, key_id=credential.key_id).encode()
    handshake = noise.Handshake(
        initiator=True, prologue=head, static=credential.host_static_public, psk=credential.token
    )
    await socket.send(head)
    await socket.send(handshake.write_message1())
    answer = await _frame(socket, timeout)
    if answer == header.REFUSAL:
        raise Refused()
    handshake.read_message2(answer)
    client_to_host, host_to_client = handshake.split()
    session = Session(socket, client_to_host, host_to_client, **(options or {}))
    return await session.start()


async def pair(relays, address, code, code_id=None, *, recover=False, **options):
    """Relays in order, until cA was sent to one."""
    causes = []
    for relay in relays:
        socket = None
        try:
            socket, _ = await splice(relay, address)
            return await pair_on(
                socket, address, code, code_id, recover=recover, options=options
            )
        except MOVE_ON as error:
            causes.append((relay, error))
            _abort(socket)
        except (WrongCode, PairingBroken):
            _abort(socket)
            raise
    raise Unreachable(causes)


async def reconnect(relays, credential, **options):
    """Relays in order. A refusal is believed only when all that answer agree; `session.liars` are
    the relays that refused although another one completed."""
    causes, refused = [], []
    for relay in relays:
        socket = None
        try:
            socket, _ = await splice(relay, credential.address)
            session = await reconnect_on(socket, credential, options=options)
            session.liars = refused
            return session
        except Refused:
            refused.append(relay)
            _abort(socket)
        except MOVE_ON as error:
            causes.append((relay, error))
            _abort(socket)
    if refused:
        raise Revoked(", ".join(refused))
    raise Unreachable(causes)


def _abort(socket):
    if socket is not None:
        socket.abort()


class Connection:
    """A managed connection: reconnects with back-off; requests are delivered at least once."""

    def __init__(self, relays, credential, **options):
        self.relays = list(relays)
        self.credential = credential
        self.options = options
        self.session = None
        self.sessions_made = 0
        self.revoked = False
        self._live = asyncio.Condition()
        self._task = None

    def start(self, session=None):
        self._task = asyncio.ensure_future(self._hold(session))
        return self

    async def _hold(self, session):
        delay = BACKOFF_SEC[0]
        while True:
            if session is None:
                try:
                    session = await reconnect(self.relays, self.credential, **self.options)
                except Unreachable:
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, BACKOFF_SEC[1])
                    continue
                except Revoked:
                    await self._set(None, revoked=True)
                    return
            delay = BACKOFF_SEC[0]
            self.sessions_made += 1
            await self._set(session)
            await asyncio.shield(session.ended)
            await self._set(None)
            session = None
            await asyncio.sleep(delay)

    async def _set(self, session, revoked=False):
        async with self._live:
            self.session, self.revoked = session, revoked
            self._live.notify_all()

    async def _await_session(self):
        async with self._live:
            await self._live.wait_for(lambda: self.revoked or self.session is not None)
            if self.revoked:
                raise Revoked()
            return self.session

    async def request(self, cmd, timeout=30):
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            session = await asyncio.wait_for(self._await_session(), deadline - loop.time())
            try:
                return await session.request(cmd, deadline - loop.time())
            except SessionEnded:
                # the holder may not have seen it yet; nothing is sent twice on one session
                await self._forget(session)

    async def _forget(self, session):
        async with self._live:
            if self.session is session:
                self.session = None

    async def stop(self):
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.session is not None:
            await self.session.close()
