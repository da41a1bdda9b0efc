#!/usr/bin/python3
"""What an agent can do beyond the main job: several hosts, recovery, expiry, credentials, usage, monitor,
checks of state, doctor."""

import asyncio
import email.utils
import http.server
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
from agentkit import Failed, World  # noqa: E402
from linkv1 import client, codec, credential, header, host as v1_host, spake2, ws  # noqa: E402


class Hosts(World):
    def setUp(self):
        super().setUp()
        self.net = self.relay()
        self.home = self.agent("home")
        self.home.ctl("uplink", "add", self.net.url)

    def records(self, kind):
        return sorted(p.name for p in self.home.state.glob(kind + "-*.rec"))

    def serve(self, host, command):
        server = self.add(self.home.start_ctl("serve", host, "--exec", command))
        server.wait_line("^serving " + host)
        return server

    def restart(self):
        self.home.stop()
        self.ended(self.home)
        self.home = self.agent("home")

    def test_two_identities_served_at_once(self):
        other = self.relay()
        made = self.home.json("host", "add", "work")
        self.home.ctl("uplink", "add", other.url, "--host", "work")
        self.home.until("registered", lambda: all(
            h["uplinks"][0]["state"] == "registered" for h in self.home.json("host", "list")))
        hosts = {h["name"]: h for h in self.home.json("host", "list")}
        self.assertEqual(set(hosts), {"default", "work"})
        self.assertEqual(hosts["work"]["address"], made["address"])
        self.assertNotEqual(hosts["default"]["address"], made["address"])
        self.assertEqual([u["url"] for u in hosts["work"]["uplinks"]], [other.url])
        self.assertEqual(self.home.json("host", "show", "work"), hosts["work"])
        self.serve("default", "echo 1")
        server = self.serve("work", "echo 2")
        laptop = self.agent("laptop")
        for host in hosts:
            laptop.ctl("pair", self.home.json("invite", host, "--label", "laptop")["uri"], "--name", host)
        self.assertEqual((laptop.ctl("call", "default", "0"), laptop.ctl("call", "work", "0")), ("1\n", "2\n"))
        self.assertEqual([len(self.home.json("devices", h)) for h in hosts], [1, 1])
        # An identity goes with everything that it has, at once and for good.
        listener = self.add(laptop.start_ctl("listen", "work"))
        listener.wait_line("listening")
        self.assertEqual(self.home.json("host", "remove", "work")["devices"], 1)
        server.wait_line("work: the host was removed")
        self.assertEqual(server.process.wait(agentkit.LIMIT_SEC), 1)
        self.ended(server)
        listener.wait_line("reconnecting")
        self.assertEqual((len(self.records("host")), len(self.records("device"))), (1, 1))
        self.assertEqual(laptop.ctl("call", "default", "0"), "1\n")
        self.restart()
        self.assertEqual([h["name"] for h in self.home.json("host", "list")], ["default"])
        self.assertEqual(self.home.json("status")["problems"], [])

    def test_the_first_can_go_but_not_the_last(self):
        self.fails("badRequest", self.home, "host", "remove", "default")
        self.home.ctl("host", "add", "work")
        self.fails("exists", self.home, "host", "add", "work")
        self.fails("badRequest", self.home, "host", "add", "@work")
        self.home.ctl("host", "remove", "default")
        self.fails("badRequest", self.home, "host", "remove", "work")
        self.fails("noSuchHost", self.home, "devices")
        address = self.home.json("host", "show", "work")["address"]
        self.restart()
        self.assertEqual([h["address"] for h in self.home.json("host", "list")], [address])

    def test_no_more_than_sixteen(self):
        for i in range(15):
            self.home.ctl("host", "add", f"h{i}")
        self.fails("tooMany", self.home, "host", "add", "h15")

    def test_a_removal_that_was_cut_in_the_middle(self):
        """Its devices go first: what is left is a host, readable and without them."""
        self.home.ctl("host", "add", "work")
        self.home.ctl("uplink", "add", self.net.url, "--host", "work")
        laptop = self.agent("laptop")
        laptop.ctl("pair", self.home.json("invite", "work")["uri"], "--name", "work")
        self.home.stop()
        self.ended(self.home)
        (device,) = self.records("device")
        os.unlink(self.home.state / device)
        self.home = self.agent("home")
        self.assertEqual(self.home.json("status")["problems"], [])
        self.assertEqual(self.home.json("devices", "work"), [])
        self.home.ctl("host", "remove", "work")


