#!/usr/bin/python3
"""Agents and relays under load while they are killed, ended and stopped: scripts/soak agent.

Three relays; two machines with a host each, which is served; four laptops, each paired with both hosts, whose
applications ask all the time: several numbered requests in flight on each of several sessions, one-shot calls
beside them, events with payloads there and back. Applications speak through liblinkipc (soak-app).

Storms of faults and calms take turns. In a storm a random relay or agent is killed (SIGKILL), ended (SIGTERM,
status 0 is due) or stopped (SIGSTOP) every second or so, and comes back after a random while, an agent on its
state directory, a relay on its port. In a calm all run, until every request that was asked before it is
answered. One relay, one host's machine and one laptop are only stopped, never restarted, so that their memory
and descriptors can be compared.

What must hold, at all times:

* An answer carries its own request, byte by byte, and comes from the host that was asked. Each request's callback
  is called once.
* No request is lost. Lost is a request without an answer DEADLINE_SEC after it was first asked, while the agent
  of the application that asked lived: docs/IPC.md "Sessions" has linkd send it again on each new connection. If
  the application's own agent is killed, its connection breaks and linkd owes it nothing more; the application
  connects again and asks the same number again, and its time begins anew. (A request may so be carried out more
  than once.)
* The answer "no request handler" comes only if the host was unserved at some time between question and answer:
  from the kill of its agent until the application serves it again. The number is then asked again, within
  the same time. Any other error is a failure.
* A session is closed only with its connection to the agent, and that only when the agent was killed.
* Events arrive as they were sent and in order, none twice on a session. They are not repeated: what was under
  way when a connection went is lost, and most are not.
* Nobody ends by himself; SIGTERM ends with status 0; nobody writes an error to the log or a sanitizer's report.
* The memory of what lives all the time does not grow (watchkit.GROWTH_KIB; only judged in runs of some minutes,
  and not of ASan's programs).
* When the load is gone, each program that lives has as many descriptors as before it came; a relay at all
  times as many beside its connections.

Faults and their order follow from the seed; what happens between two of them does not.
"""

import argparse
import os
import pathlib
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scenario"))

import agentkit  # noqa: E402
import watchkit  # noqa: E402
from soakkit import App, Daemon, free_port  # noqa: E402

RELAYS, HOMES, LAPTOPS = 3, 2, 4
# An application's patience. A storm with a long stop at its end lasts 45 s, and through a relay that is stopped nothing
# moves: the kernel confirms in its place, so only its hosts' pings notice it (docs/ARCHITECTURE.md "Links that heal").
DEADLINE_SEC = 90
STORM_SEC = (8, 15)
CALM_SEC = 5  # at least
# A calm that lasts longer does not heal: what is dead is noticed after 25 s, and the longest back-off is 8 s.
HEAL_SEC = 60
FAULT_EVERY_SEC = (0.1, 1)
AWAY_SEC = (0.1, 3)     # killed or ended
STOPPED_SEC = (0.2, 6)
LONG_STOP_SEC = 30      # of a relay: its hosts' pings give it up, and the relay those who did not answer its own
LONG_STOPS = 1 / 12     # of all stops of relays
PROGRESS_SEC = 10
TURN_SEC = 0.05
BASE_SEC = 2            # that descriptors are counted before the load
SETTLE_SEC = 60         # for descriptors to be closed once the load is gone
EVENTS_ARRIVE = 0.5     # at least, of those that were written: the others went with their connections
# Self checks of the hosts come as often as everything else here.
CONFIG = agentkit.UNPACED + "self_check_sec = 20;\n"
SOCKETS = re.compile(r"^link_relay_sockets\{.*\} (\d+)$", re.MULTILINE)


