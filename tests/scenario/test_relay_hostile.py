#!/usr/bin/python3
"""Hostile traffic against a relay ($LINK_RELAY). After each case the relay still introduces and
splices an innocent pair, and holds no descriptor more than before."""

import asyncio
import contextlib
import json
import os
import pathlib
import random
import resource
import socket as socket_module
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "compat"))

import relaykit  # noqa: E402
from linkv1 import ws  # noqa: E402
from relaykit import RelayCase  # noqa: E402

MIB = 1 << 20
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = (f"GET /v1/link HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode()
RESOLVE = b'{"type":"resolve","address":"nobody"}'
UNKNOWN_ADDRESS = {"type": "error", "error": "unknown_address"}


class HostileCase(RelayCase):
    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.streams = []
        await self.innocent_pair()
        self.before = await self.settled()

    async def asyncTearDown(self):
        await self.innocent_pair()
        for _, writer in self.streams:
            ws.abort(writer.transport)
        for socket in self.sockets:
            socket.abort()
        await self.until(lambda: self.relay.descriptors() <= self.before,
                         f"{self.relay.descriptors()} descriptors, {self.before} before")
        await self.innocent_pair()
        self.assertIsNone(self.relay.child.poll())
        await super().asyncTearDown()

    async def settled(self):
        """The number of descriptors, once it no longer falls."""
        count, since = self.relay.descriptors(), time.monotonic()
        while time.monotonic() < since + 0.2:
            await asyncio.sleep(0.02)
            if self.relay.descriptors() != count:
                count, since = self.relay.descriptors(), time.monotonic()
        return count

    async def stream(self, data=b"", **how):
        stream = await self.soon(
            asyncio.open_connection("127.0.0.1", self.relay.port, limit=1 << 20, **how))
        self.streams.append(stream)
        stream[1].write(data)
        return stream

    async def ends(self, reader, limit=None):
        """Everything until the relay closes."""
        try:
            return await asyncio.wait_for(reader.read(-1), limit or relaykit.LIMIT_SEC)
        except ConnectionError:
            return b""

    def reset(self, writer):
        """RST in place of FIN, unless the relay was first."""
        raw = writer.get_extra_info("socket")
        if raw.fileno() >= 0:
            linger = struct.pack("ii", 1, 0)
            raw.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_LINGER, linger)
        ws.abort(writer.transport)