class Recovery(World):
    def setUp(self):
        super().setUp()
        self.net = self.relay()
        self.home = self.agent("home")
        self.home.ctl("uplink", "add", self.net.url)
        self.home.wait_registered()
        self.address = self.home.json("host", "show")["address"]

    def pair(self, agent, key, *words):
        return agent.json("pair", "--recovery", "--address", self.address, "--uplink", self.net.url, *words,
                          stdin=key.encode())

    def test_lets_in_again_and_again(self):
        made = self.home.json("recovery", "enable")
        self.assertRegex(made["key"], "^[A-Z2-7]{26}$")
        self.assertEqual((made["address"], made["uplinks"]), (self.address, [self.net.url]))
        for name in ("one", "two"):
            self.pair(self.agent(name), made["key"] + "\n", "--name", "home")
        devices = self.home.json("devices")
        self.assertEqual([d["codeId"] for d in devices], ["recovery"] * 2)
        self.assertTrue(all(d["label"].startswith("recovered-") for d in devices), devices)
        # Across a restart, from a file, and after ten wrong keys.
        self.home.stop()
        self.ended(self.home)
        self.home = self.agent("home")
        self.home.wait_registered()
        self.assertTrue(self.home.json("host", "show")["recovery"])
        three = self.agent("three")
        for _ in range(10):
            with self.assertRaises(Failed) as caught:
                self.pair(three, "A" * 26)
            self.assertEqual(caught.exception.word, "wrongCode")
        path = pathlib.Path(self.directory) / "key"
        path.write_text(made["key"] + "\n")
        self.pair(three, "", "--key-file", str(path))
        self.assertEqual(len(self.home.json("devices")), 3)

    def test_a_new_key_voids_the_old_one_and_disable_both(self):
        old = self.home.json("recovery", "default", "enable")["key"]
        new = self.home.json("recovery", "default", "enable")["key"]
        laptop = self.agent("laptop")
        with self.assertRaises(Failed):
            self.pair(laptop, old)
        self.pair(laptop, new)
        self.home.ctl("recovery", "disable")
        other = self.agent("other")
        with self.assertRaises(Failed):
            self.pair(other, new)
        self.assertFalse(self.home.json("host", "show")["recovery"])
        self.assertEqual(len(self.home.json("devices")), 1)  # who came by it stays

    def test_the_key_is_neither_in_arguments_nor_on_disk_nor_in_a_log(self):
        key = self.home.json("recovery", "enable")["key"]
        laptop = self.agent("laptop")
        for words in ((key,), ("--code", key)):
            with self.assertRaises(Failed) as caught:
                self.pair(laptop, "", *words)
            self.assertEqual(caught.exception.status, 2)
            self.assertNotIn(key, caught.exception.err)
        for path in self.home.state.iterdir():
            self.assertNotIn(key.encode(), path.read_bytes())
        self.assertNotIn(key, self.home.output)

    def test_attempts_that_hang_lock_nobody_out(self):
        """Five take all places; the oldest gives its own, and the others keep theirs."""
        key = self.home.json("recovery", "enable")["key"]

        async def hang():
            sockets = []
            for _ in range(5):
                socket, _ = await client.splice(self.net.url, self.address)
                head = header.Header(header.RECOVER).encode()
                await socket.send(head)
                await socket.send(spake2.Side(key, head, client=True).share)
                await asyncio.wait_for(socket.recv_message(), agentkit.LIMIT_SEC)  # pB: it has its place
                sockets.append(socket)
            await asyncio.to_thread(self.pair, self.agent("laptop"), key)
            with self.assertRaises(ws.Closed):
                await asyncio.wait_for(sockets[0].recv_message(), agentkit.LIMIT_SEC)
            for socket in sockets:
                socket.abort()

        asyncio.run(hang())
        self.home.wait_line("recovery: gives its place")
        self.assertEqual(sum("gives its place" in line for line in self.home.lines if line), 1)

    def test_somebody_elses_host(self):
        laptop = self.agent("laptop")

        async def story():
            host = await v1_host.Host([self.net.url]).start()
            host.set_recovery("their own key")
            try:
                self.address = host.address
                await asyncio.to_thread(self.pair, laptop, "their own key\n")
            finally:
                await host.stop()

        asyncio.run(story())


