#!/usr/bin/python3
"""Black-box conformance of a v1 relay: sections 2 to 5 of the wire protocol, to the letter.

$LINK_RELAY names the binary. Lower bounds of time are checked, upper ones never ("not earlier
than"), so that a slow machine proves nothing wrong. What takes half a minute and more is in
test_relay_time.py.
"""

import asyncio
import hashlib
import json
import os
import pathlib
import re
import socket as socket_module
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "compat"))

import relaykit  # noqa: E402
from linkv1 import client as v1_client  # noqa: E402
from linkv1 import codec, register, ws  # noqa: E402
from linkv1.host import Host  # noqa: E402
from relaykit import RelayCase, RelayProcess, started  # noqa: E402

MIB = 1 << 20
ROUNDING_SEC = 0.05  # timers and clocks of a millisecond or so, in the relay and here
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
UNKNOWN_ADDRESS = {"type": "error", "error": "unknown_address"}
UNKNOWN_LINK = {"type": "error", "error": "unknown_link"}
STALE = {"type": "error", "error": "register_stale"}
NO_NAMES = ({}, {"n": None}, {"n": 5}, {"n": ""}, {"n": "x" * 129}, {"n": ["x"]}, {"n": {}},
            {"n": "\u00fc" * 129}, {"n": True})


def no_names(member):
    for bad in NO_NAMES:
        yield {member: bad["n"]} if bad else {}


def now_ms():
    return int(time.time() * 1000)


class OwnRelays(RelayCase):
    """Every test starts its own."""

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass


