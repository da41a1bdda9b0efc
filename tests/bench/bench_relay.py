#!/usr/bin/python3
"""Measures link-relay beside a Node relay on `ws` and HAProxy in TCP mode: scripts/bench relay.

Rounds are interleaved: each measures every subject, in turning order. What is compared are medians of
the rounds; a ratio is the median of the rounds' own ratios. No figure makes it fail: it fails only when
something breaks.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

READY_SEC = 20
RUN_SEC = 300  # far above the longest scenario
LISTENING = re.compile(rb"listening on 127\.0\.0\.1:(\d+)")
UNLIMITED = {"LINK_RELAY_MAX_BPS": "0", "LINK_IP_RATE_PER_MIN": "0"}

HAPROXY_CONFIG = """
global
        nbthread 1
        maxconn 4000
defaults
        mode tcp
        timeout connect 10s
        timeout client 1h
        timeout server 1h
listen bench
        bind fd@{listen_fd}
        server sink 127.0.0.1:{sink_port}
"""


class Broken(Exception):
    pass


def listening_socket():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(4096)
    return s


class Subject:
    """A running process that forwards, pinned to one core."""

    name = ""

    def __init__(self, bench):
        self.bench = bench
        self.sink = None
        self.output = tempfile.TemporaryFile()
        self.port = self.start()

    def spawn(self, words, env=None, pass_fds=()):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("LINK_")}
        core = str(self.bench.relay_core)
        self.child = subprocess.Popen(
            ["taskset", "-c", core, *words], env=clean | (env or {}), pass_fds=pass_fds,
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output)

    def said(self):
        self.output.seek(0)
        return self.output.read()

    def await_port(self):
        end = time.monotonic() + READY_SEC
        while time.monotonic() < end:
            found = LISTENING.search(self.said())
            if found:
                return int(found[1])
            if self.child.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        raise Broken(f"{self.name} does not start:\n{self.said().decode(errors='replace')}")

    def check(self):
        if self.child.poll() is not None:
            raise Broken(f"{self.name} ended ({self.child.returncode}):\n"
                         + self.said().decode(errors="replace"))

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        if self.sink:
            self.sink.close()

    def generator(self, scenario, **numbers):
        """The words that start it."""
        words = ["taskset", "-c", str(self.bench.generator_core), self.bench.generator, scenario,
                 "--port", str(self.port), "--pid", str(self.child.pid),
                 "--core", str(self.bench.relay_core)]
        for name, value in numbers.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        return words

    def run(self, scenario, **numbers):
        """One scenario of the load generator. Its figures."""
        words = self.generator(scenario, **numbers)
        fds = ()
        if self.sink:
            fds = (self.sink.fileno(),)
            words += ["--sink-fd", str(fds[0])]
        done = subprocess.run(words, pass_fds=fds, capture_output=True, text=True, timeout=RUN_SEC,
                              check=False)
        self.check()
        if done.returncode != 0:
            raise Broken(f"{scenario} on {self.name}: {done.stderr.strip()}")
        return json.loads(done.stdout)


class LinkRelay(Subject):
    name = "link-relay"

    def start(self):
        self.spawn([self.bench.relay, "--listen", "127.0.0.1:0"], UNLIMITED)
        return self.await_port()


class NodeRelay(Subject):
    name = "node"

    def start(self):
        self.spawn(["node", os.path.join(self.bench.node_dir, "relay.js")])
        return self.await_port()


class HAProxy(Subject):
    """Forwards to a sink of the generator's. Both sockets are made here and inherited."""

    name = "haproxy"

    def start(self):
        self.sink = listening_socket()
        with listening_socket() as front, tempfile.NamedTemporaryFile("w", suffix=".cfg") as config:
            config.write(HAPROXY_CONFIG.format(listen_fd=front.fileno(),
                                               sink_port=self.sink.getsockname()[1]))
            config.flush()
            self.spawn(["haproxy", "-db", "-f", config.name], pass_fds=(front.fileno(),))
            port = front.getsockname()[1]
            self.await_forwarding(port)
        return port

    def await_forwarding(self, port):
        with socket.create_connection(("127.0.0.1", port), READY_SEC):
            ready, _, _ = select.select([self.sink], [], [], READY_SEC)
            if not ready:
                self.stop()
                raise Broken("haproxy does not forward:\n" + self.said().decode(errors="replace"))
            self.sink.accept()[0].close()