class Heads(HostileCase):
    async def test_slowloris(self):
        # one byte at a time, for ever: each is thrown out in the end, nobody else notices
        streams = [await self.stream(REQUEST[:20]) for _ in range(60)]
        ended = [asyncio.ensure_future(self.ends(reader, 60)) for reader, _ in streams]
        served = 0
        while not all(task.done() for task in ended):
            for (_, writer), task in zip(streams, ended):
                if not task.done():
                    writer.write(b"x")
            await self.innocent_pair()
            served += 1
            await asyncio.sleep(0.3)
        for task in ended:
            self.assertNotIn(b"101", task.result()[:20])
        self.assertGreater(served, 1)

    async def test_heads_that_are_too_long(self):
        first = b"GET /v1/link HTTP/1.1\r\n"
        heads = {
            "one long line": first + b"X: " + b"y" * 9000 + b"\r\n",
            "many lines": first + b"X: y\r\n" * 2000,
            "long path": b"GET /v1/link?" + b"q" * 9000 + b" HTTP/1.1\r\n",
            "no end of a line": b"G" * MIB,
            "a megabyte": first + b"X: y\r\n" * 180000,
            "whole, but too long": REQUEST[:-2] + b"X: " + b"y" * 8200 + b"\r\n\r\n",
        }
        for name, head in heads.items():
            with self.subTest(name):
                reader, _ = await self.stream(head)
                self.assertRegex(await self.ends(reader), rb"\A(HTTP/1\.[01] [45]\d\d |\Z)")

    async def test_garbage_in_place_of_a_head(self):
        random.seed(1)
        lines = [
            bytes.fromhex("16030100f5010000f10303") + os.urandom(234),  # TLS ClientHello
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 500 + b"\r\n\r\n", b"\r\n\r\n", b"\n\n",
            b"GET\r\n\r\n", b"GET /v1/link\r\n\r\n", b"GET /v1/link HTTP/1.1\r\n: x\r\n\r\n",
            b"GET /v1/link HTTP/9.9\r\n\r\n", b"GET  /v1/link  HTTP/1.1\r\n\r\n", b" " + REQUEST,
            b"GET /v1/link HTTP/1.1\nHost: x\n\n", b"X" * 300 + b" / HTTP/1.1\r\n\r\n",
            REQUEST.replace(b"Host: x", b"Host: \xff\xfe\x00"), b"\x81\x85" + os.urandom(9),
            REQUEST.replace(b"Host: x", b"Host: x\r\nContent-Length: 99999999999999999999"),
            REQUEST.replace(b"Host: x", b"Host: x\r\nHost: y"),
            REQUEST.replace(b"GET", b"POST"), REQUEST.replace(b"/v1/link", b"/v1/%6cink"),
            REQUEST.replace(b"/v1/link", b"http://x/v1/link"), REQUEST.replace(b"\r\n", b"\n"),
            REQUEST.replace(KEY.encode(), b"A" * 3000),
        ] + [os.urandom(random.randrange(1, 4000)) + b"\r\n\r\n" for _ in range(40)]
        for line in lines:
            reader, writer = await self.stream(line)
            writer.write_eof()
            await self.ends(reader)

    async def test_http_requests_that_are_not_read(self):
        for method in (b"GET", b"HEAD", b"POST", b"OPTIONS", b"CONNECT"):
            request = method + b" /v1/stats HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
            await self.stream(request * 2000)  # pipelined, answers never read
        for _ in range(30):
            await self.stream(b"GET /v1/stats HTTP/1.1\r\nHost: x\r\n\r\n")  # and left open
        for _ in range(3):
            await self.innocent_pair()
        self.assertEqual(self.relay.http("/health")[0], 200)

    async def test_half_open_upgrades(self):
        for cut in (0, 1, 10, len(REQUEST) - 2, len(REQUEST) - 1):
            for leave in ("eof", "reset", "stay"):
                for _ in range(10):
                    _, writer = await self.stream(REQUEST[:cut])
                    await writer.drain()
                    if leave == "eof":
                        writer.write_eof()
                    elif leave == "reset":
                        self.reset(writer)

    async def test_upgraded_and_gone(self):
        for after in (b"", b"\x81", ws.encode_frame(ws.TEXT, RESOLVE)[:9],
                      ws.encode_frame(ws.TEXT, RESOLVE, fin=False)):
            for leave in ("eof", "reset"):
                for _ in range(10):
                    reader, writer = await self.stream(REQUEST)
                    await self.soon(reader.readuntil(b"\r\n\r\n"))
                    writer.write(after)
                    if leave == "eof":
                        writer.write_eof()
                        await self.ends(reader)
                    else:
                        self.reset(writer)

    async def test_first_frame_in_the_head_s_segment(self):
        # no client of the protocol does it; whatever comes of it, it is bounded
        for data in (ws.encode_frame(ws.TEXT, RESOLVE), os.urandom(8000), b"\x81\xfe" * 100):
            reader, writer = await self.stream(REQUEST + data)
            writer.write_eof()
            await self.ends(reader)


