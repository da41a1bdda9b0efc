"""What the tests of local faults share: programs with something preloaded, a quick way to ask an agent, what
is in a state directory, file systems of a test's own."""

import ctypes
import errno
import itertools
import json
import os
import pathlib
import re
import struct
import subprocess

import agentkit
from agentkit import UNPACED, World
from ipckit import ASK, CALL, ERROR, RESPONSE, RESULT, App, text

LIBRARIES = agentkit.BUILD / "tests" / "scenario"
RECORD = re.compile(r"(host|device|peer)-[0-9a-f]{32}\.rec")


def preload(*names):
    """The environment of a program with these (diskfault, clockshift) in it."""
    return {"LD_PRELOAD": ":".join(str(LIBRARIES / (name + ".so")) for name in names),
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


class Refused(Exception):
    """A call was answered by ERROR: `word`."""

    def __init__(self, body):
        n, = struct.unpack_from(">H", body)
        self.word = body[2:2 + n].decode()
        super().__init__(body[2:].decode(errors="replace"))


class Ipc(App):
    """Calls of the agent by name, without a program between."""

    def begin(self, method, **params):
        self.send(CALL, text(method) + json.dumps(params).encode(), request=1)

    def answer(self):
        """The result; Refused; EOFError or ConnectionError when the agent has gone."""
        kind, _, _, _, body = self.until(RESULT, ERROR)
        if kind == ERROR:
            raise Refused(body)
        return json.loads(body)

    def ask(self, method, **params):
        self.begin(method, **params)
        return self.answer()

    def one_shot(self, peer, data):
        """The host's answer to a one-shot call, as text; Refused."""
        self.send(ASK, struct.pack(">I", 0) + text(peer) + data.encode(), request=2)
        kind, _, _, _, body = self.until(RESPONSE, ERROR, request=2)
        if kind == ERROR:
            raise Refused(body)
        return body.decode()


def ask(agent, method, **params):
    app = Ipc(agent)
    try:
        return app.ask(method, **params)
    finally:
        app.close()


def records(agent, kind=""):
    """Name and content of the records, of one kind."""
    return {p.name: p.read_bytes() for p in agent.state.iterdir()
            if RECORD.fullmatch(p.name) and p.name.startswith(kind)}


def temporary(agent):
    return [p.name for p in agent.state.iterdir() if p.name.endswith(".tmp")]


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


CLONE_NEWNS = 0x20000


def own_mounts():
    """Gives this process, and those that it starts, mounts of their own, which go with it. Why it cannot, or
    None."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0:
        return "needs root, to mount file systems of its own"
    if libc.unshare(CLONE_NEWNS) != 0:
        return f"no mount namespace: {os.strerror(ctypes.get_errno())}"
    done = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, text=True)
    if done.returncode != 0:
        return f"no private mounts: {done.stderr.strip()}"
    return None


def mount(*words):
    subprocess.run(["mount", *words], check=True, capture_output=True, text=True)


def fill(directory, what="blocks"):
    """Takes all blocks or inodes, so that nothing can be written. Undone by `empty`."""
    for number in itertools.count():
        try:
            with open(directory / f"ballast-{what}-{number}", "wb", buffering=0) as file:
                while what == "blocks":
                    file.write(bytes(4096))
        except OSError as e:
            if e.errno != errno.ENOSPC:
                raise
            return


def empty(directory):
    for path in directory.glob("ballast-*"):
        path.unlink()


class Faults(World):
    def start(self, name, env=None, config=UNPACED):
        return self.agent(name, config, env=env)

    def killed(self, child):
        child.kill()
        child.process.stdout.close()
        self.ended(child)

    def stopped(self, child):
        child.stop()
        self.ended(child)

    def check_state(self, state, status, env=None):
        """What `linkd --check-state` says."""
        done = subprocess.run(
            [*agentkit.WRAP, agentkit.program("linkd"), "--config", "/dev/null", "--state-dir", str(state), "--check-state"],
            capture_output=True, text=True, env=agentkit.clean_environment() | (env or {}),
            timeout=agentkit.LIMIT_SEC)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def does_not_start(self, name, pattern, env=None):
        """linkd refuses this state with status 1 and these words, and changes no record."""
        state = pathlib.Path(self.directory) / name / "state"
        before = {p.name: p.read_bytes() for p in state.iterdir() if p.is_file() and p.name != "lock"}
        done = subprocess.run(
            [*agentkit.WRAP, agentkit.program("linkd"), "--config", "/dev/null", "--state-dir", str(state), "--no-bus",
             "--socket", str(state.parent / "refused.sock")], capture_output=True, text=True,
            env=agentkit.clean_environment() | (env or {}), timeout=agentkit.LIMIT_SEC)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, pattern)
        after = {p.name: p.read_bytes() for p in state.iterdir() if p.is_file() and p.name != "lock"}
        self.assertEqual(after, before)
        return done.stderr
