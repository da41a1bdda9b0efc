"""One sealed session after the handshake (sections 6 and 7). Frozen, see __init__.py."""

import asyncio

from . import envelope, ws
from .codec import json_dumps
from .seal import Cipher, SealError

REQUEST_TIMEOUT_SEC = 30
IDLE_SEC = 600
NO_HANDLER = "no request handler"


class SessionEnded(Exception):
    """The session is over; what was asked may or may not have been done."""


class RemoteError(Exception):
    """The other side answered with an error."""


class PayloadNotPossible(Exception):
    """The peer has not said that it reads the framed form."""


class Session:
    """on_request(cmd) -> data, raising RemoteError for an error answer; may be a coroutine.
    on_event(data, payload). With announce=False it is an old peer that sends no cap."""

    def __init__(self, socket, send_key, recv_key, *, send_counter=0, recv_counter=0,
                 on_request=None, on_event=None, announce=True, idle_sec=IDLE_SEC):
        self.socket = socket
        self.sender = Cipher(send_key, send_counter)
        self.receiver = Cipher(recv_key, recv_counter)
        self.on_request = on_request
        self.on_event = on_event
        self.announce = announce
        self.idle_sec = idle_sec
        self.peer_reads_framed = False
        self.cap_received = asyncio.Event()
        self.ended = asyncio.get_running_loop().create_future()
        self.events = asyncio.Queue()
        self.framed_received = 0
        self._last_id = 0
        self._waiting = {}
        self._tasks = set()
        self._send_lock = asyncio.Lock()
        self._moved = asyncio.Event()

    async def start(self):
        if self.announce:
            await self._send_plaintext(envelope.CAP)
        self._reader = self._spawn(self._read())
        self._spawn(self._idle())
        return self

    def _spawn(self, work):
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # sending

    async def _send_plaintext(self, plaintext):
        self._moved.set()
        async with self._send_lock:  # the order on the wire is the order of the counters
            try:
                self.socket.send_frame(ws.BINARY, self.sender.seal(plaintext))
                await self.socket.drain()
            except (ws.Closed, ConnectionError) as error:
                self._end(f"sending: {error}")
                raise SessionEnded(str(error)) from error

    async def send_meta(self, meta, payload=b""):
        if self.ended.done():
            raise SessionEnded(self.ended.result())
        if payload and not self.peer_reads_framed:
            raise PayloadNotPossible("the peer has sent no cap with 1")
        plaintext = envelope.encode(meta, payload, framed=self.peer_reads_framed)
        await self._send_plaintext(plaintext)

    async def send_event(self, data, payload=b""):
        await self.send_meta({"t": "evt", "data": data}, payload)

    async def request(self, cmd, timeout=REQUEST_TIMEOUT_SEC):
        self._last_id += 1
        ident = self._last_id
        answer = asyncio.get_running_loop().create_future()
        self._waiting[ident] = answer
        try:
            await self.send_meta({"t": "req", "id": ident, "cmd": cmd})
            return await asyncio.wait_for(answer, timeout)
        finally:
            self._waiting.pop(ident, None)

    # receiving

    async def _read(self):
        reason = "closed"
        try:
            while True:
                opcode, data = await self.socket.recv_message()
                self._moved.set()
                if opcode != ws.BINARY:
                    raise envelope.EnvelopeError("a text frame")
                self._take(envelope.decode(self.receiver.open(data)))
        except ws.Closed as closed:
            reason = str(closed)
        except (SealError, envelope.EnvelopeError, ws.ProtocolError) as error:
            reason = f"{type(error).__name__}: {error}"
        self._end(reason)
        await self.socket.close(1000, wait=False)

    def _take(self, message):
        if message.framed:
            self.framed_received += 1
        if message.kind == "cap":
            self.peer_reads_framed = envelope.cap_allows_framed(message.meta)
            self.cap_received.set()
        elif message.kind == "evt":
            self._take_event(message)
        elif message.kind == "res":
            self._take_answer(message.meta)
        elif message.kind == "req" and _is_number(message.id):
            self._spawn(self._answer(message.id, message.meta.get("cmd")))

    def _take_event(self, message):
        data = message.meta.get("data")
        if self.on_event is not None:
            self.on_event(data, message.payload)
        else:
            self.events.put_nowait((data, message.payload))

    def _take_answer(self, meta):
        answer = self._waiting.get(meta.get("id")) if _is_number(meta.get("id")) else None
        if answer is None or answer.done():
            return
        if meta.get("ok") is True:
            answer.set_result(meta.get("data"))
        else:
            answer.set_exception(RemoteError(meta.get("error")))

    async def _answer(self, ident, cmd):
        answer = {"t": "res", "id": ident, "ok": False, "error": NO_HANDLER}
        if self.on_request is not None:
            try:
                data = self.on_request(cmd)
                if asyncio.iscoroutine(data):
                    data = await data
                json_dumps(data)
                answer = {"t": "res", "id": ident, "ok": True, "data": data}
            except RemoteError as error:
                answer["error"] = str(error)
        try:
            await self.send_meta(answer)
        except SessionEnded:
            pass

    # the end

    async def _idle(self):
        while True:
            self._moved.clear()
            try:
                await asyncio.wait_for(self._moved.wait(), self.idle_sec)
            except asyncio.TimeoutError:
                await self.close("idle")
                return

    def _end(self, reason):
        if self.ended.done():
            return
        self.ended.set_result(reason)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(SessionEnded(reason))
        current = asyncio.current_task()
        for task in list(self._tasks):
            if task is not current and task is not getattr(self, "_reader", None):
                task.cancel()

    async def close(self, reason="closed here"):
        """Ends the session with a close frame."""
        self._end(reason)
        reader = getattr(self, "_reader", None)
        if reader is not None and reader is not asyncio.current_task():
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        await self.socket.close(1000)

    def drop(self):
        """Loses the connection, as a pulled cable would."""
        self.socket.abort()


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)
