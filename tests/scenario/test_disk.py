#!/usr/bin/python3
"""Disks that are full, read-only or broken, records and keys that are damaged, missing or old: what linkd says,
and that it loses and invents nothing."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
from agentkit import Failed  # noqa: E402
from faultkit import Faults, ask, empty, fill, mount, own_mounts, preload, records, temporary  # noqa: E402

NO_MOUNTS = own_mounts()
SEED = int(os.environ.get("LINK_TEST_SEED", random.randrange(1 << 32)))
NO_ROOM = "No space left on device; make room on its disk"


class Disk(Faults):
    def ready(self, name, relay, **how):
        """A host at the relay that echoes."""
        agent = self.start(name, **how)
        if relay.url not in [u["url"] for u in agent.json("uplink", "list")]:
            agent.ctl("uplink", "add", relay.url)
        agent.wait_registered()
        self.add(agent.start_ctl("serve", "--echo")).wait_line("^serving default")
        return agent

    def again(self, agent, **how):
        """Stops the agent and what serves there, and starts it anew."""
        if agent in self.children:
            self.stopped(agent)
        for child in [c for c in self.children if str(agent.socket) in c.command and c is not agent]:
            child.process.wait(agentkit.LIMIT_SEC)
            self.killed(child)
        return self.start(agent.name, **how)

    def problems(self, agent):
        return "\n".join(ask(agent, "status")["problems"])


@unittest.skipIf(NO_MOUNTS, NO_MOUNTS)
class FullDisk(Disk):
    """No blocks are left, or no inodes."""

    LIMITS = {"blocks": "size=128k", "inodes": "size=1m,nr_inodes=14"}

    def small(self, name, what="blocks"):
        """The agent's state directory on a disk of its own."""
        state = pathlib.Path(self.directory) / name / "state"
        state.mkdir(parents=True)
        mount("-t", "tmpfs", "-o", "mode=0700," + self.LIMITS[what], "tmpfs", str(state))
        self.addCleanup(subprocess.run, ["umount", "-l", str(state)], check=True)
        return state

    def test_pairing_with_the_hosts_disk_full(self):
        for what in self.LIMITS:
            with self.subTest(what):
                net = self.relay()
                disk = self.small("home-" + what, what)
                home = self.ready("home-" + what, net)
                laptop = self.start("laptop-" + what)
                uri = home.json("invite")["uri"]
                before = records(home)
                fill(disk, what)
                told = self.fails("wrongCode", laptop, "pair", uri, "--name", "home").err
                self.assertIn("or the host could not keep this device: `linkctl status` there tells", told)
                home.wait_line("a pairing failed, the device could not be stored in .*: No space left on device")
                self.assertIn(NO_ROOM, self.problems(home))
                self.assertIn(NO_ROOM, self.fails("storage", home, "invite").err)
                # Nothing half-stored, and the guess is given back.
                self.assertEqual((records(home), temporary(home)), (before, []))
                self.assertEqual((home.json("devices"), laptop.json("peers")), ([], []))
                (open_one,) = home.json("invitations")
                self.assertEqual((open_one["failures"], open_one["inFlight"]), (0, 0))
                empty(disk)
                laptop.ctl("pair", uri, "--name", "home")
                self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
                self.assertEqual(self.problems(home), "")

    def test_pairing_with_the_clients_disk_full(self):
        for what in self.LIMITS:
            with self.subTest(what):
                disk = self.small("laptop-" + what, what)
                home = self.ready("home-" + what, self.relay())
                laptop = self.start("laptop-" + what)
                uri = home.json("invite")["uri"]
                fill(disk, what)
                # Before the code is spent.
                self.assertIn(NO_ROOM, self.fails("storage", laptop, "pair", uri, "--name", "home").err)
                self.assertEqual((records(laptop, "peer"), temporary(laptop), home.json("devices")), ({}, [], []))
                self.assertEqual(home.json("invitations")[0]["failures"], 0)
                empty(disk)
                laptop.ctl("pair", uri, "--name", "home")
                self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")

    def test_what_works_on_a_full_disk(self):
        """Revoking, starting, sessions; each change that needs room fails as a whole."""
        disk = self.small("home")
        home = self.ready("home", self.relay())
        laptop = self.start("laptop")
        for name in ("stays", "goes"):
            laptop.ctl("pair", home.json("invite", "--label", name)["uri"], "--name", name)
        before = home.json("host", "list")
        fill(disk)
        for words in (("host", "add", "work"), ("recovery", "enable"), ("uplink", "add", "ws://127.0.0.1:1"),
                      ("uplink", "remove", before[0]["uplinks"][0]["url"])):
            self.assertIn(NO_ROOM, self.fails("storage", home, *words).err, words)
        self.assertEqual(home.json("host", "list"), before)
        home.ctl("revoke", "goes")
        self.fails("revoked", laptop, "call", "goes", "1")
        fill(disk)  # also what that has freed
        self.assertIn(NO_ROOM, self.check_state(home.state, 1))
        home = self.again(home)
        home.wait_line("cannot be written, so nothing new can be kept: " + NO_ROOM[:20])
        self.assertIn(NO_ROOM, self.problems(home))
        home.wait_registered()
        with self.assertRaisesRegex(Failed, "no request handler"):
            laptop.ctl("call", "stays", "1")
        self.stopped(home)  # last-seen times are lost: a line, and nothing else
        self.assertIn("last-seen, and goes on trying: " + NO_ROOM[:20], home.output)
        empty(disk)
        home = self.again(home)
        self.assertEqual([d["label"] for d in home.json("devices")], ["stays"])
        self.assertIn("all is well", self.check_state(home.state, 0))

    def test_a_first_start(self):
        disk = self.small("home")
        fill(disk)
        self.does_not_start("home", r"cannot write the master key .*: No space left on device; make room")
        empty(disk)
        self.start("home")