class Flood(HostileCase):
    async def test_flood_of_connections(self):
        for _ in range(4):
            flood = [await self.stream(REQUEST if n % 2 else REQUEST[:30]) for n in range(200)]
            await self.innocent_pair()  # also while they stand
            for _, writer in flood:
                ws.abort(writer.transport)
            await asyncio.sleep(0)

    async def test_out_of_descriptors(self):
        pid = self.relay.child.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        pair = await self.spliced()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (self.relay.descriptors() + 20, limits[1]))
        try:
            flood = []
            for _ in range(100):
                flood.append(await self.stream(REQUEST))
            await self.carry(pair.client, pair.end, b"the living go on")
            for _, writer in flood:
                self.reset(writer)
            await asyncio.sleep(0)
            await self.innocent_pair()
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        await self.soon(pair.client.close())
        await self.expect_close(pair.end, 4003)
        await self.soon(pair.control.close())

    async def test_mass_disconnect(self):
        control, identity = await self.control()
        pairs = [await self.spliced(control=control, identity=identity) for _ in range(100)]
        for pair in pairs:
            pair.client.abort()
            pair.end.abort()
        control.abort()
        await self.until(lambda: self.relay.stats()["links"]["live"] == 0, "all links ended")

    async def test_flood_of_pings_never_read(self):
        pair = await self.spliced()
        for socket in (pair.client, pair.control, await self.open()):
            socket.writer.transport.pause_reading()
            for _ in range(2000):
                socket.write(ws.encode_frame(ws.PING, bytes(125), mask=b"mask") * 10)
            await self.innocent_pair()
        for socket in (pair.client, pair.control):
            socket.writer.transport.resume_reading()
        await self.alive_or_closed(pair.client)

    async def alive_or_closed(self, socket):
        """Answers a fresh ping some time, or has been closed."""
        socket.send_frame(ws.PING, b"fresh")
        try:
            while (await self.soon(socket.recv_frame())).payload != b"fresh":
                pass
        except ws.Closed:
            pass

    async def test_a_control_socket_that_does_not_read(self):
        control, identity = await self.control()
        control.writer.transport.pause_reading()
        resolve = json.dumps({"type": "resolve", "address": identity.address}).encode()
        for _ in range(300):
            client = await self.open()
            client.send_frame(ws.TEXT, resolve)
            await self.expect(client, {"type": "found", "linkId": ...})
            client.abort()
        for _ in range(3000):
            control.send_frame(ws.TEXT, b'{"type":"getUsage"}')
        await self.innocent_pair()

    async def test_flood_of_empty_messages(self):
        pair = await self.spliced()
        empty = ws.encode_frame(ws.BINARY, b"", mask=b"mask")
        for _ in range(100):
            pair.client.write(empty * 500)
        for _ in range(50000):
            self.assertEqual(await self.soon(pair.end.recv_message()), (ws.BINARY, b""))

    async def test_flood_of_empty_fragments(self):
        pair = await self.spliced()
        waiting = await self.open()
        for socket in (pair.client, waiting):
            socket.send_frame(ws.TEXT, b"", fin=False)
            socket.write(ws.encode_frame(ws.CONTINUATION, b"", fin=False, mask=b"mask") * 50000)
            await self.alive(socket)
        pair.client.send_frame(ws.CONTINUATION, b"end")
        self.assertEqual(await self.soon(pair.end.recv_message()), (ws.TEXT, b"end"))


