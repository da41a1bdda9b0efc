#!/usr/bin/python3
"""Two agents on one directory, no descriptors, applications that die or are many or hostile, wrong clocks."""

import errno
import os
import pathlib
import random
import resource
import signal
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
from agentkit import Failed, Relay  # noqa: E402
from faultkit import Faults, Ipc, ask, descriptors, preload  # noqa: E402
from ipckit import (ASK, CALL, CONNECT, ERROR, HELLO_FRAME, OPENED, REQUEST, RESPONSE, RESULT,  # noqa: E402
                         SERVE, frame, text, word)

SEED = int(os.environ.get("LINK_TEST_SEED", random.randrange(1 << 32)))
MIB = 1 << 20


def memory(process):
    """Resident bytes."""
    return int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * resource.getpagesize()


def cpu_sec(process):
    user, system = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class TwoAgents(Faults):
    """One state directory."""

    def test_the_second_names_the_first(self):
        first = self.start("home")
        pid = first.process.pid if not agentkit.WRAP else first.json("status")["pid"]
        self.does_not_start("home", rf"another linkd \(pid {pid}\) is using the state directory {first.state}")
        first.ctl("host", "add", "work")  # which goes on
        self.killed(first)
        second = self.start("home")  # the lock has gone with it
        self.assertNotEqual((second.state / "lock").read_text(), f"{pid}\n")
        self.assertEqual({h["name"] for h in second.json("host", "list")}, {"default", "work"})

    def test_the_second_at_the_same_socket(self):
        first = self.start("home")
        other = pathlib.Path(self.directory) / "other"
        child = self.add(agentkit.Child([agentkit.program("linkd"), "--config", "/dev/null", "--state-dir", str(other),
                                         "--socket", str(first.socket), "--no-bus"]))
        child.wait_line("another agent answers there")
        self.assertEqual(child.process.wait(agentkit.LIMIT_SEC), 1)
        self.ended(child)
        first.ctl("status")


class NoDescriptors(Faults):
    """The limit of open files is reached."""

    def limit(self, agent, n):
        resource.prlimit(agent.process.pid, resource.RLIMIT_NOFILE, (n, resource.prlimit(
            agent.process.pid, resource.RLIMIT_NOFILE)[1]))

    def connect(self, agent):
        s = socket.socket(socket.AF_UNIX)
        s.connect(str(agent.socket))
        self.addCleanup(s.close)
        return s

    def test_applications_take_all(self):
        home, laptop, _ = self.paired(self.relay())
        live = Ipc(laptop)
        self.assertEqual(live.one_shot("home", "1"), "1")
        self.limit(home, descriptors(home.process) + 30)
        took = [self.connect(home) for _ in range(100)]
        home.wait_line("no descriptors are left, applications are refused: raise the limit of open files")
        before, began = cpu_sec(home.process), time.monotonic()
        told = {}
        while time.monotonic() < began + 2:  # as long as CPU time is looked at
            with self.assertRaises(Failed) as caught:
                home.ctl("--json", "status")
            told[caught.exception.word] = caught.exception.err
        # Of many at once some are hung up on: there is no descriptor to tell them by.
        self.assertLessEqual(set(told), {"tooMany", "disconnected"})
        self.assertIn("linkd has no descriptors left: raise its limit of open files (LimitNOFILE=)", told["tooMany"])
        self.assertLess(cpu_sec(home.process) - before, 1, "it spins")
        self.assertEqual(live.one_shot("home", "2"), "2")  # what lives goes on
        self.assertEqual(home.output.count("no descriptors are left"), 1)
        for s in took:
            s.close()
        home.until("descriptors are free", lambda: descriptors(home.process) < 40)
        home.ctl("status")
        home.wait_line("there are descriptors again")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "again")
        self.assertEqual(laptop.ctl("call", "again", "1"), "1\n")
        live.close()

    def test_links_take_what_they_may(self):
        """Dial-backs leave some to who has to find out, and to the records."""
        home, laptop, _ = self.paired(self.relay())
        self.limit(home, descriptors(home.process) + 30)
        live = Ipc(laptop)
        for n in range(50):
            live.send(CONNECT, struct.pack(">I", 65536) + text("home"), request=n + 1)
        home.wait_line("Too many open files")
        first = live.until(OPENED)[2]
        before, began = cpu_sec(home.process), time.monotonic()
        while time.monotonic() < began + 2:  # while the others try again and again
            live.send(REQUEST, struct.pack(">I", 0) + b"1", session=first, request=1000)
            self.assertEqual(live.until(RESPONSE, request=1000)[4], b"1")
            self.assertEqual(len(home.json("devices")), 1)
        self.assertLess(cpu_sec(home.process) - before, 1.5, "it spins")
        home.ctl("host", "add", "work")  # a record is written
        live.close()
        self.assertEqual(laptop.ctl("call", "home", "2"), "2\n")
        home.wait_registered()


