#!/usr/bin/python3
"""The load of scripts/bench on a relay that is built with sanitizers: scripts/soak relay.

Each round is the life of one relay:

* scenarios of the load generator one after the other: messages of 1 KiB, 64 KiB and 4 MiB, one to and fro, set-ups;
* all together, stalled receivers and thousands of idle sockets that are killed at once among them, while SIGHUP
  takes shaping and limits in force and out of it several times a second, and both HTTP documents are read;
* limits in force: who is beyond them is refused, and counted, while a link goes on beside;
* the drain: SIGTERM with all sockets open and messages under way.

The generator looks at what arrives (tests/bench). The relay must end with status 0, so that LeakSanitizer has had its
say, must have said no error and no sanitizer's report, and must have no descriptor left but those of the
beginning when a load has gone. Nothing here is measured, and no slowness is a failure.
"""

import argparse
import collections
import contextlib
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "bench"))

import watchkit  # noqa: E402
from bench_relay import Broken, LinkRelay  # noqa: E402

LIMIT_SEC = 120  # for anything that must happen; it measures nothing
DRAIN_SEC = 2
RELOAD_SEC = 0.2
# Several sockets for each generator's links, and the relay's other end of every socket is its own.
OPEN_FILES = 20000
OPEN = "max_bps = 0; ip_rate_per_min = 0;\n"
# So much that no stream waits for long, and the buckets, the wheel and the tables are in use all the same.
SHAPED = ("max_bps = 16777216; hourly_bytes = 100000000000; trickle_bps = 1048576;\n"
          "ip_rate_per_min = 1000000; max_queue_bytes = 536870912; idle_sec = 60;\n")
LIMITED = "max_bps = 1048576; ip_rate_per_min = 20; max_connections = {connections};\n"
DRAINING = OPEN + f"drain_sec = {DRAIN_SEC};\n"
SOCKETS = re.compile(r"^link_relay_sockets\{.*\} (\d+)$", re.MULTILINE)


class Relay(LinkRelay):
    """With a configuration that can be changed while it runs."""

    def start(self):
        self.config = tempfile.NamedTemporaryFile("w", suffix=".conf")
        self.configure(OPEN)
        self.spawn([self.bench.relay, "--config", self.config.name, "--listen", "127.0.0.1:0"])
        return self.await_port()

    def configure(self, text):
        self.config.seek(0)
        self.config.truncate()
        self.config.write(text)
        self.config.flush()

    def reload(self, text):
        """In force when this returns: the answer to a request that came after the signal."""
        self.configure(text)
        self.child.send_signal(signal.SIGHUP)
        self.get("/health")

    def get(self, path):
        """Again, as long as the relay is full of others who have just gone."""
        deadline = time.monotonic() + LIMIT_SEC
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}",
                                            timeout=LIMIT_SEC) as answer:
                    return answer.read().decode()
            except OSError as e:
                self.check()
                if time.monotonic() > deadline:
                    raise Broken(f"{path} is not answered: {e}") from None
                time.sleep(0.05)

    def sockets(self):
        return sum(map(int, SOCKETS.findall(self.get("/metrics"))))

    def refused(self, reason):
        return int(re.search(rf'refusals_total{{reason="{reason}"}} (\d+)', self.get("/metrics"))[1])

    def fails(self, words, scenario, **numbers):
        """A scenario that the relay must not let through: the generator says why."""
        try:
            self.run(scenario, **numbers)
        except Broken as e:
            self.check()
            if not re.search(words, str(e)):
                raise
            return
        raise Broken(f"{scenario} {numbers} went through, and should have been refused")

    def end(self):
        """SIGTERM, and everything that is due then."""
        self.child.send_signal(signal.SIGTERM)
        try:
            status = self.child.wait(LIMIT_SEC)
        except subprocess.TimeoutExpired:
            raise Broken("the relay does not end on SIGTERM") from None
        if status != 0:
            raise Broken(f"the relay left with status {status}:\n{self.text()}")
        self.look()

    def text(self):
        return self.said().decode(errors="replace")

    def look(self):
        for line in self.text().splitlines():
            if watchkit.ALARMS.search(line):
                raise Broken(f"the relay says:\n{self.text()}")

    def stop(self):
        super().stop()
        self.config.close()


