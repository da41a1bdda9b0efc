#!/usr/bin/python3
"""The main job with the real programs over loopback: relays, agents, linkctl."""

import asyncio
import contextlib
import datetime
import json
import os
import pathlib
import socket
import ssl
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
from agentkit import Failed, World  # noqa: E402

from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from linkv1 import client, codec, header, noise, spake2, ws  # noqa: E402
from linkv1 import relay as v1_relay  # noqa: E402



def self_signed():
    """A key and a certificate of it, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now,
                                          now + datetime.timedelta(days=2)).sign(key, hashes.SHA256())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption()) + certificate.public_bytes(serialization.Encoding.PEM)


NUMBERS = '{"n":123456789012345678901234567890,"f":1.0}'
TEXTS = (
    NUMBERS,
    '1e400', '-0.0', '1.0', '1E+2', '"\\u00e9\\ud83d\\ude00\\/"', '"\u00e9\U0001f600"', '"\\ud800"',
    '{"b":1,"a":2,"b":3}', '[ 1 ,\t2 ]', '{"\\u0061":"\\u0000"}', 'null', '""', '{}',
    "[" * 1023 + "]" * 1023,
)


class Story(World):
    """All of it in one go; runs under valgrind in scripts/check."""

    def test_story(self):
        relay = self.relay()
        home, laptop, server = self.paired(relay)
        self.assertEqual(laptop.ctl("call", "home", NUMBERS), NUMBERS + "\n")
        laptop.ctl("send", "home", '{"hello":1}')
        port = relay.port
        relay.kill()
        self.ended(relay)
        relay = self.relay(port)
        home.wait_registered()
        self.assertEqual(laptop.ctl("call", "home", '"again"'), '"again"\n')
        device = home.json("devices")[0]
        self.assertEqual(device["label"], "laptop")
        home.ctl("revoke", device["keyId"])
        self.fails("revoked", laptop, "call", "home", "1")
        self.assertEqual(home.json("devices"), [])
        server.stop()
        self.ended(server)


class Causes(World):
    """What people are told when it does not go."""

    def silent(self, answer, tls=None, wait=False):
        """A server that is no relay: it answers the first bytes so, and closes (wait: when the other end
        has). Its port."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def serve():
            while True:
                try:
                    end, _ = listener.accept()
                except OSError:
                    return
                with end:
                    try:
                        if tls:
                            tls.wrap_socket(end, server_side=True).close()
                        else:
                            end.recv(4096)
                            end.sendall(answer)
                            while wait and end.recv(4096):
                                pass
                    except OSError:
                        pass
        threading.Thread(target=serve, daemon=True).start()
        self.addCleanup(lambda: listener.shutdown(socket.SHUT_RDWR))
        return listener.getsockname()[1]

    def test_relays_that_are_none(self):
        agent = self.agent("home")
        http = self.silent(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        with socket.socket() as free:  # bound, but nobody listens
            free.bind(("127.0.0.1", 0))
            for url, cause in (
                    (f"ws://127.0.0.1:{free.getsockname()[1]}", "connection refused: is link-relay running there?"),
                    (f"ws://127.0.0.1:{http}", "what answers there is no Link relay"),
                    (f"ws://127.0.0.1:{self.silent(b'')}", "closed without an answer"),
                    (f"wss://127.0.0.1:{http}", "no TLS there: use ws://, or put a TLS proxy in front")):
                agent.ctl("uplink", "add", url)
                told = agent.until(f"a cause of {url}", lambda u=url: next(
                    (x.get("cause") for x in agent.json("uplink", "list") if x["url"] == u), None))
                self.assertIn(cause, told)
                agent.ctl("uplink", "remove", url)

    def test_an_untrusted_certificate_is_not_called_no_tls(self):
        agent = self.agent("home")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = pathlib.Path(self.directory) / "certificate.pem"
        certificate.write_bytes(self_signed())
        context.load_cert_chain(certificate)
        url = f"wss://127.0.0.1:{self.silent(b'', context)}"
        agent.ctl("uplink", "add", url)
        told = agent.until("a cause", lambda: agent.json("uplink", "list")[0].get("cause"))
        self.assertIn("its certificate is not trusted", told)

    def test_not_connected_in_time_tells_the_last_cause(self):
        relay = self.relay()
        home, laptop, _ = self.paired(relay)
        relay.kill()
        self.ended(relay)
        told = self.fails("unreachable", laptop, "call", "home", "1", "--timeout", "2")
        message = json.loads(told.err)["message"]
        self.assertEqual(message, f"home: not connected in 2 s; last cause: {relay.url}: connection refused: "
                                  "is link-relay running there?")

    def test_after_a_revocation(self):
        home, laptop, _ = self.paired(self.relay())
        home.ctl("revoke", "laptop")
        told = self.fails("revoked", laptop, "call", "home", "1")
        self.assertEqual(json.loads(told.err)["message"],
                         "home: the host has revoked this machine's credential; remove the peer (linkctl peer "
                         "remove home) or pair again")

    def test_uplink_add_tells_that_it_is_registered(self):
        agent, relay = self.agent("home"), self.relay()
        self.assertEqual(agent.ctl("uplink", "add", relay.url),
                         f"added relay {relay.url} to host default\nregistered\n")
        agent.ctl("uplink", "remove", relay.url)
        added = agent.json("uplink", "add", relay.url)
        self.assertEqual(added, {"url": relay.url, "host": "default", "state": "registered"})
        silent = self.silent(b"", wait=True)
        self.assertIn("not yet registered: the relay has not answered yet; linkd keeps trying\n",
                      agent.ctl("uplink", "add", f"ws://127.0.0.1:{silent}"))

    def test_a_host_without_a_relay_is_a_problem(self):
        agent, relay = self.agent("home"), self.relay()
        agent.ctl("uplink", "add", relay.url)
        agent.ctl("invite")
        agent.ctl("uplink", "remove", relay.url)
        self.assertIn("host default has no relay: run `linkctl uplink add URL`", agent.json("status")["problems"])


class Pairing(World):
    def setUp(self):
        super().setUp()
        self.r = self.relay()
        self.home, self.laptop = self.agent("home"), self.agent("laptop")
        self.home.ctl("uplink", "add", self.r.url)
        self.home.wait_registered()
        self.address = self.home.json("status")["hosts"][0]["address"]

    def pair(self, code, code_id=None, name="home", agent=None):
        words = ["pair", "--address", self.address, "--code", "-", "--uplink", self.r.url, "--name", name]
        if code_id:
            words += ["--code-id", code_id]
        return (agent or self.laptop).ctl("--json", *words, stdin=(code + "\n").encode())

    def pair_fails(self, word, code, code_id=None):
        with self.assertRaises(Failed) as caught:
            self.pair(code, code_id)
        self.assertEqual(caught.exception.word, word, caught.exception)

    def test_with_code_id(self):
        invitation = self.home.json("invite")
        self.assertEqual(set(invitation), {"host", "address", "code", "codeId", "uri", "label", "expiresAt"})
        self.assertEqual(len(invitation["code"]), 6)
        self.pair(invitation["code"], invitation["codeId"])
        self.assertEqual(self.laptop.json("peers")[0]["address"], self.address)
        # It was single use.
        self.assertEqual(self.home.json("invitations"), [])

    def test_without_code_id(self):
        invitation = self.home.json("invite", "--no-id")
        self.assertIsNone(invitation["codeId"])
        self.pair(invitation["code"])
        self.assertEqual(len(self.home.json("devices")), 1)

    def test_a_used_code_is_gone(self):
        invitation = self.home.json("invite")
        self.pair(invitation["code"], invitation["codeId"])
        other = self.agent("other")
        with self.assertRaises(Failed):
            self.pair(invitation["code"], invitation["codeId"], agent=other)
        self.assertEqual(len(self.home.json("devices")), 1)

    def test_a_named_code_is_not_the_unnamed_one(self):
        named = self.home.json("invite")
        with self.assertRaises(Failed) as caught:
            self.pair(named["code"])
        self.assertIn("if the invitation shows a code id, give it with --code-id", caught.exception.err)
        self.pair(named["code"], named["codeId"])

    def test_wrong_code(self):
        invitation = self.home.json("invite")
        self.pair_fails("wrongCode", "WRONG2", invitation["codeId"])
        self.assertEqual(self.home.json("invitations")[0]["failures"], 1)
        self.assertEqual(self.laptop.json("peers"), [])
        self.pair(invitation["code"], invitation["codeId"])

    def test_five_wrong_codes_burn_it(self):
        invitation = self.home.json("invite")
        other = self.home.json("invite")
        for _ in range(5):
            self.pair_fails("wrongCode", "WRONG2", invitation["codeId"])
        with self.assertRaises(Failed):
            self.pair(invitation["code"], invitation["codeId"])
        self.assertEqual(self.home.json("devices"), [])
        self.assertEqual([i["codeId"] for i in self.home.json("invitations")], [other["codeId"]])
        self.pair(other["code"], other["codeId"])

    def test_a_share_without_a_scalar_is_no_oracle(self):
        """pA = w'M: K is the identity if w' is right. The host must answer as ever, and count it."""
        invitation = self.home.json("invite")
        head = header.Header(header.PAIR, code_id=codec.unb64u(invitation["codeId"])).encode()

        async def guess(code):
            socket, _ = await client.splice(self.r.url, self.address)
            try:
                await socket.send(head)
                await socket.send(spake2.encode_point(
                    spake2.multiply(spake2.password_scalar(code), spake2.M)))
                _, share = await asyncio.wait_for(socket.recv_message(), agentkit.LIMIT_SEC)
                await socket.send(bytes(32))
                with contextlib.suppress(ws.Closed):
                    await asyncio.wait_for(socket.recv_message(), agentkit.LIMIT_SEC)
                return len(share)
            finally:
                socket.abort()

        self.assertEqual(asyncio.run(guess("WRONG2")), 65)
        self.assertEqual(asyncio.run(guess(invitation["code"])), 65)
        self.assertEqual(self.home.json("invitations")[0]["failures"], 2)
        self.assertEqual(self.home.json("devices"), [])

    def test_codes_are_taken_as_typed(self):
        self.home.json("invite", "--no-id", "--code", "Zwölf Boxkämpfer")
        self.pair_fails("wrongCode", "zwölf boxkämpfer")
        self.pair("Zwölf Boxkämpfer")

    def test_restart_keeps_identity_devices_and_peers(self):
        invitation = self.home.json("invite")
        self.laptop.ctl("pair", invitation["uri"], "--name", "home")
        for agent in (self.home, self.laptop):
            agent.stop()
            self.ended(agent)
        self.home, self.laptop = self.agent("home"), self.agent("laptop")
        self.home.wait_registered()
        self.assertEqual(self.home.json("status")["hosts"][0]["address"], self.address)
        server = self.add(self.home.start_ctl("serve", "--echo"))
        server.wait_line("^serving")
        self.assertEqual(self.laptop.ctl("call", "home", "[1]"), "[1]\n")


class PairedAgain(World):
    """A device that pairs once more with a host that it knows."""

    def setUp(self):
        super().setUp()
        self.relays = [self.relay()]
        self.home, self.laptop, self.server = self.paired(*self.relays)
        self.old = self.laptop.json("peers")[0]["keyId"]

    def invite(self):
        return self.home.json("invite", "--label", "laptop")["uri"]

    def connected(self):
        return [d["keyId"] for d in self.home.json("devices") if d["connected"]]

    def test_live_links_go_over_to_the_new_credential(self):
        listener = self.add(self.laptop.start_ctl("listen", "home"))
        listener.wait_line("listening")
        self.laptop.wait_peer("home", "connected")
        self.assertEqual(self.connected(), [self.old])
        paired = self.laptop.json("pair", self.invite(), "--name", "home")
        self.assertEqual(paired["replacedKeyId"], self.old)
        self.home.until("only the new one is connected", lambda: self.connected() == [paired["keyId"]])
        # Now the old one can be shut out, and nobody notices.
        self.home.ctl("revoke", self.old)
        self.laptop.wait_peer("home", "connected")
        self.assertEqual(self.laptop.ctl("call", "home", "1"), "1\n")
        self.assertEqual(len(self.laptop.json("peers")), 1)

    def test_a_request_that_waits_goes_out_under_the_new_credential(self):
        self.server.stop()
        self.ended(self.server)
        started, go = (pathlib.Path(self.directory) / n for n in ("started", "go"))
        os.mkfifo(started)
        server = self.add(self.home.start_ctl(
            "serve", "--exec", f"[ -e {go} ] || {{ echo > {started}; sleep 1000; }}; printf '\"%s\"' $LINK_KEY_ID"))
        server.wait_line("^serving")
        call = self.add(self.laptop.start_ctl("call", "home", "1", "--timeout", "50"))
        with open(started) as told:  # it says so when it has got the request
            self.assertEqual(told.readline(), "\n")
        go.touch()
        paired = self.laptop.json("pair", self.invite())
        call.wait_line(f'^"{paired["keyId"]}"$')
        self.assertEqual(call.process.wait(agentkit.LIMIT_SEC), 0)

    def test_people_are_told(self):
        out = self.laptop.ctl("pair", self.invite(), "--name", "home")
        self.assertIn(f"Replaced the earlier credential {self.old}; on the host, remove it: "
                      f"linkctl revoke {self.old}\n", out)
        # Another name: another peer, and nothing is replaced.
        self.assertNotIn("Replaced", self.laptop.ctl("pair", self.invite(), "--name", "second"))
        self.assertEqual(len(self.laptop.json("peers")), 2)
        # It can be paired again too, though it is not the first of its address.
        second = self.laptop.json("pair", self.invite(), "--name", "second")
        self.assertIn("replacedKeyId", second)
        self.assertEqual(len(self.laptop.json("peers")), 2)

    def test_revoke_all_of_a_label(self):
        self.laptop.ctl("pair", self.invite())
        ids = {d["keyId"] for d in self.home.json("devices")}
        self.assertEqual(len(ids), 2)
        told = self.fails("ambiguous", self.home, "revoke", "laptop").err
        for key_id in ids:
            self.assertIn(key_id, told)
        self.assertIn("--all", told)
        self.assertEqual(len(self.home.json("devices")), 2)
        done = self.home.json("revoke", "laptop", "--all")
        self.assertEqual((set(done["keyIds"]), done["label"]), (ids, "laptop"))
        self.assertEqual(self.home.json("devices"), [])
        self.fails("revoked", self.laptop, "call", "home", "1")
        self.fails("noSuchDevice", self.home, "revoke", "laptop", "--all")

    def test_a_name_of_another_host_is_refused_before_the_code_is_spent(self):
        other = self.agent("other")
        other.ctl("uplink", "add", self.relays[0].url)
        other.wait_registered()
        uri = other.json("invite")["uri"]
        told = self.fails("exists", self.laptop, "pair", uri, "--name", "home")
        self.assertIn('a peer is already called home: give another --name, or \\"linkctl peer remove home\\" '
                      'first', told.err)
        self.assertEqual(other.json("invitations")[0]["failures"], 0)
        self.laptop.ctl("pair", uri, "--name", "other")


class Calls(World):
    def test_json_text_arrives_as_it_was_written(self):
        _, laptop, _ = self.paired(self.relay())
        for text in TEXTS:
            got = laptop.ctl("call", "home", "-", stdin=text.encode())
            self.assertEqual(got, text + "\n")

    def test_not_json_is_refused(self):
        _, laptop, _ = self.paired(self.relay())
        for text in ("", "{", "01", "nul", '{"a":1,}', '"\\x"', "1 2", "\ufeff1"):
            with self.assertRaises(Failed, msg=text):
                laptop.ctl("call", "home", "-", stdin=text.encode())
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")

    def test_nobody_serves(self):
        _, laptop, server = self.paired(self.relay())
        server.stop()
        self.ended(server)
        with self.assertRaises(Failed) as caught:
            laptop.ctl("call", "home", "1")
        self.assertIn('home answered: no request handler (run "linkctl serve" there)', caught.exception.err)

    def test_serve_exec(self):
        home, laptop, server = self.paired(self.relay())
        server.stop()
        self.ended(server)
        server = self.add(home.start_ctl("serve", "--exec", "tr a-z A-Z"))
        server.wait_line("^serving")
        self.assertEqual(laptop.ctl("call", "home", '"shout"'), '"SHOUT"\n')

    def test_a_second_server_is_busy(self):
        home, _, _ = self.paired(self.relay())
        self.fails("busy", home, "serve", "--echo")

    def test_event_with_8_mib_payload(self):
        home, laptop, server = self.paired(self.relay())
        server.stop()
        self.ended(server)
        payload = pathlib.Path(self.directory) / "payload"
        payload.write_bytes(os.urandom(8 << 20))
        listener = self.add(home.start_ctl("listen", "--host", "default"))
        listener.wait_line("listening")
        laptop.ctl("send", "home", NUMBERS, "--payload", str(payload))
        line = listener.wait_line(r'^\{.*"payload"').string
        self.assertIn(NUMBERS, line)
        import base64
        self.assertEqual(base64.b64decode(json.loads(line)["payload"]), payload.read_bytes())

    def test_two_agents_keep_apart(self):
        home, laptop, _ = self.paired(self.relay())
        self.assertNotEqual(home.json("status")["hosts"][0]["address"],
                            laptop.json("status")["hosts"][0]["address"])
        self.assertEqual(home.json("peers"), [])
        self.assertEqual(laptop.json("devices"), [])


class Drops(World):
    def restart(self, relay):
        port = relay.port
        relay.kill()
        self.ended(relay)
        return self.relay(port)

    def test_reconnect_after_a_relay_restart(self):
        relay = self.relay()
        home, laptop, _ = self.paired(relay)
        listener = self.add(laptop.start_ctl("listen", "home"))
        listener.wait_line("listening")
        laptop.wait_peer("home", "connected")
        for _ in range(2):
            relay = self.restart(relay)
            home.wait_registered()
            laptop.wait_peer("home", "connected")
            self.assertEqual(laptop.ctl("call", "home", '"back"'), '"back"\n')

    def test_failover(self):
        first, second = self.relay(), self.relay()
        home, laptop, _ = self.paired(first, second)
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        first.kill()
        self.ended(first)
        self.assertEqual(laptop.ctl("call", "home", "2"), "2\n")
        first = self.relay(first.port)
        home.wait_registered(2)
        second.kill()
        self.ended(second)
        self.assertEqual(laptop.ctl("call", "home", "3"), "3\n")

    def test_a_request_in_flight_is_answered_after_the_drop(self):
        relay = self.relay()
        home, laptop, server = self.paired(relay)
        server.stop()
        self.ended(server)
        # The command waits for a file: the request is in flight until this test says go.
        started, go = (pathlib.Path(self.directory) / n for n in ("started", "go"))
        os.mkfifo(started)
        server = self.add(home.start_ctl(
            "serve", "--exec", f"[ -e {go} ] || {{ echo > {started}; sleep 1000; }}; cat"))
        server.wait_line("^serving")
        call = self.add(laptop.start_ctl("call", "home", '"in flight"', "--timeout", "50"))
        with open(started) as told:  # it says so when it has got the request
            self.assertEqual(told.readline(), "\n")
        go.touch()
        relay = self.restart(relay)
        call.wait_line('^"in flight"$')
        self.assertEqual(call.process.wait(agentkit.LIMIT_SEC), 0)

    def test_a_request_in_flight_is_answered_after_the_host_was_restarted(self):
        relay = self.relay()
        home, laptop, server = self.paired(relay)
        server.stop()
        self.ended(server)
        started = pathlib.Path(self.directory) / "started"
        os.mkfifo(started)
        server = self.add(home.start_ctl("serve", "--exec", f"echo > {started}; sleep 1000"))
        server.wait_line("^serving")
        call = self.add(laptop.start_ctl("call", "home", '"in flight"', "--timeout", "50"))
        with open(started) as told:
            self.assertEqual(told.readline(), "\n")
        home.stop()
        self.ended(home)
        self.assertNotEqual(server.process.wait(agentkit.LIMIT_SEC), 0)
        self.ended(server)
        laptop.wait_peer("home", "reconnecting", "unreachable")
        # The host is served again before it can be reached.
        relay.stop()
        self.ended(relay)
        home = self.agent("home")
        self.add(home.start_ctl("serve", "--echo")).wait_line("^serving")
        self.relay(relay.port)
        call.wait_line('^"in flight"$')
        self.assertEqual(call.process.wait(agentkit.LIMIT_SEC), 0)

    def test_revoke_ends_the_live_session_and_refuses_the_next(self):
        home, laptop, _ = self.paired(self.relay())
        listener = self.add(laptop.start_ctl("listen", "home"))
        listener.wait_line("listening")
        laptop.wait_peer("home", "connected")
        home.ctl("revoke", "laptop")
        listener.wait_line("revoked")
        self.assertNotEqual(listener.process.wait(agentkit.LIMIT_SEC), 0)
        self.ended(listener)
        laptop.wait_peer("home", "revoked")
        self.fails("revoked", laptop, "call", "home", "1")
        home.stop()
        self.ended(home)
        home = self.agent("home")  # it stays out across a restart
        home.wait_registered()
        self.fails("revoked", laptop, "call", "home", "1")


class V1Relay:
    """The small relay of tests/compat in a thread, with what it does wrong."""

    def __init__(self, **misbehaviour):
        self.wrong = v1_relay.Misbehaviour(**misbehaviour)
        self.relay = v1_relay.Relay(v1_relay.Config(ip_rate_per_min=0), self.wrong)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.call(self.relay.start())
        self.url = f"ws://127.0.0.1:{self.relay.port}"

    def call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(agentkit.LIMIT_SEC)

    def stop(self):
        self.call(self.relay.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(agentkit.LIMIT_SEC)


class Replay(World):
    def test_a_replayed_reconnect_is_nobody(self):
        """Message 1 of a reconnect can be recorded and sent again: no session comes of it, and no place
        of the device's is taken."""
        relay = self.relay()
        home = self.agent("home")
        home.ctl("uplink", "add", relay.url)
        home.wait_registered()
        server = self.add(home.start_ctl("serve", "--echo"))
        server.wait_line("^serving")
        invitation = home.json("invite")

        async def scene():
            made, session = await client.pair([relay.url], invitation["address"], invitation["code"],
                                              codec.unb64u(invitation["codeId"]))
            await session.close()
            head = header.Header(header.RECONNECT, key_id=made.key_id).encode()
            first = noise.Handshake(initiator=True, prologue=head, static=made.host_static_public,
                                    psk=made.token).write_message1()
            sockets = []
            for _ in range(70):  # more than the sessions that a device may have
                socket, _ = await client.splice(relay.url, made.address)
                await socket.send(head)
                await socket.send(first)
                await asyncio.wait_for(socket.recv_message(), agentkit.LIMIT_SEC)
                sockets.append(socket)
            seen = await asyncio.to_thread(home.json, "devices")
            real = await client.reconnect([relay.url], made)
            answer = await asyncio.wait_for(real.request("still here"), agentkit.LIMIT_SEC)
            for socket in sockets:
                socket.abort()
            await real.close()
            return seen, answer

        seen, answer = asyncio.run(scene())
        self.assertFalse(seen[0]["connected"])
        self.assertEqual(answer, "still here")


class HostileRelay(World):
    def v1(self, **misbehaviour):
        relay = V1Relay(**misbehaviour)
        self.addCleanup(relay.stop)
        return relay

    def test_through_somebody_elses_relay(self):
        _, laptop, _ = self.paired(self.v1())
        self.assertEqual(laptop.ctl("call", "home", NUMBERS), NUMBERS + "\n")

    def test_a_flipped_bit_ends_the_session(self):
        relay = self.v1()
        home, laptop, _ = self.paired(relay)
        listener = self.add(laptop.start_ctl("listen", "home"))
        listener.wait_line("listening")
        laptop.wait_peer("home", "connected")
        seen = home.count()
        # From the next session on: the first sealed frame to the host after F0, F1 and the cap.
        relay.wrong.flip[(v1_relay.TO_HOST, 3)] = 77
        with self.assertRaises(Failed):
            laptop.ctl("call", "home", '"secret"', "--timeout", "3")
        home.wait_line("session .* ended: .*authenti", seen)
        relay.wrong.flip.clear()
        self.assertEqual(laptop.ctl("call", "home", '"clean"'), '"clean"\n')

    def test_a_forged_refusal_of_one_relay_is_not_believed(self):
        liar, honest = self.v1(forge_refusal=True), self.relay()
        home, laptop = self.agent("home"), self.agent("laptop")
        for relay in (liar, honest):
            home.ctl("uplink", "add", relay.url)
        home.wait_registered(2)
        server = self.add(home.start_ctl("serve", "--echo"))
        server.wait_line("^serving default")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")

    def test_useless_relays_cost_only_themselves(self):
        honest = self.relay()
        useless = [self.v1(never_answer=True), self.v1(close_at_once=True),
                   self.v1(garbage=b"\x81\x7e\xff\xffgarbage")]
        home, laptop = self.agent("home"), self.agent("laptop")
        for relay in (*useless, honest):
            home.ctl("uplink", "add", relay.url)
        home.wait_registered(1)
        server = self.add(home.start_ctl("serve", "--echo"))
        server.wait_line("^serving default")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")


if __name__ == "__main__":
    agentkit.main()
