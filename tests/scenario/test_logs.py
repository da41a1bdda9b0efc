#!/usr/bin/python3
"""What linkd logs: fields in the journal, and never a secret."""

import base64
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
from agentkit import UNPACED, World  # noqa: E402
from linkv1 import codec  # noqa: E402

# A journal of the test's own, where linkd looks for the system's; stderr is what systemd says it is.
IN_JOURNAL = """mount -t tmpfs none /run && mkdir -p /run/systemd/journal &&
mount --bind "$0" /run/systemd/journal && JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@"
"""


def can_unshare():
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@unittest.skipUnless(can_unshare(), "needs root and mount namespaces")
class Journal(World):
    def setUp(self):
        super().setUp()
        self.where = pathlib.Path(self.directory) / "journal"
        self.where.mkdir()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.bind(str(self.where / "socket"))
        self.entries = []
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except OSError:
                return
            entry = dict(line.split("=", 1) for line in data.decode().splitlines())
            with self.changed:
                self.entries.append(entry)
                self.changed.notify_all()

    def entry(self, pattern):
        """The first with such a message."""
        def find():
            return next((e for e in self.entries if re.search(pattern, e["MESSAGE"])), None)

        with self.changed:
            self.assertTrue(self.changed.wait_for(find, agentkit.LIMIT_SEC), (pattern, self.entries))
            return find()

    def test_fields(self):
        relay = self.relay()
        home = self.agent("home", wrap=["unshare", "-m", "sh", "-c", IN_JOURNAL, str(self.where)])
        laptop = self.agent("laptop")
        home.ctl("uplink", "add", relay.url)
        home.wait_registered()
        registered = self.entry("registered ")
        self.assertEqual((registered["PRIORITY"], registered["LINK_UPLINK"]), ("6", relay.url))
        self.assertEqual(registered["SYSLOG_IDENTIFIER"], "linkd")
        laptop.ctl("pair", home.json("invite", "--label", "lap=top")["uri"], "--name", "home")
        paired = self.entry("paired with device lap=top")
        self.assertEqual((paired["PRIORITY"], paired["LINK_HOST"]), ("6", "default"))
        self.assertEqual(self.entry("says hello")["PRIORITY"], "7")
        laptop.ctl("uplink", "add", relay.url)
        laptop.wait_registered()
        home.ctl("pair", laptop.json("invite")["uri"], "--name", "lap")
        listener = self.add(home.start_ctl("listen", "lap"))
        state = self.entry("peer lap: connecting -> connected")
        self.assertEqual((state["PRIORITY"], state["LINK_PEER"]), ("6", "lap"))
        listener.stop()
        self.ended(listener)
        relay.kill()
        self.ended(relay)
        lost = self.entry("uplink .*next try")
        self.assertEqual((lost["PRIORITY"], lost["LINK_UPLINK"]), ("4", relay.url))
        self.assertEqual([l for l in home.lines if l and not l.startswith("ready: ")], [])  # nothing twice


class Secrets(World):
    """Everything that agents log at the level debug, while all that is secret passes through them."""

    PASSWORD, CODE, PAYLOAD = "pass-word-of-a-proxy", "CHOSEN-CODE-77", "what-an-application-says"

    def forms(self, raw):
        """A key as it might be printed."""
        return {raw.hex(), raw.hex().upper(), codec.b64u(raw), base64.b64encode(raw).decode(), repr(raw)[2:-1]}

    def live(self):
        """A life with pairings that succeed and fail; returns the secrets of it."""
        net = self.relay()
        home, laptop, server = self.paired(net)
        secrets = {self.PASSWORD, self.CODE, self.PAYLOAD}
        for words in (["invite"], ["invite", "--code", "-"], ["invite", "--no-id"]):
            made = home.json(*words, stdin=(self.CODE + "\n").encode() if "-" in words else None)
            secrets.add(made["code"])
            uri = made["uri"]
        address = made["address"]
        self.fails("wrongCode", laptop, "pair", "--address", address, "--uplink", net.url, "--code", "WRONG-CODE-1",
                   "--name", "x")
        secrets.add("WRONG-CODE-1")
        self.fails("badRequest", laptop, "pair", uri.replace("relay=ws", "relay=xx"))
        phone, tablet = self.agent("phone"), self.agent("tablet")
        phone.ctl("pair", uri, "--name", "home")
        key = home.json("recovery", "enable")["key"]
        tablet.ctl("pair", "--recovery", "--address", address, "--uplink", net.url, "--name", "home",
                   stdin=(key + "\n").encode())
        secrets.add(key)
        for agent in (laptop, phone, tablet):
            exported = agent.json("peer", "export", "home")["credential"]
            secrets.add(exported)
            secrets |= self.forms(codec.unb64u(json.loads(codec.unb64u(exported))["token"]))
        other = self.agent("other")
        self.fails("badRequest", other, "peer", "import", "--uplink", net.url, stdin=exported[4:].encode())
        secrets.add(exported[4:])
        other.ctl("peer", "import", "--uplink", net.url, "--name", "home", stdin=exported.encode())
        self.assertEqual(other.json("call", "home", json.dumps(self.PAYLOAD)), self.PAYLOAD)
        other.ctl("send", "home", json.dumps(self.PAYLOAD))
        home.reload(f'proxy = "http://me:{self.PASSWORD}@127.0.0.1:1";\n')
        home.reload(f'proxy = "socks5://me:{self.PASSWORD}@127.0.0.1:1";\n', "stays as it was")
        home.reload(f'proxy = "http://me:{self.PASSWORD}@127.0.0.1:1', "stays as it was")
        home.ctl("uplink", "remove", net.url)
        home.ctl("uplink", "add", net.url)  # through that proxy, and then directly
        home.wait_registered()
        device = home.json("devices")[0]
        home.ctl("revoke", device["keyId"])
        for agent in (home, laptop, phone, tablet, other):
            secrets |= self.forms((agent.state / "master.key").read_bytes())
        self.agents = home, laptop, phone, tablet, other
        self.others = net, server
        return secrets

    def test_none_is_logged(self):
        secrets = self.live()
        self.assertGreater(len(secrets), 40)
        for child in (*reversed(self.others), *self.agents):
            child.stop()
            self.ended(child)
        for child in (*self.agents, *self.others):
            for secret in secrets:
                self.assertNotIn(secret, child.output, child.command)
        for agent in self.agents:  # this has been looked at indeed
            self.assertIn("debug: application (uid", agent.output)
        self.assertIn("wrong pairing code", self.agents[0].output)
        self.assertIn("proxy 127.0.0.1: connection refused", self.agents[0].output)


if __name__ == "__main__":
    agentkit.main()