class Upgrade(RelayCase):
    async def test_query_string_is_ignored(self):
        for query in ("?a=b", "?", "?a=%20&/v1/other#x", "?" + "q" * 2000):
            socket = await self.open("/v1/link" + query)
            self.send(socket, {"type": "resolve", "address": "nobody"})
            await self.expect(socket, UNKNOWN_ADDRESS)

    async def test_other_paths_are_404(self):
        for path in ("/", "/v1", "/v1/links", "/v1/link/", "/V1/LINK", "/v1/stats", "/health"):
            with self.assertRaises(ws.HandshakeError) as caught:
                await self.open(path)
            if path == "/health" or path == "/v1/stats":
                self.assertNotEqual(caught.exception.status, 101)
                continue
            self.assertEqual(caught.exception.status, 404, path)
            self.assertEqual(json.loads(caught.exception.body), {"error": "not_found"})

    async def test_no_extension_no_subprotocol(self):
        # ws.connect() raises when the answer names either
        for extra in (("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
                      ("Sec-WebSocket-Extensions", "permessage-deflate, x-webkit-deflate-frame"),
                      ("Sec-WebSocket-Protocol", "link, chat")):
            await self.alive(await self.open(extra=[extra]))

    async def test_a_compressed_frame_ends_the_socket(self):
        socket = await self.open(extra=[("Sec-WebSocket-Extensions", "permessage-deflate")])
        socket.send_frame(ws.TEXT, b'{"type":"resolve","address":"a"}', rsv=4)
        await self.expect_close(socket, 1002, ws.ABNORMAL)

    async def test_spellings_of_a_proper_upgrade(self):
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        heads = (
            "get-host: x\r\nHOST: {o}\r\nuPGRADE: WebSocket\r\nCONNECTION: keep-alive, UPGRADE\r\n"
            "sec-websocket-KEY: {k}\r\nsec-websocket-version: 13\r\n\r\n",
            "Host:{o}\r\nUpgrade:websocket\r\nConnection:Upgrade\r\nSec-WebSocket-Key:   {k}   \r\n"
            "Sec-WebSocket-Version:13\r\nX-Long: " + "y" * 3000 + "\r\n\r\n",
        )
        for head in heads:
            data = "GET /v1/link HTTP/1.1\r\n" + head.format(o=self.relay.origin, k=key)
            for pieces in ((data,), tuple(data)):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.relay.port)
                for piece in pieces:
                    writer.write(piece.encode())
                    await writer.drain()
                first, headers = await self.soon(ws.read_head(reader))
                self.assertTrue(first.startswith("HTTP/1.1 101 "), first)
                self.assertEqual(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
                writer.close()

    async def test_improper_upgrades(self):
        proper = [("Host", self.relay.origin), ("Upgrade", "websocket"), ("Connection", "Upgrade"),
                  ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                  ("Sec-WebSocket-Version", "13")]
        changes = [("Sec-WebSocket-Version", "8"), ("Sec-WebSocket-Version", None),
                   ("Sec-WebSocket-Key", None), ("Sec-WebSocket-Key", "short"),
                   ("Upgrade", None), ("Upgrade", "h2c"), ("Connection", "close")]
        for name, value in changes:
            headers = [(n, value if n == name else v) for n, v in proper]
            lines = [f"{n}: {v}" for n, v in headers if v is not None]
            reader, writer = await asyncio.open_connection("127.0.0.1", self.relay.port)
            writer.write(("\r\n".join(["GET /v1/link HTTP/1.1", *lines]) + "\r\n\r\n").encode())
            answer = await self.soon(reader.read(12))
            self.assertRegex(answer, rb"\A(HTTP/1\.[01] 4|\Z)", (name, value))
            writer.close()


class Http(RelayCase):
    def check_json(self, path, status, body, method="GET"):
        got_status, kind, data = self.relay.http(path, method)
        self.assertEqual((got_status, json.loads(data)), (status, body), path)
        self.assertTrue(kind.lower().startswith("application/json"), kind)

    async def test_health(self):
        for path in ("/health", "/healthz"):
            self.check_json(path, 200, {"status": "ok"})

    async def test_anything_else_is_404(self):
        for path in ("/", "/healthzz", "/v1/link", "/v1/stats/", "/v1/Stats", "/index.html"):
            self.check_json(path, 404, {"error": "not_found"})

    async def test_stats_shape(self):
        pair = await self.spliced()
        await self.carry(pair.client, pair.end, b"12345")
        await self.carry(pair.client, pair.end, b"text", ws.TEXT)
        await self.carry(pair.end, pair.client, b"123")
        other = await self.introduced(pair.control, pair.address)
        third = await self.pending(pair.control, pair.address)
        before = self.relay.stats()
        self.assertEqual(set(before), {"uptimeSec", "addressRegistrations", "links",
                                       "bytesRelayed", "liveLinks", "recentlyClosed"})
        self.assertGreaterEqual(before["uptimeSec"], 0)
        self.assertEqual(before["addressRegistrations"], 1)
        self.assertEqual(set(before["links"]), {"live", "relaying", "total", "totalRelayed"})
        self.assertEqual((before["links"]["live"], before["links"]["relaying"]), (3, 1))
        self.assertEqual(set(before["bytesRelayed"]), {"fromHost", "fromClient"})
        by_state = {entry["state"]: entry for entry in before["liveLinks"]}
        self.assertEqual(set(by_state), {"introduced", "pending", "relaying"})
        for state in ("introduced", "pending"):
            self.assertEqual(set(by_state[state]), {"state", "startedAt", "bytesFromHost",
                                                    "bytesFromClient"})
        live = by_state["relaying"]
        self.assertEqual(set(live), {"linkId", "state", "startedAt", "relayStartedAt",
                                     "bytesFromHost", "bytesFromClient"})
        self.assertEqual((live["linkId"], live["bytesFromHost"], live["bytesFromClient"]),
                         (pair.link_id, 3, 9))
        for name in ("startedAt", "relayStartedAt"):
            self.assertRegex(live[name], TIME)
        self.assertNotIn(other[1], json.dumps(before))
        self.assertNotIn(third[1], json.dumps(before))
        self.assertNotIn(pair.address, json.dumps(before))

    async def test_stats_of_closed_links(self):
        control, identity = await self.control()
        before = self.relay.stats()
        names = []
        for number in range(34):
            pair = await self.spliced(control=control, identity=identity)
            await self.carry(pair.client, pair.end, bytes(number))
            await self.carry(pair.end, pair.client, b"ab")
            await self.soon(pair.client.close())
            await self.expect_close(pair.end, 4003)
            names.append(pair.link_id)
        unrelayed, _ = await self.introduced(control, identity.address)
        await self.soon(unrelayed.close())
        after = await self.until(lambda: (s := self.relay.stats())["links"]["live"] == 0 and s,
                                 "no link is live")
        closed = after["recentlyClosed"]
        self.assertEqual([entry["linkId"] for entry in closed], names[:1:-1])
        for entry in closed:
            self.assertEqual(set(entry), {"linkId", "relayStartedAt", "closedAt", "reason",
                                          "bytesFromHost", "bytesFromClient"})
            self.assertEqual((entry["reason"], entry["bytesFromHost"]), ("peer_gone", 2))
            self.assertRegex(entry["relayStartedAt"], TIME)
            self.assertRegex(entry["closedAt"], TIME)
            self.assertLessEqual(entry["relayStartedAt"], entry["closedAt"])
        self.assertEqual(closed[0]["bytesFromClient"], 33)
        for name, more in (("total", 35), ("totalRelayed", 34)):
            self.assertEqual(after["links"][name] - before["links"][name], more)
        relayed = {k: after["bytesRelayed"][k] - before["bytesRelayed"][k]
                   for k in ("fromHost", "fromClient")}
        self.assertEqual(relayed, {"fromHost": 68, "fromClient": sum(range(34))})


class ControlFrames(RelayCase):
    """Section 2: what a control message may look like."""

    def resolve_of(self, size):
        frame = {"type": "resolve", "address": "nobody", "pad": ""}
        frame["pad"] = "p" * (size - len(json.dumps(frame)))
        data = json.dumps(frame).encode()
        self.assertEqual(len(data), size)
        return data

    async def test_4096_bytes_and_one_more(self):
        socket = await self.open()
        socket.send_frame(ws.TEXT, self.resolve_of(4096))
        await self.expect(socket, UNKNOWN_ADDRESS)
        socket.send_frame(ws.TEXT, self.resolve_of(4097))
        await self.expect_close(socket, 4000)

    async def test_oversized_by_its_length_alone(self):
        for length in (4097, 70000, 16 * MIB):
            socket = await self.open()
            socket.send_frame(ws.TEXT, b"", declared=length)
            await self.expect_close(socket, 4000)

    async def test_oversized_on_every_role(self):
        control, identity = await self.control()
        client, _ = await self.introduced(control, identity.address)
        waiting, _ = await self.pending(control, identity.address)
        for socket in (client, waiting, control):
            socket.send_frame(ws.TEXT, self.resolve_of(4097))
            await self.expect_close(socket, 4000)

    async def test_fragments_make_one_message(self):
        socket = await self.open()
        data = '{"type":"resolve","address":"\u00fc\u20ac"}'.encode()
        for cut in range(len(data) + 1):  # also inside a character, also an empty fragment
            socket.send_frame(ws.TEXT, data[:cut], fin=False)
            socket.send_frame(ws.PING, b"between")
            socket.send_frame(ws.CONTINUATION, b"", fin=False)
            socket.send_frame(ws.CONTINUATION, data[cut:])
            await self.expect(socket, UNKNOWN_ADDRESS)
        for _ in range(len(data) + 1):
            self.assertEqual(socket.pongs.get_nowait(), b"between")

    async def test_fragments_are_counted_together(self):
        data = self.resolve_of(4096)
        socket = await self.open()
        socket.send_frame(ws.TEXT, data[:2000], fin=False)
        socket.send_frame(ws.CONTINUATION, data[2000:])
        await self.expect(socket, UNKNOWN_ADDRESS)
        socket.send_frame(ws.TEXT, data[:2000], fin=False)
        socket.send_frame(ws.CONTINUATION, b" " + data[2000:])
        await self.expect_close(socket, 4000)

    async def test_byte_by_byte(self):
        socket = await self.open()
        for byte in ws.encode_frame(ws.TEXT, b'{"type":"resolve","address":"x"}'):
            socket.write(bytes([byte]))
            await socket.drain()
            await asyncio.sleep(0)
        await self.expect(socket, UNKNOWN_ADDRESS)

    async def test_many_messages_in_one_segment(self):
        socket = await self.open()
        frame = ws.encode_frame(ws.TEXT, b'{"type":"resolve","address":"x"}')
        socket.write((frame + ws.encode_frame(ws.PONG, b"unasked")) * 50)
        for _ in range(50):
            await self.expect(socket, UNKNOWN_ADDRESS)

    async def test_all_length_forms(self):
        # the shortest form is the sender's duty; what is sent in it has to be taken
        socket = await self.open()
        for size in (60, 125, 126, 127, 4000):
            socket.send_frame(ws.TEXT, self.resolve_of(max(size, 60)))
            await self.expect(socket, UNKNOWN_ADDRESS)

    async def test_not_utf8_is_1007(self):
        for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82",
                    b"\xf8\x88\x80\x80\x80"):
            socket = await self.open()
            socket.send_frame(ws.TEXT, b'{"type":"resolve","address":"' + bad + b'"}')
            await self.expect_close(socket, 1007)

    async def test_unknown_members_are_ignored(self):
        socket = await self.open()
        self.send(socket, {"x": [{"type": "register"}], "type": "resolve", "linkId": 5,
                           "address": "nobody", "auth": None})
        await self.expect(socket, UNKNOWN_ADDRESS)

    async def test_escapes_and_white_space(self):
        control, identity = await self.control()
        escaped = "".join(f"\\u{ord(c):04x}" for c in identity.address)
        socket = await self.open()
        text = f' \t\r\n{{ "\\u0074ype" : "r\\u0065solve" , "address":"{escaped}" }}\n'
        socket.send_frame(ws.TEXT, text.encode())
        await self.expect(socket, {"type": "found", "linkId": ...})
        await self.expect(control, {"type": "arrived", "linkId": ..., "address": identity.address})

    async def test_pings_and_pongs(self):
        control, _ = await self.control()
        pair = await self.spliced()
        for socket in (await self.open(), control, pair.control, pair.client, pair.end):
            for payload in (b"", b"x", bytes(range(125))):
                socket.send_frame(ws.PONG, b"nobody asked")
                socket.send_frame(ws.PING, payload)
                frame = await self.soon(socket.recv_frame())
                self.assertEqual((frame.opcode, frame.payload), (ws.PONG, payload))

    async def test_close_is_echoed(self):
        for code in (1000, 1001, 3000, 4321):
            socket = await self.open()
            self.assertEqual(await self.soon(socket.close(code, "why")), code)
        socket = await self.open()
        socket.close_sent = True
        socket.send_frame(ws.CLOSE)
        await self.expect_close(socket, ws.NO_STATUS, 1000)

    async def test_broken_framing_ends_the_socket(self):
        resolve = b'{"type":"resolve","address":"a"}'
        frames = {
            "unmasked": ws.encode_frame(ws.TEXT, resolve, mask=False),
            "rsv2": ws.encode_frame(ws.TEXT, resolve, rsv=2),
            "opcode 3": ws.encode_frame(3, resolve),
            "opcode 11": ws.encode_frame(11, b""),
            "continuation of nothing": ws.encode_frame(ws.CONTINUATION, resolve),
            "a message inside a message": ws.encode_frame(ws.TEXT, b"{", fin=False)
            + ws.encode_frame(ws.TEXT, resolve),
            "ping of 126": ws.encode_frame(ws.PING, bytes(126)),
            "fragmented ping": ws.encode_frame(ws.PING, b"", fin=False),
            "close of one byte": ws.encode_frame(ws.CLOSE, b"\x03"),
            "length above 2^63": ws.encode_frame(ws.TEXT, declared=1 << 63, form=64),
        }
        for name, data in frames.items():
            with self.subTest(name):
                socket = await self.open()
                socket.write(data)
                allowed = (1002, ws.ABNORMAL) + ((4000,) if "2^63" in name else ())
                await self.expect_close(socket, *allowed)