@unittest.skipIf(NO_MOUNTS, NO_MOUNTS)
class ReadOnly(Disk):
    def test_while_it_runs_and_at_the_start(self):
        state = pathlib.Path(self.directory) / "home" / "state"
        state.mkdir(parents=True)
        mount("-t", "tmpfs", "-o", "mode=0700", "tmpfs", str(state))
        self.addCleanup(subprocess.run, ["umount", "-l", str(state)], check=True)
        home = self.ready("home", self.relay())
        laptop = self.start("laptop")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
        mount("-o", "remount,ro", str(state))
        words = "Read-only file system; mount it writable"
        (device,) = home.json("devices")
        for command in (("revoke", device["keyId"]), ("invite",), ("host", "add", "work")):
            self.assertIn(words, self.fails("storage", home, *command).err, command)
        self.assertIn(words, self.problems(home))
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")  # told that it is not revoked, and it is not
        home = self.again(home)
        self.assertIn(words, self.problems(home))
        self.assertIn(words, self.check_state(state, 1))
        home.wait_registered()
        with self.assertRaisesRegex(Failed, "no request handler"):
            laptop.ctl("call", "home", "1")
        mount("-o", "remount,rw", str(state))
        home.ctl("revoke", device["keyId"])
        self.fails("revoked", laptop, "call", "home", "1")
        self.assertEqual(self.problems(home), "")
        self.stopped(home)
        for path in state.iterdir():
            path.unlink()
        mount("-o", "remount,ro", str(state))
        self.does_not_start("home", "cannot write in the state directory .*: " + words)

    def test_a_directory_of_another_user(self):
        os.chmod(self.directory, 0o755)
        home = pathlib.Path(self.directory) / "home"
        home.mkdir()
        state = home / "state"
        state.mkdir(0o700)
        for path in (home, state):
            os.chown(path, 65534, 65534)
        agent = self.agent("home", wrap=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
        os.chown(state, 0, 65534)
        os.chmod(state, 0o750)
        told = self.fails("storage", agent, "host", "add", "work").err
        self.assertIn("Permission denied; give it to linkd's user", told)
        self.assertEqual(len(agent.json("host", "list")), 1)


class BrokenDisk(Disk):
    """The disk says no: at fsync, of a file or of the directory, or at the removal of a file."""

    def setUp(self):
        super().setUp()
        self.fault = pathlib.Path(self.directory) / "fault"
        self.env = preload("diskfault") | {"DISK_FAULT": str(self.fault)}
        self.net = self.relay()
        self.home = self.ready("home", self.net, env=self.env)
        self.laptop = self.start("laptop", self.env)

    def pair(self, name):
        self.laptop.ctl("pair", self.home.json("invite", "--label", name)["uri"], "--name", name)

    def breaks(self, what, skip=0):
        self.fault.write_text(f"{what} 5 {skip}")  # EIO

    def test_a_revocation_that_the_disk_does_not_confirm_stands(self):
        self.pair("one")
        listener = self.add(self.laptop.start_ctl("listen", "one"))
        listener.wait_line("listening")
        self.breaks("dir")
        told = self.fails("storage", self.home, "revoke", "one").err
        self.assertIn("one is revoked, but the disk did not confirm it", told)
        listener.wait_line("revoked")  # at once
        self.assertEqual((self.home.json("devices"), records(self.home, "device")), ([], {}))
        self.fails("revoked", self.laptop, "call", "one", "1")
        self.assertIn("Input/output error; look at its disk", self.problems(self.home))
        told = self.fails("storage", self.laptop, "peer", "remove", "one").err
        self.assertIn("one is removed, but the disk did not confirm it", told)
        self.assertEqual((self.laptop.json("peers"), records(self.laptop, "peer")), ([], {}))
        self.fault.unlink()
        self.killed(self.home)
        self.assertEqual(self.again(self.home).json("devices"), [])
        self.assertEqual(listener.process.wait(agentkit.LIMIT_SEC), 1)
        self.ended(listener)

    def test_a_revocation_that_fails_is_none(self):
        self.pair("one")
        self.breaks("unlink")
        self.assertIn("Input/output error; look at its disk", self.fails("storage", self.home, "revoke", "one").err)
        self.assertEqual(len(self.home.json("devices")), 1)
        self.assertEqual(self.laptop.ctl("call", "one", "1"), "1\n")
        self.fault.unlink()
        self.home.ctl("revoke", "one")
        self.fails("revoked", self.laptop, "call", "one", "1")

    def test_a_host_whose_removal_fails_in_the_middle(self):
        """The devices whose records have gone stay gone."""
        for name in ("one", "two", "three"):
            self.pair(name)
        self.home.ctl("host", "add", "other")
        self.breaks("unlink", skip=1)
        told = self.fails("storage", self.home, "host", "remove", "default").err
        self.assertIn("host default is still there, but 1 of its devices are revoked", told)
        self.fault.unlink()
        left = {d["label"] for d in self.home.json("devices")}
        self.assertEqual((len(left), len(records(self.home, "device"))), (2, 2))
        for name in ("one", "two", "three"):
            if name in left:
                self.assertEqual(self.laptop.ctl("call", name, "1"), "1\n")
            else:
                self.fails("revoked", self.laptop, "call", name, "1")
        self.killed(self.home)
        home = self.again(self.home)
        self.assertEqual({d["label"] for d in home.json("devices")}, left)
        self.assertEqual(home.json("host", "remove", "default")["devices"], 2)

    def test_a_change_that_the_disk_does_not_confirm_is_taken_back(self):
        self.pair("one")
        key = self.home.json("recovery", "enable")["key"]
        before = records(self.home), records(self.laptop)
        uri = self.home.json("invite")["uri"]
        for what in ("dir", "file"):
            self.breaks(what)
            self.fails("storage", self.laptop, "peer", "rename", "one", "two")
            self.fails("storage", self.home, "recovery", "enable")
            self.fails("storage", self.home, "recovery", "disable")
            self.fails("storage", self.home, "host", "add", "work")
            self.fails("storage", self.home, "uplink", "add", "ws://127.0.0.1:1")
            self.assertEqual((records(self.home), records(self.laptop)), before)
            self.assertEqual(temporary(self.home) + temporary(self.laptop), [])
            self.assertEqual([p["name"] for p in self.laptop.json("peers")], ["one"])
            self.fault.unlink()
        # Of the host alone: its device is not there, and the guess is.
        other = self.start("other")
        self.breaks("dir")
        self.fails("wrongCode", other, "pair", uri, "--name", "home")
        self.fault.unlink()
        self.assertEqual(records(self.home), before[0])
        self.assertEqual(self.home.json("invitations")[0]["failures"], 0)
        other.ctl("pair", uri, "--name", "home")
        self.killed(self.home)
        home = self.ready("home", self.net)
        address = home.json("host", "show")["address"]
        other.ctl("pair", "--recovery", "--address", address, "--uplink", self.net.url, "--name", "again",
                  stdin=key.encode())

    def test_a_client_that_cannot_keep_what_it_was_given(self):
        """Its disk filled up while it paired: the host has a device that nobody is, and both are told."""
        uri = self.home.json("invite", "--label", "laptop")["uri"]
        self.stopped(self.home)
        home = self.ready("home", self.net)  # without the fault
        uri = home.json("invite", "--label", "laptop")["uri"]
        self.fault.write_text("file 28 1")  # ENOSPC, after the first look
        told = self.fails("storage", self.laptop, "pair", uri, "--name", "home").err
        self.assertIn("paired, but the credential could not be kept", told)
        self.assertIn("No space left on device; make room on its disk (df -h, df -i) and try again, with a new "
                      "invitation, and revoke this device on the host", told)
        self.fault.unlink()
        self.assertEqual((records(self.laptop, "peer"), temporary(self.laptop), self.laptop.json("peers")), ({}, [], []))
        home.ctl("revoke", "laptop")
        self.laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
        self.assertEqual(self.laptop.ctl("call", "home", "1"), "1\n")


class Gone(Disk):
    """Somebody tidies up while linkd runs."""

    def test_the_state_directory_is_removed(self):
        home = self.ready("home", self.relay())
        laptop = self.start("laptop")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
        away = home.state.with_name("away")
        shutil.copytree(home.state, away)
        shutil.rmtree(home.state)
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        words = "it was removed or replaced while linkd runs: put it back, and restart linkd"
        for command in (("invite",), ("host", "add", "x"), ("uplink", "remove", home.json("uplink", "list")[0]["url"])):
            self.assertIn(words, self.fails("storage", home, *command).err, command)
        self.assertIn(words, self.problems(home))
        self.assertEqual(len(home.json("uplink", "list")), 1)
        home.state.mkdir(0o700)  # another one is not taken for it
        self.assertIn(words, self.fails("storage", home, "invite").err)
        self.assertEqual(list(home.state.iterdir()), [])
        home.state.rmdir()
        away.rename(home.state)
        home = self.again(home)
        home.wait_registered()
        with self.assertRaisesRegex(Failed, "no request handler"):
            laptop.ctl("call", "home", "1")

    def test_the_socket_is_removed(self):
        home = self.start("home")
        home.socket.unlink()
        home.wait_line("socket .* was removed; it is made anew")
        home.until("it answers", lambda: home.socket.exists())
        self.assertEqual(home.socket.stat().st_mode & 0o777, 0o660)
        home.ctl("status")

    def test_the_socket_of_another_agent_is_left_alone(self):
        first = self.start("first")
        first.process.send_signal(signal.SIGSTOP)  # so that it does not see what comes
        first.socket.unlink()
        state = pathlib.Path(self.directory) / "second" / "state"
        second = self.add(agentkit.Child([agentkit.program("linkd"), "--config", "/dev/null", "--state-dir", str(state),
                                          "--socket", str(first.socket), "--no-bus"]))
        second.wait_line("^ready: ")
        first.process.send_signal(signal.SIGCONT)
        self.stopped(first)
        self.assertEqual(ask(first, "status")["pid"], second.process.pid)


class LastSeen(Disk):
    """A file that nothing depends on."""

    def test_whatever_is_in_it(self):
        home = self.ready("home", self.relay())
        laptop = self.start("laptop")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
        key_id = home.json("devices")[0]["keyId"]
        self.stopped(home)
        path = home.state / "last-seen"
        self.assertRegex(path.read_text(), f"^{key_id} [0-9]+\n$")
        whole = path.read_bytes()
        for wrong in (random.Random(SEED).randbytes(4096), b"", b"\0" * 100, whole[:-3], bytes([whole[0] ^ 1]) + whole[1:],
                      f"{key_id} {1 << 62}\n".encode(), f"{key_id} -1\n".encode(), f"{key_id} 1e9\n".encode(),
                      b"x" * (2 << 20)):
            path.write_bytes(wrong)
            home = self.again(home)
            self.assertEqual([d["keyId"] for d in home.json("devices")], [key_id], wrong[:50])
            self.stopped(home)
        self.assertIn("cannot read", home.output)
        path.unlink()
        path.mkdir()  # it can neither be read nor written
        home = self.again(home)
        home.wait_registered()
        with self.assertRaisesRegex(Failed, "no request handler"):
            laptop.ctl("call", "home", "1")
        self.stopped(home)
        self.assertIn("cannot write", home.output)
        path.rmdir()
        self.again(home)


class BitFlips(Disk):
    """One bit of one record, of each kind and in each part of it."""

    # magic, format, kind, reserved, id, nonce, text, tag
    PARTS = ((0, 4), (4, 5), (5, 6), (6, 8), (8, 24), (24, 48), (48, -16), (-16, None))

    def flips(self, path):
        """Each a content of the file with one bit changed, and what is to be said of it."""
        chance = random.Random(SEED)
        whole = path.read_bytes()
        for begin, end in self.PARTS:
            at = chance.choice(range(len(whole))[begin:end])
            wrong = bytearray(whole)
            wrong[at] ^= 1 << chance.randrange(8)
            yield bytes(wrong), ("newer linkd" if at == 4 and wrong[4] else "of another kind" if at < 24
                                 else "does not open with this master key, or was changed")

    def check(self, agent, path):
        whole = path.read_bytes()
        for wrong, words in self.flips(path):
            path.write_bytes(wrong)
            said = self.check_state(agent.state, 1)
            self.assertRegex(said, f"{path.name} .*{words}.*; it is left in place")
            self.assertIn("1 records cannot be used", said)
            self.assertEqual(path.read_bytes(), wrong)
        path.write_bytes(whole)
        return wrong  # the last

    def test_of_a_device(self):
        print(f"seed {SEED}", flush=True)
        relay = self.relay()
        home, laptop = self.ready("home", relay), self.start("laptop")
        names = {}
        for name in ("one", "two"):
            laptop.ctl("pair", home.json("invite", "--label", name)["uri"], "--name", name)
            (file,) = set(records(home, "device")) - set(names.values())
            names[name] = file
        self.stopped(home)
        path = home.state / names["one"]
        wrong = self.check(home, path)
        path.write_bytes(wrong)
        home = self.ready_again(home, relay)
        (problem,) = ask(home, "status")["problems"]
        self.assertRegex(problem, f"{path.name} .*left in place")
        self.assertEqual(laptop.ctl("call", "two", "1"), "1\n")
        # The one is hung up on, and not told that it was revoked.
        caught = self.assertRaises(Failed)
        with caught:
            laptop.ctl("--json", "call", "one", "1", "--timeout", "2")
        self.assertIn(caught.exception.word, ("timeout", "unreachable"))
        home.wait_line("an unknown key id; not refused, since a device record is unreadable")
        home.ctl("revoke", "two")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "three")
        self.assertEqual(path.read_bytes(), wrong)

    def ready_again(self, agent, relay):
        self.stopped(self.again(agent))
        return self.ready(agent.name, relay)

    def test_of_a_host(self):
        relay = self.relay()
        home = self.ready("home", relay)
        before = set(records(home))
        address = home.json("host", "add", "work")["address"]
        laptop = self.start("laptop")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
        (file,) = set(records(home, "host")) - before
        self.stopped(home)
        path = home.state / file
        whole, wrong = path.read_bytes(), self.check(home, path)
        path.write_bytes(wrong)
        home = self.ready_again(home, relay)
        self.assertEqual([h["name"] for h in home.json("host", "list")], ["default"])
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        home.ctl("host", "add", "work")  # beside it, not over it
        self.assertEqual(path.read_bytes(), wrong)
        home.ctl("host", "remove", "work")
        self.stopped(home)
        path.write_bytes(whole)
        home = self.again(home)
        self.assertEqual(home.json("host", "show", "work")["address"], address)
        # The only one: nothing starts in its place.
        home.ctl("host", "remove", "work")
        self.stopped(home)
        (path,) = home.state.glob("host-*.rec")
        for wrong, _ in self.flips(path):
            path.write_bytes(wrong)
            self.does_not_start("home", "the host record in .* cannot be read, and a new identity is not made|newer linkd")
            break

    def test_of_a_peer(self):
        relay = self.relay()
        laptop = self.start("laptop")
        names = {}
        for name in ("castle", "home"):
            host = self.ready(name, relay)
            laptop.ctl("pair", host.json("invite")["uri"], "--name", name)
            (names[name],) = set(records(laptop, "peer")) - set(names.values())
        self.stopped(laptop)
        path = laptop.state / names["castle"]
        wrong = self.check(laptop, path)
        path.write_bytes(wrong)
        laptop = self.again(laptop)
        self.assertEqual([p["name"] for p in laptop.json("peers")], ["home"])
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        laptop.ctl("peer", "rename", "home", "castle")
        self.assertRegex(self.problems(laptop), path.name)
        self.assertEqual(path.read_bytes(), wrong)