class Devices(World):
    def test_a_device_that_expires(self):
        net = self.relay()
        home, laptop = self.agent("home"), self.agent("laptop")
        home.ctl("uplink", "add", net.url)
        home.wait_registered()
        self.fails("usage", home, "invite", "--device-ttl", "366.5d")
        lasting = home.json("invite", "--label", "lasting")
        laptop.ctl("pair", lasting["uri"], "--name", "lasting")
        made = home.json("invite", "--label", "guest", "--device-ttl", "3s")
        self.assertEqual([i["deviceTtlSec"] for i in home.json("invitations")], [3])
        laptop.ctl("pair", made["uri"], "--name", "home")
        listener = self.add(laptop.start_ctl("listen", "home"))
        listener.wait_line("revoked")  # its live session has ended, or it came too late for one
        self.assertEqual(listener.process.wait(agentkit.LIMIT_SEC), 1)
        self.ended(listener)
        if "listening to home" in listener.output:
            home.wait_line("the time of device guest is over; 1 sessions ended")
        self.fails("revoked", laptop, "call", "home", "1")
        first, guest = home.json("devices")
        self.assertEqual((first["codeId"], first["expiresAt"], first["expired"]),
                         (lasting["codeId"], None, False))
        self.assertEqual((guest["codeId"], guest["expired"], guest["connected"]), (made["codeId"], True, False))
        self.assertGreater(guest["expiresAt"], guest["createdAt"])
        home.stop()
        self.ended(home)
        home = self.agent("home")
        home.wait_registered()
        self.fails("revoked", laptop, "call", "home", "1")
        self.assertEqual({d["label"]: d["expired"] for d in home.json("devices")}, {"lasting": False, "guest": True})
        with self.assertRaisesRegex(Failed, "no request handler"):
            laptop.ctl("call", "lasting", "1")
        home.ctl("revoke", "guest")
        self.assertEqual(len(home.json("devices")), 1)