class Roles(RelayCase):
    """Section 3: who may say what."""

    async def refused(self, socket, message):
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        with self.subTest(data[:80]):
            socket.send_frame(ws.TEXT, data)
            await self.expect_close(socket, 4000)

    async def test_malformed_on_a_new_socket(self):
        for text in (b"", b"{", b"[]", b'"x"', b"1", b"null", b"{}", b"{'type':'resolve'}",
                     b'{"type":"resolve","address":"a"}x', b'{"type":"resolve","address":"a",}',
                     b'{"type":5}', b'{"type":null}', b'{"type":["resolve"]}',
                     b'{"type":"hello"}', b'{"type":""}', b'{"type":"Resolve","address":"a"}',
                     b'{"type":"getUsage"}', b'\xef\xbb\xbf{"type":"resolve","address":"a"}',
                     b'{"type":"relay","linkId":"a"}', b'{"type":"resolve","address":"\x01"}',
                     b'{"type":"resolve","address":"a","x":01}', b"nonsense"):
            await self.refused(await self.open(), text)

    async def test_relay_only_types(self):
        kinds = [{"type": "registered", "address": "a"}, {"type": "found", "linkId": "a"},
                 {"type": "arrived", "linkId": "a", "address": "a"},
                 {"type": "relaying", "linkId": "a"}, {"type": "usage", "connections": []},
                 {"type": "error", "error": "unknown_link"}]
        for message in kinds:
            await self.refused(await self.open(), message)
            control, identity = await self.control()
            client, link = await self.introduced(control, identity.address)
            await self.refused(client, message | ({"linkId": link} if "linkId" in message else {}))
            await self.refused(control, message)

    async def test_names_of_a_wrong_shape(self):
        for kind, member in (("resolve", "address"), ("accept", "linkId"), ("relay", "linkId"),
                             ("register", "address")):
            for bad in no_names(member):
                extra = {"auth": {}} if kind == "register" else {}
                await self.refused(await self.open(), {"type": kind} | bad | extra)

    async def test_relay_names_of_a_wrong_shape(self):
        control, identity = await self.control()
        for bad in no_names("linkId"):
            client, _ = await self.introduced(control, identity.address)
            await self.refused(client, {"type": "relay"} | bad)

    async def test_names_of_128_characters(self):
        socket = await self.open()
        for name in ("x" * 128, "\u00fc" * 128, "y", "\u20ac" * 128):
            self.send(socket, {"type": "resolve", "address": name})
            await self.expect(socket, UNKNOWN_ADDRESS)
            self.send(socket, {"type": "accept", "linkId": name})
            await self.expect(socket, UNKNOWN_LINK)

    async def test_failures_leave_the_socket_new(self):
        for last in ("register", "resolve", "accept"):
            control, identity = await self.control()
            client, link = await self.pending(control, identity.address)
            socket = await self.open()
            for _ in range(3):
                self.send(socket, {"type": "resolve", "address": "nobody"})
                await self.expect(socket, UNKNOWN_ADDRESS)
                self.send(socket, {"type": "accept", "linkId": "nothing"})
                await self.expect(socket, UNKNOWN_LINK)
            if last == "register":
                await self.control(socket=socket)
            elif last == "resolve":
                self.send(socket, {"type": "resolve", "address": identity.address})
                await self.expect(socket, {"type": "found", "linkId": ...})
            else:
                self.send(socket, {"type": "accept", "linkId": link})
                await self.expect(socket, {"type": "relaying", "linkId": link})
                await self.expect(client, {"type": "relaying", "linkId": link})

    async def test_control_socket(self):
        _, target = await self.control()
        for message in ({"type": "resolve", "address": target.address},
                        {"type": "resolve", "address": "nobody"},
                        {"type": "accept", "linkId": "nothing"}, {"type": "relay", "linkId": "a"}):
            control, _ = await self.control()
            await self.refused(control, message)
        control, identity = await self.control()
        _, link = await self.pending(control, identity.address)
        await self.refused(control, {"type": "accept", "linkId": link})
        control, identity = await self.control()
        _, link = await self.introduced(control, identity.address)
        await self.refused(control, {"type": "relay", "linkId": link})

    async def test_client_socket(self):
        control, identity = await self.control()
        other = register.Identity()
        for message in (self.register_message(other), self.register_message(identity),
                        {"type": "resolve", "address": identity.address},
                        {"type": "resolve", "address": "nobody"},
                        {"type": "accept", "linkId": "nothing"}, {"type": "getUsage"}):
            client, _ = await self.introduced(control, identity.address)
            await self.refused(client, message)
            client, _ = await self.pending(control, identity.address)
            await self.refused(client, message)
        await self.alive(control)

    async def test_relay_only_once_and_by_its_client(self):
        control, identity = await self.control()
        client, link = await self.introduced(control, identity.address)
        other, other_link = await self.introduced(control, identity.address)
        await self.refused(other, {"type": "relay", "linkId": link})
        await self.refused(await self.open(), {"type": "relay", "linkId": link})
        await self.refused(await self.open(), {"type": "relay", "linkId": other_link})
        self.send(client, {"type": "relay", "linkId": link})
        await self.expect(control, {"type": "relay", "linkId": link})
        await self.refused(client, {"type": "relay", "linkId": link})
        client, _ = await self.introduced(control, identity.address)
        await self.refused(client, {"type": "relay", "linkId": "nothing"})

    async def test_binary_before_the_splice(self):
        control, identity = await self.control()
        client, _ = await self.introduced(control, identity.address)
        waiting, _ = await self.pending(control, identity.address)
        for socket in (await self.open(), client, waiting, control):
            socket.send_frame(ws.BINARY, b'{"type":"getUsage"}')
            await self.expect_close(socket, 4000)

    async def test_unfinished_binary_before_the_splice(self):
        socket = await self.open()
        socket.send_frame(ws.BINARY, b"x", fin=False)
        socket.send_frame(ws.CONTINUATION, b"y")
        await self.expect_close(socket, 4000)

    async def test_get_usage_without_links(self):
        control, identity = await self.control()
        self.send(control, {"type": "getUsage"})
        await self.expect(control, {"type": "usage", "connections": []})
        client, link = await self.pending(control, identity.address)
        end = await self.accepted(client, link)
        self.send(control, {"type": "getUsage", "unknown": 1})
        await self.expect(control, {"type": "usage",
                                    "connections": [{"linkId": link, "unlimited": True}]})
        await self.alive(end)


