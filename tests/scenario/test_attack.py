#!/usr/bin/python3
"""What others may try against linkd: local users, devices, hosts, relays. Real programs, real sockets."""

import asyncio
import contextlib
import json
import os
import pathlib
import re
import select
import socket
import struct
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
from agentkit import World  # noqa: E402
from ipckit import (  # noqa: E402
    ASK, App, CALL, CONNECT, ERROR, EVENT, FRAME_MAX, HELLO, HELLO_FRAME, INCOMING, OPENED, REQUEST,
    RESPONSE, RESULT, SERVE, frame, member, text, word)

from linkv1 import client, header, noise, seal, spake2, ws  # noqa: E402
from linkv1.codec import unb64u  # noqa: E402

MIB = 1 << 20


class Loop:
    """asyncio in a thread, for what a test plays itself."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(agentkit.LIMIT_SEC)

    async def _cancel(self):
        tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self):
        self.call(self._cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(agentkit.LIMIT_SEC)
        self.loop.close()


class OwnRelay:
    """A relay that a test plays: it confirms registers, and brings links that the test itself is the
    client of. receive_bytes: what the kernel keeps for a socket that is not read."""

    def __init__(self, receive_bytes=None):
        self.receive_bytes = receive_bytes
        self.accepted = {}
        self.controls = asyncio.Queue()
        self.n = 0

    async def start(self):
        listener = socket.socket()
        if self.receive_bytes:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_bytes)
        listener.bind(("127.0.0.1", 0))
        self.server = await asyncio.start_server(self._serve, sock=listener)
        self.url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        return self

    async def _serve(self, reader, writer):
        try:
            _, headers = await ws.read_head(reader)
            s = ws.accept(reader, writer, "/v1/link", headers)
            message = json.loads(await s.recv())
            if message["type"] == "register":
                await s.send(json.dumps({"type": "registered", "address": message["address"]}))
                self.controls.put_nowait(s)
                while True:
                    await s.recv()
            elif message["type"] == "accept":
                self.accepted[message["linkId"]].set_result(s)
        except (ws.Closed, ws.ProtocolError, ConnectionError, asyncio.CancelledError):
            s.abort()

    async def register(self):
        """The control socket of the next host that registers."""
        self.control = await self.controls.get()

    async def introduce(self):
        """Names a new link to the host, which will dial back."""
        self.n += 1
        link = f"link-{self.n}"
        self.accepted[link] = asyncio.get_running_loop().create_future()
        await self.control.send(json.dumps({"type": "relay", "linkId": link}))
        return link

    async def link(self):
        """The test's end of a new link to the host."""
        link = await self.introduce()
        s = await self.accepted[link]
        await s.send(json.dumps({"type": "relaying", "linkId": link}))
        return s


class Attack(World):
    def setUp(self):
        super().setUp()
        self.loop = Loop()
        self.addCleanup(self.loop.stop)
        self.call = self.loop.call

    def own_relay(self, host, **how):
        relay = self.call(OwnRelay(**how).start())
        host.ctl("uplink", "add", relay.url)
        self.call(relay.register())
        return relay

    def server(self, host, window=MIB):
        """An application that serves requests and events."""
        app = App(host)
        self.addCleanup(app.close)
        app.send(SERVE, struct.pack(">IB", window, 3) + text(""), request=1)
        self.assertEqual(app.next()[0], RESULT)
        return app

    def device(self, home, relay, *words):
        """A credential that the test itself holds."""
        invitation = home.json("invite", *words)
        address = home.json("status")["hosts"][0]["address"]

        async def pair():
            s = await relay.link()
            credential, session = await client.pair_on(
                s, address, invitation["code"], unb64u(invitation["codeId"]))
            session.drop()
            return credential

        return self.call(pair())

    async def connect(self, relay, credential):
        return await client.reconnect_on(await relay.link(), credential)


class State(World):
    """Things planted in the state directory under the names of temporary files."""

    def setUp(self):
        super().setUp()
        self.a = self.agent("a")
        self.record = next(self.a.state.glob("host-*.rec")).name

    def check(self):
        self.a.ctl("uplink", "add", "ws://127.0.0.1:1", timeout=20)
        self.assertEqual(len(self.a.json("uplink", "list")), 1)

    def test_a_fifo_is_not_waited_for(self):
        os.mkfifo(self.a.state / (self.record + ".tmp"))
        self.check()

    def test_a_link_is_not_followed(self):
        victim = pathlib.Path(self.directory) / "victim"
        victim.write_text("mine")
        for link in (os.symlink, os.link):
            tmp = self.a.state / (self.record + ".tmp")
            link(victim, tmp)
            self.check()
            self.assertEqual(victim.read_text(), "mine")
            self.assertFalse(os.path.lexists(tmp))
            self.a.ctl("uplink", "remove", "ws://127.0.0.1:1")