class Peers(World):
    def test_rename(self):
        home, laptop, _ = self.paired(self.relay())
        listener = self.add(laptop.start_ctl("listen", "home"))
        listener.wait_line("listening")
        laptop.ctl("peer", "rename", "home", "castle")
        laptop.wait_peer("castle", "connected")  # its sessions go on
        self.assertEqual(laptop.ctl("call", "castle", "1"), "1\n")
        self.fails("noSuchPeer", laptop, "call", "home", "1")
        self.fails("noSuchPeer", laptop, "peer", "rename", "home", "x")
        self.fails("badRequest", laptop, "peer", "rename", "castle", "@x")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
        self.fails("exists", laptop, "peer", "rename", "home", "castle")
        listener.stop()
        self.ended(listener)
        laptop.stop()
        self.ended(laptop)
        laptop = self.agent("laptop")
        self.assertEqual(sorted(p["name"] for p in laptop.json("peers")), ["castle", "home"])

    def test_a_credential_moves_to_another_agent(self):
        net = self.relay()
        home, laptop, _ = self.paired(net)
        exported = laptop.ctl("peer", "export", "home")
        self.assertRegex(exported, r"^[\w-]+\n$")
        self.assertEqual(laptop.json("peer", "export", "home")["credential"], exported.strip())
        laptop.ctl("peer", "remove", "home")
        other = self.agent("other")
        self.fails("badRequest", other, "peer", "import", "--uplink", net.url, stdin=exported[4:].encode())
        made = other.json("peer", "import", "--uplink", net.url, "--name", "home", stdin=exported.encode())
        self.assertEqual(made["uplinks"], [net.url])
        self.assertEqual(other.ctl("call", "home", "1"), "1\n")
        self.assertEqual(len(home.json("devices")), 1)
        # Once more replaces; a name that another peer has is refused.
        path = pathlib.Path(self.directory) / "credential"
        path.write_text(exported)
        self.assertEqual(other.json("peer", "import", str(path), "--uplink", net.url), made)
        other.ctl("pair", self.invite_of_another_host(net), "--name", "else")
        self.fails("exists", other, "peer", "import", str(path), "--uplink", net.url, "--name", "else")
        self.assertEqual(len(other.json("peers")), 2)
        self.assertNotIn(exported.strip(), other.output + laptop.output)

    def invite_of_another_host(self, net):
        castle = self.agent("castle")
        castle.ctl("uplink", "add", net.url)
        castle.wait_registered()
        return castle.json("invite")["uri"]

    def test_with_another_implementation(self):
        net = self.relay()
        home, laptop, _ = self.paired(net)
        made = home.json("invite", "--label", "theirs")

        async def story():
            theirs, session = await client.pair(
                [net.url], made["address"], made["code"], codec.unb64u(made["codeId"]))
            await session.close()
            ours = credential.decode((await asyncio.to_thread(laptop.ctl, "peer", "export", "home")).strip())
            session = await client.reconnect([net.url], ours)
            self.assertEqual(await session.request("ours"), "ours")
            await session.close()
            return theirs.encode()

        text = asyncio.run(story())
        laptop.ctl("peer", "import", "--uplink", net.url, "--name", "theirs", stdin=text.encode())
        self.assertEqual(laptop.ctl("call", "theirs", "1"), "1\n")
        self.assertEqual({d["label"]: d["connected"] for d in home.json("devices")}["theirs"], True)


class Watching(World):
    def monitor(self, agent, *words):
        child = self.add(agent.start_ctl("monitor", *words))
        child.wait_line("^monitoring$")
        return child

    def wait(self, child, topic, event, **members):
        """Whether there is, or comes, a line with these."""
        start = 0
        while True:
            child.wait_line(r"^\{", start)
            with child.changed:
                lines = child.lines[start:]
            for line in lines:
                start += 1
                got = json.loads(line) if line and line.startswith("{") else {}
                if (got.get("topic"), got.get("event")) == (topic, event) and \
                        all(got.get(k) == v for k, v in members.items()):
                    return got


class Monitor(Watching):
    def test_changes_are_told(self):
        net = self.relay()
        home, laptop = self.agent("home"), self.agent("laptop")
        here, there = self.monitor(home, "--json"), self.monitor(laptop, "--json")
        text = self.monitor(home)
        home.ctl("uplink", "add", net.url)
        self.wait(here, "uplink", "added", url=net.url)
        self.wait(here, "uplink", "changed", url=net.url, state="registered", host="default")
        made = home.json("invite", "--label", "laptop")
        self.wait(here, "invitation", "opened", codeId=made["codeId"], label="laptop")
        laptop.ctl("pair", made["uri"], "--name", "home")
        self.wait(here, "invitation", "closed", codeId=made["codeId"], reason="used")
        device = self.wait(here, "device", "added", label="laptop", codeId=made["codeId"])
        self.wait(there, "peer", "added", name="home")
        server = self.add(home.start_ctl("serve", "--echo"))
        self.wait(here, "host", "changed", name="default", served=True)
        laptop.ctl("call", "home", "1")
        self.wait(there, "session", "opened", side="peer", name="home")
        self.wait(there, "session", "changed", side="peer", state="connected")
        self.wait(there, "peer", "changed", name="home", state="connected")
        self.wait(here, "session", "opened", side="device", name="laptop", host="default")
        laptop.ctl("peer", "rename", "home", "castle")
        self.wait(there, "peer", "renamed", name="castle")
        net.kill()
        self.ended(net)
        self.wait(there, "session", "changed", state="reconnecting")
        self.wait(here, "uplink", "changed", state="waiting")
        home.ctl("revoke", "laptop")
        self.wait(here, "device", "revoked", keyId=device["keyId"])
        home.ctl("host", "add", "work")
        self.wait(here, "host", "added", name="work")
        home.ctl("host", "remove", "work")
        self.wait(here, "host", "removed", name="work")
        text.wait_line(r"Z uplink changed ws://\S+ of default: registered$")
        text.wait_line(r"Z device revoked laptop")
        server.stop()
        self.ended(server)
        for child in (here, there, text):
            child.stop()
            self.ended(child)

    def test_the_agent_ends(self):
        home = self.agent("home")
        monitor = self.monitor(home)
        home.stop()
        self.ended(home)
        self.assertEqual(monitor.process.wait(agentkit.LIMIT_SEC), 1)
        self.ended(monitor)