class Links(RelayCase):
    """Section 3: the states of a link."""

    async def test_link_ids_are_random_uuids(self):
        control, identity = await self.control()
        seen = set()
        for _ in range(20):
            _, link = await self.introduced(control, identity.address)
            self.assertRegex(link, UUID)
            seen.add(link)
        self.assertEqual(len(seen), 20)

    async def unknown_link(self, link):
        socket = await self.open()
        self.send(socket, {"type": "accept", "linkId": link})
        await self.expect(socket, UNKNOWN_LINK)
        await self.alive(socket)

    async def test_accept_needs_a_pending_link(self):
        control, identity = await self.control()
        client, link = await self.introduced(control, identity.address)
        await self.unknown_link(link)
        self.send(client, {"type": "relay", "linkId": link})
        await self.expect(control, {"type": "relay", "linkId": link})
        await self.accepted(client, link)
        await self.unknown_link(link)
        await self.soon(client.close())
        await self.unknown_link(link)

    async def test_a_lost_race_for_accept_stays_new(self):
        control, identity = await self.control()
        client, link = await self.pending(control, identity.address)
        first, second = await self.open(), await self.open()
        for socket in (first, second):
            self.send(socket, {"type": "accept", "linkId": link})
            await self.expect(socket, {"type": "relaying", "linkId": link} if socket is first
                              else UNKNOWN_LINK)
        await self.expect(client, {"type": "relaying", "linkId": link})
        await self.control(socket=second)
        await self.carry(client, first, b"still spliced")

    async def test_client_goes(self):
        control, identity = await self.control()
        for make in (self.introduced, self.pending):
            for leave in ("close", "abort"):
                client, link = await make(control, identity.address)
                if leave == "close":
                    self.assertEqual(await self.soon(client.close(3210)), 3210)
                else:
                    client.abort()
                await self.until(lambda: self.relay.stats()["links"]["live"] == 0, "link ended")
                await self.unknown_link(link)
        await self.alive(control)

    async def test_refused_client_frees_its_link(self):
        control, identity = await self.control()
        client, link = await self.pending(control, identity.address)
        self.send(client, {"type": "nonsense"})
        await self.expect_close(client, 4000)
        await self.unknown_link(link)
        await self.alive(control)

    async def test_control_goes_before_the_splice(self):
        for leave in ("close", "abort", "4000"):
            control, identity = await self.control()
            first, _ = await self.introduced(control, identity.address)
            second, link = await self.pending(control, identity.address)
            if leave == "close":
                await self.soon(control.close())
            elif leave == "abort":
                control.abort()
            else:
                self.send(control, {"type": "nonsense"})
                await self.expect_close(control, 4000)
            await self.expect_close(first, 4003)
            await self.expect_close(second, 4003)
            await self.unknown_link(link)
            socket = await self.open()
            self.send(socket, {"type": "resolve", "address": identity.address})
            await self.expect(socket, UNKNOWN_ADDRESS)

    async def test_control_goes_after_the_splice(self):
        pair = await self.spliced()
        waiting, _ = await self.introduced(pair.control, pair.address)
        await self.soon(pair.control.close())
        await self.expect_close(waiting, 4003)  # so the relay has seen it
        await self.carry(pair.client, pair.end, b"1")
        await self.carry(pair.end, pair.client, b"2")

    async def test_an_end_goes(self):
        for leave in ("close", "empty close", "abort"):
            for flip in (False, True):
                with self.subTest(leave, flip=flip):
                    pair = await self.spliced()
                    gone, left = (pair.end, pair.client) if flip else (pair.client, pair.end)
                    if leave == "close":
                        self.assertEqual(await self.soon(gone.close(4321, "reason")), 4321)
                    elif leave == "empty close":
                        gone.send_frame(ws.CLOSE)
                        gone.close_sent = True
                        await self.expect_close(gone, ws.NO_STATUS, 1000)
                    else:
                        gone.abort()
                    await self.expect_close(left, 4003)
                    await self.alive(pair.control)

    async def test_all_is_delivered_before_the_close(self):
        for leave in ("close", "half close"):
            for flip in (False, True):
                with self.subTest(leave, flip=flip):
                    pair = await self.spliced()
                    gone, left = (pair.end, pair.client) if flip else (pair.client, pair.end)
                    messages = [bytes([n]) * size for n, size in
                                enumerate((6, 0, 300000, 1, 2 * MIB, 70000, 6))]
                    for data in messages:
                        gone.send_frame(ws.BINARY, data)
                    if leave == "close":
                        gone.close_sent = True
                        gone.send_frame(ws.CLOSE, (1000).to_bytes(2, "big"))
                    else:
                        gone.writer.write_eof()
                    for data in messages:
                        _, got = await self.soon(left.recv_message())
                        self.assertTrue(got == data, f"{len(got)} of {len(data)} bytes")
                    await self.expect_close(left, 4003)

    async def test_a_refusal_arrives_before_its_close(self):
        for _ in range(20):
            pair = await self.spliced()
            pair.end.write(ws.encode_frame(ws.BINARY, b"FLk1\x00\x01")
                           + ws.encode_frame(ws.CLOSE, b"\x03\xe8"))
            self.assertEqual(await self.soon(pair.client.recv()), b"FLk1\x00\x01")
            await self.expect_close(pair.client, 4003)

    async def test_an_unfinished_message_is_never_delivered(self):
        for piece in (ws.encode_frame(ws.BINARY, b"half", fin=False),
                      ws.encode_frame(ws.BINARY, b"half", declared=1000),
                      ws.encode_frame(ws.BINARY, b"")[:3]):
            pair = await self.spliced()
            await self.carry(pair.client, pair.end, b"whole")
            pair.client.write(piece)
            pair.client.writer.write_eof()
            await self.expect_close(pair.end, 4003, ws.ABNORMAL)

    async def test_many_links_of_one_host(self):
        control, identity = await self.control()
        pairs = [await self.spliced(control=control, identity=identity) for _ in range(40)]
        for number, pair in enumerate(pairs):
            pair.client.send_frame(ws.BINARY, b"c%d" % number)
            pair.end.send_frame(ws.TEXT, b"h%d" % number)
        for number, pair in enumerate(pairs):
            self.assertEqual(await self.soon(pair.end.recv()), b"c%d" % number)
            self.assertEqual(await self.soon(pair.client.recv()), "h%d" % number)
        for pair in pairs[::2]:
            pair.client.abort()
        for pair in pairs[::2]:
            await self.expect_close(pair.end, 4003)
        for pair in pairs[1::2]:
            await self.carry(pair.client, pair.end, b"still here")


class Payload(RelayCase):
    """Section 2: after the splice all is opaque."""

    async def both_ways(self):
        pair = await self.spliced()
        return (pair.client, pair.end), (pair.end, pair.client)

    async def test_sizes_and_opcodes(self):
        for sender, receiver in await self.both_ways():
            for size in (0, 1, 125, 126, 127, 4096, 4097, 65535, 65536, 300001):
                for opcode in (ws.TEXT, ws.BINARY):
                    await self.carry(sender, receiver, os.urandom(size), opcode)

    async def test_control_messages_are_payload_now(self):
        for sender, receiver in await self.both_ways():
            for text in (b'{"type":"nonsense"}', b'{"type":"getUsage"}', b"{", b"\xff\xfe\x00",
                         b'{"type":"error","error":"unknown_link"}'):
                await self.carry(sender, receiver, text, ws.TEXT)

    async def test_boundaries_in_a_burst(self):
        for sender, receiver in await self.both_ways():
            sizes = [n % 7 * 41 for n in range(500)]
            sender.write(b"".join(
                ws.encode_frame(ws.TEXT if n % 3 else ws.BINARY, bytes([n % 256]) * size)
                for n, size in enumerate(sizes)))
            for n, size in enumerate(sizes):
                got = await self.soon(receiver.recv_message())
                self.assertEqual(got, (ws.TEXT if n % 3 else ws.BINARY, bytes([n % 256]) * size))

    async def test_fragments_with_pings_between(self):
        for sender, receiver in await self.both_ways():
            for opcode in (ws.TEXT, ws.BINARY):
                parts = [os.urandom(n) for n in (10, 0, 70000, 3)]
                for n, part in enumerate(parts):
                    sender.send_frame(opcode if n == 0 else ws.CONTINUATION, part,
                                      fin=n == len(parts) - 1)
                    sender.send_frame(ws.PING, b"p%d" % n)
                got = await self.soon(receiver.recv_message())
                self.assertTrue(got == (opcode, b"".join(parts)))
                for n in range(len(parts)):
                    frame = await self.soon(sender.recv_frame())
                    self.assertEqual((frame.opcode, frame.payload), (ws.PONG, b"p%d" % n))
            self.assertEqual(receiver.pings_seen, 0)

    async def test_byte_by_byte(self):
        for sender, receiver in await self.both_ways():
            frames = (ws.encode_frame(ws.BINARY, bytes(range(200)))
                      + ws.encode_frame(ws.PING, b"p")
                      + ws.encode_frame(ws.TEXT, b"a", fin=False)
                      + ws.encode_frame(ws.CONTINUATION, b"b"))
            for byte in frames:
                sender.write(bytes([byte]))
                await asyncio.sleep(0)
            self.assertEqual(await self.soon(receiver.recv_message()),
                             (ws.BINARY, bytes(range(200))))
            self.assertEqual(await self.soon(receiver.recv_message()), (ws.TEXT, b"ab"))

    async def test_payload_right_behind_accept(self):
        control, identity = await self.control()
        client, link = await self.pending(control, identity.address)
        end = await self.open()
        accept = json.dumps({"type": "accept", "linkId": link}).encode()
        end.write(ws.encode_frame(ws.TEXT, accept) + ws.encode_frame(ws.BINARY, b"early"))
        await self.expect(end, {"type": "relaying", "linkId": link})
        await self.expect(client, {"type": "relaying", "linkId": link})
        self.assertEqual(await self.soon(client.recv()), b"early")

    async def test_16_mib_exactly(self):
        blob = os.urandom(16 * MIB)
        for sender, receiver in await self.both_ways():
            sender.send_frame(ws.BINARY, blob)
            _, got = await self.soon(receiver.recv_message())
            self.assertTrue(got == blob)
        sender.send_frame(ws.BINARY, blob[: 9 * MIB], fin=False)
        sender.send_frame(ws.CONTINUATION, blob[9 * MIB :])
        _, got = await self.soon(receiver.recv_message())
        self.assertTrue(got == blob)

    async def test_one_byte_more_is_1009(self):
        for declared in (16 * MIB + 1, 1 << 40, (1 << 63) - 1):
            for flip in (False, True):
                pair = await self.spliced()
                sender, receiver = (pair.end, pair.client) if flip else (pair.client, pair.end)
                sender.send_frame(ws.BINARY, b"", declared=declared)
                await self.expect_close(sender, 1009)
                await self.expect_close(receiver, 4003)

    async def test_one_byte_more_in_fragments_is_1009(self):
        pair = await self.spliced()
        reading = asyncio.ensure_future(self.expect_close(pair.end, 4003))
        pair.client.send_frame(ws.BINARY, bytes(16 * MIB - 1), fin=False)
        pair.client.send_frame(ws.CONTINUATION, b"1", fin=False)
        await self.alive(pair.client)
        pair.client.send_frame(ws.CONTINUATION, b"2")
        await self.expect_close(pair.client, 1009)
        await reading

    async def test_a_message_of_16_mib_and_one_byte_sent_whole(self):
        pair = await self.spliced()
        pair.client.send_frame(ws.BINARY, bytes(16 * MIB + 1))
        # the relay may stop reading, so its close frame can be lost to the reset
        await self.expect_close(pair.client, 1009, ws.ABNORMAL)
        await self.expect_close(pair.end, 4003)

    async def test_broken_framing_ends_the_link(self):
        for data in (ws.encode_frame(ws.BINARY, b"x", mask=False),
                     ws.encode_frame(ws.BINARY, b"x", rsv=4), ws.encode_frame(5, b"x"),
                     ws.encode_frame(ws.CONTINUATION, b"x"), ws.encode_frame(ws.PING, bytes(126))):
            for flip in (False, True):
                pair = await self.spliced()
                sender, receiver = (pair.end, pair.client) if flip else (pair.client, pair.end)
                sender.write(data)
                await self.expect_close(sender, 1002, ws.ABNORMAL)
                await self.expect_close(receiver, 4003)

    async def test_a_receiver_that_does_not_read_loses_nothing(self):
        pair = await self.spliced()
        chunk = os.urandom(MIB)
        for number in range(40):
            pair.client.send_frame(ws.BINARY, bytes([number]) + chunk)
        pair.client.send_frame(ws.TEXT, b"last")
        await self.alive_elsewhere()
        for number in range(40):
            _, got = await self.soon(pair.end.recv_message())
            self.assertTrue(got == bytes([number]) + chunk, number)
        self.assertEqual(await self.soon(pair.end.recv()), "last")

    async def alive_elsewhere(self):
        other = await self.spliced()
        await self.carry(other.client, other.end, b"others are served")

    async def test_frozen_host_and_client(self):
        host = Host([self.relay.url], on_request=lambda cmd: {"echo": cmd})
        await self.soon(host.start())
        try:
            host.open_code("code", b"12345678")
            credential, session = await self.soon(v1_client.pair(
                [self.relay.url], host.address, "code", b"12345678"))
            self.assertEqual(await session.request([1]), {"echo": [1]})
            await session.close()
            session = await self.soon(v1_client.reconnect([self.relay.url], credential))
            self.assertEqual(await session.request("again"), {"echo": "again"})
            await self.soon(session.cap_received.wait())
            await session.send_event("blob", bytes(3 * MIB))
            other = await self.soon(host.sessions.get())
            other = await self.soon(host.sessions.get())
            self.assertEqual(await self.soon(other.events.get()), ("blob", bytes(3 * MIB)))
            await session.close()
            await host.revoke(credential.key_id)
            with self.assertRaises(v1_client.Revoked):
                await self.soon(v1_client.reconnect([self.relay.url], credential))
        finally:
            await host.stop()


