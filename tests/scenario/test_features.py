#!/usr/bin/python3
"""What an agent can do beyond the main job: several hosts, recovery, expiry, credentials, usage, monitor,
checks of state and configuration, doctor."""

import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
from agentkit import Failed, World  # noqa: E402


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


if __name__ == "__main__":
    agentkit.main()
