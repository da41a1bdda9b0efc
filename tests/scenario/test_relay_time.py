#!/usr/bin/python3
"""The deadlines of a v1 relay that take half a minute and more, all beside each other: pings, the role
deadline, a socket that answers no ping, an end that takes nothing (4006). Lower bounds are checked,
and that it happens at all. $LINK_RELAY names the binary."""

import asyncio
import pathlib
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "compat"))

import relaykit  # noqa: E402
from linkv1 import ws  # noqa: E402
from relaykit import RelayCase, started  # noqa: E402

MIB = 1 << 20
ROUNDING_SEC = 0.05  # timers and clocks of a millisecond or so, in the relay and here


class Watchers:
    """All of them on one relay, in a thread; the tests collect what they saw."""

    def __init__(self):
        self.relay = started()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        jobs = {"role": self.role, "pings": self.pings, "silent": self.silent, "deaf": self.deaf}
        self.results = {name: asyncio.run_coroutine_threadsafe(job(), self.loop)
                        for name, job in jobs.items()}

    async def kit(self):
        kit = RelayCase()
        kit.relay = self.relay
        await kit.asyncSetUp()
        return kit

    async def ended(self, socket, limit):
        """(code, seconds)."""
        start = time.monotonic()
        try:
            while True:
                await asyncio.wait_for(socket.recv_message(), limit)
        except ws.Closed as closed:
            return closed.code, time.monotonic() - start

    async def role(self):
        start = time.monotonic()
        kit = await self.kit()
        code, _ = await self.ended(await kit.open(), 90)
        return code, time.monotonic() - start

    async def pings(self):
        """How many pings and what else came to a control socket and both ends in 35 s or more."""
        kit = await self.kit()
        pair = await kit.spliced()
        seen = []
        for socket in (pair.control, pair.client, pair.end):
            start = time.monotonic()
            frame = await asyncio.wait_for(socket.recv_frame(), 90)
            seen.append((frame.opcode, time.monotonic() - start))
            socket.send_frame(ws.PONG, frame.payload)
        await kit.carry(pair.client, pair.end, b"lives")
        return seen

    async def silent(self):
        """A socket that answers no ping; another one that does."""
        kit = await self.kit()
        mute, _ = await kit.control()
        mute.answer_pings = False
        good, _ = await kit.control()
        keeping = asyncio.ensure_future(self.ended(good, 600))
        result = await self.ended(mute, 180)
        stands = not keeping.done()
        keeping.cancel()
        return result, stands

    async def deaf(self):
        """An end that takes nothing while data waits for it."""
        kit = await self.kit()
        pair = await kit.spliced()
        start = time.monotonic()
        for _ in range(40):
            pair.client.send_frame(ws.BINARY, bytes(MIB))
        code, _ = await self.ended(pair.client, 180)
        after = time.monotonic() - start
        other, _ = await self.ended(pair.end, 60)
        reasons = {c["linkId"]: c["reason"] for c in self.relay.stats()["recentlyClosed"]}
        return code, after, other, reasons.get(pair.link_id)

    def stop(self):
        for result in self.results.values():
            result.cancel()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(relaykit.LIMIT_SEC)
        self.relay.stop()


class Deadlines(unittest.TestCase):
    def outcome(self, name):
        return watchers.results[name].result(200)

    def test_role_deadline(self):
        code, after = self.outcome("role")
        self.assertEqual(code, 4000)
        self.assertGreaterEqual(after, 30 - ROUNDING_SEC)

    def test_pings(self):
        for opcode, _ in self.outcome("pings"):
            self.assertEqual(opcode, ws.PING)

    def test_silent_socket_is_dropped_without_a_close(self):
        (code, after), other_stands = self.outcome("silent")
        self.assertEqual(code, ws.ABNORMAL)
        self.assertGreaterEqual(after, 30)
        self.assertTrue(other_stands)

    def test_deaf_receiver_is_4006(self):
        code, after, other, reason = self.outcome("deaf")
        self.assertEqual(code, 4006)
        self.assertGreaterEqual(after, 60 - ROUNDING_SEC)
        self.assertIn(other, (4006, ws.ABNORMAL))  # its close frame may not fit in any more
        self.assertEqual(reason, "slow_peer")


watchers = None


def setUpModule():
    global watchers
    watchers = Watchers()


def tearDownModule():
    watchers.stop()


if __name__ == "__main__":
    relaykit.main()