class Registration(RelayCase):
    """Section 4."""

    async def refused(self, message, code=4007, **options):
        socket = await self.open(**options)
        self.send(socket, message)
        await self.expect_close(socket, code)

    async def test_auth_of_a_wrong_shape(self):
        identity = register.Identity()
        good = self.register_message(identity)
        for auth in (None, 5, "x", [], {}, [good["auth"]]):
            await self.refused(good | {"auth": auth})
        missing = dict(good)
        del missing["auth"]
        await self.refused(missing)
        public, sig = good["auth"]["pub"], good["auth"]["sig"]
        for member, values in {
            "alg": ("Ed25519", "", None, 5, "rsa"),
            "pub": ("", None, 5, public + "=", public[:-1], public + "A",
                    codec.b64u(identity.register_public[:-1]), public[:-1] + "*",
                    public.replace(public[0], "+", 1)),
            "ts": (None, str(good["auth"]["ts"]), [], True, good["auth"]["ts"] + 0.5),
            "nonce": (None, "", 5, "x" * 89, []),
            "sig": ("", None, 5, sig + "=", sig[:-1], sig + "AA",
                    codec.b64u(codec.unb64u(sig)[:-1])),
        }.items():
            for value in values:
                with self.subTest(member, value=value):
                    await self.refused(good | {"auth": good["auth"] | {member: value}})
            with self.subTest(member, value="missing"):
                auth = {k: v for k, v in good["auth"].items() if k != member}
                await self.refused(good | {"auth": auth})

    async def test_signature(self):
        identity, other = register.Identity(), register.Identity()
        good = self.register_message(identity)
        raw = codec.unb64u(good["auth"]["sig"])
        order = (1 << 252) + 27742317777372353535851937790883648493
        grown = int.from_bytes(raw[32:], "little") + order
        for sig in (bytes([raw[0] ^ 1]) + raw[1:], raw[:40] + bytes([raw[40] ^ 1]) + raw[41:],
                    bytes(64), raw[:32] + grown.to_bytes(32, "little")):
            await self.refused(good | {"auth": good["auth"] | {"sig": codec.b64u(sig)}})
        await self.refused(good | {"auth": good["auth"] | {"ts": good["auth"]["ts"] + 1}})
        await self.refused(good | {"auth": good["auth"] | {"nonce": "other"}})
        await self.refused(good | {"address": other.address})
        # signed by the other key for an address that is not its own
        await self.refused(self.register_message(other, address=identity.address))
        await self.refused(self.register_message(identity, address="x"))

    async def test_address_is_not_the_commitment(self):
        identity = register.Identity()
        wrong = codec.b64u(hashlib.sha256(identity.static_public).digest())
        await self.refused(self.register_message(identity, address=wrong))
        await self.refused(self.register_message(identity, address=identity.address + "="))
        await self.refused(self.register_message(identity, address=identity.address.swapcase()))

    async def test_clock_window(self):
        for offset in (-310_000, 310_000, -10**12, 10**12):
            message = self.register_message(register.Identity(), ts=now_ms() + offset)
            await self.refused(message)
        for offset in (-280_000, 280_000):
            await self.control(ts=now_ms() + offset)

    async def test_nonces(self):
        for nonce in ("x", "x" * 88, "\u00fc" * 88, "a b"):
            await self.control(nonce=nonce)

    async def test_origin_comes_from_host(self):
        identity = register.Identity()
        for origin in ("127.0.0.1", f"localhost:{self.relay.port}", "", "127.0.0.1:1"):
            await self.refused(register.register_message(identity, origin))
        for host, origin in ((f"LocalHost:{self.relay.port}", f"localhost:{self.relay.port}"),
                             ("  Relay.EXAMPLE \t", "relay.example"), ("[::1]:8080", "[::1]:8080")):
            socket = await self.open(host=host)
            await self.control(socket=socket, origin=origin)
            wrong = register.register_message(identity, origin + "x")
            await self.refused(wrong, host=host)

    async def test_register_again_on_the_same_socket(self):
        ts = now_ms()
        control, identity = await self.control(ts=ts)
        client, link = await self.introduced(control, identity.address)
        await self.control(identity, socket=control, ts=ts + 1)
        self.send(client, {"type": "relay", "linkId": link})
        await self.expect(control, {"type": "relay", "linkId": link})
        for stale in (ts + 1, ts, ts - 1000):
            self.send(control, self.register_message(identity, ts=stale))
            await self.expect(control, STALE)
        await self.accepted(client, link)
        await self.control(identity, socket=control, ts=ts + 2)

    async def test_register_on_another_socket(self):
        ts = now_ms()
        old, identity = await self.control(ts=ts)
        pair_client, link = await self.pending(old, identity.address)
        end = await self.accepted(pair_client, link)
        waiting, _ = await self.pending(old, identity.address)
        for stale in (ts, ts - 1):
            socket = await self.open()
            self.send(socket, self.register_message(identity, ts=stale))
            await self.expect(socket, STALE)
            self.send(socket, {"type": "resolve", "address": "nobody"})  # its role is still new
            await self.expect(socket, UNKNOWN_ADDRESS)
        new, _ = await self.control(identity, ts=ts + 1)
        await self.expect_close(old, 4005)
        await self.expect_close(waiting, 4003)
        await self.carry(pair_client, end, b"a relaying link lives on")
        await self.introduced(new, identity.address)

    async def test_replay(self):
        identity = register.Identity()
        control = await self.open()
        message = self.register_message(identity)
        self.send(control, message)
        await self.expect(control, {"type": "registered", "address": identity.address})
        for socket in (control, await self.open()):
            self.send(socket, message)
            await self.expect(socket, STALE)
        await self.soon(control.close())
        thief = await self.open()
        self.send(thief, {"type": "resolve", "address": identity.address})
        await self.expect(thief, UNKNOWN_ADDRESS)
        for replay in (message, message | {"x": 1}):
            self.send(thief, replay)
            await self.expect(thief, STALE)
        self.send(thief, {"type": "resolve", "address": identity.address})
        await self.expect(thief, UNKNOWN_ADDRESS)
        self.send(thief, {"type": "getUsage"})
        await self.expect_close(thief, 4000)
        await self.control(identity)

    async def test_an_older_ts_after_the_registration_has_gone(self):
        ts = now_ms()
        control, identity = await self.control(ts=ts)
        await self.soon(control.close())
        await self.control(identity, ts=ts - 1000)  # the pin has gone; this is no replay

    async def test_several_addresses_on_one_socket(self):
        control, first = await self.control()
        _, second = await self.control(socket=control)
        self.assertGreaterEqual(self.relay.stats()["addressRegistrations"], 2)
        for identity in (first, second, first):
            client, link = await self.pending(control, identity.address)
            await self.accepted(client, link)
        self.send(control, self.register_message(second, ts=now_ms() - 60_000))
        await self.expect(control, STALE)
        taken, _ = await self.control(first, ts=now_ms() + 1000)
        await self.expect_close(control, 4005)
        socket = await self.open()
        self.send(socket, {"type": "resolve", "address": second.address})
        await self.expect(socket, UNKNOWN_ADDRESS)  # it went with its socket
        await self.introduced(taken, first.address)

    async def test_register_from_a_relay_end_is_payload(self):
        pair = await self.spliced()
        text = json.dumps(self.register_message(register.Identity())).encode()
        await self.carry(pair.end, pair.client, text, ws.TEXT)


