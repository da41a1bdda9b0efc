#!/usr/bin/python3
"""What others may try against linkd: local users, devices, hosts, relays. Real programs, real sockets."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
from agentkit import World  # noqa: E402


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


if __name__ == "__main__":
    agentkit.main()