class Frames(World):
    """Frames of the IPC that begin and never end."""

    def begin(self, agent, sent):
        """A CALL of 16 MiB of which so many bytes are sent."""
        app = App(agent)
        whole = frame(CALL, text("status") + b" " * (16 * MIB - 22) + b"{}", request=1)
        app.socket.setblocking(False)
        self.addCleanup(app.close)
        app.rest = memoryview(whole)
        self.push(app, sent)
        return app

    def push(self, app, n):
        """Sends up to n bytes more; how many linkd took (it reads, or the kernel's buffer took them)."""
        taken = 0
        while taken < n:
            if not select.select([], [app.socket], [], 2)[1]:
                break
            part = app.socket.send(app.rest[:n - taken])
            app.rest = app.rest[part:]
            taken += part
        return taken

    def test_a_user_has_room_for_four(self):
        a = self.agent("a")
        begun = [self.begin(a, MIB) for _ in range(4)]
        fifth = self.begin(a, 0)
        self.assertLess(self.push(fifth, 2 * MIB), 2 * MIB)  # it waits in its write
        App(a).status()  # and nobody else does
        first = begun[0]
        self.push(first, len(first.rest))
        first.socket.setblocking(True)
        self.assertEqual(first.next()[0], RESULT)
        self.push(fifth, len(fifth.rest))
        self.assertEqual(len(fifth.rest), 0)
        fifth.socket.setblocking(True)
        self.assertEqual(fifth.next()[0], RESULT)

    def test_one_that_goes_makes_room(self):
        a = self.agent("a")
        begun = [self.begin(a, MIB) for _ in range(4)]
        fifth = self.begin(a, MIB)
        begun[2].close()
        self.push(fifth, len(fifth.rest))
        self.assertEqual(len(fifth.rest), 0)

    def test_nothing_is_waited_for_without_end(self):
        a = self.agent("a")
        silent = App(a, hello=False)
        half = App(a, hello=False)
        half.socket.sendall(HELLO_FRAME[:-1])
        begun = self.begin(a, MIB)
        begun.socket.setblocking(True)
        begun.socket.settimeout(agentkit.LIMIT_SEC)
        for app in (silent, half, begun):
            got = app.next()
            self.assertEqual((got[0], word(got)), (ERROR, "timeout"))
            with self.assertRaises(EOFError):
                app.next()


@unittest.skipUnless(os.geteuid() == 0, "needs root, to be somebody else")
class Members(Attack):
    """A member of the socket's group."""

    def setUp(self):
        super().setUp()
        os.chmod(self.directory, 0o755)

    def test_root_has_a_place(self):
        a = self.agent("a")
        apps = []
        refused = {}
        for uid in range(65530, 65535):
            for n in range(128 + 1):
                with member(uid):
                    apps.append(App(a, hello=False))
                if n == 128 or len(apps) > 512 - 32:
                    got = apps.pop().next()
                    self.assertEqual((got[0], word(got)), (ERROR, "tooMany"))
                    refused[uid] = n
                    break
        self.assertEqual(list(refused.values()), [128, 128, 128, 480 - 3 * 128, 0])
        a.json("status")
        for app in apps:
            app.close()
        with member(65534):
            App(a).close()


    def test_a_peer_is_shared(self):
        """The host takes 64 sessions of a device; this machine's users share them."""
        _, laptop, _ = self.paired(self.relay())
        apps = {}
        for uid, share in ((65530, 28), (65531, 14), (65532, 7)):
            with member(uid):
                apps[uid] = App(laptop)
            for n in range(100):
                apps[uid].send(CONNECT, struct.pack(">I", 65536) + text("home"), request=n + 1)
            answers = {}
            while len(answers) < 100:
                got = apps[uid].until(OPENED, ERROR)
                answers[got[3]] = word(got) if got[0] == ERROR else got[2]
            self.assertEqual(sum(a == "tooMany" for a in answers.values()), 100 - share)
        with member(65533):
            other = App(laptop)
        other.send(CONNECT, struct.pack(">I", 65536) + text("home"), request=1)
        session = other.until(OPENED, request=1)[2]
        other.send(REQUEST, struct.pack(">I", 0) + b"1", session=session, request=2)
        self.assertEqual(other.until(RESPONSE, ERROR, request=2)[4], b"1")
        for uid in range(65520, 65530):  # more than there are places for at a time
            with member(uid):
                app = App(laptop)
            app.send(ASK, struct.pack(">I", 0) + text("home") + b"2", request=1)
            self.assertEqual(app.until(RESPONSE, ERROR, request=1)[4], b"2")
            app.close()
        for app in (other, *apps.values()):
            app.close()