class MasterKey(Disk):
    """The key in the directory, or systemd's credential, is missing, wrong, cut, or open to others."""

    def setUp(self):
        super().setUp()
        self.credentials = pathlib.Path(self.directory) / "credentials"
        self.credentials.mkdir()

    def refused(self, name, pattern, env=None):
        self.does_not_start(name, pattern, env)
        state = pathlib.Path(self.directory) / name / "state"
        self.assertRegex(self.check_state(state, 1, env), pattern)

    def wrong_keys(self, name, path, env=None, missing=True):
        """Each of them, put at path, is refused; the right one is taken then."""
        whole = path.read_bytes()
        flipped = bytes([whole[0] ^ 1]) + whole[1:]
        for content, pattern in ((flipped, "opens none of the [0-9]+ records .*put that one back, or move the records"),
                                 (whole[:31], "not 32 bytes long: put the whole one back"), (b"", "not 32 bytes long"),
                                 (whole + b"\n", "not 32 bytes long")):
            path.write_bytes(content)
            self.refused(name, pattern, env)
        path.write_bytes(whole)
        path.chmod(0o604)
        self.refused(name, "must be a file that is closed to others; run: chmod 600", env)
        path.chmod(0o600)
        away = path.with_suffix(".away")
        path.rename(away)
        if missing:
            self.refused(name, r"master.key is missing, and there is no credential linkd.master .*put it back", env)
        path.mkdir()
        self.refused(name, "must be a file", env)
        path.rmdir()
        away.rename(path)

    def test_in_the_directory(self):
        home = self.start("home")
        address = home.json("host", "show")["address"]
        self.stopped(home)
        path = home.state / "master.key"
        self.wrong_keys("home", path)
        path.rename(home.state / "elsewhere")
        path.symlink_to(home.state / "nowhere")
        self.refused("home", "cannot read the master key")
        path.unlink()
        (home.state / "elsewhere").rename(path)
        self.assertEqual(self.again(home).json("host", "show")["address"], address)

    def test_of_systemd(self):
        path = self.credentials / "linkd.master"
        path.write_bytes(os.urandom(32))
        path.chmod(0o440)  # as it is where systemd uses an ACL
        env = {"CREDENTIALS_DIRECTORY": str(self.credentials)}
        home = self.start("home", env)
        address = home.json("host", "show")["address"]
        self.assertFalse((home.state / "master.key").exists())
        self.stopped(home)
        path.chmod(0o600)
        self.wrong_keys("home", path, env)
        self.refused("home", "master.key is missing, and there is no credential linkd.master")  # not given at all
        self.refused("home", "credentials directory .*: No such file", {"CREDENTIALS_DIRECTORY": self.directory + "/no"})
        self.assertEqual(self.again(home, env=env).json("host", "show")["address"], address)


