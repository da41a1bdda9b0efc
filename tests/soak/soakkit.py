"""The daemons and applications of the agents' soak: what runs, and what it has said."""

import contextlib
import pathlib
import random
import re
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenario"))

import agentkit  # noqa: E402
import watchkit  # noqa: E402

UNSERVED = re.compile(r"^unserved (\S+) (\d+) (\d+)$")


def free_port():
    """Below those that the kernel gives to others while a relay is away, and another in each run."""
    while True:
        port = random.SystemRandom().randrange(10000, 32000)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                s.bind(("127.0.0.1", port))
                return port


class Daemon:
    """A relay or an agent that is killed and started again."""

    def __init__(self, name, start, restarts):
        self.name, self.start, self.restarts = name, start, restarts
        self.memory = watchkit.Memory()
        self.lives = 0
        self.faults = 0
        self.aways = []  # [killed at, back at or None]
        self.past = []   # children that have ended
        self.base_descriptors = None
        self.rise()

    def rise(self):
        self.child = self.start()
        self.alarms = watchkit.Alarms(self.child)
        self.lives += 1
        self.state = "up"

    @property
    def pid(self):
        return self.child.process.pid

    def check(self):
        self.alarms.check(self.name)
        if self.state in ("up", "stopped") and self.child.process.poll() is not None:
            raise AssertionError(f"{self.name} has ended by itself: {self.child.process.returncode}")

    def fell(self):
        """It has ended as it should; looks at its last words."""
        self.child.reader.join(agentkit.LIMIT_SEC)
        self.child.process.stdout.close()
        self.alarms.check(self.name)
        self.past.append(self.child)
        self.state = "down"


class App:
    """A soak-app, and what it has said."""

    def __init__(self, name, words, served=None):
        """served(name, when): its host is served from then on."""
        self.name, self.served = name, served
        self.child = agentkit.Child([agentkit.program("soak-app"), *words])
        self.alarms = watchkit.Alarms(self.child)
        self.memory = watchkit.Memory()
        self.counts = {}
        self.counted = 0  # when
        self.unserved = []
        self.disconnections = []
        self.done = False

    @property
    def pid(self):
        return self.child.process.pid

    def read(self):
        before, lines = self.alarms.at, self.alarms.new_lines()
        for at, line in enumerate(lines, before):
            word, _, rest = line.partition(" ")
            if word == "count":
                self.counts = {k: int(v) for k, v in (pair.split("=") for pair in rest.split())}
                self.counted = self.child.times[at]
            elif word == "unserved":
                host, *times = UNSERVED.match(line).groups()
                self.unserved.append((host, *(int(t) / 1e6 for t in times)))
            elif word == "disconnected":
                self.disconnections.append(int(rest) / 1e6)
            elif word == "serving":
                self.served(self.name, int(rest) / 1e6)
            elif word == "done":
                self.done = True
            else:
                raise AssertionError(f"{self.name}: {line}")
        if self.child.process.poll() is not None and not self.done and \
                self.alarms.at == self.child.count() and None in self.child.lines[-1:]:
            raise AssertionError(f"{self.name} has ended: {self.child.process.returncode}")