class Frames(HostileCase):
    ENDED = (1002, 1007, 1009, 4000, ws.ABNORMAL)

    @staticmethod
    def illegal_frames(spliced):
        """(name, bytes) of every kind that RFC 6455 forbids to a client."""
        known = (ws.CONTINUATION, ws.TEXT, ws.BINARY, ws.CLOSE, ws.PING, ws.PONG)
        for opcode in range(16):
            for rsv in (0, 1, 2, 4, 7):
                for fin in (True, False):
                    for masked in (True, False):
                        legal = (opcode in known and rsv == 0 and masked
                                 and (fin or opcode < ws.CLOSE) and opcode != ws.CONTINUATION)
                        if not legal:
                            data = ws.encode_frame(opcode, b"", rsv=rsv, fin=fin, mask=masked)
                            yield f"opcode {opcode} rsv {rsv} fin {fin} mask {masked}", data
        for opcode in (ws.CLOSE, ws.PING, ws.PONG):
            for size in (126, 4097, 65536):
                yield f"opcode {opcode} of {size}", ws.encode_frame(opcode, bytes(size))
            for form, declared in ((64, 1 << 62), (64, 1 << 63), (64, 2**64 - 1), (16, 65535)):
                yield (f"opcode {opcode} declares {declared}",
                       ws.encode_frame(opcode, declared=declared, form=form))
        for opcode in (ws.TEXT, ws.BINARY):
            yield f"opcode {opcode} above 2^63", ws.encode_frame(opcode, declared=1 << 63, form=64)
            yield f"opcode {opcode} of 2^63-1", ws.encode_frame(opcode, declared=2**63 - 1)
            start = ws.encode_frame(ws.TEXT if not spliced else opcode, b"", fin=False)
            yield f"opcode {opcode} inside another", start + ws.encode_frame(opcode, b"x")
        for body in (b"\x03", b"\x00\x00", b"\x03\xe7", b"\x03\xec", b"\x03\xed", b"\x03\xee",
                     b"\xff\xff", b"\x03\xe8\xff\xfe", b"\x0b\xb7"):
            yield f"close {body.hex()}", ws.encode_frame(ws.CLOSE, body)

    async def test_every_illegal_frame_on_a_new_socket(self):
        for name, data in self.illegal_frames(False):
            with self.subTest(name):
                socket = await self.open()
                socket.write(data)
                await self.expect_close(socket, *self.ENDED)

    async def test_every_illegal_frame_after_the_splice(self):
        control, identity = await self.control()
        for number, (name, data) in enumerate(self.illegal_frames(True)):
            with self.subTest(name):
                pair = await self.spliced(control=control, identity=identity)
                sender, receiver = ((pair.client, pair.end), (pair.end, pair.client))[number % 2]
                sender.write(data)
                await self.expect_close(sender, *self.ENDED)
                await self.expect_close(receiver, 4003, ws.ABNORMAL)
        await self.alive(control)

    async def test_lengths_not_in_their_shortest_form(self):
        for form in (16, 64):
            socket = await self.open()
            socket.send_frame(ws.TEXT, RESOLVE, form=form)
            try:
                await self.expect(socket, UNKNOWN_ADDRESS)  # or it is refused
            except ws.Closed as closed:
                self.assertIn(closed.code, self.ENDED)

    async def test_frames_behind_a_close(self):
        pair = await self.spliced()
        for socket in (await self.open(), pair.client):
            close = ws.encode_frame(ws.CLOSE, b"\x03\xe8")
            socket.close_sent = True
            socket.write(close + ws.encode_frame(ws.TEXT, RESOLVE) * 100 + close + os.urandom(999))
            await self.expect_close(socket, 1000)
        await self.expect_close(pair.end, 4003)

    async def test_random_bytes(self):
        random.seed(2)
        pair = await self.spliced()
        await self.soon(pair.control.close())
        for _ in range(60):
            socket = await self.open()
            for _ in range(random.randrange(1, 6)):
                socket.write(os.urandom(random.randrange(1, 3000)))
            with contextlib.suppress(OSError):  # the relay may have ended it by now
                socket.writer.write_eof()
            await self.ends(socket.reader)
        pair.client.write(os.urandom(300))
        with contextlib.suppress(OSError):
            pair.client.writer.write_eof()
        await self.ends(pair.client.reader)
        with self.assertRaises(ws.Closed):
            while True:
                await self.soon(pair.end.recv_message())

    async def test_reset_in_the_middle_of_a_frame(self):
        for size in (0, 5, 70000, 3 * MIB):
            pair = await self.spliced()
            pair.client.write(ws.encode_frame(ws.BINARY, bytes(size), declared=4 * MIB))
            await asyncio.sleep(0)
            self.reset(pair.client.writer)
            await self.expect_close(pair.end, 4003, ws.ABNORMAL)