class Origin(RelayCase):
    env = {"LINK_ORIGIN": "Relay.Example:8443"}

    async def test_configured_origin(self):
        await self.control(origin="relay.example:8443")
        socket = await self.open(host="elsewhere")
        await self.control(socket=socket, origin="relay.example:8443")
        for origin in (self.relay.origin, "Relay.Example:8443", "relay.example"):
            socket = await self.open()
            self.send(socket, self.register_message(register.Identity(), origin=origin))
            await self.expect_close(socket, 4007)


class ClosedMode(RelayCase):
    @classmethod
    def setUpClass(cls):
        cls.listed = [register.Identity() for _ in range(5)]
        keys = [codec.b64u(identity.register_public) for identity in cls.listed]
        with tempfile.NamedTemporaryFile("w", suffix=".keys", delete=False) as file:
            file.write(f"# keys\n\n{keys[3]}\n  {keys[4]}  # the last\n#{keys[0]}\n")
            cls.file = file.name
        cls.env = {"LINK_ALLOWED_REGISTER_KEYS": f"{keys[0]},{keys[1]} {keys[2]}",
                   "LINK_ALLOWED_REGISTER_KEYS_FILE": cls.file}
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        os.unlink(cls.file)
        super().tearDownClass()

    async def test_only_listed_keys_register(self):
        for identity in self.listed:
            await self.control(identity)
        socket = await self.open()
        self.send(socket, self.register_message(register.Identity()))
        await self.expect_close(socket, 4010)

    async def test_auth_is_checked_first(self):
        socket = await self.open()
        message = self.register_message(register.Identity(), origin="wrong")
        self.send(socket, message)
        await self.expect_close(socket, 4007)

    async def test_clients_need_no_key(self):
        control, identity = await self.control(self.listed[0])
        await self.introduced(control, identity.address)

    async def test_a_file_without_keys_closes_to_all(self):
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as file:
            file.write("# nobody\n")
            file.flush()
            relay = self.own({"LINK_ALLOWED_REGISTER_KEYS_FILE": file.name})
        socket = await self.open(relay=relay)
        self.send(socket, self.register_message(self.listed[0], relay))
        await self.expect_close(socket, 4010)


class IpRate(OwnRelays):
    LIMIT = 4

    def start(self, **env):
        self.relay = self.own({"LINK_IP_RATE_PER_MIN": str(self.LIMIT)} | env)

    async def spend(self, **options):
        """How many resolves pass before 4002; each on a socket of its own. A fixed window may end
        once on the way, so up to twice the budget can pass."""
        for passed in range(2 * self.LIMIT + 1):
            socket = await self.open(**options)
            self.send(socket, {"type": "resolve", "address": "nobody"})
            try:
                await self.expect(socket, UNKNOWN_ADDRESS)
            except ws.Closed as closed:
                self.assertEqual(closed.code, 4002)
                return passed
        raise AssertionError("never 4002")

    async def test_budget_of_register_and_resolve(self):
        self.start()
        control, _ = await self.control()
        self.assertGreaterEqual(await self.spend(), self.LIMIT - 1)
        message = self.register_message(register.Identity())
        for _ in range(self.LIMIT + 1):  # if the window has just ended, it is spent again
            socket = await self.open()
            self.send(socket, message)
            try:
                await self.soon(socket.recv_message())
            except ws.Closed as closed:
                self.assertEqual(closed.code, 4002)
                break
        else:
            raise AssertionError("registers are not counted")
        await self.alive(control)
        self.assertGreaterEqual(await self.spend(local_addr=("127.0.0.2", 0)), self.LIMIT)

    async def test_same_socket_is_counted_too(self):
        self.start()
        socket = await self.open()
        for _ in range(2 * self.LIMIT + 1):
            self.send(socket, {"type": "resolve", "address": "nobody"})
        passed = 0
        with self.assertRaises(ws.Closed) as caught:
            while True:
                await self.soon(socket.recv_message())
                passed += 1
        self.assertEqual(caught.exception.code, 4002)
        self.assertGreaterEqual(passed, self.LIMIT)

    async def test_forwarded_for_is_ignored_by_default(self):
        self.start()
        with self.assertRaises(ws.Closed) as caught:
            for number in range(2 * self.LIMIT + 1):
                socket = await self.open(
                    extra=[("X-Forwarded-For", f"192.0.2.{number}")])
                self.send(socket, {"type": "resolve", "address": "nobody"})
                await self.expect(socket, UNKNOWN_ADDRESS)
        self.assertEqual(caught.exception.code, 4002)

    async def test_trusted_proxy(self):
        self.start(LINK_TRUST_PROXY="1")
        for first in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
            hops = [("X-Forwarded-For", f"{first}, 198.51.100.7"), ]
            self.assertGreaterEqual(await self.spend(extra=hops), self.LIMIT, first)

    async def test_off(self):
        self.start(LINK_IP_RATE_PER_MIN="0")
        socket = await self.open()
        for _ in range(200):
            self.send(socket, {"type": "resolve", "address": "nobody"})
        for _ in range(200):
            await self.expect(socket, UNKNOWN_ADDRESS)

    async def test_default_is_60(self):
        self.relay = RelayProcess().wait_ready()
        self.own_relays.append(self.relay)
        socket = await self.open()
        passed = 0
        with self.assertRaises(ws.Closed) as caught:
            for _ in range(121):
                self.send(socket, {"type": "resolve", "address": "nobody"})
                await self.expect(socket, UNKNOWN_ADDRESS)
                passed += 1
        self.assertEqual(caught.exception.code, 4002)
        self.assertGreaterEqual(passed, 60)


