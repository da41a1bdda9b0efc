#!/usr/bin/python3
"""Measures linkd and liblinkipc, application to application: scripts/bench agent.

What has a reference is measured in interleaved rounds beside it; a ratio is the median of the rounds'
own ratios. No figure makes it fail: it fails only when something breaks."""

import argparse
import bisect
import concurrent.futures
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenario"))

import agentkit  # noqa: E402
import test_netns  # noqa: E402
from agentkit import Agent, Child, Relay  # noqa: E402
from bench_relay import Broken, cpu_model, progress  # noqa: E402

RUN_SEC = 180  # far above the longest scenario
CLIENT_SESSIONS = 50  # of a client machine in the crowd: an agent holds 56 with one peer


def cpu_sec(child):
    """CPU time of a process with all its threads (clock_getcpuclockid)."""
    return time.clock_gettime((~child.process.pid << 3) | 2)


def anonymous_bytes(child):
    with open(f"/proc/{child.process.pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("Anonymous:"))


def pin(child, cores):
    """All threads that there are."""
    for thread in os.listdir(f"/proc/{child.process.pid}/task"):
        os.sched_setaffinity(int(thread), cores)


def on_cores(cores):
    return ["taskset", "-c", ",".join(map(str, sorted(cores)))]


class Site:
    """One directory, and what runs in it."""

    def __init__(self, app):
        self.app = app
        self.directory = tempfile.mkdtemp(prefix="link-bench-")
        self.children = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            child.kill()
        shutil.rmtree(self.directory, True)

    def add(self, child):
        self.children.append(child)
        return child

    def relay(self, port=0):
        return self.add(Relay(port))

    def agent(self, name):
        return self.add(Agent(self.directory, name, log_level="info"))

    def host(self, relay, name="home"):
        """An agent that is registered, and the application that serves it."""
        agent = self.agent(name)
        agent.ctl("uplink", "add", relay.url)
        agent.wait_registered()
        server = self.start(agent, "serve")
        server.wait_line("serving")
        return agent, server

    def client(self, host, name="laptop"):
        agent = self.agent(name)
        agent.ctl("pair", host.json("invite")["uri"], "--name", "home")
        return agent

    def words(self, agent, scenario, numbers):
        words = [self.app, scenario]
        if agent:
            words += ["--socket", str(agent.socket)]
        for name, value in numbers.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        return words

    def start(self, agent, scenario, wrap=(), **numbers):
        return self.add(Child(self.words(agent, scenario, numbers), wrap=wrap))

    def run(self, agent, scenario, cores, **numbers):
        """One scenario to its end. Its figures."""
        done = subprocess.run(on_cores(cores) + self.words(agent, scenario, numbers),
                              capture_output=True, text=True, timeout=RUN_SEC, check=False)
        if done.returncode != 0:
            raise Broken(f"{scenario}: {done.stderr.strip()}")
        return json.loads(done.stdout.splitlines()[-1])


class Bench:
    def __init__(self, options):
        self.app, self.quick = options.app, options.quick
        self.cores = set(sorted(os.sched_getaffinity(0))[:2])
        if len(self.cores) < 2:
            raise Broken("two cores are needed: one for each side")
        self.figures = {}  # name -> one value a round

    def note(self, name, value):
        self.figures.setdefault(name, []).append(value)

    def median(self, name):
        return statistics.median(self.figures[name])

    def ratio(self, name, reference):
        pairs = zip(self.figures[name], self.figures[reference])
        return statistics.median(a / b for a, b in pairs)

    def spread(self, name):
        values = self.figures[name]
        middle = statistics.median(values)
        return (max(values) - min(values)) / middle if middle else 0

    # ---- throughput and latency: one relay, two agents, two applications ----

    def throughput_rounds(self, rounds):
        with Site(self.app) as site:
            self.parts = [relay := site.relay()]
            home, server = site.host(relay)
            laptop = site.client(home)
            self.parts += [home, server, laptop]
            for n in range(rounds):
                self.round_trips(site, laptop)
                self.pipelines(site, laptop)
                self.payloads(site, laptop)
                self.handshakes(site, home, laptop, server)
                progress(f"round trips, requests, payloads, handshakes: round {n + 1} of {rounds}")

    def place(self, cores):
        for part in self.parts:
            pin(part, cores)

    def times(self, full_msec):
        return {"msec": full_msec // 3 if self.quick else full_msec, "warm_msec": 200}

    def round_trips(self, site, laptop):
        """Everything on one core, the reference too; then wherever the scheduler puts it."""
        one, how = {max(self.cores)}, {"size": 128} | self.times(1500)
        for suffix, cores in (("", one), ("_free", self.cores)):
            self.place(cores)
            bare = site.run(None, "bare-rtt", cores, **how)
            link = site.run(laptop, "rtt", cores, **how)
            for name in ("p50_usec", "p99_usec"):
                self.note(f"bare_{name}{suffix}", bare[name])
                self.note(f"link_{name}{suffix}", link[name])
        self.place(self.cores)

    def pipelines(self, site, laptop):
        how = {"size": 1024, "in_flight": 64} | self.times(1500)
        self.note("bare_per_sec", site.run(None, "bare-pipeline", self.cores, **how)["per_sec"])
        self.note("link_per_sec", site.run(laptop, "pipeline", self.cores, **how)["per_sec"])

    def payloads(self, site, laptop):
        seal = site.run(None, "bare-seal", self.cores, size=65536, msec=400)
        before = [cpu_sec(part) for part in self.parts]
        link = site.run(laptop, "events", self.cores, size=65536, **self.times(1500))
        used = sum(cpu_sec(part) - b for part, b in zip(self.parts, before))
        self.note("seal_bytes_per_sec", seal["bytes_per_cpu_sec"])
        self.note("link_bytes_per_sec", link["measured_bytes"] / link["nsec"] * 1e9)
        self.note("link_cpu_nsec_per_byte", used * 1e9 / link["bytes"])

    def handshakes(self, site, home, laptop, server):
        """The host's agent on one core, the client's on the other; the relay and the applications
        take of both what they need."""
        first, second = sorted(self.cores)
        pin(home, {first})
        pin(laptop, {second})
        child = site.start(laptop, "handshakes", in_flight=16, **self.times(2000))
        child.wait_line("warm")
        before = cpu_sec(home), cpu_sec(laptop)
        found = json.loads(child.wait_line(r'^(\{"handshakes".*)')[1])
        used = cpu_sec(home) - before[0], cpu_sec(laptop) - before[1]
        if child.process.wait(RUN_SEC) != 0:
            raise Broken(f"handshakes: {child.output}")
        self.note("handshakes_per_sec", found["per_sec"])
        self.note("host_cpu_usec_per_handshake", used[0] * 1e6 / found["handshakes"])
        self.note("client_cpu_usec_per_handshake", used[1] * 1e6 / found["handshakes"])
        self.place(self.cores)

    # ---- doing nothing ----

    def idle(self):
        """An agent with two uplinks of its own and ten peers that applications listen to."""
        with Site(self.app) as site:
            relays = site.relay(), site.relay()
            idle, far = site.agent("idle"), site.agent("far")
            for relay in relays:
                idle.ctl("uplink", "add", relay.url)
            idle.wait_registered(2)
            for n in range(10):
                if n:
                    far.ctl("host", "add", f"host{n}")
                name = f"host{n}" if n else "default"
                far.ctl("uplink", "add", relays[n % 2].url, "--host", name)
                invitation = far.json("invite", name)
                idle.until("paired", lambda i=invitation, m=n: self.pairs(idle, i, f"peer{m}"))
                site.add(idle.start_ctl("listen", f"peer{n}")).wait_line("listening")
                idle.wait_peer(f"peer{n}", "connected")
            time.sleep(2)  # what the connecting has left to do is no idling
            seconds = 20 if self.quick else 60
            before, began = cpu_sec(idle), time.monotonic()
            time.sleep(seconds)
            self.note("idle_cpu", (cpu_sec(idle) - before) / (time.monotonic() - began))
            self.note("idle_bytes", anonymous_bytes(idle))
            states = [p["state"] for p in idle.json("peers")]
            if states != ["connected"] * 10:
                raise Broken(f"the idle agent's peers: {states}")

    @staticmethod
    def pairs(agent, invitation, name):
        try:
            agent.ctl("pair", invitation["uri"], "--name", name)
            return True
        except agentkit.Failed:  # the host was not registered there yet
            return False

    # ---- a relay that goes and comes ----

    def crowd_rounds(self, rounds, machines):
        with Site(self.app) as site:
            relay = site.relay()
            home, _ = site.host(relay)
            clients = [site.client(home, f"client{n}") for n in range(machines)]
            for n in range(rounds):
                relay = self.crowd(site, relay, clients)
                progress(f"{machines * CLIENT_SESSIONS} sessions lose their relay: round {n + 1} "
                         f"of {rounds}")

    def crowd(self, site, relay, clients):
        apps = [site.start(client, "sessions", count=CLIENT_SESSIONS) for client in clients]
        for app in apps:
            app.wait_line(r'^\{"up"')
        relay.kill()
        time.sleep(5)
        returned = time.monotonic_ns()
        fresh = site.relay(relay.port)
        times = []
        for app in apps:
            times += json.loads(app.wait_line(r'^(\{"back_nsec".*)')[1])["back_nsec"]
        times = sorted((t - returned) / 1e9 for t in times)
        if len(times) != len(clients) * CLIENT_SESSIONS or times[0] < 0:
            raise Broken("not every session came back, or some were never gone")
        at_once = max(bisect.bisect_right(times, t + 0.5) - n for n, t in enumerate(times))
        self.note("crowd_last_sec", times[-1])
        self.note("crowd_median_sec", statistics.median(times))
        self.note("crowd_at_once", at_once / len(times))
        return fresh

    # ---- networks that fail ----

    def heal(self, name):
        """One outage in a network of its own. Seconds from the moment that it is possible again."""
        cable = test_netns.Cable("test_the_cable_is_pulled")  # for its network and its agents
        cable.setUp()
        try:
            relay = cable.far_relay()
            home, laptop = cable.couple(relay)
            seen = home.count()
            began = getattr(self, "heal_" + name)(cable, relay, home)
            home.wait_line(r"uplink \S+: registered [\w-]{43}$", seen)
            self.note(f"heal_{name}_sec", time.monotonic() - began)
            if laptop.ctl("call", "home", "1", "--timeout", "60") != "1\n":
                raise Broken("a call was answered wrongly")
            self.note(f"heal_{name}_call_sec", time.monotonic() - began)
        finally:
            cable.doCleanups()

    def outage(self, seconds):
        time.sleep(seconds / 3 if self.quick else seconds)

    def heal_cable(self, cable, _relay, _home):
        test_netns.ip("-n", cable.near, "link", "set", "cable", "down")
        self.outage(30)
        began = time.monotonic()
        test_netns.ip("-n", cable.near, "link", "set", "cable", "up")
        return began

    def heal_dropped(self, cable, _relay, home):
        seen = home.count()
        test_netns.ip("-n", cable.far, "route", "add", "blackhole", "10.77.0.2/32")
        home.wait_line("no answer to a ping", seen)
        self.outage(30)
        began = time.monotonic()
        test_netns.ip("-n", cable.far, "route", "del", "blackhole", "10.77.0.2/32")
        return began

    def heal_stopped(self, cable, relay, home):
        """Until the relay has dropped it: after two of its pings, in 60 s at most."""
        home.process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        while self.registrations(cable, relay) > 0:
            time.sleep(0.5)
        time.sleep(max(0, stopped + 60 - time.monotonic()))
        began = time.monotonic()
        home.process.send_signal(signal.SIGCONT)
        return began

    @staticmethod
    def registrations(cable, relay):
        done = subprocess.run(
            cable.within(cable.far) + [sys.executable, "-c", "import sys,urllib.request as u;"
                                       "print(u.urlopen(sys.argv[1],timeout=9).read().decode())",
                                       f"http://10.77.0.1:{relay.port}/v1/stats"],
            capture_output=True, text=True, check=True)
        return json.loads(done.stdout)["addressRegistrations"]

    def heal_killed(self, cable, relay, home):
        seen, port = home.count(), relay.port
        relay.kill()
        cable.ended(relay)
        home.wait_line("connection refused", seen)
        self.outage(15)
        began = time.monotonic()
        cable.far_relay(port)
        return began

    def waiting_rounds(self, rounds):
        """What mostly waits, side by side."""
        cases = [] if test_netns.WHY_NOT else ["cable", "dropped", "stopped", "killed"]
        if test_netns.WHY_NOT:
            progress(f"NOT MEASURED: networks that fail: {test_netns.WHY_NOT}")
        for n in range(rounds):
            with concurrent.futures.ThreadPoolExecutor() as pool:
                jobs = [pool.submit(self.heal, case) for case in cases]
                if n == 0:
                    jobs.append(pool.submit(self.idle))
                for job in jobs:
                    job.result()
            progress(f"idling, networks that fail: round {n + 1} of {rounds}")

    def run(self):
        self.throughput_rounds(3 if self.quick else 7)
        self.crowd_rounds(1 if self.quick else 3, 4 if self.quick else 20)
        self.waiting_rounds(1 if self.quick else 3)


# ---- results ----


class Row:
    def __init__(self, bench, what, name, reference=None, scale=1, digits=1):
        self.what = what
        self.measured = "" if name not in bench.figures else f"{bench.median(name) * scale:,.{digits}f}"
        self.reference = f"{bench.median(reference) * scale:,.{digits}f}" if reference else ""
        self.spread = f"{bench.spread(name):.0%}" if name in bench.figures else ""
        self.checks = []

    def check(self, what, value, bar, at_least=False, digits=2):
        self.checks.append({"what": what, "value": round(value, 6), "bar": bar, "digits": digits,
                            "at_least": at_least,
                            "met": value >= bar if at_least else value <= bar})
        return self

    def verdict(self):
        return "; ".join(
            f"{c['value']:,.{c['digits']}f} {c['what']} (bar {'>=' if c['at_least'] else '<='} "
            f"{c['bar']:,g}{', met' if c['met'] else ', NOT MET'})" for c in self.checks)


def rows_of(bench):
    worst = {name: max(values) for name, values in bench.figures.items()}
    rows = [
        Row(bench, "128 B request and answer, one core: p50, us", "link_p50_usec", "bare_p50_usec")
        .check("x bare", bench.ratio("link_p50_usec", "bare_p50_usec"), 12),
        Row(bench, "... p99, us", "link_p99_usec", "bare_p99_usec"),
        Row(bench, "... placed by the scheduler: p50, us", "link_p50_usec_free",
            "bare_p50_usec_free"),
        Row(bench, "64 KiB payloads: MB/s", "link_bytes_per_sec", "seal_bytes_per_sec", 1e-6, 0)
        .check("% of sealing", 100 * bench.ratio("link_bytes_per_sec", "seal_bytes_per_sec"), 25,
               True, 1),
        Row(bench, "... CPU of relay, agents, receiver: ns a byte", "link_cpu_nsec_per_byte",
            digits=2),
        Row(bench, "1 KiB requests, 64 in flight: a second", "link_per_sec", "bare_per_sec",
            digits=0)
        .check("a second", bench.median("link_per_sec"), 25000, True, 0),
        Row(bench, "handshakes, one core each side: a second", "handshakes_per_sec", digits=0)
        .check("a second", bench.median("handshakes_per_sec"), 1000, True, 0),
        Row(bench, "... CPU of the host's agent: us", "host_cpu_usec_per_handshake", digits=0),
        Row(bench, "... CPU of the client's agent: us", "client_cpu_usec_per_handshake", digits=0),
        Row(bench, "idle, 2 uplinks, 10 peers: anonymous KiB", "idle_bytes", scale=1 / 1024,
            digits=0)
        .check("MB", bench.median("idle_bytes") / 1e6, 4),
        Row(bench, "... CPU, %", "idle_cpu", scale=100, digits=3)
        .check("%", 100 * bench.median("idle_cpu"), 0.1, digits=3),
        Row(bench, "many sessions, relay gone for 5 s: all back, s", "crowd_last_sec")
        .check("s at worst", worst["crowd_last_sec"], 10, digits=1),
        Row(bench, "... half of them back, s", "crowd_median_sec"),
        Row(bench, "... largest share within 500 ms, %", "crowd_at_once", scale=100, digits=0)
        .check("% at worst", 100 * worst["crowd_at_once"], 50, digits=0),
    ]
    names = {"cable": "cable pulled", "dropped": "packets dropped", "stopped": "process stopped",
             "killed": "relay killed"}
    for case, name in names.items():
        if f"heal_{case}_sec" in bench.figures:
            rows.append(Row(bench, f"{name}: registered again, s", f"heal_{case}_sec", digits=2)
                        .check("s at worst", worst[f"heal_{case}_sec"], 6))
            rows.append(Row(bench, "... a request answered, s", f"heal_{case}_call_sec", digits=2))
    return rows


def table(rows):
    lines = [["median of the rounds", "Link", "reference", "spread", "against the bar"]]
    lines += [[row.what, row.measured, row.reference, row.spread, row.verdict()] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    for line in lines:
        cells = [line[0].ljust(widths[0])] + [line[i].rjust(widths[i]) for i in range(1, 4)]
        print("  ".join(cells + [line[4]]).rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--app", required=True)
    parser.add_argument("--json", required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and what was started is stopped
    started, load = time.time(), os.getloadavg()[0]
    try:
        bench = Bench(options)
        bench.run()
    except (Broken, AssertionError, OSError, subprocess.SubprocessError) as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1
    rows = rows_of(bench)
    about = {"cpu": cpu_model(), "cores": os.cpu_count(), "kernel": platform.release(),
             "load": load, "load_after": os.getloadavg()[0]}
    print(f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, load "
          f"{load:.1f} to {about['load_after']:.1f}")
    table(rows)
    document = {"machine": about, "quick": options.quick,
                "seconds": round(time.time() - started, 1), "rows": [vars(row) for row in rows],
                "rounds": bench.figures}
    with open(options.json, "w", encoding="utf-8") as f:
        json.dump(document, f, indent=1)
        f.write("\n")
    print(f"All figures: {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
