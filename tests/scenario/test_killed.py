#!/usr/bin/python3
"""kill -9 of linkd at random moments of everything that changes records. Every record is the old one or the new
one afterwards; what was told is true; nobody who was revoked is let in. (What a power cut adds to that, only
the order of write, fsync and rename in linkd/store.c can answer for.)

$LINK_TEST_SEED repeats a run, $LINK_TEST_KILLS is how many (200)."""

import collections
import os
import pathlib
import random
import select
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
from faultkit import Faults, Ipc, Refused, ask, preload, records, temporary  # noqa: E402

KILLS = int(os.environ.get("LINK_TEST_KILLS", "200"))
SEED = int(os.environ.get("LINK_TEST_SEED", random.randrange(1 << 32)))
# The disk as it is, or one that takes 2 ms more for each fsync, so that a good part of an operation is writing.
DISK_MSEC = ("0", "2")
# How often each is done, in parts: (operation, who is killed).
PARTS = {("pair", "home"): 10, ("pair", "laptop"): 10, ("revoke", "home"): 10, ("rename", "laptop"): 7,
         ("host add", "home"): 4, ("host remove", "home"): 4, ("recovery", "home"): 3, ("import", "laptop"): 4,
         ("uplink", "home"): 3}


class Killed(Faults):
    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.net = self.relay()
        self.agents = {}
        for name in ("home", "laptop"):
            self.restart(name)
        ask(self.agents["home"], "uplink.add", url=self.net.url)
        self.n = 0
        self.revoked = set()
        self.recovery = None  # the last key that was told
        self.wait = {}  # of each operation: the seconds until it is killed, more or less

    # ---- agents ----

    def restart(self, name):
        self.agents[name] = self.start(name, preload("diskfault") | {"DISK_MSEC": self.random.choice(DISK_MSEC)})

    def kill(self, name):
        self.killed(self.agents[name])

    def registered(self):
        app = Ipc(self.agents["home"])
        self.agents["home"].until("registered", lambda: any(
            u["url"] == self.net.url and u["state"] == "registered" for u in app.ask("uplink.list")["uplinks"]))
        app.close()

    def fresh(self, kind):
        self.n += 1
        return f"{kind}-{self.n}"

    def state(self, name):
        """All that an agent holds, as it tells it."""
        app = Ipc(self.agents[name])
        status = app.ask("status")
        devices = {d["keyId"]: d["label"] for h in status["hosts"]
                   for d in app.ask("devices", host=h["name"])["devices"]}
        hosts = {h["name"]: (h["address"], h["recovery"], tuple(u["url"] for u in h["uplinks"]))
                 for h in status["hosts"]}
        peers = {p["name"]: p["keyId"] for p in app.ask("peers")["peers"]}
        app.close()
        self.assertFalse([p for p in status["problems"] if "record" in p], status["problems"])
        return {"hosts": hosts, "devices": devices, "peers": peers}

    # ---- operations: (method, parameters, which agent is asked, whether a state is the new one) ----

    def operation(self, kind, old):
        home, laptop = self.agents["home"], self.agents["laptop"]
        if kind == "pair":
            self.registered()
            uri = ask(home, "invite", label=self.fresh("device"))["uri"]
            name = self.fresh("peer")
            return "pair", {"uri": uri, "name": name}, laptop, {
                "home": lambda new: self.one_more(old, new, "devices"),
                "laptop": lambda new: self.one_more(old, new, "peers") and name in new["peers"]}
        if kind == "revoke":
            key_id = self.random.choice(sorted(old["devices"]))
            return "revoke", {"device": key_id}, home, {"home": lambda new: self.one_less(old, new, "devices", key_id)}
        if kind == "rename":
            name, to = self.random.choice(sorted(old["peers"])), self.fresh("renamed")
            return "peer.rename", {"name": name, "to": to}, laptop, {"laptop": lambda new: new == old | {
                "peers": {to if n == name else n: k for n, k in old["peers"].items()}}}
        if kind == "host add":
            return "host.add", {"name": self.fresh("host")}, home, {
                "home": lambda new: self.one_more(old, new, "hosts")}
        if kind == "host remove":
            name = self.random.choice(sorted(set(old["hosts"]) - {"default"}))
            return "host.remove", {"name": name}, home, {"home": lambda new: self.one_less(old, new, "hosts", name)}
        if kind == "recovery":
            return "recovery.enable", {}, home, {"home": lambda new: all(h[1] for n, h in new["hosts"].items()
                                                                         if n == "default")}
        if kind == "import":
            peer = self.random.choice(sorted(old["peers"]))
            exported = ask(laptop, "peer.export", name=peer)
            return "peer.import", {"credential": exported["credential"], "uplinks": exported["uplinks"],
                                   "name": self.fresh("imported")}, laptop, {
                "laptop": lambda new: self.one_more(old, new, "peers")}
        # Nobody listens at port 1.
        here = "ws://127.0.0.1:1" in old["hosts"]["default"][2]
        return "uplink.remove" if here else "uplink.add", {"url": "ws://127.0.0.1:1"}, home, {
            "home": lambda new: ("ws://127.0.0.1:1" in new["hosts"]["default"][2]) != here
            and new["devices"] == old["devices"]}

    @staticmethod
    def one_more(old, new, what):
        return (len(new[what]) == len(old[what]) + 1 and old[what].items() <= new[what].items()
                and new == old | {what: new[what]})

    @staticmethod
    def one_less(old, new, what, key):
        return new == old | {what: {k: v for k, v in old[what].items() if k != key}}

    def possible(self, kind, homes, laptops):
        if kind == "revoke":
            return homes["devices"]
        if kind in ("rename", "import"):
            return laptops["peers"]
        if kind == "host remove":
            return len(homes["hosts"]) > 1
        if kind == "host add":
            return len(homes["hosts"]) < 16
        return True

    # ---- one kill ----

    def answer(self, app):
        """What has come of it by now; None: nothing."""
        try:
            if select.select([app.socket], [], [], 0.05)[0]:
                return app.answer()
        except (EOFError, OSError):
            return None
        except Refused as e:
            self.assertIn(e.word, ("unreachable", "wrongCode"))  # the host has gone
        return None

    def once(self, kind, victim):
        """Kills victim somewhere in the operation: before it wrote anything, within, or after the answer."""
        old = self.state(victim)
        method, params, asked, is_new = self.operation(kind, old)
        if kind == "recovery":
            before = records(self.agents["home"], "host")
        app = Ipc(asked)
        app.begin(method, **params)
        time.sleep(self.random.uniform(0, 2 * self.wait[kind, victim]))
        self.kill(victim)
        left = temporary(self.agents[victim])
        self.assertLessEqual(len(left), 1, left)
        wrote = bool(left) or kind == "recovery" and records(self.agents["home"], "host") != before
        self.restart(victim)
        answer = self.answer(app)
        app.close()
        new = self.state(victim)
        self.assertEqual(temporary(self.agents[victim]), [])
        self.assertEqual(len(records(self.agents[victim])), sum(len(part) for part in new.values()))
        if answer is not None:
            self.assertTrue(is_new[victim](new), ("told, and not so", kind, old, new))
        else:
            self.assertTrue(new == old or is_new[victim](new), ("neither old nor new", kind, old, new))
        if kind == "revoke":
            self.revoked |= set(old["devices"]) - set(new["devices"])
        if kind == "recovery":
            self.recovery = answer["key"] if answer else None if wrote else self.recovery
        self.nothing_is_lost()
        return "after" if answer is not None else "within" if wrote or new != old else "before"

    def nothing_is_lost(self):
        """Who holds a credential and was not revoked is known; who was revoked is not."""
        devices = set(self.state("home")["devices"])
        self.assertFalse(self.revoked & devices)
        self.assertLessEqual(set(self.state("laptop")["peers"].values()) - self.revoked, devices)

    def measure(self, kind, victim):
        """How long it takes when nobody is killed."""
        method, params, asked, is_new = self.operation(kind, self.state(victim))
        app = Ipc(asked)
        began = time.monotonic()
        app.begin(method, **params)
        answer = app.answer()
        self.wait[kind, victim] = (time.monotonic() - began) / 2
        app.close()
        self.assertTrue(is_new[victim](self.state(victim)), (kind, self.state(victim)))
        if kind == "revoke":
            self.revoked.add(answer["keyId"])
        if kind == "recovery":
            self.recovery = answer["key"]

    def test_kill_9_while_records_change(self):
        print(f"seed {SEED}", flush=True)
        for operation in PARTS:
            self.measure(*operation)
        schedule = self.random.choices(list(PARTS), list(PARTS.values()), k=KILLS)
        seen = collections.defaultdict(collections.Counter)
        for kind, victim in schedule:
            if not self.possible(kind, self.state("home"), self.state("laptop")):
                kind, victim = ("host add", "home") if kind == "host remove" else ("pair", "home")
            where = self.once(kind, victim)
            seen[kind, victim][where] += 1
            # So that the moments stay around the writing, however slow the machine is just now.
            self.wait[kind, victim] *= {"before": 1.2, "within": 1, "after": 1 / 1.2}[where]
        total = sum(seen.values(), collections.Counter())
        for (kind, victim), n in sorted(seen.items()):
            print(f"  {kind} ({victim} killed): {n['before']} before, {n['within']} within, {n['after']} after")
        print(f"  {KILLS} kills: {total['before']} before, {total['within']} within, {total['after']} after", flush=True)
        self.assertGreater(total["within"], KILLS / 5)
        self.assertGreater(total["before"], KILLS / 50)
        self.assertGreater(total["after"], KILLS / 50)
        self.measure("pair", "laptop")  # there is one at least
        self.who_is_let_in()

    def who_is_let_in(self):
        home, laptop = self.agents["home"], self.agents["laptop"]
        self.registered()
        server = self.add(home.start_ctl("serve", "--echo"))
        server.wait_line("^serving default")
        devices = set(self.state("home")["devices"])
        n = collections.Counter()
        app = Ipc(laptop)
        for name, key_id in self.state("laptop")["peers"].items():
            n[key_id in devices] += 1
            try:
                self.assertEqual(app.one_shot(name, "1"), "1")
                self.assertIn(key_id, devices, "let in, though revoked")
            except Refused as e:
                self.assertEqual((e.word, key_id in devices), ("revoked", False))
        app.close()
        self.assertGreater(n[True], 0)
        self.assertGreater(n[False], 0)
        if self.recovery:  # what was told last lets in
            address = self.state("home")["hosts"]["default"][0]
            ask(laptop, "pair", address=address, code=self.recovery, recovery=True, uplinks=[self.net.url],
                name="recovered")


if __name__ == "__main__":
    agentkit.main()