class Work(threading.Thread):
    """A function in a thread; join() raises what it raised."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.error = work, None
        self.start()

    def run(self):
        try:
            self.work()
        except Exception as e:  # told by the thread that waits
            self.error = e

    def result(self):
        self.join()
        if self.error:
            raise self.error


class Load:
    """What tests/bench's Subject wants to know, and how much there is of everything."""

    def __init__(self, options):
        self.generator, self.relay = options.generator, options.relay
        cores = sorted(os.sched_getaffinity(0))
        self.generator_core, self.relay_core = cores[0], cores[-1]
        self.msec = 300 if options.quick else 2000
        self.together_msec = 2000 if options.quick else 10000
        self.setups = 200 if options.quick else 2000
        self.stalled = 20 if options.quick else 200
        self.idle = 500 if options.quick else 8000
        self.done = collections.Counter()

    def run(self, subject, scenario, **numbers):
        figures = subject.run(scenario, **numbers)
        self.done["scenarios"] += 1
        if scenario == "flow":
            self.done["messages"] += round(figures["messages_per_sec"] * numbers["msec"] / 1000)
        elif scenario in ("idle", "setup"):
            self.done["sockets set up"] += numbers["count"]
        elif scenario == "stalled":
            self.done["stalled links"] += numbers["count"]

    def one_by_one(self, relay):
        for size, count in ((1024, 8), (65536, 8), (4 << 20, 2)):
            self.run(relay, "flow", size=size, count=count, msec=self.msec)
        self.run(relay, "pingpong", size=128, msec=self.msec)
        self.run(relay, "setup", count=self.setups)
        self.run(relay, "stalled", size=65536, count=self.stalled, msec=self.msec)

    def together(self, relay):
        works = [Work(lambda: self.run(relay, "flow", size=1024, count=8, msec=self.together_msec)),
                 Work(lambda: self.run(relay, "flow", size=65536, count=8, msec=self.together_msec)),
                 Work(lambda: self.run(relay, "setup", count=self.setups)),
                 Work(lambda: self.run(relay, "idle", count=self.idle, msec=self.msec,
                                       window_msec=self.together_msec // 2)),
                 Work(lambda: self.run(relay, "stalled", size=65536, count=self.stalled, msec=self.msec))]
        while any(work.is_alive() for work in works):
            for config in (SHAPED, OPEN):
                relay.reload(config)
                relay.get("/v1/stats")
                self.done["reloads"] += 1
                time.sleep(RELOAD_SEC)
        for work in works:
            work.result()

    def beyond_limits(self, relay):
        relay.reload(OPEN)
        beside = Work(lambda: self.run(relay, "pingpong", size=128, msec=self.together_msec))
        await_true("a link of the ping-pong", lambda: relay.sockets() == 3)
        relay.reload(LIMITED.format(connections=100))
        relay.fails("close 4002", "setup", count=64)
        if not relay.refused("ip_rate_per_min"):
            raise Broken("nothing was refused by ip_rate_per_min")
        await_true("the refused to go", lambda: relay.sockets() <= 3)
        relay.reload("ip_rate_per_min = 0; max_connections = 100;\n")
        relay.fails("no answer to an upgrade|cannot send|did not come|cannot connect", "idle", count=500)
        if not relay.refused("max_connections"):
            raise Broken("nothing was refused by max_connections")
        self.done["refusals"] += relay.refused("ip_rate_per_min") + relay.refused("max_connections")
        beside.result()
        relay.reload(OPEN)

    def drained(self, relay):
        relay.reload(DRAINING)
        words = (relay.generator("idle", count=self.idle, msec=self.msec, window_msec=LIMIT_SEC * 1000),
                 relay.generator("flow", size=65536, count=8, msec=LIMIT_SEC * 1000))
        with contextlib.ExitStack() as stack:
            for w in words:
                child = stack.enter_context(subprocess.Popen(w, stdout=subprocess.DEVNULL,
                                                             stderr=subprocess.DEVNULL))
                stack.callback(child.kill)
            await_true("all sockets of the drain", lambda: relay.sockets() >= self.idle + 16)
            relay.end()
        self.done["sockets drained"] += self.idle

    def round(self):
        relay = Relay(self)
        try:
            def count():
                return len(watchkit.descriptors(relay.child.pid))
            base = count()  # nobody has asked it anything yet
            for part in (self.one_by_one, self.together, self.beyond_limits):
                part(relay)
                await_true("all sockets to be closed", lambda: relay.sockets() == 0)
                relay.look()
                await_true(f"{base} descriptors as before", lambda: count() == base)
            self.drained(relay)
        finally:
            relay.stop()
        self.done["rounds"] += 1


def await_true(what, condition):
    deadline = time.monotonic() + LIMIT_SEC
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(f"not in {LIMIT_SEC} s: {what}")
        time.sleep(0.05)


def main():
    parser = argparse.ArgumentParser(description="The load of scripts/bench on a relay under sanitizers.")
    parser.add_argument("--generator", required=True)
    parser.add_argument("--relay", required=True)
    parser.add_argument("--seconds", type=float, default=300, help="rounds begin until then; one at least")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    options = parser.parse_args()
    os.environ.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and what was started is stopped
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    load = Load(options)
    sanitized = "with" if watchkit.is_sanitized(load.relay) else "without"
    print(f"soak relay: {load.relay}, {sanitized} AddressSanitizer, {options.seconds:g} s", flush=True)
    began = time.monotonic()
    try:
        while not load.done["rounds"] or time.monotonic() - began < options.seconds:
            load.round()
            print(f"{time.monotonic() - began:6.0f} s  " + ", ".join(
                f"{count:,} {name}" for name, count in sorted(load.done.items())), flush=True)
    except (Broken, OSError, subprocess.TimeoutExpired) as e:
        print(f"soak relay: FAILED after {time.monotonic() - began:.1f} s: {e}", flush=True)
        return 1
    print("soak relay: passed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