class Killed(Faults):
    """Applications that die in the middle of a request."""

    def setUp(self):
        super().setUp()
        self.home, self.laptop, server = self.paired(self.relay())
        server.stop()
        self.ended(server)
        self.fifos = {n: pathlib.Path(self.directory) / n for n in ("started", "go")}
        for path in self.fifos.values():
            os.mkfifo(path)

    def serve(self, command):
        server = self.add(self.home.start_ctl("serve", "--exec", command))
        server.wait_line("^serving default")
        return server

    def release(self):
        """Lets the command go on, if nobody has ended it."""
        try:
            os.close(os.open(self.fifos["go"], os.O_WRONLY | os.O_NONBLOCK))
        except OSError as e:
            self.assertEqual(e.errno, errno.ENXIO)  # it is not there any more

    def quiet(self, agent):
        """Nothing is under way there."""
        return sum(s["requests"] for s in ask(agent, "status")["sessions"]) == 0

    def test_the_one_that_asks(self):
        self.serve(f"cat; echo > {self.fifos['started']}; cat {self.fifos['go']}")
        self.laptop.json("peers")
        base = descriptors(self.laptop.process), descriptors(self.home.process)
        one_shot = self.add(self.laptop.start_ctl("call", "home", '"one-shot"'))
        with open(self.fifos["started"]) as told:
            told.readline()
        self.killed(one_shot)
        self.laptop.until("the request is given up", lambda: self.quiet(self.laptop))
        self.release()
        session = Ipc(self.laptop)
        session.send(CONNECT, struct.pack(">I", 65536) + text("home"), request=1)
        number = session.until(OPENED)[2]
        session.send(REQUEST, struct.pack(">I", 0) + b'"session"', session=number, request=2)
        with open(self.fifos["started"]) as told:
            told.readline()
        self.assertEqual(self.home.json("host", "list")[0]["sessions"], 2)
        session.close()
        self.home.until("its session has ended", lambda: self.home.json("host", "list")[0]["sessions"] == 1)
        self.release()
        # The one-shot calls' session stays a while: one descriptor at each end.
        self.laptop.until("no descriptor is lost", lambda: descriptors(self.laptop.process) <= base[0] + 1)
        self.home.until("no descriptor is lost", lambda: descriptors(self.home.process) <= base[1] + 1)

    def test_the_one_that_serves(self):
        server = self.serve(f"echo > {self.fifos['started']}; cat {self.fifos['go']}; cat")
        base = descriptors(self.home.process)
        caller = Ipc(self.laptop)
        caller.send(ASK, struct.pack(">I", 0) + text("home") + b'"x"', request=1)
        with open(self.fifos["started"]) as told:
            told.readline()
        self.killed(server)
        got = caller.until(RESPONSE, ERROR)
        self.assertEqual(got[0], RESPONSE, got)
        self.assertIn(b"request handler", got[4])  # the protocol's answer, at once
        self.home.until("no descriptor is lost", lambda: descriptors(self.home.process) <= base)
        self.release()
        self.serve("cat")  # the place is free
        self.assertEqual(caller.one_shot("home", '"y"'), '"y"')
        caller.close()

    def test_the_one_that_serves_hangs(self):
        server = self.serve("cat")
        server.process.send_signal(signal.SIGSTOP)
        self.fails("timeout", self.laptop, "call", "home", "1", "--timeout", "1")
        self.assertTrue(self.quiet(self.laptop))
        server.process.send_signal(signal.SIGCONT)
        self.assertEqual(self.laptop.ctl("call", "home", "2"), "2\n")