class BadConfiguration(unittest.TestCase):
    """Refuses to start, naming variable and value."""

    NUMBERS = ("-1", "x", "1x", "1 x", "0x10", "1.5", "1e6", "9" * 40, "--1")

    def refuses(self, name, value, shown=None, arguments=("--listen", "127.0.0.1:0")):
        with self.subTest(name, value=value):
            relay = RelayProcess({name: value}, arguments=arguments)
            try:
                status = relay.wait()
            except Exception:
                relay.kill()
                raise AssertionError(f"it started with {name}={value}") from None
            self.assertGreater(status, 0, relay.output)
            self.assertIn(name, relay.output)
            self.assertIn(shown or value, relay.output)
            self.assertNotIn("listening on", relay.output)

    def test_numbers(self):
        for name in ("LINK_RELAY_MAX_BPS", "LINK_RELAY_HOURLY_BYTES", "LINK_RELAY_TRICKLE_BPS",
                     "LINK_RELAY_IDLE_SEC", "LINK_IP_RATE_PER_MIN"):
            for value in self.NUMBERS:
                self.refuses(name, value)

    def test_zero_where_one_is_the_least(self):
        for name in ("LINK_RELAY_TRICKLE_BPS", "LINK_RELAY_IDLE_SEC"):
            self.refuses(name, "0")

    def test_port(self):
        for value in (*self.NUMBERS, "0", "65536", "99999999"):
            self.refuses("LINK_PORT", value, arguments=())

    def test_trust_proxy(self):
        for value in ("2", "-1", "yes", "true", "01x", "1 0"):
            self.refuses("LINK_TRUST_PROXY", value)

    def test_allowlist(self):
        for word in ("nonsense", codec.b64u(bytes(31)), codec.b64u(bytes(33)),
                     codec.b64u(bytes(32)) + "=", "*" * 43):
            self.refuses("LINK_ALLOWED_REGISTER_KEYS", word)
            self.refuses("LINK_ALLOWED_REGISTER_KEYS", f"{codec.b64u(bytes(32))},{word}", word)

    def test_allowlist_file(self):
        name = "LINK_ALLOWED_REGISTER_KEYS_FILE"
        self.refuses(name, "/nonexistent/keys")
        self.refuses(name, "/")
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as file:
            file.write(f"{codec.b64u(bytes(32))}\nnot-a-key # really\n")
            file.flush()
            self.refuses(name, file.name, "not-a-key")


class Process(OwnRelays):
    async def test_link_port(self):
        with socket_module.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        relay = self.own({"LINK_PORT": str(port)}, arguments=())
        self.assertEqual(relay.port, port)
        await self.alive(await self.open(relay=relay))

    async def test_empty_variables_are_the_defaults(self):
        relay = self.own({"LINK_ORIGIN": "", "LINK_ALLOWED_REGISTER_KEYS": "",
                          "LINK_ALLOWED_REGISTER_KEYS_FILE": ""})
        await self.control(relay=relay)

    async def test_sigterm(self):
        relay = self.own()
        control, identity = await self.control(relay=relay)
        pair = await self.spliced(relay, control, identity)
        introduced, _ = await self.introduced(control, identity.address, relay)
        pending, _ = await self.pending(control, identity.address, relay)
        new = await self.open(relay=relay)
        relay.terminate()
        for socket in (new, introduced, pending, pair.client, pair.end, control):
            await self.expect_close(socket, 1001)
        self.assertEqual(await asyncio.to_thread(relay.wait), 0)

    async def test_sigterm_does_not_wait_for_the_deaf(self):
        relay = self.own()
        pair = await self.spliced(relay)
        pair.client.writer.transport.pause_reading()
        for _ in range(30):
            pair.end.send_frame(ws.BINARY, bytes(MIB))
        relay.terminate()
        self.assertEqual(await asyncio.to_thread(relay.wait), 0)


class Idle(RelayCase):
    env = {"LINK_RELAY_IDLE_SEC": "1"}

    async def test_links_of_every_state_are_reaped(self):
        control, identity = await self.control()
        t0 = time.monotonic()
        introduced, _ = await self.introduced(control, identity.address)
        t1 = time.monotonic()
        pending, link = await self.pending(control, identity.address)
        t2 = time.monotonic()
        pair = await self.spliced(control=control, identity=identity)
        for socket, since in ((introduced, t0), (pending, t1), (pair.client, t2), (pair.end, t2)):
            await self.expect_close(socket, 4004)
            self.assertGreaterEqual(time.monotonic(), since + 1 - ROUNDING_SEC)
        await self.alive(control)  # not a link, not reaped
        socket = await self.open()
        self.send(socket, {"type": "accept", "linkId": link})
        await self.expect(socket, UNKNOWN_LINK)
        closed = self.relay.stats()["recentlyClosed"]
        self.assertEqual([(c["linkId"], c["reason"]) for c in closed if c["linkId"] ==
                          pair.link_id], [(pair.link_id, "idle")])

    async def test_traffic_keeps_a_link(self):
        for _ in range(5):  # again when this machine was too slow to keep up the traffic
            pair = await self.spliced()
            start = last = time.monotonic()
            longest, closed = 0, None
            sender, receiver = pair.client, pair.end
            while closed is None and time.monotonic() < start + 2.2:
                sender, receiver = receiver, sender
                sender.send_frame(ws.BINARY, b"x")
                try:
                    await self.soon(receiver.recv_message())
                except ws.Closed as error:
                    closed = error.code
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
                await asyncio.sleep(0.2)
            if closed is None:
                return
            if longest < 0.9:
                raise AssertionError(f"closed {closed} although it had traffic")
        self.skipTest("this machine is too slow for it")


class Rate(RelayCase):
    env = {"LINK_RELAY_MAX_BPS": "20000", "LINK_RELAY_IDLE_SEC": "1"}

    async def arrivals(self, sender, receiver, sizes):
        """When each message arrived, since before the first was sent."""
        start = time.monotonic()
        for number, size in enumerate(sizes):
            sender.send_frame(ws.BINARY, bytes([number]) * size)
        times = []
        for number, size in enumerate(sizes):
            got = await self.soon(receiver.recv())
            self.assertTrue(got == bytes([number]) * size, number)
            times.append(time.monotonic() - start)
        return times

    async def test_burst_then_rate(self):
        pair = await self.spliced()
        times = await self.arrivals(pair.client, pair.end, [20000, 20000, 10000, 5000])
        self.assertGreaterEqual(times[2], 0.5 - ROUNDING_SEC)
        self.assertGreaterEqual(times[3], 0.75 - ROUNDING_SEC)
        await self.alive(pair.client)

    async def test_one_message_over_the_burst_goes_into_debt(self):
        pair = await self.spliced()
        times = await self.arrivals(pair.end, pair.client, [60000, 1])
        self.assertGreaterEqual(times[0], 1 - ROUNDING_SEC)
        self.assertGreaterEqual(times[1], 1 - ROUNDING_SEC)

    async def test_both_directions_share_the_bucket(self):
        pair = await self.spliced()
        start = time.monotonic()
        await self.carry(pair.client, pair.end, bytes(40000))
        await self.carry(pair.end, pair.client, bytes(20000))
        self.assertGreaterEqual(time.monotonic() - start, 1 - ROUNDING_SEC)

    async def test_links_do_not_share_it(self):
        # the first link is held for an hour; the second has its own full bucket
        control, identity = await self.control()
        held = await self.spliced(control=control, identity=identity)
        free = await self.spliced(control=control, identity=identity)
        held.client.send_frame(ws.BINARY, bytes(8 * MIB))
        held.client.send_frame(ws.BINARY, b"x")
        for _ in range(2):
            await self.carry(free.client, free.end, bytes(20000))

    async def test_a_held_message_counts_as_activity(self):
        pair = await self.spliced()  # idle after 1 s, held for 2.5 s
        times = await self.arrivals(pair.client, pair.end, [40000, 50000])
        self.assertGreaterEqual(times[1], 2.5 - ROUNDING_SEC)
        await self.expect_close(pair.end, 4004)
        await self.expect_close(pair.client, 4004)

    async def test_a_close_waits_for_what_is_held(self):
        for leave in ("close", "half close"):
            pair = await self.spliced()
            start = time.monotonic()
            for size in (40000, 10000, 6):
                pair.end.send_frame(ws.BINARY, bytes(size))
            if leave == "close":
                pair.end.close_sent = True
                pair.end.send_frame(ws.CLOSE, b"\x03\xe8")
            else:
                pair.end.writer.write_eof()
            for size in (40000, 10000, 6):
                self.assertEqual(len(await self.soon(pair.client.recv())), size)
            self.assertGreaterEqual(time.monotonic() - start, 0.5 - ROUNDING_SEC)
            await self.expect_close(pair.client, 4003)

    async def test_a_held_sender_hears_that_its_peer_has_gone(self):
        for flip in (False, True):
            pair = await self.spliced()
            sender, receiver = (pair.end, pair.client) if flip else (pair.client, pair.end)
            sender.send_frame(ws.BINARY, bytes(16 * MIB))  # held for ten minutes and more
            await self.carry_is_charged(pair)
            self.assertEqual(await self.soon(receiver.close(3333)), 3333)
            await self.expect_close(sender, 4003)

    async def carry_is_charged(self, pair):
        """Until the relay has seen the big message's head."""
        def charged():
            for entry in self.relay.stats()["liveLinks"]:
                if entry.get("linkId") == pair.link_id:
                    return entry["bytesFromHost"] + entry["bytesFromClient"] > 0
            return False
        try:
            await asyncio.wait_for(self.until(charged, "charged"), 0.3)
        except asyncio.TimeoutError:
            pass  # it may count a message when it leaves

    async def test_the_sender_is_not_read_while_held(self):
        pair = await self.spliced()
        reading = asyncio.ensure_future(pair.end.recv())
        for _ in range(64):  # the first is held for a minute
            pair.client.send_frame(ws.BINARY, bytes(MIB))
        transport = pair.client.writer.transport
        left, quiet = transport.get_write_buffer_size(), time.monotonic()
        while time.monotonic() < quiet + 0.7:
            await asyncio.sleep(0.05)
            if transport.get_write_buffer_size() != left:
                left, quiet = transport.get_write_buffer_size(), time.monotonic()
        self.assertGreater(left, 40 * MIB)  # the rest is in the kernel's buffers
        self.assertFalse(reading.done())
        reading.cancel()

    async def test_no_quota_no_push(self):
        pair = await self.spliced()
        await self.arrivals(pair.client, pair.end, [40000, 4000])
        self.send(pair.control, {"type": "getUsage"})
        await self.expect(pair.control, {"type": "usage", "connections": [
            {"linkId": pair.link_id, "unlimited": True}]})