class Asks(World):
    """A host that answers much more than it was asked for."""

    def test_answers_that_nobody_reads_do_not_end_the_connection(self):
        home, laptop, server = self.paired(self.relay())
        server.stop()
        self.ended(server)
        evil = pathlib.Path(self.directory) / "evil"
        asked = pathlib.Path(self.directory) / "asked"
        evil.write_text(f"case $(cat) in 1) echo 1 ;; *) printf x >> {asked}; "
                        "head -c 15000000 /dev/zero | tr '\\0' 1 ;; esac\n")
        server = self.add(home.start_ctl("serve", "--exec", f"sh {evil}"))
        server.wait_line("^serving")
        app = App(laptop)
        self.addCleanup(app.close)
        app.send(CONNECT, struct.pack(">I", 65536) + text("home"), request=1)
        session = app.until(OPENED)[2]
        asks = range(10, 17)
        for n in asks:
            app.send(ASK, struct.pack(">I", 0) + text("home") + b"2", request=n)
        laptop.until("all are asked", lambda: asked.exists() and len(asked.read_text()) == len(asks))
        laptop.until("all are answered, and none is read", lambda: sum(
            s["requests"] for s in laptop.json("status")["sessions"]) == 0)
        answers = {}
        while len(answers) < len(asks):
            got = app.until(RESPONSE, ERROR)
            answers[got[3]] = word(got) if got[0] == ERROR else len(got[4])
        self.assertEqual(set(answers.values()), {15000000, "tooMany"})
        app.send(REQUEST, struct.pack(">I", 0) + b"1", session=session, request=2)
        self.assertEqual(app.until(RESPONSE, request=2)[4], b"1")


@unittest.skipUnless(os.geteuid() == 0, "needs root, to be somebody else")
class Output(World):
    """A user with many connections, none of which is read."""

    UID_MIB, ANSWER = 128, 15000000

    def test_a_users_queues_are_bounded_together(self):
        os.chmod(self.directory, 0o755)
        home, laptop, server = self.paired(self.relay())
        server.stop()
        self.ended(server)
        big = pathlib.Path(self.directory) / "big"
        big.write_text(f"case $(cat) in 1) echo 1 ;; *) head -c {self.ANSWER} /dev/zero | tr '\\0' 1 ;; esac\n")
        server = self.add(home.start_ctl("serve", "--exec", f"sh {big}"))
        server.wait_line("^serving")
        with member(65530):
            deaf = [App(laptop) for _ in range(10)]  # each below every bound of its own
        with member(65531):
            other = App(laptop)
        for app in (*deaf, other):
            self.addCleanup(app.close)
        other.send(ASK, struct.pack(">I", 0) + text("home") + b"2", request=1)  # another user's counts for that one
        for app in deaf:
            app.send(ASK, struct.pack(">I", 0) + text("home") + b"2", request=1)
        laptop.wait_line("an application .uid 65530. is cut off")
        laptop.until("all are answered", lambda: sum(s["requests"] for s in laptop.json("status")["sessions"]) == 0)
        got = []
        for app in deaf:
            try:
                got.append(len(app.until(RESPONSE)[4]))
            except (EOFError, ConnectionError):
                got.append(None)
        self.assertEqual(set(got), {self.ANSWER, None})
        self.assertLessEqual(got.count(None), 3)
        self.assertEqual(len(other.until(RESPONSE)[4]), self.ANSWER)
        for app in deaf:
            if got[deaf.index(app)]:
                app.send(ASK, struct.pack(">I", 0) + text("home") + b"1", request=2)
                self.assertEqual(app.until(RESPONSE, ERROR, request=2)[4], b"1")


