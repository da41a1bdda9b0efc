"""Starts the relay under test as a child and gives tests peers at it.

The binary comes from $LINK_RELAY (words as in a shell, so it may carry options). Peers are those of
linkv1, the frozen wire; nothing here knows the relay's inside.
"""

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import unittest
import urllib.error
import urllib.request
from dataclasses import dataclass

from linkv1 import register, ws

LIMIT_SEC = float(os.environ.get("LINK_TEST_LIMIT_SEC", "20"))
UNLIMITED = {"LINK_IP_RATE_PER_MIN": "0", "LINK_RELAY_MAX_BPS": "0"}
LISTENING = re.compile(r"listening on (\S+):(\d+)")


def command():
    words = shlex.split(os.environ.get("LINK_RELAY", ""))
    if not words:
        sys.exit("LINK_RELAY does not name the relay's binary")
    return words


class RelayProcess:
    """A running relay. Everything it prints is kept in `lines`."""

    def __init__(self, env=None, *, arguments=("--listen", "127.0.0.1:0")):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("LINK_")}
        self.lines = []
        self.told = False
        self._ready = threading.Event()
        self.host = self.port = None
        self.child = subprocess.Popen(
            command() + list(arguments), env=clean | (env or {}), text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        with self.child.stdout as output:
            for line in output:
                self.lines.append(line.rstrip("\n"))
                found = LISTENING.search(line)
                if found and not self._ready.is_set():
                    self.host, self.port = found[1], int(found[2])
                    self._ready.set()
        self._ready.set()

    @property
    def output(self):
        return "\n".join(self.lines)

    def wait_ready(self):
        if not self._ready.wait(LIMIT_SEC) or self.port is None:
            self.kill()
            raise AssertionError(f"the relay does not listen; it said:\n{self.output}")
        return self

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}"

    @property
    def origin(self):
        return f"127.0.0.1:{self.port}"

    def terminate(self):
        """Once: a second SIGTERM may find the handler already gone."""
        if not self.told and self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        self.told = True

    def wait(self):
        status = self.child.wait(LIMIT_SEC)
        self._reader.join(LIMIT_SEC)
        return status

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
        self.wait()

    def stop(self):
        """SIGTERM; AssertionError unless it then leaves with status 0."""
        self.terminate()
        try:
            status = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the relay does not stop on SIGTERM") from None
        if status != 0:
            raise AssertionError(f"the relay left with status {status}:\n{self.output}")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.child.pid}/fd"))

    def http(self, path, method="GET", headers=None):
        """(status, content type, body bytes)."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", method=method, headers=headers or {}
        )
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_SEC) as answer:
                return answer.status, answer.headers.get("content-type"), answer.read()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.headers.get("content-type"), answer.read()

    def stats(self):
        return json.loads(self.http("/v1/stats")[2])


def started(env=None, **how):
    return RelayProcess(UNLIMITED | (env or {}), **how).wait_ready()


@dataclass
class Splice:
    control: ws.WebSocket
    client: ws.WebSocket
    end: ws.WebSocket
    link_id: str
    address: str


class RelayCase(unittest.IsolatedAsyncioTestCase):
    """Tests that share one relay of environment `env`, started once a class."""

    env = {}
    relay = None

    @classmethod
    def setUpClass(cls):
        cls.relay = started(cls.env)

    @classmethod
    def tearDownClass(cls):
        cls.relay.stop()

    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)  # unittest turns it on: ten times as slow
        self.sockets = []
        self.own_relays = []

    async def asyncTearDown(self):
        for socket in self.sockets:
            socket.abort()
        await asyncio.sleep(0)  # transports close in the loop's next turn
        for relay in self.own_relays:
            relay.stop()

    def own(self, env=None, **how):
        """A relay of this test alone."""
        relay = started(env, **how)
        self.own_relays.append(relay)
        return relay

    # sockets and roles

    async def open(self, path="/v1/link", relay=None, **options):
        url = (relay or self.relay).url + path
        socket = await self.soon(ws.connect(url, **options))
        self.sockets.append(socket)
        return socket

    async def soon(self, work):
        return await asyncio.wait_for(work, LIMIT_SEC)

    def send(self, socket, message):
        socket.send_frame(ws.TEXT, json.dumps(message).encode())

    async def expect(self, socket, message):
        """The next message is a control message equal to this; a member of value ... is any."""
        opcode, data = await self.soon(socket.recv_message())
        self.assertEqual(opcode, ws.TEXT)
        got = json.loads(data.decode())
        masked = {k: ... if message.get(k) is ... else v for k, v in got.items()}
        self.assertEqual(masked, message)
        return got

    async def expect_close(self, socket, *codes):
        """The next thing is the end, with one of these codes (1006: no close frame)."""
        try:
            message = await self.soon(socket.recv_message())
        except ws.Closed as closed:
            self.assertIn(closed.code, codes, closed.reason)
            if closed.code != ws.ABNORMAL:
                await self.expect_eof(socket)
            return closed.code
        raise AssertionError(f"{message!r:.200} in place of a close with {codes}")

    async def expect_eof(self, socket):
        """The relay, being the server, closes the TCP connection by itself."""
        self.assertEqual(await self.soon(socket.reader.read(1)), b"")

    async def alive(self, socket):
        """A ping comes back, so everything sent before it was taken and the socket stands. No
        message may come before the pong."""
        token = os.urandom(8)
        socket.send_frame(ws.PING, token)
        while True:
            frame = await self.soon(socket.recv_frame())
            if frame.opcode == ws.PING:
                socket.send_frame(ws.PONG, frame.payload)
                continue
            self.assertEqual((frame.opcode, frame.payload), (ws.PONG, token))
            return

    def register_message(self, identity, relay=None, **fields):
        origin = fields.pop("origin", None) or (relay or self.relay).origin
        return register.register_message(identity, origin, **fields)

    async def control(self, identity=None, relay=None, socket=None, **fields):
        """(socket, identity), registered."""
        identity = identity or register.Identity()
        socket = socket or await self.open(relay=relay)
        self.send(socket, self.register_message(identity, relay, **fields))
        await self.expect(socket, {"type": "registered", "address": identity.address})
        return socket, identity

    async def introduced(self, control, address, relay=None, **options):
        """(client, linkId); `control` has read arrived."""
        client = await self.open(relay=relay, **options)
        self.send(client, {"type": "resolve", "address": address})
        link = (await self.expect(client, {"type": "found", "linkId": ...}))["linkId"]
        await self.expect(control, {"type": "arrived", "linkId": link, "address": address})
        return client, link

    async def pending(self, control, address, relay=None, **options):
        client, link = await self.introduced(control, address, relay, **options)
        self.send(client, {"type": "relay", "linkId": link})
        await self.expect(control, {"type": "relay", "linkId": link})
        return client, link

    async def accepted(self, client, link, relay=None):
        """The host's end of a pending link; both ends have read relaying."""
        end = await self.open(relay=relay)
        self.send(end, {"type": "accept", "linkId": link})
        await self.expect(end, {"type": "relaying", "linkId": link})
        await self.expect(client, {"type": "relaying", "linkId": link})
        return end

    async def spliced(self, relay=None, control=None, identity=None):
        if control is None:
            control, identity = await self.control(relay=relay)
        client, link = await self.pending(control, identity.address, relay)
        end = await self.accepted(client, link, relay)
        return Splice(control, client, end, link, identity.address)

    async def carry(self, sender, receiver, data, opcode=ws.BINARY):
        sender.send_frame(opcode, data)
        got = await self.soon(receiver.recv_message())
        if got != (opcode, data):
            raise AssertionError(f"sent {opcode} {data!r:.80}, got {got!r:.100}")

    async def innocent_pair(self):
        """Somebody else is still served."""
        pair = await self.spliced()
        await self.carry(pair.client, pair.end, b"hello")
        await self.carry(pair.end, pair.client, b"world")
        await self.soon(pair.client.close())
        await self.expect_close(pair.end, 4003)
        await self.soon(pair.control.close())

    async def until(self, condition, what):
        """Polls a condition that no event announces."""
        deadline = time.monotonic() + LIMIT_SEC
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {LIMIT_SEC} s: {what}")
            await asyncio.sleep(0.02)


class OneLine(unittest.TextTestResult):
    """One line a test; counts the passed ones."""

    passed = 0

    def getDescription(self, test):
        return str(test).split(" ")[0] + " " + type(test).__name__

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


def main():
    command()
    runner = unittest.TextTestRunner(verbosity=2, resultclass=OneLine, stream=sys.stdout)
    result = unittest.main(module="__main__", testRunner=runner, exit=False).result
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print(f"{result.passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed or not result.passed else 0)