class Quota(RelayCase):
    QUOTA = 360_000
    REFILL = 100  # bytes a second
    env = {"LINK_RELAY_HOURLY_BYTES": str(QUOTA), "LINK_RELAY_TRICKLE_BPS": "2000"}

    async def pull(self, control):
        self.send(control, {"type": "getUsage"})
        return (await self.expect(control, {"type": "usage", "connections": ...}))["connections"]

    def check_used(self, connection, sent, elapsed):
        """`used` after so many bytes, refilled for at most `elapsed`."""
        self.assertEqual(set(connection), {"linkId", "used", "throttled"})
        used = connection["used"]
        self.assertEqual(used, round(used, 4))
        self.assertLessEqual(used, round(sent / self.QUOTA, 4))
        least = max(sent - self.REFILL * elapsed, 0) / self.QUOTA
        self.assertGreaterEqual(used, least - 0.0001)

    async def test_pull(self):
        pair = await self.spliced()
        self.assertEqual(await self.pull(pair.control),
                         [{"linkId": pair.link_id, "used": 0, "throttled": False}])
        start, sent = time.monotonic(), 0
        for size, (sender, receiver) in ((12345, (pair.client, pair.end)),
                                         (54321, (pair.end, pair.client))):
            await self.carry(sender, receiver, bytes(size))
            sent += size
            (connection,) = await self.pull(pair.control)
            self.check_used(connection, sent, time.monotonic() - start)
            self.assertIs(connection["throttled"], False)
        entry = self.relay.stats()["liveLinks"][0]
        self.assertEqual(set(entry), {"linkId", "state", "startedAt", "relayStartedAt",
                                      "bytesFromHost", "bytesFromClient", "usedFraction",
                                      "throttled"})
        self.assertEqual((entry["linkId"], entry["throttled"]), (pair.link_id, False))
        self.assertLessEqual(entry["usedFraction"], round(sent / self.QUOTA, 4))
        self.assertGreater(entry["usedFraction"], 0)

    async def push(self, control):
        return (await self.expect(control, {"type": "usage", "connections": ...}))["connections"]

    async def test_pushes_at_the_marks(self):
        pair = await self.spliced()
        start, sent, pushed = time.monotonic(), 0, 0
        for mark in (0.5, 0.8, 0.95):
            size = int(mark * self.QUOTA) + 4000 - sent  # refill of 40 s does not undo it
            sent += size
            await self.carry(pair.client, pair.end, bytes(size))
            (connection,) = await self.push(pair.control)
            self.assertGreaterEqual(time.monotonic(), start + pushed - ROUNDING_SEC)
            pushed += 1  # at most one a second
            self.check_used(connection, sent, time.monotonic() - start)
            self.assertGreaterEqual(connection["used"], mark)
            self.assertEqual((connection["linkId"], connection["throttled"]),
                             (pair.link_id, False))

    async def test_nothing_is_pushed_between_the_marks(self):
        pair = await self.spliced()
        for _ in range(3):
            await self.carry(pair.client, pair.end, bytes(50000))
        await self.alive(pair.control)  # no push came before the pong
        await self.carry(pair.client, pair.end, bytes(40000))
        self.assertGreaterEqual((await self.push(pair.control))[0]["used"], 0.5)

    async def test_trickle(self):
        pair = await self.spliced()
        start = time.monotonic()
        # the quota covers what it can; trickle capacity 4000, so 6000 short is a second of hold
        await self.carry(pair.client, pair.end, bytes(self.QUOTA + 6000))
        elapsed = time.monotonic() - start
        self.assertGreaterEqual(elapsed, 1 - self.REFILL * elapsed / 2000 - ROUNDING_SEC)
        before = time.monotonic()
        await self.carry(pair.end, pair.client, bytes(4000))
        elapsed, total = time.monotonic() - before, time.monotonic() - start
        # trickle was at 0 when the first one left, or had refilled for as long as we took
        self.assertGreaterEqual(total, 3 - 2 * self.REFILL * total / 2000 - ROUNDING_SEC)
        (connection,) = await self.pull_after_pushes(pair.control)
        self.assertIs(connection["throttled"], True)
        self.assertGreater(connection["used"], 0.9)

    async def pull_after_pushes(self, control):
        """The pull's answer has the shape of a push; the latest is what counts."""
        self.send(control, {"type": "getUsage"})
        token = os.urandom(4)
        control.send_frame(ws.PING, token)
        latest = None
        while True:
            frame = await self.soon(control.recv_frame())
            if frame.opcode == ws.PONG and frame.payload == token:
                return latest
            if frame.opcode == ws.TEXT:
                message = json.loads(frame.payload)
                self.assertEqual(message["type"], "usage")
                latest = message["connections"]

    async def test_throttled_is_pushed(self):
        pair = await self.spliced()
        await self.carry(pair.client, pair.end, bytes(self.QUOTA))
        start = time.monotonic()
        pair.client.send_frame(ws.BINARY, bytes(3000))  # short, but inside the trickle's burst
        connection = {"throttled": False}
        while not connection["throttled"]:
            (connection,) = await self.push(pair.control)
        self.assertGreater(connection["used"], 0.95)
        await self.soon(pair.end.recv())
        # once the quota covers a whole message again, it is no longer throttled
        await asyncio.sleep(max(0, start + 0.5 - time.monotonic()))
        pair.client.send_frame(ws.BINARY, b"")
        while connection["throttled"]:
            (connection,) = await self.push(pair.control)
        self.assertGreaterEqual(time.monotonic(), start + 1 - ROUNDING_SEC)

    async def test_push_lists_all_relaying_links(self):
        control, identity = await self.control()
        first = await self.spliced(control=control, identity=identity)
        second = await self.spliced(control=control, identity=identity)
        await self.introduced(control, identity.address)
        _, identity2 = await self.control(socket=control)
        third = await self.spliced(control=control, identity=identity2)
        stranger = await self.spliced()
        await self.carry(second.client, second.end, bytes(self.QUOTA * 6 // 10))
        connections = await self.push(control)
        self.assertEqual({c["linkId"] for c in connections},
                         {first.link_id, second.link_id, third.link_id})
        self.assertEqual({c["linkId"]: c["used"] >= 0.5 for c in connections}[second.link_id], True)
        await self.alive(stranger.control)

    async def test_crossing_back_is_announced(self):
        relay = self.own({"LINK_RELAY_HOURLY_BYTES": "36000"})  # ten bytes a second
        pair = await self.spliced(relay)
        start = time.monotonic()
        await self.carry(pair.client, pair.end, bytes(18001))
        (connection,) = await self.push(pair.control)
        if connection["used"] >= 0.5:  # else this machine slept through both
            await asyncio.sleep(max(0, start + 0.4 - time.monotonic()))
            pair.client.send_frame(ws.BINARY, b"")
            (connection,) = await self.push(pair.control)
            self.assertGreaterEqual(time.monotonic(), start + 1 - ROUNDING_SEC)
        self.assertLess(connection["used"], 0.5)


if __name__ == "__main__":
    relaykit.main()