class Bench:
    def __init__(self, options):
        self.generator = options.generator
        self.relay = options.relay
        self.node_dir = options.node_dir
        self.quick = options.quick
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise Broken("two cores are needed: one for the relay, one for the generator")
        self.generator_core, self.relay_core = cores[0], cores[1]
        self.figures = {}  # (scenario, subject) -> list of what the generator printed

    def measure(self, key, subject, scenario, **numbers):
        result = subject.run(scenario, **numbers)
        self.figures.setdefault((key, subject.name), []).append(result)

    def fresh(self, kind, key, scenario, **numbers):
        """On a process of its own, whose memory nothing else has touched."""
        subject = kind(self)
        try:
            self.measure(key, subject, scenario, **numbers)
        finally:
            subject.stop()

    def throughput_rounds(self, rounds):
        msec, warm = (500, 300) if self.quick else (1500, 500)
        with contextlib.ExitStack() as stack:
            subjects = []
            for kind in (LinkRelay, NodeRelay, HAProxy):
                subjects.append(kind(self))
                stack.callback(subjects[-1].stop)
            for n in range(rounds):
                order = subjects[n % 3:] + subjects[:n % 3]
                for size in (1024, 65536):
                    for subject in order:
                        self.measure(f"flow{size}", subject, "flow", size=size, count=8, msec=msec,
                                     warm_msec=warm)
                for subject in order:
                    self.measure("pingpong", subject, "pingpong", size=128, msec=msec,
                                 warm_msec=warm)
                for subject in order:
                    if not subject.sink:
                        self.measure("setup", subject, "setup", count=1000 if self.quick else 2000)
                progress(f"throughput, latency, set-up: round {n + 1} of {rounds}")

    def stalled_rounds(self, rounds):
        msec = 500 if self.quick else 1000
        for n in range(rounds):
            for kind in (LinkRelay, HAProxy):
                self.fresh(kind, "stalled", "stalled", size=65536, count=200, msec=msec)
            progress(f"stalled receivers: round {n + 1} of {rounds}")

    def idle_rounds(self, rounds):
        msec = 500 if self.quick else 1000
        for n in range(rounds):
            self.fresh(LinkRelay, "idle", "idle", count=15000, msec=msec, window_msec=35000)
            if n == 0 and not self.quick:
                self.fresh(NodeRelay, "idle", "idle", count=15000, msec=msec, window_msec=35000)
            progress(f"15,000 idle sockets: round {n + 1} of {rounds}")

    def run(self):
        self.throughput_rounds(5)
        self.stalled_rounds(2 if self.quick else 5)
        self.idle_rounds(1 if self.quick else 5)

    # ---- results ----

    def values(self, key, subject, name):
        return [figures[name] for figures in self.figures.get((key, subject), [])]

    def median(self, key, subject, name):
        values = self.values(key, subject, name)
        return statistics.median(values) if values else None

    def ratio(self, key, name, other):
        """The median of the rounds' ratios of link-relay to another."""
        pairs = zip(self.values(key, "link-relay", name), self.values(key, other, name))
        return statistics.median(a / b for a, b in pairs)

    def within(self, key, name, to):
        """The median of the rounds' ratios of two figures of link-relay."""
        pairs = zip(self.values(key, "link-relay", name), self.values(key, "link-relay", to))
        return statistics.median(a / b for a, b in pairs)

    def spread(self, key, subject, name):
        """How far apart the rounds are: (max - min) / median."""
        values = self.values(key, subject, name)
        middle = statistics.median(values)
        return (max(values) - min(values)) / middle if middle else 0


class Row:
    def __init__(self, bench, what, key, name, scale=1, digits=1):
        self.what = what
        self.cells = []
        for subject in ("link-relay", "node", "haproxy"):
            value = bench.median(key, subject, name)
            self.cells.append("" if value is None else f"{value * scale:,.{digits}f}")
        self.checks = []
        self.spread = bench.spread(key, "link-relay", name)

    def check(self, what, value, bar, at_least=False, digits=2):
        self.checks.append({"what": what, "value": round(value, 6), "bar": bar,
                            "at_least": at_least, "digits": digits,
                            "met": value >= bar if at_least else value <= bar})
        return self


def flow_rows(bench, size, name, times_node, times_haproxy):
    key = f"flow{size}"
    speed = Row(bench, f"{name}: thousand messages a CPU second", key, "messages_per_cpu_sec", 1e-3)
    speed.check("x node", bench.ratio(key, "messages_per_cpu_sec", "node"), times_node, True)
    cpu = Row(bench, f"{name}: CPU seconds a GB", key, "cpu_sec_per_gb", 1, 3)
    cpu.check("x haproxy", bench.ratio(key, "cpu_sec_per_gb", "haproxy"), times_haproxy)
    return [Row(bench, f"{name}: thousand messages a second", key, "messages_per_sec", 1e-3),
            Row(bench, f"{name}: share of its core", key, "core", 1, 2), speed, cpu]