class Texts(World):
    """What one application writes is what the other one reads, also where the text is no text."""

    ERRORS = (rb'"\ud800 alone"', rb'"\udc00\ud800"', rb'"a\u0000b"', rb'"\u0000"', rb'"\/\u00e9 \ud83d\ude00"', rb'""',
              '"é 😀 \ufffd"'.encode())

    def test_errors_of_a_remote_application(self):
        home, laptop, server = self.paired(self.relay())
        server.stop()
        self.ended(server)
        serving, asking = App(home), App(laptop)
        for app in (serving, asking):
            self.addCleanup(app.close)
        serving.send(SERVE, struct.pack(">IB", 65536, 1) + text(""), request=1)
        self.assertEqual(serving.next()[0], RESULT)
        for n, error in enumerate(self.ERRORS, 2):
            asking.send(ASK, struct.pack(">I", 0) + text("home") + b"null", request=n)
            asked = serving.until(REQUEST)
            serving.send(RESPONSE, error, session=asked[2], request=asked[3])
            got = asking.until(RESPONSE, ERROR, request=n)
            self.assertEqual((got[0], got[1], got[4]), (RESPONSE, 0, error))
        called = self.add(laptop.start_ctl("--json", "call", "home", "null"))
        asked = serving.until(REQUEST)
        serving.send(RESPONSE, rb'"a\u0000\ud800b"', session=asked[2], request=asked[3])
        self.assertEqual(json.loads(called.wait_line("^{.*}$")[0])["message"], "home answered: a\ufffd\ufffdb")
        called.kill()
        self.ended(called)


class Memory(Attack):
    """Devices and hosts that make linkd keep what they send."""

    PART = 15 * MIB

    async def begin(self, session):
        """All of a large frame but its last byte."""
        whole = ws.encode_frame(ws.BINARY, bytes(self.PART), mask=False)
        session.socket.write(whole[:-1])
        await session.socket.drain()

    def test_unfinished_messages(self):
        home = self.agent("home")
        relay = self.own_relay(home)
        server = self.add(home.start_ctl("serve", "--echo"))
        server.wait_line("^serving")
        hoarder, honest = self.device(home, relay), self.device(home, relay)

        async def hoard():
            other = await self.connect(relay, honest)
            sessions = [await self.connect(relay, hoarder) for _ in range(10)]
            for session in sessions:
                await self.begin(session)
            return other, sessions

        other, sessions = self.call(hoard())
        # 128 MiB hold eight of these.
        self.home_says(home, "too much of what the other end sent", 2)
        self.assertEqual(self.call(other.request(1)), 1)
        self.assertEqual(home.json("host", "list")[0]["sessions"], 8 + 1)

        async def time_out():
            for session in sessions:
                await asyncio.wait_for(asyncio.shield(session.ended), agentkit.LIMIT_SEC)

        self.call(time_out())
        self.home_says(home, "a message began and did not go on", 8)
        self.assertEqual(self.call(other.request(2)), 2)

    def home_says(self, home, words, n):
        home.until(f"{n} times: {words}", lambda: sum(words in l for l in home.lines if l) >= n)
        self.assertEqual(sum(words in l for l in home.lines if l), n)

    def test_messages_that_no_application_takes(self):
        home = self.agent("home")
        relay = self.own_relay(home)
        app = self.server(home)  # it reads nothing: one event fills its socket, the others wait
        hoarder = self.device(home, relay)
        event = b'{"t":"evt","data":"' + b"x" * (self.PART - 100) + b'"}'

        async def hoard():
            for _ in range(10):
                session = await self.connect(relay, hoarder)
                await session.socket.send(session.sender.seal(event))

        self.call(hoard())
        self.home_says(home, "too much of what the other end sent", 1)
        app.close()