class Usage(Watching):
    def test_of_two_relays(self):
        counted, free = self.relay(LINK_RELAY_HOURLY_BYTES="1000000"), self.relay()
        home, laptop, _ = self.paired(counted, free)
        self.assertEqual(home.json("usage"), [])
        changes = self.monitor(home, "--json")
        listener = self.add(laptop.start_ctl("listen", "home"))
        listener.wait_line("listening")
        (link,) = home.json("usage")
        self.assertEqual(set(link), {"uplink", "linkId", "used", "throttled"})
        self.assertEqual((link["uplink"], link["throttled"]), (counted.url, False))
        self.assertLess(link["used"], 0.1)
        # Half of it is pushed, and surfaced.
        payload = pathlib.Path(self.directory) / "payload"
        payload.write_bytes(os.urandom(600000))
        laptop.ctl("send", "home", "1", "--payload", str(payload))
        changes.wait_line(r'"topic": ?"usage".*"used": ?(0\.[5-9]|1)')
        told = self.wait(changes, "usage", "told", uplink=counted.url, host="default")
        self.assertEqual(set(told["connections"][0]), {"linkId", "used", "throttled"})
        # Without a quota there is nothing to count; a relay that is gone is named.
        counted.kill()
        self.ended(counted)
        listener.wait_line("listening", listener.count())
        words = home.words("--json", "usage")
        home.wait_registered(1)
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        self.assertIn(counted.url, done.stderr)
        (link,) = json.loads(done.stdout)
        self.assertEqual((link["uplink"], link["unlimited"]), (free.url, True))
        changes.stop()
        self.ended(changes)