class Backup(Disk):
    def test_an_old_copy(self):
        """It works; who was revoked since is back, who was paired since is not (docs/SECURITY.md)."""
        relay = self.relay()
        home, laptop = self.ready("home", relay), self.start("laptop")
        laptop.ctl("pair", home.json("invite", "--label", "old")["uri"], "--name", "old")
        backup = home.state.with_name("backup")
        shutil.copytree(home.state, backup)  # while it runs
        home.ctl("revoke", "old")
        self.fails("revoked", laptop, "call", "old", "1")
        laptop.ctl("pair", home.json("invite", "--label", "new")["uri"], "--name", "new")
        self.assertIn("all is well", self.check_state(backup, 0))
        self.stopped(home)
        shutil.rmtree(home.state)
        backup.rename(home.state)
        home = self.ready_again(home, relay)
        self.assertEqual([d["label"] for d in home.json("devices")], ["old"])
        self.assertEqual(laptop.ctl("call", "old", "1"), "1\n")
        self.fails("revoked", laptop, "call", "new", "1")
        home.ctl("revoke", "old")
        self.fails("revoked", laptop, "call", "old", "1")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "new")  # anew
        self.assertEqual(laptop.ctl("call", "new", "1"), "1\n")
        self.assertEqual(self.problems(home), "")

    ready_again = BitFlips.ready_again

    def test_a_copy_without_its_credential(self):
        credentials = pathlib.Path(self.directory) / "credentials"
        credentials.mkdir()
        (credentials / "linkd.master").write_bytes(os.urandom(32))
        (credentials / "linkd.master").chmod(0o400)
        env = {"CREDENTIALS_DIRECTORY": str(credentials)}
        home = self.start("home", env)
        self.stopped(home)
        shutil.copytree(home.state, pathlib.Path(self.directory) / "copy" / "state")
        self.does_not_start("copy", "there are records sealed with it: put it back")
        self.start("copy", env)


if __name__ == "__main__":
    agentkit.main()