class Guesses(Attack):
    """The five guesses of a code."""

    GUESSES = 5

    def setUp(self):
        super().setUp()
        self.home = self.agent("home")
        self.relay = self.own_relay(self.home)
        self.invitation = self.home.json("invite")
        self.head = header.Header(header.PAIR, code_id=unb64u(self.invitation["codeId"])).encode()

    def in_flight(self, n):
        self.home.until(f"{n} attempts", lambda: self.home.json("invitations")[0]["inFlight"] == n)

    def hold(self, frames):
        """A link on which so many frames of a pairing were sent."""
        async def send():
            s = await self.relay.link()
            await s.send(self.head)
            if frames > 1:
                await s.send(spake2.Side("WRONG2", self.head, client=True).share)
                await s.recv()  # pB
            return s

        return self.call(send())

    def pair(self):
        address = self.home.json("status")["hosts"][0]["address"]

        async def pair():
            s = await self.relay.link()
            _, session = await client.pair_on(s, address, self.invitation["code"],
                                              unb64u(self.invitation["codeId"]))
            session.drop()

        self.call(pair())

    def test_silent_attempts_give_way(self):
        for n in range(self.GUESSES):
            self.hold(frames=1)
            self.in_flight(n + 1)
        self.pair()
        self.home.wait_line("link link-1 at .*gives its place")
        self.assertEqual(len(self.home.json("devices")), 1)

    def test_answered_attempts_keep_their_place(self):
        held = [self.hold(frames=2) for _ in range(self.GUESSES)]
        self.in_flight(self.GUESSES)
        with self.assertRaises((ws.Closed, client.HandshakeFailed)):
            self.pair()
        self.in_flight(self.GUESSES)
        for s in held:
            s.abort()


class Recovery(Attack):
    """The places of a recovery key: whoever knows the address can take them, and the owner must get one."""

    PLACES = 5

    def setUp(self):
        super().setUp()
        self.home = self.agent("home")
        self.relay = self.own_relay(self.home)
        self.key = self.home.json("recovery", "enable")["key"]
        self.head = header.Header(header.RECOVER).encode()

    def hold(self, frames):
        async def send():
            s = await self.relay.link()
            await s.send(self.head)
            if frames > 1:
                await s.send(spake2.Side("A" * 26, self.head, client=True).share)
                await s.recv()  # pB
            return s

        return self.call(send())

    def recover(self):
        address = self.home.json("status")["hosts"][0]["address"]

        async def pair():
            s = await self.relay.link()
            _, session = await client.pair_on(s, address, self.key, recover=True)
            session.drop()

        before = len(self.home.json("devices"))
        self.call(pair())
        self.assertEqual(len(self.home.json("devices")), before + 1)

    def test_who_only_says_hello_gives_way(self):
        for _ in range(3 * self.PLACES):
            self.hold(frames=1)
        self.recover()

    def test_who_goes_no_further_gives_way(self):
        for _ in range(3 * self.PLACES):
            self.hold(frames=2)
        self.recover()
        self.hold(frames=1)
        self.recover()
        self.home.wait_line("recovery: gives its place to a newer attempt")

    def test_there_are_no_more_at_a_time(self):
        held = [self.hold(frames=2) for _ in range(self.PLACES + 1)]

        async def first_has_ended():
            with contextlib.suppress(ws.Closed):
                await held[0].recv()

        self.call(first_has_ended())
        self.assertEqual(sum("gives its place" in l for l in self.home.lines if l), 1)


class Expiry(Attack):
    """A device that connects in time and says its first word when its time is over."""

    def test_the_first_frame_comes_late(self):
        home = self.agent("home")
        relay = self.own_relay(home)
        app = self.server(home)
        made = self.device(home, relay, "--device-ttl", "3s")
        app.until(INCOMING)
        head = header.Header(header.RECONNECT, key_id=made.key_id).encode()
        handshake = noise.Handshake(initiator=True, prologue=head, static=made.host_static_public, psk=made.token)

        async def connect():
            s = await relay.link()
            await s.send(head)
            await s.send(handshake.write_message1())
            handshake.read_message2(await s.recv())
            return s

        async def speak(s):
            request = seal.Cipher(handshake.split()[0]).seal(b'{"t":"req","id":1,"cmd":"too late"}')
            try:
                await s.send(request)
                while True:
                    await s.recv()
            except (ws.Closed, ConnectionError):
                s.abort()

        s = self.call(connect())
        home.until("expired", lambda: home.json("devices")[0]["expired"])
        self.call(speak(s))
        self.assertEqual(home.json("host", "list")[0]["sessions"], 0)
        app.send(CALL, text("status"), request=77)
        got = app.until(INCOMING, REQUEST, RESULT)
        self.assertEqual((got[0], got[3]), (RESULT, 77))  # nobody heard of it