class State(World):
    def check(self, agent, status):
        done = subprocess.run([agentkit.program("linkd"), "--config", "/dev/null", "--state-dir", str(agent.state),
                               "--check-state"], capture_output=True, text=True, env=agentkit.clean_environment())
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def contents(self, agent):
        return {p.name: p.read_bytes() for p in agent.state.iterdir()}

    def test_check_state(self):
        home, laptop, _ = self.paired(self.relay())
        self.assertIn("1 hosts, 1 devices, 0 peers; all is well", self.check(home, 0))  # while it runs
        for agent in (home, laptop):
            agent.stop()
            self.ended(agent)
        self.assertIn("1 hosts, 0 devices, 1 peers; all is well", self.check(laptop, 0))
        (home.state / "host-1.rec").touch()  # no record's name
        (home.state / "device.tmp").touch()
        before = self.contents(home)
        (record,) = home.state.glob("device-*.rec")
        whole = record.read_bytes()
        for wrong, text in ((whole[:-1] + bytes([whole[-1] ^ 1]), "does not open with this master key"),
                            (whole[:20], "is cut short"), (b"", "is cut short"),
                            (whole[:4] + b"\2" + whole[5:], "newer linkd")):
            record.write_bytes(wrong)
            said = self.check(home, 1)
            self.assertIn(f"{record.name} ", said)
            self.assertIn(text, said)
            self.assertEqual(record.read_bytes(), wrong)
        record.write_bytes(whole)
        self.assertEqual(self.contents(home), before)
        # A device without its host; a copy of a record; no key at all.
        (host,) = home.state.glob("host-????????*.rec")
        host.rename(home.state / "away")
        self.assertIn("its host is not there", self.check(home, 1))
        (home.state / "away").rename(host)
        (home.state / "master.key").rename(home.state / "away")
        self.assertIn("master.key is missing", self.check(home, 1))
        (home.state / "away").rename(home.state / "master.key")
        home.state.chmod(0o755)
        self.assertIn("open to others", self.check(home, 1))
        home.state.chmod(0o700)
        self.check(home, 0)
        empty = self.agent("empty")
        empty.stop()
        self.ended(empty)
        for path in empty.state.iterdir():
            path.unlink()
        self.assertIn("0 hosts", self.check(empty, 0))
        self.assertEqual(self.contents(empty), {})  # looking makes nothing

    def test_a_newer_format_is_not_read(self):
        home, laptop, _ = self.paired(self.relay())
        home.stop()
        self.ended(home)
        (host,) = home.state.glob("host-*.rec")
        (device,) = home.state.glob("device-*.rec")
        wholes = {path: path.read_bytes() for path in (host, device)}
        device.write_bytes(wholes[device][:4] + b"\2" + wholes[device][5:])
        home = self.agent("home")
        (problem,) = home.json("status")["problems"]
        self.assertIn("newer linkd", problem)
        home.wait_registered()
        with self.assertRaises(Failed) as caught:  # it is not told that it was revoked
            laptop.ctl("--json", "call", "home", "1", "--timeout", "1")
        self.assertIn(caught.exception.word, ("timeout", "unreachable"))
        home.stop()
        self.ended(home)
        host.write_bytes(wholes[host][:4] + b"\2" + wholes[host][5:])
        with self.assertRaisesRegex(AssertionError, "newer linkd: upgrade this"):
            self.agent("home")
        for path, whole in wholes.items():
            path.write_bytes(whole)
        home = self.agent("home")
        home.wait_registered()
        with self.assertRaisesRegex(Failed, "no request handler"):
            laptop.ctl("call", "home", "1")


class LastRelay(World):
    """The relay that last worked is tried first, also after a restart."""

    def restart(self):
        self.laptop.stop()
        self.ended(self.laptop)
        self.laptop = self.agent("laptop")

    def uplink(self):
        (peer,) = self.laptop.json("peers")
        return peer["uplink"]

    def test_it_is_remembered(self):
        first, second = self.relay(), self.relay()
        home, self.laptop, _ = self.paired(first, second)
        self.assertEqual(self.uplink(), first.url)
        first.kill()
        self.ended(first)
        self.assertEqual(self.laptop.ctl("call", "home", "1"), "1\n")
        self.assertEqual(self.uplink(), second.url)
        self.restart()
        self.assertEqual(self.uplink(), second.url)  # before anything was dialed
        file = self.laptop.state / "last-relay"
        (key_id, place), = [line.split() for line in file.read_text().splitlines()]
        self.assertEqual(place, "1")
        self.assertNotIn("ws://", file.read_text())
        # What means nothing is passed over, and makes no peer.
        file.write_text(f"{key_id} 2\n{key_id} -1\n{key_id}\n{key_id} 1x\n" + "A" * 22 + " 0\n\n\0")
        self.restart()
        self.assertEqual(self.uplink(), first.url)
        file.write_text(f"{key_id} 1")
        self.laptop.ctl("peer", "remove", "home")
        self.restart()
        self.assertEqual(self.laptop.json("peers"), [])
        file.unlink()
        os.mkfifo(file)
        self.restart()
        self.assertEqual(self.laptop.json("peers"), [])


class Liar(http.server.BaseHTTPRequestHandler):
    """No relay, and its clock is an hour ahead."""

    def do_GET(self):
        self.send_response_only(404)
        self.send_header("Date", email.utils.formatdate(time.time() + 3600, usegmt=True))
        self.end_headers()

    def log_message(self, *args):
        pass