class Soak:
    def __init__(self, directory, seed):
        self.directory = directory
        self.rng = random.Random(seed)
        self.daemons, self.apps = [], []
        self.relays, self.homes, self.laptops = [], [], []
        self.unserved_times = {}  # host -> [[from, to or None]]
        self.due = []             # (when, what)
        self.faults = []          # (when, text)
        self.storms = 0
        self.healed_sec = []
        self.began = self.shown = time.monotonic()

    # ---- the world ----

    def daemon(self, group, name, start, restarts):
        d = Daemon(name, start, restarts)
        group.append(d)
        self.daemons.append(d)
        return d

    def build(self):
        for i in range(RELAYS):
            port = free_port()
            self.daemon(self.relays, f"relay{i}", lambda port=port: agentkit.Relay(port), i > 0)
        for group, kind, count in ((self.homes, "home", HOMES), (self.laptops, "laptop", LAPTOPS)):
            for i in range(count):
                name = f"{kind}{i}"
                self.daemon(group, name, lambda name=name: agentkit.Agent(
                    self.directory, name, CONFIG), i > 0)
        for home in self.homes:
            for relay in self.relays:
                home.child.ctl("uplink", "add", relay.child.url)
            home.child.wait_registered(RELAYS)
            self.unserved_times[home.name] = [[0, None]]
            self.apps.append(App(home.name, ["serve", "--socket", str(home.child.socket), "--name",
                                             home.name, "--host", "default"], self.served))
            self.apps[-1].child.wait_line("^serving ")
            for laptop in self.laptops:
                invitation = home.child.json("invite", "--label", laptop.name)
                laptop.child.ctl("pair", invitation["uri"], "--name", home.name)
        self.read()
        self.note_descriptors()

    def one_shot_sessions(self):
        """linkd keeps these for a minute; the load has them at its end, and so must its beginning."""
        for laptop in self.laptops:
            for home in self.homes:
                laptop.child.ctl("call", home.name, "1")

    def note_descriptors(self):
        """The least that is seen for a while: what was just used is still being closed."""
        self.one_shot_sessions()
        end = time.monotonic() + BASE_SEC
        while time.monotonic() < end:
            self.turn()
            for d in self.daemons:
                look = self.beside_connections if d in self.relays else self.descriptors
                d.base_descriptors = min(look(d), d.base_descriptors or sys.maxsize)

    def load(self):
        for laptop in self.laptops:
            words = ["ask", "--socket", str(laptop.child.socket), "--name", laptop.name,
                     "--deadline-msec", str(DEADLINE_SEC * 1000)]
            for home in self.homes:
                words += ["--peer", home.name]
            self.apps.append(App(laptop.name, words))

    # ---- faults ----

    def served(self, host, at):
        last = self.unserved_times[host][-1]
        if last[1] is None and at > last[0]:
            last[1] = at

    def note(self, text):
        self.faults.append((time.monotonic(), text))

    def later(self, seconds, what):
        self.due.append((time.monotonic() + seconds, what))

    def goes(self, d):
        d.aways.append([time.monotonic(), None])
        if d in self.homes and self.unserved_times[d.name][-1][1] is not None:
            self.unserved_times[d.name].append([time.monotonic(), None])

    def rise(self, d):
        d.rise()
        d.aways[-1][1] = time.monotonic()
        self.note(f"{d.name} is back")

    def kill(self, d, away):
        self.goes(d)
        d.state = "killed"
        d.child.process.kill()
        d.child.process.wait(agentkit.LIMIT_SEC)
        d.fell()
        self.later(away, lambda: self.rise(d))

    def end(self, d, away):
        self.goes(d)
        d.state = "ending"
        d.child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + agentkit.LIMIT_SEC

        def look():
            status = d.child.process.poll()
            if status is None:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{d.name} does not end on SIGTERM")
                self.later(TURN_SEC, look)
                return
            d.fell()
            if status != 0:
                raise AssertionError(f"{d.name} left with {status}")
            self.later(away, lambda: self.rise(d))
        look()

    def stop(self, d, seconds):
        d.state = "stopped"
        d.child.process.send_signal(signal.SIGSTOP)

        def go_on():
            d.child.process.send_signal(signal.SIGCONT)
            d.state = "up"
            self.note(f"{d.name} goes on")
        self.later(seconds, go_on)

    def fault(self):
        # All of chance is asked for at each fault, so that the next is the same whatever state this one found.
        d = self.rng.choice(self.rng.choice((self.relays, self.homes, self.laptops)))
        kind = self.rng.choice(("kill", "end", "stop")) if d.restarts else "stop"
        away, stopped = self.rng.uniform(*AWAY_SEC), self.rng.uniform(*STOPPED_SEC)
        if self.rng.random() < LONG_STOPS and d in self.relays:
            stopped = LONG_STOP_SEC
        if d.state != "up":
            return
        d.faults += 1
        if kind == "stop":
            self.note(f"{d.name} is stopped for {stopped:.1f} s")
            self.stop(d, stopped)
        else:
            self.note(f"{d.name}: {kind}, away for {away:.1f} s")
            (self.kill if kind == "kill" else self.end)(d, away)

    # ---- time ----

    def read(self):
        for d in self.daemons:
            d.check()
        for app in self.apps:
            app.read()

    def turn(self):
        now = time.monotonic()
        ready = [what for when, what in self.due if when <= now]
        self.due = [(when, what) for when, what in self.due if when > now]
        for what in ready:
            what()
        self.read()
        if now - self.shown >= PROGRESS_SEC:
            self.shown = now
            self.progress()
        time.sleep(TURN_SEC)

    def total(self, name):
        return sum(app.counts.get(name, 0) for app in self.apps)

    def progress(self):
        oldest = max(app.counts.get("oldest_msec", 0) for app in self.apps)
        down = " ".join(f"{d.name}:{d.state}" for d in self.daemons if d.state != "up")
        print(f"{time.monotonic() - self.began:6.0f} s  {self.total('answered'):,} answered, "
              f"{self.total('open')} open (oldest {oldest / 1000:.1f} s), {len(self.faults)} faults and "
              f"returns, {self.total('reconnects')} reconnections  {down or 'calm'}", flush=True)

    def storm(self, until):
        self.storms += 1
        end = min(until, time.monotonic() + self.rng.uniform(*STORM_SEC))
        while time.monotonic() < end:
            next_fault = time.monotonic() + self.rng.uniform(*FAULT_EVERY_SEC)
            while time.monotonic() < min(next_fault, end):
                self.turn()
            self.fault()
        while self.due:  # until everybody is back
            self.turn()

    def calm(self):
        """Until everything that was asked before it is answered."""
        began = time.monotonic()
        healed = None
        while healed is None or time.monotonic() < began + CALM_SEC:
            self.turn()
            asking = [app for app in self.apps if "oldest_msec" in app.counts]
            if healed is None and all(app.counted - app.counts["oldest_msec"] / 1000 > began
                                      for app in asking):
                healed = time.monotonic() - began
            if time.monotonic() > began + HEAL_SEC:
                raise AssertionError(f"in a calm of {HEAL_SEC} s not every request was answered")
        self.healed_sec.append(healed)
        self.judge_unserved()
        self.judge_disconnections()
        for d in self.daemons:
            if not d.restarts:
                d.memory.take(d.pid)
        for app in self.apps:
            app.memory.take(app.pid)
        for relay in self.relays:
            self.await_equal(f"descriptors of {relay.name} beside its connections",
                             lambda relay=relay: self.beside_connections(relay), relay.base_descriptors,
                             relay)

    def await_equal(self, what, look, want, d):
        deadline = time.monotonic() + SETTLE_SEC
        while (got := look()) != want:
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: {got}, and {want} before the load; now there are "
                                     f"{watchkit.kinds(watchkit.descriptors(d.pid))}")
            self.turn()

    # ---- verdicts ----

    def judge_unserved(self):
        for app in self.apps:
            for host, asked, answered in app.unserved:
                if not any(asked <= (to or answered) and answered >= since
                           for since, to in self.unserved_times[host]):
                    raise AssertionError(f"{app.name}: {host} was served from "
                                         f"{asked - self.began:.3f} to {answered - self.began:.3f}, and \"no request handler\" was the answer")
            app.unserved.clear()

    def judge_disconnections(self):
        """Each kill ends one connection, and those that were begun before the agent was back."""
        for app in self.apps:
            aways = next(d.aways for d in self.daemons if d.name == app.name)
            used = set()
            for at in app.disconnections:
                killed, back = max((a for a in aways if a[0] <= at), default=(None, None))
                if killed is None or (killed in used and back is not None and at > back):
                    raise AssertionError(f"{app.name}: the agent ended a connection at "
                                         f"{at - self.began:.3f}, and was not killed")
                used.add(killed)

    def descriptors(self, d):
        return len(watchkit.descriptors(d.pid))

    def beside_connections(self, relay):
        """Descriptors that are no WebSockets, and one of who asks."""
        with urllib.request.urlopen(relay.child.url.replace("ws", "http", 1) + "/metrics",
                                    timeout=agentkit.LIMIT_SEC) as answer:
            sockets = SOCKETS.findall(answer.read().decode())
            now = self.descriptors(relay)
        return now - sum(map(int, sockets))

    def judge_descriptors(self):
        for d in self.homes + self.laptops:
            self.await_equal(f"descriptors of {d.name}", lambda d=d: self.descriptors(d),
                             d.base_descriptors, d)

    def judge_memory(self):
        for p in [d for d in self.daemons if not d.restarts] + self.apps:
            program = os.path.realpath(f"/proc/{p.pid}/exe")
            if not p.memory.is_long_enough or watchkit.is_sanitized(program):
                continue
            if p.memory.growth_kib > watchkit.GROWTH_KIB:
                raise AssertionError(f"{p.name} has grown by {p.memory.growth_kib:,.0f} KiB of anonymous memory "
                                     f"({watchkit.GROWTH_KIB:,} are allowed): {p.memory.samples}")

    def judge_events(self):
        written, arrived = self.total("events_written"), self.total("events")
        if not written or arrived < EVENTS_ARRIVE * written:
            raise AssertionError(f"{written} events were written, {arrived} have arrived")
        if not self.total("answered"):
            raise AssertionError("nothing was answered")

    # ---- the whole ----

    def end_apps(self, apps):
        for app in apps:
            app.child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + DEADLINE_SEC + HEAL_SEC
        while not all(app.done and app.child.process.poll() is not None for app in apps):
            if time.monotonic() > deadline:
                raise AssertionError("not all applications have ended: " + " ".join(
                    app.name for app in apps if not app.done))
            self.turn()
        for app in apps:
            if app.child.process.returncode != 0:
                raise AssertionError(f"{app.name} left with {app.child.process.returncode}")

    def run(self, seconds):
        self.build()
        self.load()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.storm(end)
            self.calm()
        self.judge_memory()
        self.end_apps([app for app in self.apps if "oldest_msec" in app.counts])
        self.judge_descriptors()
        self.judge_events()
        self.end_apps([app for app in self.apps if not app.done])
        for d in reversed(self.daemons):
            d.state = "ending"
            d.child.stop()
            d.alarms.check(d.name)

    def clean_up(self):
        for child in [app.child for app in self.apps] + [d.child for d in self.daemons]:
            if child.process.poll() is None:
                child.kill()

    def summary(self):
        print(f"\n{self.storms} storms; healed after {max(self.healed_sec, default=0):.1f} s at most; slowest "
              f"answer {max(a.counts.get('slowest_msec', 0) for a in self.apps) / 1000:.1f} s of "
              f"{DEADLINE_SEC} s")
        for name, what in (("answered", "requests answered"), ("served", "requests served"),
                           ("again", "asked again after the own agent's end"),
                           ("unserved", "answers \"no request handler\""),
                           ("reconnects", "sessions reconnected"),
                           ("events_written", "events written"), ("events", "events arrived"),
                           ("events_lost", "events lost with their connection"),
                           ("events_refused", "events refused: no payload"),
                           ("echoes", "events back")):
            print(f"  {self.total(name):12,}  {what}")
        print(f"  {'':12}  lives  faults  anonymous memory")
        for d in self.daemons:
            memory = str(d.memory) if d.memory.samples else ""
            print(f"  {d.name:12}  {d.lives:5}  {d.faults:6}  {memory}".rstrip())
        for app in self.apps:
            memory = str(app.memory) if app.memory.samples else ""
            print(f"  {app.name + ' app':12}  {'':5}  {'':6}  {memory}".rstrip())

    def write_logs(self, to):
        """All that was said, with times, and the faults."""
        shutil.rmtree(to, ignore_errors=True)
        os.makedirs(to)
        logs = {d.name: d.past + [d.child] for d in self.daemons}
        logs |= {app.name + "-app": [app.child] for app in self.apps}
        for name, children in logs.items():
            with open(os.path.join(to, name + ".log"), "w", encoding="utf-8") as f:
                for child in dict.fromkeys(children):
                    f.writelines(f"{at - self.began:10.3f} {line}\n"
                                 for at, line in zip(child.times, child.lines))
        with open(os.path.join(to, "faults.log"), "w", encoding="utf-8") as f:
            f.writelines(f"{at - self.began:10.3f} {text}\n" for at, text in self.faults)


def main():
    parser = argparse.ArgumentParser(description="Agents and relays under load while they are killed and "
                                     "stopped.")
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"soak agent: seed {options.seed}, {options.seconds:g} s, {agentkit.BUILD}", flush=True)
    os.environ.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and what was started is ended
    with tempfile.TemporaryDirectory(prefix="link-soak-") as directory:
        soak = Soak(directory, options.seed)
        try:
            soak.run(options.seconds)
        except (AssertionError, OSError) as e:
            logs = agentkit.BUILD / "soak-logs"
            soak.write_logs(logs)
            print(f"soak agent: FAILED after {time.monotonic() - soak.began:.1f} s: {e}\n"
                  f"Logs: {logs}; again: --seed {options.seed}", flush=True)
            return 1
        finally:
            soak.clean_up()
            soak.summary()
    print("soak agent: passed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
