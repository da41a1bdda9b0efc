#!/usr/bin/python3
"""Proves the frozen copy itself: the vectors of tests/data, and its own host, client and relay with
each other over loopback. Prints `N passed, M failed` and exits 1 if any failed."""

import asyncio
import json
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
DATA = HERE.parent / "data"
sys.path.insert(0, str(HERE))

from linkv1 import client, codec, control, credential, envelope, header, noise  # noqa: E402
from linkv1 import register, relay, seal, spake2, ws  # noqa: E402
from linkv1.host import Host  # noqa: E402
from linkv1.session import NO_HANDLER, PayloadNotPossible, RemoteError, SessionEnded  # noqa: E402

LIMIT_SEC = 30


def vectors(name):
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


class Vectors(unittest.TestCase):
    def test_spake2(self):
        for case in vectors("spake2-link")["cases"]:
            with self.subTest(case["name"]):
                self._spake2(case)

    def _spake2(self, case):
        aad = bytes.fromhex(case["header"])
        head = header.decode(aad)
        self.assertEqual(head.encode(), aad)
        self.assertEqual((head.code_id or b"").hex(), case.get("codeId", ""))
        self.assertEqual(case["password"].encode().hex(), case["passwordUtf8"])
        a = spake2.Side(case["password"], aad, client=True,
                        random48=bytes.fromhex(case["xRandom"]))
        b = spake2.Side(case["password"], aad, client=False,
                        random48=bytes.fromhex(case["yRandom"]))
        self.assertEqual((a.w.to_bytes(32, "big").hex(), a.scalar.to_bytes(32, "big").hex(),
                          b.scalar.to_bytes(32, "big").hex()), (case["w"], case["x"], case["y"]))
        self.assertEqual((a.share.hex(), b.share.hex()), (case["pA"], case["pB"]))
        keys = a.finish(b.share)
        self.assertEqual(keys, b.finish(a.share))
        for name in ("K", "TT", "hash", "Ke", "Ka", "KcA", "KcB", "cA", "cB"):
            self.assertEqual(getattr(keys, name).hex(), case[name], name)
        self.assertEqual(keys.client_to_host.hex(), case["clientToHost"])
        self.assertEqual(keys.host_to_client.hex(), case["hostToClient"])
        fields = case["welcome"]
        welcome = spake2.Welcome(fields["address"], bytes.fromhex(fields["hostStaticPublic"]),
                                 bytes.fromhex(fields["token"]), bytes.fromhex(fields["keyId"]))
        self.assertEqual(welcome.encode().hex(), case["welcomePlaintext"])
        self.assertEqual(spake2.decode_welcome(welcome.encode()), welcome)
        self.assertEqual(seal.Cipher(keys.host_to_client).seal(welcome.encode()).hex(), case["F5"])

    def test_spake2_rfc9382(self):
        # the group arithmetic against the RFC's own vectors (other identities)
        for case in vectors("spake2-rfc9382")["vectors"]:
            w, x, y = (int(case[name].removeprefix("0x"), 16) for name in ("w", "x", "y"))
            pA = spake2.add(spake2.multiply(w, spake2.M), spake2.multiply(x, spake2.G))
            pB = spake2.add(spake2.multiply(w, spake2.N), spake2.multiply(y, spake2.G))
            K = spake2.multiply(x, spake2.add(pB, spake2.negate(spake2.multiply(w, spake2.N))))
            for point, name in ((pA, "pA"), (pB, "pB"), (K, "K")):
                expected = case[name].removeprefix("0x")
                self.assertEqual(spake2.encode_point(point).hex(), expected, name)

    def test_spake2_refuses(self):
        good = spake2.encode_point(spake2.G)
        bad = (b"", good[:-1], good + b"\0", b"\x02" + good[1:], good[:-1] + bytes([good[-1] ^ 1]),
               b"\x04" + bytes(64), b"\x04" + b"\xff" * 64, b"\0")
        for point in bad:
            with self.assertRaises(spake2.Spake2Error):
                spake2.decode_point(point)
        side = spake2.Side("x", b"", client=True)
        with self.assertRaises(spake2.Spake2Error):  # K would be the identity
            side.finish(spake2.encode_point(spake2.multiply(side.w, spake2.N)))

    def test_noise(self):
        document = vectors("noise-nkpsk0-link")
        self.assertEqual(header.REFUSAL.hex(), document["refusal"])
        for case in document["cases"]:
            with self.subTest(case["name"]):
                self._noise({k: bytes.fromhex(v) if isinstance(v, str) and k != "name" else v
                             for k, v in case.items()})

    def _noise(self, case):
        head = header.decode(case["receivedHeader"])
        self.assertEqual((head.encode(), head.key_id), (case["header"], case["keyId"]))
        a = noise.Handshake(initiator=True, prologue=case["header"], psk=case["token"],
                            static=case["hostStaticPublic"],
                            ephemeral=case["clientEphemeralPrivate"])
        b = noise.Handshake(initiator=False, prologue=case["header"], psk=case["token"],
                            static=case["hostStaticPrivate"],
                            ephemeral=case["hostEphemeralPrivate"])
        self.assertEqual(a.write_message1(), case["message1"])
        b.read_message1(case["message1"])
        self.assertEqual(b.write_message2(), case["message2"])
        a.read_message2(case["message2"])
        self.assertEqual((a.h, b.h), (case["handshakeHash"],) * 2)
        self.assertEqual(a.split(), (case["clientToHost"], case["hostToClient"]))
        self.assertEqual(b.split(), a.split())
        for key, frames in zip(a.split(), (case["clientFrames"], case["hostFrames"])):
            sender, receiver = seal.Cipher(key), seal.Cipher(key)
            for frame in frames:
                self.assertEqual(sender.seal(bytes.fromhex(frame["plaintext"])).hex(),
                                 frame["sealed"])
                self.assertEqual(receiver.open(bytes.fromhex(frame["sealed"])).hex(),
                                 frame["plaintext"])

    def test_register(self):
        for host in vectors("register")["hosts"]:
            identity = register.Identity(bytes.fromhex(host["hostStaticPrivate"]))
            self.assertEqual(identity.static_public.hex(), host["hostStaticPublic"])
            self.assertEqual(identity.register_seed.hex(), host["registerSeed"])
            self.assertEqual(identity.register_public.hex(), host["registerPublic"])
            self.assertEqual(identity.address, host["address"])
            for message in host["messages"]:
                ts, nonce, origin = message["ts"], message["nonce"], message["origin"]
                signed = register.signed_message(identity.address, ts, nonce, origin)
                self.assertEqual(signed.hex(), message["message"])
                auth = register.make_auth(identity, origin, ts=ts, nonce=nonce)
                self.assertEqual(auth, message["auth"])
                register.check_auth(identity.address, auth, origin, ts)
                with self.assertRaises(ValueError):
                    register.check_auth(identity.address, auth, origin + "x", ts)

    def test_origin(self):
        for url, origin in (("ws://Relay.Example", "relay.example"), ("ws://h:80", "h"),
                            ("wss://h:443", "h"), ("wss://h:80", "h:80"), ("ws://h:443", "h:443"),
                            ("ws://[::1]:8080", "[::1]:8080"), ("ws://H:1/?a=b", "h:1")):
            self.assertEqual(register.origin_of(url), origin)

    def test_header(self):
        document = vectors("header")
        modes = {"pair": header.PAIR, "recover": header.RECOVER, "reconnect": header.RECONNECT}
        for case in document["valid"]:
            head = header.decode(bytes.fromhex(case["bytes"]))
            self.assertEqual(head.mode, modes[case["mode"]], case["name"])
            self.assertEqual((head.code_id or b"").hex(), case.get("codeId", ""), case["name"])
            self.assertEqual((head.key_id or b"").hex(), case.get("keyId", ""), case["name"])
            self.assertEqual(head.encode().hex(), case["canonical"], case["name"])
        for case in document["malformed"]:
            with self.subTest(case["name"]), self.assertRaises(header.HeaderError):
                header.decode(bytes.fromhex(case["bytes"]))

    def test_envelope(self):
        document = vectors("envelope")
        for case in document["valid"]:
            with self.subTest(case["name"]):
                plaintext = bytes.fromhex(case["plaintext"])
                message = envelope.decode(plaintext)
                self.assertEqual(message.meta, case["meta"])
                self.assertEqual(message.payload.hex(), case["payload"])
                self.assertEqual(message.framed, case["form"] == "framed")
                self.assertEqual(message.kind, case["meta"]["t"])
                again = envelope.encode(message.meta, message.payload, framed=message.framed)
                self.assertEqual(envelope.decode(again), message)
        self.assertEqual(envelope.CAP.hex(), document["valid"][0]["plaintext"])
        for case in document["malformed"]:
            with self.subTest(case["name"]), self.assertRaises(envelope.EnvelopeError):
                envelope.decode(bytes.fromhex(case["plaintext"]))
        for case in document["ignored"]:
            with self.subTest(case["name"]):
                self.assertIsNone(envelope.decode(bytes.fromhex(case["plaintext"])).kind)
        for case in document["payloadDropped"]:
            with self.subTest(case["name"]):
                message = envelope.decode(bytes.fromhex(case["plaintext"]))
                self.assertEqual((message.kind, message.payload), ("req", b""))

    def test_numbers_keep_their_text(self):
        for text in ("1", "-0", "1.0", "1e400", "123456789012345678901234567890", "9" * 5000,
                     "1E+2"):
            value = codec.json_loads(f'{{"a":[{text}]}}'.encode())
            self.assertEqual(codec.json_dumps(value), f'{{"a":[{text}]}}')

    def test_credential(self):
        document = vectors("credential")
        for case in document["valid"] + document["importOnly"]:
            with self.subTest(case["name"]):
                value = credential.decode(case["string"])
                self.assertEqual(
                    (value.address, value.host_static_public.hex(), value.token.hex(),
                     value.key_id.hex()),
                    tuple(case[k] for k in ("address", "hostStaticPublic", "token", "keyId")))
        for case in document["valid"]:
            self.assertEqual(credential.decode(case["string"]).encode(), case["string"])
        for case in document["refused"]:
            with self.subTest(case["name"]), self.assertRaises(ValueError):
                credential.decode(case["string"])

    def test_frames(self):
        # RFC 6455, section 5.7
        key = bytes.fromhex("37fa213d")
        self.assertEqual(ws.encode_frame(ws.TEXT, b"Hello", mask=key).hex(),
                         "818537fa213d7f9f4d5158")
        self.assertEqual(ws.encode_frame(ws.TEXT, b"Hel", fin=False, mask=False).hex(),
                         "010348656c")
        self.assertEqual(ws.encode_frame(ws.BINARY, bytes(256), mask=False)[:4].hex(), "827e0100")
        self.assertEqual(ws.encode_frame(ws.BINARY, bytes(65536), mask=False)[:10].hex(),
                         "827f0000000000010000")
        self.assertEqual(ws.accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")


class Loopback(unittest.IsolatedAsyncioTestCase):
    """The copy against itself, over real sockets."""

    async def asyncSetUp(self):
        self.relay = await relay.Relay().start()
        self.relays = [self.relay.url]
        self.cleanup = []

    async def asyncTearDown(self):
        for stop in reversed(self.cleanup):
            await stop()
        await self.relay.stop()

    async def host(self, relays=None, **options):
        host = Host(relays or self.relays, **options)
        self.cleanup.append(host.stop)
        return await asyncio.wait_for(host.start(), LIMIT_SEC)

    async def paired(self, host, code_id=None, **options):
        host.open_code("code", code_id)
        cred, session = await client.pair(self.relays, host.address, "code", code_id, **options)
        self.cleanup.append(session.close)
        return cred, session, await asyncio.wait_for(host.sessions.get(), LIMIT_SEC)

    async def test_pair_and_talk(self):
        host = await self.host(on_request=lambda cmd: {"echo": cmd})
        for code_id in (None, b"\x00\x01\x02\x03\x04\x05\x06\x07"):
            _, session, other = await self.paired(host, code_id, on_request=lambda cmd: cmd)
            self.assertEqual(await session.request([1, "ü", None]), {"echo": [1, "ü", None]})
            self.assertEqual(await other.request("back"), "back")
            await asyncio.wait_for(other.cap_received.wait(), LIMIT_SEC)
            await asyncio.wait_for(session.cap_received.wait(), LIMIT_SEC)
            await session.send_event({"n": 1}, b"\0payload")
            self.assertEqual(await other.events.get(), ({"n": 1}, b"\0payload"))
            await other.send_event("x", bytes(70000))
            self.assertEqual(await session.events.get(), ("x", bytes(70000)))
            self.assertGreater(other.framed_received, 0)

    async def test_old_peer_stays_legacy(self):
        host = await self.host(announce=False)
        _, session, other = await self.paired(host)
        await session.send_event("plain")
        self.assertEqual(await other.events.get(), ("plain", b""))
        self.assertEqual(other.framed_received, 0)
        with self.assertRaises(PayloadNotPossible):
            await session.send_event("x", b"payload")
        with self.assertRaisesRegex(RemoteError, NO_HANDLER):
            await session.request(1)

    async def test_reconnect_and_revoke(self):
        host = await self.host(on_request=lambda cmd: cmd)
        cred, session, _ = await self.paired(host)
        await session.close()
        again = await client.reconnect(self.relays, credential.decode(cred.encode()))
        self.assertEqual(await again.request(5), 5)
        await host.revoke(cred.key_id)
        await asyncio.wait_for(asyncio.shield(again.ended), LIMIT_SEC)
        with self.assertRaises(client.Revoked):
            await client.reconnect(self.relays, cred)

    async def test_codes_are_single_use_and_named(self):
        host = await self.host()
        named = host.open_code("named", b"12345678")
        with self.assertRaises(client.Unreachable):  # no unnamed slot: closed before pB
            await client.pair(self.relays, host.address, "named")
        await self.paired(host, None)
        self.assertFalse(named.burned)
        _, session = await client.pair(self.relays, host.address, "named", b"12345678")
        await session.close()
        with self.assertRaises(client.Unreachable):
            await client.pair(self.relays, host.address, "named", b"12345678")

    async def test_five_wrong_guesses_burn(self):
        host = await self.host()
        code = host.open_code("right")
        for _ in range(5):
            with self.assertRaises(client.WrongCode):
                await client.pair(self.relays, host.address, "wrong")
        self.assertTrue(code.burned)
        with self.assertRaises(client.Unreachable):
            await client.pair(self.relays, host.address, "right")

    async def test_recovery(self):
        host = await self.host()
        host.set_recovery("recovery key")
        for _ in range(6):
            with self.assertRaises(client.WrongCode):
                await client.pair(self.relays, host.address, "no", recover=True)
        for _ in range(2):
            _, session = await client.pair(self.relays, host.address, "recovery key", recover=True)
            await session.close()

    async def test_connection_heals(self):
        host = await self.host(on_request=lambda cmd: cmd)
        cred, session, _ = await self.paired(host)
        connection = client.Connection(self.relays, cred).start(session)
        self.cleanup.append(connection.stop)
        self.assertEqual(await connection.request(1), 1)
        for number in range(3):
            connection.session.drop()
            self.assertEqual(await connection.request(number, LIMIT_SEC), number)
        self.assertGreaterEqual(connection.sessions_made, 4)

    async def test_misbehaving_relays(self):
        good, bad = self.relay, await relay.Relay().start()
        self.cleanup.append(bad.stop)
        host = await self.host([bad.url, good.url], on_request=lambda cmd: cmd)
        cred, session, _ = await self.paired(host)
        await session.close()
        both = [bad.url, good.url]
        spoilers = {
            "flip 1": relay.Misbehaviour(flip={(relay.TO_HOST, 1): 3}),
            "flip 2": relay.Misbehaviour(flip={(relay.TO_CLIENT, 0): 100}),
            "at once": relay.Misbehaviour(close_at_once=True),
            "garbage": relay.Misbehaviour(garbage=b"\xff\xfe garbage"),
            "no JSON": relay.Misbehaviour(garbage=ws.encode_frame(ws.TEXT, b"{", mask=False)),
            "other": relay.Misbehaviour(answer_with={"type": "error", "error": "unknown_address"}),
            "close": relay.Misbehaviour(close_after={(relay.TO_HOST, 0): 4003}),
        }
        for name, bad.bad in spoilers.items():
            with self.subTest(name):
                session = await client.reconnect(both, cred)
                self.assertEqual(await session.request(name), name)
                self.assertEqual(session.liars, [])
                await session.close()
        bad.bad = relay.Misbehaviour(forge_refusal=True)
        session = await client.reconnect(both, cred)
        self.assertEqual(session.liars, [bad.url])
        await session.close()
        with self.assertRaises(client.Revoked):
            await client.reconnect([bad.url], cred)

    async def test_flipped_session_frame_ends_it(self):
        host = await self.host(on_request=lambda cmd: cmd)
        cred, session, _ = await self.paired(host)
        self.relay.bad = relay.Misbehaviour(flip={(relay.TO_HOST, 3): 0})
        broken = await client.reconnect(self.relays, cred)
        other = await host.sessions.get()
        with self.assertRaises(SessionEnded):
            await broken.request("spoiled")
        self.assertIn("SealError", await asyncio.wait_for(other.ended, LIMIT_SEC))

    async def test_never_answering_relay(self):
        self.relay.bad = relay.Misbehaviour(never_answer=True)
        socket = await control.connect(self.relay.url)
        await control.send(socket, {"type": "resolve", "address": "a"})
        with self.assertRaises(asyncio.TimeoutError):
            await control.expect(socket, "found", timeout=0.2)
        socket.abort()


class Counting(unittest.TextTestResult):
    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


if __name__ == "__main__":
    runner = unittest.TextTestRunner(verbosity=2, resultclass=Counting, stream=sys.stdout)
    result = unittest.main(testRunner=runner, exit=False).result
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print(f"{result.passed} passed, {failed} failed")
    sys.exit(1 if failed or not result.passed else 0)