class Doctor(World):
    def doctor(self, agent, status):
        done = subprocess.run(agent.words("--json", "doctor"), capture_output=True, text=True)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def test_all_is_well(self):
        net = self.relay()
        home, laptop, _ = self.paired(net)
        found = self.doctor(home, 0)
        self.assertEqual(found["findings"], [])
        (relay,) = found["relays"]
        self.assertEqual(relay["url"], net.url)
        self.assertEqual([(s["step"], s["ok"]) for s in relay["steps"]],
                         [("name", True), ("connect", True), ("health", True), ("upgrade", True)])
        self.assertEqual([(h["host"], h["state"]) for h in relay["hosts"]], [("default", "registered")])
        self.assertGreaterEqual(relay["hosts"][0]["roundTripMsec"], 1)
        self.assertLess(abs(relay["clockOffsetMsec"]), 30000)
        self.assertIn("Nothing is wrong.", home.ctl("doctor"))
        (relay,) = self.doctor(laptop, 0)["relays"]  # a peer's
        self.assertEqual((relay["url"], relay["hosts"]), (net.url, []))

    def test_each_finding_has_its_remedy(self):
        net, gone = self.relay(), self.relay()
        gone.kill()
        self.ended(gone)
        liar = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
        threading.Thread(target=liar.serve_forever, daemon=True).start()
        self.addCleanup(liar.server_close)
        self.addCleanup(liar.shutdown)
        mute = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(mute.close)
        urls = {"gone": gone.url, "liar": f"ws://127.0.0.1:{liar.server_port}",
                "mute": f"ws://127.0.0.1:{mute.getsockname()[1]}", "nowhere": "ws://nowhere.invalid",
                "no tls": f"wss://127.0.0.1:{net.port}"}
        home = self.agent("home")
        for url in (net.url, *urls.values()):
            home.ctl("uplink", "add", url)
        home.wait_registered(1)
        home.socket.chmod(0o666)
        found = self.doctor(home, 1)
        texts = {f["about"]: [] for f in found["findings"]}
        for f in found["findings"]:
            self.assertTrue(f["problem"], f)
            self.assertTrue(f["remedy"], f)
            texts[f["about"]].append(f["text"])
        self.assertNotIn(net.url, texts)
        self.assertRegex(texts[urls["gone"]][0], "no connection to the relay: .*refused")
        self.assertEqual(len(texts[urls["liar"]]), 2)
        self.assertIn("404", texts[urls["liar"]][0])
        self.assertRegex(texts[urls["liar"]][1], r"clock is 3[56]\d\d s slow")
        self.assertRegex(texts[urls["mute"]][0], "timed out")
        self.assertIn("does not resolve", texts[urls["nowhere"]][0])
        self.assertIn("no WebSocket to the relay", texts[urls["no tls"]][0])
        self.assertEqual(texts[str(home.socket)], ["the agent's socket is open to every user"])
        home.ctl("uplink", "remove", urls["mute"])  # it has taken its time
        with self.assertRaises(Failed) as caught:
            home.ctl("doctor")
        self.assertEqual(caught.exception.status, 1)
        self.assertRegex(caught.exception.out, "WRONG " + urls["gone"] + ": no connection.*\n +see that")

    def test_an_answer_that_is_no_text(self):
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)

        def answer():
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.recv(4096)
                    client.sendall(b"HTTP/1.1 500 \xff\xc3 \x1b[31m\xed\xa0\x80\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        home = self.agent("home")
        home.ctl("uplink", "add", f"ws://127.0.0.1:{server.getsockname()[1]}")
        found = self.doctor(home, 1)
        steps = {s["step"]: s["detail"] for s in found["relays"][0]["steps"]}
        self.assertEqual(steps["health"], "it answers HTTP/1.1 500 ?? ?[31m???")

    def test_without_an_agent(self):
        done = subprocess.run([agentkit.program("linkctl"), "--socket", "/nowhere/s", "--json", "doctor"],
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, json.loads(done.stderr)["error"]), (1, "noAgent"))


if __name__ == "__main__":
    agentkit.main()