class Slots(Attack):
    """The 64 links that a host answers at a time at a relay."""

    def test_silent_links_give_way(self):
        home = self.agent("home")
        relay = self.own_relay(home)
        made = self.device(home, relay)
        for _ in range(64):
            self.call(relay.link())
        session = self.call(self.connect(relay, made))
        home.wait_line("link link-2 .*gives its slot to a link that waits")
        self.call(session.close())
        self.assertEqual(sum("gives its slot" in l for l in home.lines if l), 1)


class Written(Attack):
    """A relay that reads nothing."""

    async def pair(self, relay, invitation):
        """Pairs, and reads nothing that comes after the host's point."""
        s = await relay.link()
        head = header.Header(header.PAIR, code_id=unb64u(invitation["codeId"])).encode()
        side = spake2.Side(invitation["code"], head, client=True)
        await s.send(head)
        await s.send(side.share)
        keys = side.finish(await s.recv())
        s.reader._transport.pause_reading()
        await s.send(keys.cA)
        return s

    def test_an_event_is_written_when_it_was_taken_whole(self):
        home = self.agent("home")
        relay = self.own_relay(home, receive_bytes=65536)
        app = self.server(home)
        s = self.call(self.pair(relay, home.json("invite")))
        session = app.until(INCOMING)[2]
        data = b'"' + b"x" * (15 * MIB) + b'"'  # more than the kernel takes for nobody
        app.send(EVENT, struct.pack(">I", len(data)) + data, session=session, request=7)
        for _ in range(20):  # long enough for a RESULT that should not come to be the next frame
            got = app.status()
            self.assertEqual(got[3], 0xffffffff, "written, though nobody reads")
            time.sleep(0.02)

        async def resume():
            s.reader._transport.resume_reading()
            while len(await s.recv()) < 15 * MIB:
                pass

        self.call(resume())
        self.assertEqual(app.until(RESULT, ERROR, request=7)[0], RESULT)


class Logs(Attack):
    """Lines that somebody outside can cause without end."""

    LINES = 30  # LOG_LIMIT_LINES

    def count(self, agent, pattern):
        """Lines of its log, once it has ended and all of it has been read."""
        agent.stop()
        self.ended(agent)
        return sum(bool(re.search(pattern, line)) for line in agent.lines if line)

    def test_links_of_a_relay(self):
        home = self.agent("home")
        relay = self.own_relay(home)

        async def drop_links():
            for _ in range(self.LINES + 70):
                s = await relay.link()
                await s.send("no frame of a handshake")  # linkd hangs up
                with contextlib.suppress(ws.Closed):
                    await s.recv()
                s.abort()

        self.call(drop_links())
        self.assertEqual(self.count(home, "^info: .*: link link-|a link was dropped"), self.LINES)

    def test_sessions_of_who_is_no_device(self):
        home = self.agent("home")
        relay = self.own_relay(home)
        made = self.device(home, relay)
        head = header.Header(header.RECONNECT, key_id=made.key_id).encode()
        first = noise.Handshake(initiator=True, prologue=head, static=made.host_static_public,
                                psk=made.token).write_message1()

        async def replay():
            for _ in range(self.LINES + 70):
                s = await relay.link()
                await s.send(head)
                await s.send(first)
                await s.recv()
                await s.send(b"no sealed frame")
                with contextlib.suppress(ws.Closed):
                    while True:
                        await s.recv()
                s.abort()
            return await self.connect(relay, made)

        session = self.call(replay())
        home.wait_line("session 10[0-9] with device")  # its lines are not hidden by the strangers'
        self.call(session.close())
        self.assertEqual(self.count(home, "session .* ended: a frame failed authentication"), self.LINES)

    def test_sessions_of_a_device(self):
        home = self.agent("home")
        relay = self.own_relay(home)
        server = self.add(home.start_ctl("serve", "--echo"))
        server.wait_line("^serving")
        made = self.device(home, relay)

        async def come_and_go():
            for n in range(self.LINES):  # two lines each
                session = await self.connect(relay, made)
                await session.request(n)
                await session.close()

        self.call(come_and_go())
        server.stop()
        self.ended(server)
        self.assertEqual(self.count(home, "^info: host default: session "), self.LINES)

    def test_applications_that_break_the_rules(self):
        a = self.agent("a")
        for _ in range(self.LINES + 70):
            app = App(a, hello=False)
            app.send(CALL, text("status"), request=1)
            self.assertEqual(word(app.next()), "protocol")
            app.close()
        self.assertEqual(self.count(a, "closing an application's connection"), self.LINES)


if __name__ == "__main__":
    agentkit.main()
