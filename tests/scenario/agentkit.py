"""Starts real relays, agents and linkctl for the scenarios. Everything lives in a temporary directory
and on loopback ports that the kernel chose; what was started here is ended here, and nothing else.

$LINK_BUILD is the build directory (default: build), $LINK_WRAP words to start each program with
(valgrind)."""

import contextlib
import json
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("LINK_BUILD", ROOT / "build"))
BUILD = BUILD if BUILD.is_absolute() else ROOT / BUILD
WRAP = shlex.split(os.environ.get("LINK_WRAP", ""))
# No test waits this long unless something is broken; it is not a measure of speed.
LIMIT_SEC = float(os.environ.get("LINK_TEST_LIMIT_SEC", "60"))

sys.path.insert(0, str(ROOT / "tests" / "compat"))

LISTENING = re.compile(r"listening on \S+:(\d+)")


def program(name):
    folders = {"link-relay": "relay", "linkd": "linkd", "linkctl": "cli", "soak-app": "tests/soak"}
    return str(BUILD / folders[name] / name)


def clean_environment():
    return {k: v for k, v in os.environ.items()
            if not k.startswith(("LINK_", "LINKD_", "XDG_"))
            and not k.lower().endswith("_proxy")} | {"LC_ALL": "C.UTF-8"}