class Json(HostileCase):
    async def outcome(self, text):
        """"answer" when it was taken as a resolve of nobody, else the close code."""
        socket = await self.open()
        socket.send_frame(ws.TEXT, text)
        try:
            await self.expect(socket, UNKNOWN_ADDRESS)
            return "answer"
        except ws.Closed as closed:
            return closed.code

    async def test_deep(self):
        head = b'{"type":"resolve","address":"a","x":'
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            depth = (4096 - len(head) - 10) // (len(opening) + len(closing))
            text = head + opening * depth + b"1" + closing * depth + b"}"
            self.assertIn(await self.outcome(text), ("answer", 4000))
            self.assertEqual(await self.outcome(head + opening * depth), 4000)
        for text in (b"[" * 4096, b'{"a":' * 819, b"]" * 4096, b"{" * 4096, b'"' * 4096):
            self.assertEqual(await self.outcome(text), 4000)

    async def test_not_utf8(self):
        for bad in (b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xbf\xbf", b"\xf5\x80\x80\x80", b"\x80"):
            self.assertEqual(await self.outcome(b'{"type":"' + bad + b'"}'), 1007)
            self.assertEqual(await self.outcome((bad * 4096)[:4096]), 1007)
            self.assertEqual(await self.outcome(RESOLVE + bad), 1007)

    async def test_strings_and_numbers(self):
        taken = (b'{"type":"resolve","address":"\\"}"}',
                 b'{"type":"resolve","address":"a","x":' + b"9" * 3000 + b"}",
                 b'{"type":"resolve","address":"a","x":1e99999}',
                 b'{"type":"resolve","address":"a","x":-0.0e-0}',
                 b'{"type":"resolve","address":"a","":{"":[]}}')
        for text in taken:
            self.assertEqual(await self.outcome(text), "answer", text[:60])
        # valid JSON whose meaning the protocol leaves open
        for text in (b'{"type":"resolve","address":"\\ud800"}',
                     b'{"type":"getUsage","type":"resolve","address":"a"}',
                     b'{"type":"resolve","address":5,"address":"a"}'):
            self.assertIn(await self.outcome(text), ("answer", 4000), text[:60])
        for text in (b'{"type":"resolve","address":"\0"}', b'{"type":"resolve","address":"\\x"}',
                     b'{"type":"resolve","address":"\\u12g4"}', b'{"type":"resolve" "address":"a"}',
                     b'{"type":"resolve","address":"a","x":.5}', b'{"type":"resolve","address":NaN}',
                     b'{"type":"resolve","address":"a","x":1.}', b'{"type":"resolve\\u0000"}',
                     b'{"type":"resolve","address":"a"', b'{"type":"resolve","address":"a\n"}',
                     b'\0', b'{"type":"resolve","address":"a","x":+1}', RESOLVE + b"\0",
                     RESOLVE * 2, b'{"type":"resolve","address":"a",}'):
            self.assertEqual(await self.outcome(text), 4000, text[:60])

    async def test_names_with_an_escaped_nul(self):
        # a string of 1 to 128 characters like any other, and nobody's
        for name in (b"\\u0000", b"a\\u0000", b"\\u0000a"):
            self.assertEqual(await self.outcome(b'{"type":"resolve","address":"%b"}' % name),
                             "answer", name)

    async def test_register_with_hostile_auth(self):
        deep = b"[" * 1000 + b"]" * 1000
        for auth in (deep, b'{"alg":' + deep + b"}", b'{"ts":' + b"9" * 2000 + b"}",
                     b'{"alg":"ed25519","pub":"' + b"A" * 2000 + b'"}', b'{"ts":1e308}',
                     b'{"alg":"ed25519","pub":"","ts":-9223372036854775809,"nonce":"","sig":""}',
                     b'{"alg":"ed25519","ts":9223372036854775807}', b'"' + b"x" * 3000 + b'"'):
            socket = await self.open()
            socket.send_frame(ws.TEXT, b'{"type":"register","address":"a","auth":' + auth + b"}")
            await self.expect_close(socket, 4007, 4000)


if __name__ == "__main__":
    relaykit.main()
