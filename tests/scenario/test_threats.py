#!/usr/bin/python3
"""The threat model of docs/SECURITY.md, claim by claim, where no other test shows one: what a relay, a
stranger, a local user and a thief of a disk cannot do. Real agents, played attackers."""

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import stat
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
from agentkit import Failed, World  # noqa: E402
from test_agent import V1Relay, v1_relay  # noqa: E402
from test_attack import (CONNECT, ERROR, OPENED, REQUEST, RESULT, SERVE, App, Attack, text, word)  # noqa: E402
from linkv1 import client, codec, credential, host as v1_host, noise, seal, ws  # noqa: E402

CALL = 0x03


class Relays(World):
    """A relay that does what it likes."""

    def v1(self, **misbehaviour):
        relay = V1Relay(**misbehaviour)
        self.addCleanup(relay.stop)
        return relay

    def served(self, relay):
        home = self.agent("home")
        home.ctl("uplink", "add", relay.url)
        home.wait_registered()
        self.add(home.start_ctl("serve", "--echo")).wait_line("^serving")
        return home

    def test_it_reads_nothing(self):
        relay = self.v1()
        home, laptop = self.served(relay), self.agent("laptop")
        invitation = home.json("invite", "--label", "a-telling-label")
        laptop.ctl("pair", invitation["uri"], "--name", "a-telling-name")
        self.assertEqual(laptop.ctl("call", "a-telling-name", '"a telling request"'), '"a telling request"\n')
        payload = pathlib.Path(self.directory) / "payload"
        payload.write_bytes(b"a telling payload" * 100)
        laptop.ctl("send", "a-telling-name", '"a telling event"', "--payload", str(payload))
        exported = laptop.json("peer", "export", "a-telling-name")["credential"]
        made = credential.decode(exported)
        seen = b"\0".join(data for _, _, _, data in relay.relay.spliced_frames)
        self.assertIn(made.key_id, seen)  # of frame 0: it is the traffic
        self.assertGreater(len(seen), 1700)
        for secret in (b"telling", invitation["code"].encode(), made.token, exported.encode(),
                       made.host_static_public):
            self.assertNotIn(secret, seen)

    def spoil_next(self, relay, direction, change):
        """change(opcode, data) says what becomes of the first frame of a session after its first answer."""
        armed = [True]
        # To the host: header, message 1, cap, request. To the client: message 2, cap, answer.
        first = 4 if direction == v1_relay.TO_HOST else 3

        def spoil(link, way, number, opcode, data):
            if armed and way == direction and number == first:
                armed.clear()
                return change(opcode, data)
            return [(opcode, data)]
        relay.relay._spoil = spoil
        return armed

    def test_what_it_does_to_frames_is_noticed(self):
        """A frame that is changed, sent twice, left out, or replaced by one of another session ends the
        session, and no wrong answer comes of it."""
        relay = self.v1()
        home, laptop = self.served(relay), self.agent("laptop")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
        self.assertEqual(laptop.ctl("call", "home", "7"), "7\n")
        old = {way: (opcode, data) for way, _, opcode, data in relay.relay.spliced_frames}
        changes = {
            "changed": lambda o, d: [(o, d[:-1] + bytes([d[-1] ^ 1]))],
            "twice": lambda o, d: [(o, d), (o, d)],
            "left out": lambda o, d: [],
            "replaced": lambda o, d: [old[direction]],
        }
        for direction in (v1_relay.TO_HOST, v1_relay.TO_CLIENT):
            for name, change in changes.items():
                with self.subTest(direction=direction, name=name):
                    laptop.stop()  # what went wrong before is forgotten with it
                    self.ended(laptop)
                    laptop = self.agent("laptop")
                    armed = self.spoil_next(relay, direction, change)
                    self.assertEqual(laptop.ctl("call", "home", "0"), "0\n")  # a session stands
                    at_home = home.count()
                    if name == "left out":  # that shows at the next frame
                        self.fails("timeout", laptop, "call", "home", "1", "--timeout", "1")
                    for n in (2, 3):  # each is asked again until it has its answer
                        self.assertEqual(laptop.ctl("call", "home", str(n)), f"{n}\n")
                    self.assertFalse(armed)
                    lines = home.lines[at_home:] if direction == v1_relay.TO_HOST else laptop.lines
                    self.assertTrue(any("failed authentication" in line for line in lines))

    def test_it_cannot_be_the_host(self):
        """It introduces a paired client to somebody else under the host's address, who has even the client's
        token, but not the host's key; and it answers with what it has recorded of the host."""
        relay = self.v1()
        home, laptop = self.served(relay), self.agent("laptop")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        (answer,) = [(opcode, data) for way, n, opcode, data in relay.relay.spliced_frames
                     if way == v1_relay.TO_CLIENT and n == 0 and data][-1:]
        made = credential.decode(laptop.json("peer", "export", "home")["credential"])
        laptop.stop()
        self.ended(laptop)
        # A message 2 of the host, for another message 1.
        relay.wrong.replace[(v1_relay.TO_CLIENT, 0)] = answer
        laptop = self.agent("laptop")
        with self.assertRaises(Failed):
            laptop.ctl("call", "home", '"secret"', "--timeout", "2")
        relay.wrong.replace.clear()
        self.assertEqual(laptop.ctl("call", "home", "2"), "2\n")
        laptop.stop()
        self.ended(laptop)

        async def play():
            false = await v1_host.Host([relay.url]).start()
            false.tokens[made.key_id] = made.token
            relay.relay.holders[made.address] = relay.relay.holders[false.address]
            return false
        false = relay.call(play())
        laptop = self.agent("laptop")
        with self.assertRaises(Failed) as caught:
            laptop.ctl("--json", "call", "home", '"secret"', "--timeout", "3")
        self.assertNotEqual(caught.exception.word, "revoked")
        relay.call(asyncio.wait_for(false.failures.get(), agentkit.LIMIT_SEC))  # it was tried
        self.assertTrue(false.sessions.empty())
        relay.call(false.stop())
        relay.relay.holders.pop(made.address, None)
        # The client keeps its credential: with the host back, all is as before.
        home.stop()
        self.ended(home)
        home = self.agent("home")
        home.wait_registered()
        self.add(home.start_ctl("serve", "--echo")).wait_line("^serving")
        self.assertEqual(laptop.ctl("call", "home", "3"), "3\n")

    def test_stolen_keys_do_not_open_old_sessions(self):
        """Who has recorded a session, and steals the host's key and the client's token later."""
        relay = self.v1()

        code_id = bytes(8)

        async def start():
            home = await v1_host.Host([relay.url], on_request=lambda command: command).start()
            home.open_code("482915", code_id)
            return home
        home = relay.call(start())
        keys = []
        session_of = home._session
        home._session = lambda socket, send, receive: keys.append(receive) or session_of(socket, send, receive)
        laptop = self.agent("laptop")
        laptop.ctl("pair", "--address", home.address, "--code", "482915", "--code-id",
                   codec.b64u(code_id), "--uplink", relay.url, "--name", "home")
        relay.relay.spliced_frames.clear()
        self.assertEqual(laptop.ctl("call", "home", '"old"'), '"old"\n')
        head, first, sealed = [data for way, _, _, data in relay.relay.spliced_frames
                               if way == v1_relay.TO_HOST][:3]
        seal.Cipher(keys[-1]).open(sealed)  # so it is the session's
        (token,) = home.tokens.values()
        thief = noise.Handshake(initiator=False, prologue=head, static=home.identity.static_private, psk=token)
        thief.read_message1(first)  # with these keys it can be read
        thief.write_message2()
        for key in (*thief.split(), token, home.identity.static_private):
            with self.assertRaises(seal.SealError):
                seal.Cipher(key).open(sealed)
        relay.call(home.stop())