class Child:
    """A program whose output is read line by line as it comes."""

    def __init__(self, words, env=None, stdin=subprocess.DEVNULL, wrap=()):
        self.command = words
        self.lines = []
        self.times = []  # time.monotonic() of each
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            [*wrap, *WRAP, *words], env=clean_environment() | (env or {}), stdin=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.times.append(time.monotonic())
                self.changed.notify_all()
        with self.changed:
            self.lines.append(None)  # the end
            self.changed.notify_all()

    @property
    def output(self):
        return "\n".join(line for line in self.lines if line is not None)

    def wait_line(self, pattern, start=0):
        """The first line from number `start` on that matches; AssertionError if the output ends."""
        pattern = re.compile(pattern)
        deadline = time.monotonic() + LIMIT_SEC
        at = start
        with self.changed:
            while True:
                while at < len(self.lines):
                    line = self.lines[at]
                    if line is None:
                        raise AssertionError(f"{self.command[0]} ended; it said:\n{self.output}")
                    found = pattern.search(line)
                    if found:
                        return found
                    at += 1
                left = deadline - time.monotonic()
                if left <= 0 or not self.changed.wait(left):
                    raise AssertionError(
                        f"no {pattern.pattern!r} from {self.command[0]}; it said:\n{self.output}")

    def count(self):
        with self.changed:
            return len(self.lines)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT_SEC)
        self.reader.join(LIMIT_SEC)
        self.process.stdout.close()

    def stop(self):
        """SIGTERM, and status 0, or AssertionError."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(LIMIT_SEC)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.command[0]} does not end on SIGTERM:\n{self.output}") from None
        self.reader.join(LIMIT_SEC)
        self.process.stdout.close()
        if status != 0:
            raise AssertionError(f"{self.command[0]} left with {status}:\n{self.output}")


class Relay(Child):
    def __init__(self, port=0, env=None, host="127.0.0.1", wrap=()):
        limits = {"LINK_IP_RATE_PER_MIN": "0", "LINK_RELAY_MAX_BPS": "0"}
        super().__init__([program("link-relay"), "--listen", f"{host}:{port}"], limits | (env or {}),
                         wrap=wrap)
        self.port = int(self.wait_line(LISTENING)[1])
        self.url = f"ws://{host}:{self.port}"


class Failed(AssertionError):
    """linkctl ended with another status than 0."""

    def __init__(self, words, status, out, err):
        super().__init__(f"linkctl {' '.join(words)}: status {status}\n{out}{err}")
        self.status, self.out, self.err = status, out, err

    @property
    def word(self):
        return json.loads(self.err.splitlines()[-1])["error"]


# The relays of these tests do not count (Relay above), so the agents need not either.
UNPACED = "relay_budget_per_min = 0;\n"


class Agent(Child):
    def __init__(self, directory, name, config=UNPACED, env=None, wrap=(), log_level="debug"):
        """wrap: words before the program, as of `ip netns exec`."""
        self.name = name
        self.wrap = list(wrap)
        self.state = pathlib.Path(directory) / name / "state"
        self.socket = pathlib.Path(directory) / name / "linkd.sock"
        self.state.parent.mkdir(parents=True, exist_ok=True)
        self.config = self.state.parent / "linkd.conf"
        self.config.write_text(config)
        super().__init__([program("linkd"), "--config", str(self.config), "--state-dir", str(self.state),
                          "--socket", str(self.socket), "--no-bus", "--log-level", log_level], env,
                         wrap=wrap)
        self.wait_line(r"^ready: ")

    def reload(self, config, says="the configuration was read again"):
        """Another configuration, by SIGHUP; waits until it has been taken or refused."""
        start = self.count()
        self.config.write_text(config)
        self.process.send_signal(signal.SIGHUP)
        self.wait_line(says, start)

    def words(self, *words):
        return [program("linkctl"), "--socket", str(self.socket), *words]

    def ctl(self, *words, stdin=None, timeout=LIMIT_SEC):
        """Runs linkctl; its standard output."""
        done = subprocess.run(WRAP + self.words(*words), env=clean_environment(), input=stdin,
                              stdin=None if stdin is not None else subprocess.DEVNULL,
                              capture_output=True, timeout=timeout * (10 if WRAP else 1))
        out, err = done.stdout.decode(), done.stderr.decode()
        if done.returncode != 0:
            raise Failed(words, done.returncode, out, err)
        return out

    def json(self, *words, **how):
        return json.loads(self.ctl("--json", *words, **how))

    def start_ctl(self, *words, stdin=subprocess.DEVNULL):
        return Child(self.words(*words), stdin=stdin)

    def until(self, what, condition):
        """Asks until condition() is true. The agent has no event for everything yet."""
        deadline = time.monotonic() + LIMIT_SEC
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name}: not in {LIMIT_SEC} s: {what}\n{self.output}")
            time.sleep(0.05)

    def wait_registered(self, n=1):
        self.until(f"{n} uplinks registered", lambda: sum(
            u["state"] == "registered" for u in self.json("uplink", "list")) == n)

    def wait_peer(self, name, *states):
        return self.until(f"peer {name} in {states}", lambda: any(
            p["name"] == name and p["state"] in states for p in self.json("peers")))


class World(unittest.TestCase):
    """A test's own directory, relays and agents, all ended (and their status looked at) after it."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="link-test-")
        self.children = []
        self.addCleanup(shutil.rmtree, self.directory, True)
        self.addCleanup(self._stop_all)

    def _stop_all(self):
        errors = []
        for child in reversed(self.children):
            try:
                if child.process.poll() is None:
                    child.stop()
            except AssertionError as e:
                errors.append(str(e))
        if errors:
            raise AssertionError("\n".join(errors))

    def add(self, child):
        self.children.append(child)
        return child

    def relay(self, port=0, **env):
        return self.add(Relay(port, env))

    def agent(self, name, config=UNPACED, **how):
        return self.add(Agent(self.directory, name, config, **how))

    def ended(self, child):
        """It was killed or stopped by the test itself."""
        self.children.remove(child)

    def paired(self, *relays, home_config=UNPACED, laptop_config=UNPACED):
        """home (a host at these relays, serving --echo) and laptop, paired."""
        home, laptop = self.agent("home", home_config), self.agent("laptop", laptop_config)
        for relay in relays:
            home.ctl("uplink", "add", relay.url)
        home.wait_registered(len(relays))
        server = self.add(home.start_ctl("serve", "--echo"))
        server.wait_line("^serving default")
        invitation = home.json("invite", "--label", "laptop")
        laptop.ctl("pair", invitation["uri"], "--name", "home")
        return home, laptop, server

    def fails(self, word, agent, *words, **how):
        """linkctl fails with this error word."""
        with self.assertRaises(Failed) as caught:
            agent.ctl("--json", *words, **how)
        self.assertEqual(caught.exception.word, word, caught.exception)
        return caught.exception


class OneLine(unittest.TextTestResult):
    passed = 0

    def getDescription(self, test):
        return str(test).split(" ")[0] + " " + type(test).__name__

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


def main():
    runner = unittest.TextTestRunner(verbosity=2, resultclass=OneLine, stream=sys.stdout)
    result = unittest.main(module="__main__", testRunner=runner, exit=False).result
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print(f"{result.passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed or not result.passed else 0)