def rows_of(bench):
    pingpong = Row(bench, "128 B to and fro: p50, us", "pingpong", "p50_usec")
    pingpong.check("x haproxy", bench.ratio("pingpong", "p50_usec", "haproxy"), 1.1)
    beside = Row(bench, "... beside 15,000 idle: p50, us", "idle", "p50_usec")
    beside.check("x alone", bench.within("idle", "p50_usec", "alone_p50_usec"), 1.1)
    memory = Row(bench, "idle socket: RSS, bytes", "idle", "rss_bytes_per_socket", 1, 0)
    memory.check("bytes", bench.median("idle", "link-relay", "rss_bytes_per_socket"), 1024, digits=0)
    pings = Row(bench, "15,000 idle, pings: % of a core", "idle", "ping_core", 100, 2)
    pings.check("%", 100 * bench.median("idle", "link-relay", "ping_core"), 1)
    setup = Row(bench, "connect to registered: CPU us", "setup", "cpu_usec")
    setup.check("x Ed25519", bench.median("setup", "link-relay", "verifications"), 3.5)
    stalled = Row(bench, "200 stalled: RSS a link, KiB", "stalled", "rss_bytes_per_link", 1 / 1024)
    stalled.check("KiB", bench.median("stalled", "link-relay", "rss_bytes_per_link") / 1024, 300,
                  digits=0)
    others = Row(bench, "... p99 of another link, us", "stalled", "p99_usec")
    others.check("x alone", bench.within("stalled", "p99_usec", "alone_p99_usec"), 2)
    kill = Row(bench, "15,000 killed: slowest new register, ms", "idle", "kill_worst_msec", 1, 1)
    kill.check("ms", bench.median("idle", "link-relay", "kill_worst_msec"), 100, digits=1)
    return [
        *flow_rows(bench, 1024, "1 KiB", 10, 1),
        *flow_rows(bench, 65536, "64 KiB", 1.6, 1.1),
        pingpong,
        Row(bench, "128 B to and fro: p99, us", "pingpong", "p99_usec"),
        Row(bench, "128 B to and fro: CPU us", "pingpong", "cpu_usec_per_round_trip"),
        beside,
        Row(bench, "... beside 15,000 idle: p99, us", "idle", "p99_usec"),
        memory, pings, setup,
        Row(bench, "one Ed25519 verification: CPU us", "setup", "verify_usec"),
        stalled, others, kill,
    ]


def verdict(check):
    sign = ">=" if check["at_least"] else "<="
    return (f"{check['value']:,.{check['digits']}f} {check['what']} (bar {sign} {check['bar']:g}"
            f"{'' if check['met'] else ', NOT MET'})")


def table(rows):
    lines = [["median of the rounds", "link-relay", "node", "haproxy", "spread", "against the bar"]]
    for row in rows:
        lines.append([row.what, *row.cells, f"{row.spread:.0%}",
                      "; ".join(verdict(c) for c in row.checks)])
    widths = [max(len(line[i]) for line in lines) for i in range(6)]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [line[i].rjust(widths[i]) for i in range(1, 5)]
        print("  ".join(cells + [line[5]]).rstrip())


def progress(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def version(words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = (done.stdout or done.stderr).splitlines()
    return lines[0] if lines else ""


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "")


def machine(bench):
    with open(os.path.join(bench.node_dir, "node_modules/ws/package.json"), encoding="utf-8") as f:
        ws = json.load(f)["version"]
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "kernel": platform.release(),
            "load": os.getloadavg()[0], "link-relay": version([bench.relay, "--version"]),
            "node": version(["node", "--version"]), "ws": ws,
            "haproxy": version(["haproxy", "-v"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", required=True)
    parser.add_argument("--relay", required=True)
    parser.add_argument("--node-dir", required=True)
    parser.add_argument("--json", required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and what was started is stopped
    started = time.time()
    try:
        bench = Bench(options)
        about = machine(bench)
        bench.run()
    except (Broken, OSError, subprocess.TimeoutExpired) as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1
    rows = rows_of(bench)
    about["load_after"] = os.getloadavg()[0]
    print(f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}; Node {about['node']}, "
          f"ws {about['ws']}; {about['haproxy']}")
    table(rows)
    document = {
        "machine": about, "quick": options.quick, "seconds": round(time.time() - started, 1),
        "rows": [vars(row) for row in rows],
        "rounds": [{"scenario": key, "subject": subject, "figures": figures}
                   for (key, subject), figures in bench.figures.items()],
    }
    with open(options.json, "w", encoding="utf-8") as f:
        json.dump(document, f, indent=1)
        f.write("\n")
    print(f"All figures: {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