class Strangers(World):
    def test_who_lacks_the_token_is_nobody(self):
        """A stranger who knows address, host key and key id; all but the token."""
        relay = self.relay()
        home, laptop, _ = self.paired(relay)
        made = credential.decode(laptop.json("peer", "export", "home")["credential"])
        laptop.stop()
        self.ended(laptop)
        false = dataclasses.replace(made, token=bytes([made.token[0] ^ 1]) + made.token[1:])
        home.until("gone", lambda: not home.json("devices")[0]["connected"])

        async def attempt(one):
            return await client.reconnect([relay.url], one)
        with self.assertRaises((client.HandshakeFailed, client.Unreachable)):
            asyncio.run(attempt(false))
        self.assertFalse(home.json("devices")[0]["connected"])
        self.assertEqual(home.json("status")["sessions"], [])

        async def real():
            session = await client.reconnect([relay.url], made)
            answer = await session.request("me")
            await session.close()
            return answer
        self.assertEqual(asyncio.run(real()), "me")  # so it was the token that failed


@unittest.skipUnless(os.geteuid() == 0, "root can be anybody")
class LocalUsers(Attack):
    """root, the members of the socket's group, and others."""

    def setUp(self):
        super().setUp()
        os.chmod(self.directory, 0o755)
        self.home, self.laptop, self.server_child = self.paired(self.relay())

    @contextlib.contextmanager
    def user(self, uid, gid):
        """This process, as the kernel will vouch for it to who is connected to."""
        groups = os.getgroups()
        os.setgroups([])
        os.setegid(gid)
        os.seteuid(uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)

    def methods(self):
        page = (agentkit.ROOT / "docs" / "IPC.md").read_text()
        return dict(re.findall(r"^\| `([a-z.]+)` \| (read|use|administer) \|", page, re.M))

    def call_word(self, app, method, params="{}"):
        app.send(CALL, text(method) + params.encode(), request=7)
        got = app.until(RESULT, ERROR, request=7)
        return word(got) if got[0] == ERROR else None

    def test_others_may_nothing(self):
        self.assertEqual(stat.S_IMODE(os.stat(self.home.socket).st_mode), 0o660)
        with self.user(65534, 65534), self.assertRaises(PermissionError):
            App(self.home)
        os.chmod(self.home.socket, 0o666)  # somebody has opened it to all
        with self.user(65534, 65534):
            app = App(self.home, hello=False)
        got = app.next()
        self.assertEqual((got[0], word(got)), (ERROR, "forbidden"))
        with self.assertRaises((EOFError, ConnectionError)):
            app.next()
        app.close()

    def test_members_look_and_use_and_no_more(self):
        methods = self.methods()
        self.assertGreater(len(methods), 20)
        with self.user(65534, os.stat(self.laptop.socket).st_gid):
            app = App(self.laptop)
        for method, level in methods.items():
            answer = self.call_word(app, method)
            self.assertEqual(answer == "forbidden", level == "administer", f"{method}: {answer}")
        app.send(SERVE, struct.pack(">IB", 65536, 3) + text(""), request=1)
        self.assertEqual(word(app.until(ERROR, RESULT, request=1)), "forbidden")
        app.send(CONNECT, struct.pack(">I", 65536) + text("home"), request=2)
        self.assertEqual(app.until(OPENED, ERROR, request=2)[0], OPENED)
        app.close()

    def test_a_session_is_its_owners(self):
        """The number of a session of another application is no way into it."""
        owner, other = App(self.laptop), App(self.laptop)
        owner.send(CONNECT, struct.pack(">I", 65536) + text("home"), request=1)
        session = owner.until(OPENED, request=1)[2]
        other.send(REQUEST, struct.pack(">I", 0) + b"1", session=session, request=2)
        self.assertEqual(word(other.until(ERROR)), "protocol")  # there was never such a session
        with self.assertRaises((EOFError, ConnectionError)):
            other.next()
        owner.send(REQUEST, struct.pack(">I", 0) + b"1", session=session, request=2)
        self.assertEqual(owner.until(0x21, ERROR, request=2)[4], b"1")
        owner.close()
        other.close()

    def test_no_port_no_core_no_trace(self):
        """linkd listens on no network port, leaves no core and cannot be traced by its own user."""
        pid = self.home.process.pid
        if agentkit.WRAP:
            self.skipTest("the process is the wrapper's")
        inodes = set()
        for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                inodes |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(fd)))
        self.assertTrue(inodes)
        for table in ("tcp", "tcp6"):
            for line in pathlib.Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                self.assertFalse(words[3] == "0A" and words[9] in inodes, line)  # LISTEN
        for table in ("udp", "udp6", "raw", "raw6"):
            for line in pathlib.Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                self.assertNotIn(line.split()[9], inodes, line)
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        self.assertRegex(limits, r"Max core file size +0 +0 ")
        # Files of a process that is not dumpable belong to root: seen if linkd runs as another user.
        state = pathlib.Path(self.directory) / "nobody"
        state.mkdir(mode=0o700)
        os.chown(state, 65534, 65534)
        other = subprocess.Popen(
            [agentkit.program("linkd"), "--config", "/dev/null", "--state-dir", str(state / "state"),
             "--socket", str(state / "sock"), "--no-bus"], user=65534, group=65534, extra_groups=[],
            env=agentkit.clean_environment(), stderr=subprocess.PIPE, text=True)
        try:
            self.assertTrue(any(line.startswith("ready") for line in other.stderr))
            self.assertEqual(os.stat(f"/proc/{other.pid}/environ").st_uid, 0)
        finally:
            other.terminate()
            other.communicate(timeout=agentkit.LIMIT_SEC)
        self.assertEqual(other.returncode, 0)