class Many(Faults):
    APPLICATIONS = 200

    def test_200_applications_at_once(self):
        home, laptop, _ = self.paired(self.relay())
        laptop.ctl("call", "home", "0")
        base = descriptors(laptop.process), descriptors(home.process)
        before = memory(laptop.process), memory(home.process)
        callers = [Ipc(laptop) for _ in range(self.APPLICATIONS)]
        servers = [Ipc(home) for _ in range(self.APPLICATIONS // 4)]
        for n, app in enumerate(callers):
            app.send(CONNECT, struct.pack(">I", 65536) + text("home"), request=1)
            app.send(ASK, struct.pack(">I", 0) + text("home") + b'{"n":%d}' % n, request=2)
            app.send(CALL, text("status"), request=3)
        for app in servers:
            app.send(SERVE, struct.pack(">IB", 65536, 3) + text(""), request=1)
        opened = 0
        for n, app in enumerate(callers):
            got = {}
            while len(got) < 3:
                answer = app.until(OPENED, RESPONSE, RESULT, ERROR)
                got[answer[3]] = answer
            self.assertEqual((got[2][0], got[2][4]), (RESPONSE, b'{"n":%d}' % n))
            self.assertEqual(got[3][0], RESULT)
            if got[1][0] == OPENED:
                opened += 1
                app.send(REQUEST, struct.pack(">I", 0) + b"%d" % n, session=got[1][2], request=4)
                self.assertEqual(app.until(RESPONSE, ERROR, request=4)[4], b"%d" % n)
            else:
                self.assertEqual(word(got[1]), "tooMany")
        self.assertEqual(opened, 56)  # PEER_SESSIONS_MAX
        for app in servers:
            self.assertEqual(word(app.until(RESULT, ERROR, request=1)), "busy")
        for agent, was in zip((laptop, home), before):
            self.assertLess(memory(agent.process) - was, 64 * MIB)
        for app in callers + servers:
            app.close()
        for agent, n in zip((laptop, home), base):
            agent.until("no descriptor is lost", lambda a=agent, n=n: descriptors(a.process) <= n)
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")


class Hostile(Faults):
    """Bytes at the applications' socket that are no frames, or frames that are wrong."""

    def test_mutated_frames(self):
        print(f"seed {SEED}", flush=True)
        chance = random.Random(SEED)
        home, laptop, _ = self.paired(self.relay())
        base = descriptors(laptop.process)
        was = memory(laptop.process)
        good = [frame(CALL, text("status"), request=1), frame(CALL, text("peers") + b"{}", request=2),
                frame(CONNECT, struct.pack(">I", 65536) + text("home"), request=3),
                frame(ASK, struct.pack(">I", 0) + text("home") + b"1", request=4),
                frame(SERVE, struct.pack(">IB", 65536, 3) + text(""), request=5),
                frame(REQUEST, struct.pack(">I", 0) + b"1", session=1, request=6)]
        for n in range(300):
            data = bytearray(HELLO_FRAME + b"".join(chance.choices(good, k=4)))
            at = len(HELLO_FRAME) if n % 4 else 0  # most get past the HELLO
            for _ in range(chance.randint(1, 8)):
                data[chance.randrange(at, len(data))] = chance.randrange(256)
            s = socket.socket(socket.AF_UNIX)
            s.connect(str(laptop.socket))
            try:
                s.sendall(data[:chance.randint(1, len(data))] if n % 3 == 0 else data)
                if n % 5 == 0:
                    s.sendall(chance.randbytes(10000))
            except OSError:  # it was closed on us
                pass
            s.close()
            if n % 20 == 0:
                ask(laptop, "status")
        laptop.until("no descriptor is lost", lambda: descriptors(laptop.process) <= base + 1)
        self.assertLess(memory(laptop.process) - was, 64 * MIB)
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        self.assertEqual(laptop.json("peers")[0]["name"], "home")


class Clocks(Faults):
    HOUR = 3600

    def shifted_relay(self, seconds):
        return self.add(Relay(env=preload("clockshift") | {"CLOCK_SHIFT_SEC": str(seconds)}))

    def check(self, net, home_sec, laptop_sec):
        home, laptop = (self.start(name, preload("clockshift") | {"CLOCK_SHIFT_SEC": str(sec)})
                        for name, sec in (("home", home_sec), ("laptop", laptop_sec)))
        home.ctl("uplink", "add", net.url)
        home.wait_registered()
        self.add(home.start_ctl("serve", "--echo")).wait_line("^serving default")
        laptop.ctl("pair", home.json("invite", "--label", "laptop")["uri"], "--name", "home")
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        (device,) = home.json("devices")
        for name in ("createdAt", "lastSeenAt"):
            told = time.mktime(time.strptime(device[name], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
            self.assertAlmostEqual(told, time.time() + home_sec, delta=60)
        return home, laptop

    def test_of_an_agent(self):
        for seconds in (-self.HOUR, self.HOUR):
            with self.subTest(seconds):
                net = self.relay()
                home, laptop = self.check(net, seconds, -seconds)
                home.wait_line("4007")
                port = net.port
                self.killed(net)
                self.relay(port)
                home.wait_registered()
                self.assertEqual(laptop.ctl("call", "home", "2"), "2\n")
                for agent in (home, laptop):
                    self.tidy(agent)

    def test_of_the_relay(self):
        for seconds in (-self.HOUR, self.HOUR):
            with self.subTest(seconds):
                net = self.shifted_relay(seconds)
                home, laptop = self.check(net, 0, 0)
                home.wait_line("4007")
                self.assertRegex(home.json("uplink", "list")[0]["cause"], "this machine's is (59|60) min")
                for agent in (home, laptop):
                    self.tidy(agent)

    def tidy(self, agent):
        """Its state and what talks to it go, for the next of its name."""
        self.stopped(agent)
        for child in [c for c in self.children if str(agent.socket) in c.command]:
            child.process.wait(agentkit.LIMIT_SEC)
            self.killed(child)
        for path in agent.state.iterdir():
            path.unlink()

    def test_that_is_set_while_it_runs(self):
        """Neither an invitation nor a device lives longer for it, and no invitation ends early."""
        shift = pathlib.Path(self.directory) / "shift"
        home = self.start("home", preload("clockshift") | {"CLOCK_SHIFT_FILE": str(shift)})
        laptop = self.start("laptop")
        net = self.relay()
        home.ctl("uplink", "add", net.url)
        home.wait_registered()
        made = home.json("invite", "--label", "guest", "--device-ttl", "2s")
        short = home.json("invite", "--ttl", "1s")
        shift.write_text(str(self.HOUR))
        laptop.ctl("pair", made["uri"], "--name", "home")  # 15 minutes are not over
        began = time.monotonic()
        shift.write_text(str(-self.HOUR))
        home.wait_line("an invitation has expired")
        self.fails("wrongCode", laptop, "pair", short["uri"], "--name", "other")
        # The device was told to live 2 s, and its end is an hour away by the clock that was set back.
        home.until("the device's time is over", lambda: home.json("devices")[0]["expired"])
        self.assertGreaterEqual(time.monotonic() - began, 1)
        self.fails("revoked", laptop, "call", "home", "1")


if __name__ == "__main__":
    agentkit.main()