class Disk(World):
    """A state directory in other hands, and one that has been meddled with."""

    def stopped(self, agent):
        agent.stop()
        self.ended(agent)
        return agent

    def start_fails(self, name, pattern):
        """linkd does not start, says why, and changes nothing."""
        state = pathlib.Path(self.directory) / name / "state"
        before = {p.name: p.read_bytes() for p in state.iterdir() if p.suffix == ".rec"}
        with self.assertRaisesRegex(AssertionError, pattern):
            self.agent(name)
        self.assertEqual({p.name: p.read_bytes() for p in state.iterdir() if p.suffix == ".rec"}, before)

    def key_elsewhere(self):
        """An environment as systemd makes it, with a master key outside of the state directory."""
        where = pathlib.Path(self.directory) / "credentials"
        where.mkdir(mode=0o700, exist_ok=True)
        (where / "linkd.master").write_bytes(os.urandom(32))
        (where / "linkd.master").chmod(0o400)
        return {"CREDENTIALS_DIRECTORY": str(where)}

    def test_a_stolen_disk_without_its_key_is_of_no_use(self):
        environment = self.key_elsewhere()
        relay = self.relay()
        home, laptop = (self.agent(name, env=environment) for name in ("home", "laptop"))
        home.ctl("uplink", "add", relay.url)
        home.wait_registered()
        recovery = home.json("recovery", "enable")["key"]
        invitation = home.json("invite", "--label", "telling-label")
        laptop.ctl("pair", invitation["uri"], "--name", "telling-name")
        exported = laptop.json("peer", "export", "telling-name")["credential"]
        made = credential.decode(exported)
        key = (pathlib.Path(environment["CREDENTIALS_DIRECTORY"]) / "linkd.master").read_bytes()
        for agent in (home, laptop):
            self.stopped(agent)
            self.assertFalse((agent.state / "master.key").exists())
            everything = b"\0".join(p.read_bytes() for p in agent.state.iterdir())
            self.assertGreater(len(everything), 300)
            for secret in (made.token, codec.b64u(made.token), exported, recovery, recovery.replace("-", ""),
                           key, "telling", "staticPrivate", relay.url, invitation["code"]):
                secret = secret if isinstance(secret, bytes) else secret.encode()
                self.assertNotIn(secret, everything)
        for name in ("home", "laptop"):  # as the thief has it
            self.start_fails(name, "master.key is missing")
        (home.state / "master.key").write_bytes(os.urandom(32))
        (home.state / "master.key").chmod(0o600)
        self.start_fails("home", "opens none of the")
        (home.state / "master.key").unlink()
        self.agent("home", env=environment).wait_registered()  # as the owner has it

    def test_what_is_open_to_others_is_not_used(self):
        home = self.stopped(self.agent("home"))
        home.state.chmod(0o750)
        self.start_fails("home", "open to others")
        home.state.chmod(0o700)
        (home.state / "master.key").chmod(0o640)
        self.start_fails("home", "master.key")
        (home.state / "master.key").rename(home.state / "real")
        (home.state / "real").chmod(0o600)
        os.symlink("real", home.state / "master.key")
        self.start_fails("home", "master.key")
        (home.state / "master.key").unlink()
        (home.state / "real").rename(home.state / "master.key")
        self.agent("home")
        self.start_fails("home", "another linkd .* is using")

    def test_a_record_is_bound_to_its_name_and_kind(self):
        """A copy under another id, or as another kind, opens nothing."""
        home, laptop, _ = self.paired(self.relay())
        self.stopped(home)
        (device,) = home.state.glob("device-*.rec")
        for name in ("device-" + "0" * 32 + ".rec", device.name.replace("device", "peer")):
            shutil.copy(device, home.state / name)
        home = self.agent("home")
        problems = "\n".join(home.json("status")["problems"])
        self.assertIn("device-" + "0" * 32, problems)
        self.assertIn(device.name.replace("device", "peer"), problems)
        self.assertEqual(len(home.json("devices")), 1)
        self.assertEqual(home.json("peers"), [])

    def test_no_new_identity_over_an_old_one(self):
        home, laptop, _ = self.paired(self.relay())
        self.stopped(home)
        (host,) = home.state.glob("host-*.rec")
        whole = host.read_bytes()
        host.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        self.start_fails("home", "host record|cannot be read")
        host.unlink()
        self.start_fails("home", "its devices are there")
        host.write_bytes(whole)
        host.chmod(0o600)
        self.agent("home").wait_registered()

    def test_an_unreadable_device_is_not_told_that_it_is_revoked(self):
        home, laptop, _ = self.paired(self.relay())
        self.stopped(home)
        (device,) = home.state.glob("device-*.rec")
        whole = device.read_bytes()
        wrong = whole[:-1] + bytes([whole[-1] ^ 1])
        device.write_bytes(wrong)
        home = self.agent("home")
        home.wait_registered()
        self.assertIn(device.name, "\n".join(home.json("status")["problems"]))
        with self.assertRaises(Failed) as caught:
            laptop.ctl("--json", "call", "home", "1", "--timeout", "1")
        self.assertIn(caught.exception.word, ("timeout", "unreachable"))
        self.stopped(home)
        self.assertEqual(device.read_bytes(), wrong)  # left as it was
        device.write_bytes(whole)
        home = self.agent("home")
        home.wait_registered()
        with self.assertRaisesRegex(Failed, "no request handler"):
            laptop.ctl("call", "home", "1")

    def test_nothing_depends_on_last_seen(self):
        home, laptop, _ = self.paired(self.relay())
        self.stopped(home)
        for content in (b"\0\xff\n" * 100, b"x" * (2 << 20), b""):
            (home.state / "last-seen").write_bytes(content)
            home = self.agent("home")
            self.assertEqual(len(home.json("devices")), 1)
            self.stopped(home)

    def test_a_restored_backup_brings_a_revoked_device_back(self):
        """Said plainly on the page, so that nobody is surprised."""
        home, laptop, _ = self.paired(self.relay())
        self.stopped(home)
        shutil.copytree(home.state, home.state.parent / "backup")
        home = self.agent("home")
        home.wait_registered()
        home.ctl("revoke", "laptop")
        self.assertEqual(home.json("devices"), [])
        self.stopped(home)
        shutil.rmtree(home.state)
        (home.state.parent / "backup").rename(home.state)
        home = self.agent("home")
        self.assertEqual([d["label"] for d in home.json("devices")], ["laptop"])


if __name__ == "__main__":
    agentkit.main()
