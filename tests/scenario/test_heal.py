#!/usr/bin/python3
"""Links that heal: races, slots, stops, clocks, self checks, and relays that misbehave."""

import asyncio
import os
import pathlib
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
from agentkit import UNPACED, World  # noqa: E402
from test_agent import V1Relay  # noqa: E402

from linkv1 import client as v1_client  # noqa: E402
from linkv1 import ws  # noqa: E402

CLOCKSHIFT = agentkit.BUILD / "tests" / "scenario" / "clockshift.so"


class Loop:
    """An asyncio loop in a thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def start(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work):
        return self.start(work).result(agentkit.LIMIT_SEC)

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(agentkit.LIMIT_SEC)


class RawServer:
    """Does what `talk(reader, writer)` does with every connection."""

    def __init__(self, talk):
        self.loop = Loop()
        self.connections = 0
        self.changed = threading.Condition()

        async def serve(reader, writer):
            with self.changed:
                self.connections += 1
                self.changed.notify_all()
            try:
                await talk(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        async def start():
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            return server, server.sockets[0].getsockname()[1]

        self.server, self.port = self.loop.run(start())
        self.url = f"ws://127.0.0.1:{self.port}"

    def wait_connections(self, n):
        with self.changed:
            if not self.changed.wait_for(lambda: self.connections >= n, agentkit.LIMIT_SEC):
                raise AssertionError(f"{self.connections} connections, {n} expected")

    def stop(self):
        async def end():
            self.server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.loop.run(end())
        self.loop.stop()


class Healing(World):
    def v1(self, **misbehaviour):
        relay = V1Relay(**misbehaviour)
        self.addCleanup(relay.stop)
        return relay

    def raw(self, talk):
        server = RawServer(talk)
        self.addCleanup(server.stop)
        return server

    def lines(self, child, *patterns, start=0):
        """These lines come in this order (others between)."""
        for pattern in patterns:
            found = child.wait_line(pattern, start)
            start = child.lines.index(found.string, start) + 1
        return start

    def serving(self, name, *urls, registered=None, config=UNPACED):
        """A host at these relays that echoes."""
        home = self.agent(name, config)
        for url in urls:
            home.ctl("uplink", "add", url)
        home.wait_registered(len(urls) if registered is None else registered)
        self.add(home.start_ctl("serve", "--echo")).wait_line("^serving default")
        return home

    def holder(self, relay, home):
        return relay.relay.holders.get(home.json("status")["hosts"][0]["address"])


class Race(Healing):
    def test_the_next_relay_is_started_before_the_first_has_failed(self):
        first, second = self.v1(), self.v1()
        home, laptop, _ = self.paired(first, second)
        first.wrong.never_answer = True
        seen = laptop.count()
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        self.lines(laptop, f"connector {first.url}: dialing", f"connector {second.url}: dialing",
                   f"connector {second.url}: handshake", start=seen)
        self.assertNotIn("the relay did not answer", "\n".join(laptop.lines[seen:]))

    def test_losers_are_closed_and_one_handshake_runs(self):
        first, second = self.v1(), self.v1()
        home, laptop, _ = self.paired(first, second)
        first.wrong.swallow.add("relay")
        seen = laptop.count()
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        self.lines(laptop, f"connector {first.url}: relaying", f"connector {second.url}: handshake",
                   start=seen)
        laptop.until("no client is left at the first relay", lambda: not any(
            p.role == "client" for p in first.relay.peers))
        self.assertEqual(sum(line.endswith(": handshake") for line in laptop.lines[seen:]), 1)

    def test_the_relay_that_last_worked_comes_first(self):
        first, second = self.v1(), self.v1()
        home, laptop, _ = self.paired(first, second)
        first.wrong.never_answer = True
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        first.wrong.never_answer = False
        seen = laptop.count()
        self.add(laptop.start_ctl("listen", "home")).wait_line("listening")
        laptop.wait_line("connector .*: handshake", seen)
        dialed = [line for line in laptop.lines[seen:] if line.endswith(": dialing")]
        self.assertIn(f"connector {second.url}: dialing", dialed[0])

    def test_a_pairing_is_not_raced(self):
        silent, good = self.v1(), self.v1()
        home, laptop = self.serving("home", silent.url, good.url), self.agent("laptop")
        silent.wrong.never_answer = True
        seen = laptop.count()
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
        self.lines(laptop, f"connector {silent.url}: the relay did not answer",
                   f"connector {good.url}: dialing", start=seen)
        self.assertEqual(sum(line.endswith(f"{good.url}: dialing") for line in laptop.lines[seen:]), 1)

    def test_a_relay_that_introduces_to_nobody_is_not_believed_twice(self):
        """It wins the race and then says nothing: the handshake there runs out, once."""
        liar, good = self.v1(), self.v1()
        home, laptop, _ = self.paired(liar, good)

        async def relaying(self_, peer, message):
            peer.send({"type": "relaying", "linkId": peer.link.id})
        liar.relay._relay = relaying.__get__(liar.relay)
        seen = laptop.count()
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        seen = self.lines(laptop, f"connector {liar.url}: handshake",
                          f"connector {good.url}: handshake", start=seen)
        self.add(laptop.start_ctl("listen", "home")).wait_line("listening")
        laptop.wait_line("connector .*: handshake", seen)
        self.assertFalse([line for line in laptop.lines[seen:] if f"{liar.url}: handshake" in line])

    def test_an_address_that_is_not_known_is_asked_once_a_minute(self):
        relay = self.v1()
        home, laptop, server = self.paired(relay)
        for child in (server, home):
            child.stop()
            self.ended(child)
        asked = []
        resolve = relay.relay._resolve

        async def count(peer, message):
            asked.append(message["address"])
            await resolve(peer, message)
        relay.relay._resolve = count
        listener = self.add(laptop.start_ctl("listen", "home"))
        laptop.wait_line("asked again in a minute")
        before = len(asked)
        # An application's call asks at once.
        with self.assertRaises(agentkit.Failed):
            laptop.ctl("call", "home", "1", "--timeout", "1")
        self.assertEqual(len(asked), before + 1)
        listener.kill()
        self.ended(listener)

    def test_a_host_that_restarts_is_back_for_many_sessions_at_once(self):
        relay = self.relay()
        home, laptop, server = self.paired(relay)
        listeners = [self.add(laptop.start_ctl("listen", "home")) for _ in range(6)]
        for listener in listeners:
            listener.wait_line("listening")
        for child in (server, home):
            child.stop()
            self.ended(child)
        # Each session has been told so several times.
        laptop.until("all ask again and again", lambda: laptop.output.count(
            "the host is not registered there") >= 20)
        home = self.agent("home")
        home.wait_registered()
        laptop.until("all sessions are back", lambda: sum(
            s["state"] == "connected" for s in laptop.json("status")["sessions"]) == len(listeners))
        self.assertNotIn("asked again in a minute", laptop.output)
        for listener in listeners:
            listener.kill()
            self.ended(listener)

    def test_the_budget_of_a_relay_is_kept(self):
        relay = self.v1()
        relay.relay.config.ip_rate_per_min = 10
        home = self.serving("home", relay.url)  # one
        laptop = self.agent("laptop", "relay_budget_per_min = 6;\n")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")  # two: five for laptop
        listeners = [self.add(laptop.start_ctl("listen", "home")) for _ in range(8)]
        laptop.wait_line("asked too often")
        laptop.until("four sessions", lambda: sum(
            s["state"] == "connected" for s in laptop.json("status")["sessions"]) == 4)
        self.assertEqual(relay.relay.budgets["127.0.0.1"][1], 6)
        self.assertNotIn("4002", laptop.output)
        for child in listeners:
            child.kill()
            self.ended(child)


class DialBacks(Healing):
    def test_a_65th_waits_for_a_slot(self):
        """Of a client that goes, or (test_attack.py) of one that has been silent for 2 s."""
        relay = self.relay()
        home = self.serving("home", relay.url)
        address = home.json("status")["hosts"][0]["address"]
        loop = Loop()
        self.addCleanup(loop.stop)

        async def hold(n):
            return await asyncio.gather(*(v1_client.splice(relay.url, address) for _ in range(n)))

        held = loop.run(hold(64))
        late = loop.start(v1_client.splice(relay.url, address))
        home.wait_line("link .* waits for a slot")
        loop.run(held[0][0].close(wait=False))
        socket, _ = late.result(agentkit.LIMIT_SEC)
        for held_socket, _ in [*held[1:], (socket, "")]:
            loop.run(held_socket.close(wait=False))


class Stops(Healing):
    def test_a_stopped_agent_tries_everything_when_it_goes_on(self):
        relay = self.relay()
        home, laptop, _ = self.paired(relay)
        self.add(laptop.start_ctl("listen", "home")).wait_line("listening")
        laptop.wait_peer("home", "connected")
        seen = home.count()
        home.process.send_signal(signal.SIGSTOP)
        time.sleep(9)  # longer than a tick of 5 s and a gap of 3 s: this is what is tested
        home.process.send_signal(signal.SIGCONT)
        home.wait_line("the agent was stopped for a while: every connection is tried", seen)
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        home.wait_registered()

    def test_a_waiting_uplink_dials_when_the_agent_goes_on(self):
        relay = self.relay()
        home = self.serving("home", relay.url)
        port = relay.port
        relay.kill()
        self.ended(relay)
        home.wait_line("next try in")
        home.process.send_signal(signal.SIGSTOP)
        relay = self.relay(port)
        time.sleep(9)  # as above
        began = time.monotonic()
        home.process.send_signal(signal.SIGCONT)
        home.wait_registered()
        self.assertLess(time.monotonic() - began, 6)


class Clock(Healing):
    def shifted(self, name, seconds):
        return self.agent(name, env={"LD_PRELOAD": str(CLOCKSHIFT), "CLOCK_SHIFT_SEC": str(seconds),
                                     "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "")
                                     + ":verify_asan_link_order=0"})

    def test_a_clock_that_is_wrong_by_an_hour(self):
        for seconds, word in ((-3600, "slow"), (3600, "fast")):
            with self.subTest(word):
                relay = self.relay()
                home = self.shifted("home-" + word, seconds)
                home.ctl("uplink", "add", relay.url)
                home.wait_registered()
                cause = home.json("uplink", "list")[0]["cause"]
                self.assertRegex(cause, rf"this machine's is (59|60) min \d+ s {word}")
                port, seen = relay.port, home.count()
                relay.kill()
                self.ended(relay)
                relay = self.relay(port)
                if word == "fast":  # its own clock is tried first, each time
                    self.lines(home, "4007", "registered by the relay's clock", start=seen)
                else:  # a time stamp that was once taken is never gone behind
                    home.wait_line("registered " + home.json("host", "list")[0]["address"], seen)
                    self.assertNotIn("4007", "\n".join(home.lines[seen:]))

    def test_a_clock_that_is_wrong_by_more_than_a_day(self):
        relay = self.relay()
        home = self.shifted("home", -25 * 3600)
        home.ctl("uplink", "add", relay.url)
        home.wait_line("1500 min 0?[0-9]* s slow; set the clock|1499 min 5[0-9] s slow; set the clock")
        seen = home.count()
        self.lines(home, "connecting -> waiting", "connecting -> waiting", start=seen)
        self.assertNotIn("registered by", home.output)

    def test_a_relay_that_lies_about_the_time_stops_only_itself(self):
        """Its Date is refused by itself, and the honest one is still signed for by our clock."""
        liar, honest = self.v1(), self.relay()
        liar.relay.config.origin = "elsewhere"  # every signature is wrong
        home = self.serving("home", liar.url, honest.url, registered=1)
        home.wait_line(f"uplink {liar.url}: .*4007")
        port, seen = honest.port, home.count()
        honest.kill()
        self.ended(honest)
        honest = self.relay(port)
        home.wait_line(f"uplink {honest.url}: registered", seen)


class SelfCheck(Healing):
    def test_a_host_that_is_not_known_any_more_registers_anew(self):
        relay = self.v1()
        home = self.serving("home", relay.url, config=UNPACED + "self_check_sec = 1;\n")
        home.wait_line("it leads to this host")
        before = self.holder(relay, home)
        self.assertIsNotNone(before)
        seen = home.count()
        # As if the proxy in front had moved the address to another relay.
        relay.loop.call_soon_threadsafe(relay.relay.holders.clear)
        self.lines(home, "did not know this host any more; registering anew",
                   "registered " + home.json("status")["hosts"][0]["address"], start=seen)
        home.until("another socket holds it", lambda: self.holder(relay, home) not in (None, before))

    def test_a_check_that_fails_costs_nothing(self):
        relay = self.v1()
        home = self.serving("home", relay.url, config=UNPACED + "self_check_sec = 1;\n")
        before = self.holder(relay, home)
        relay.wrong.swallow.add("resolve")
        home.wait_line("could not check")
        self.assertIs(self.holder(relay, home), before)
        self.assertEqual(home.json("uplink", "list")[0]["state"], "registered")


async def upgraded(reader, writer):
    first, headers = await ws.read_head(reader)
    return ws.accept(reader, writer, ws.check_upgrade(first, headers), headers)


class Misbehaviour(Healing):
    """Each costs only itself: the host stays reachable through the honest relay."""

    def check(self, bad_url, evidence, *more):
        """evidence: what home's log says about the bad relay, again and again."""
        honest = self.relay()
        home = self.serving("home", bad_url, honest.url, registered=1)
        laptop = self.agent("laptop")
        laptop.ctl("pair", "--address", home.json("status")["hosts"][0]["address"], "--code", "-",
                   "--code-id", *self.invitation(home), "--uplink", honest.url, "--uplink", bad_url,
                   "--name", "home", stdin=self.code)
        for _ in range(2):
            home.wait_line(f"uplink {bad_url}: .*{evidence}")
            seen = home.count()
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        for line in more:
            home.wait_line(line)
        self.assertEqual([u["state"] for u in home.json("uplink", "list") if u["url"] == honest.url],
                         ["registered"])
        self.assertGreater(home.count(), seen - 1)
        return home, laptop

    def invitation(self, home):
        invitation = home.json("invite")
        self.code = (invitation["code"] + "\n").encode()
        return [invitation["codeId"]]

    def test_says_nothing_after_accepting(self):
        async def talk(reader, writer):
            await reader.read()
        self.check(self.raw(talk).url, "timed out while connecting")

    def test_never_answers_a_register(self):
        self.check(self.v1(never_answer=True).url, "the relay did not answer")

    def test_hangs_up_at_once(self):
        async def talk(reader, writer):
            return
        self.check(self.raw(talk).url, "hung up|reset|closed|lost")

    def test_closes_after_the_upgrade(self):
        self.check(self.v1(close_at_once=True).url, "connection lost")

    def test_garbage(self):
        self.check(self.v1(garbage=b"\x81\x7e\xff\xffgarbage").url, "next try in")

    def test_control_messages_that_are_not(self):
        async def talk(reader, writer):
            socket = await upgraded(reader, writer)
            await socket.recv()
            socket.send_frame(ws.TEXT, b'{"type":')
            await reader.read()
        self.check(self.raw(talk).url, "the relay sent garbage")

    def test_binary_in_place_of_control(self):
        async def talk(reader, writer):
            socket = await upgraded(reader, writer)
            await socket.recv()
            socket.send_frame(ws.BINARY, bytes(100))
            await reader.read()
        self.check(self.raw(talk).url, "the relay sent garbage")

    def test_wrong_states(self):
        """Everything but the answer, before and after one; links before the register is answered."""
        async def talk(reader, writer):
            socket = await upgraded(reader, writer)
            await socket.recv()
            for text in (b'{"type":"relay","linkId":"a"}', b'{"type":"found","linkId":"a"}',
                         b'{"type":"relaying","linkId":"a"}', b'{"type":"arrived"}', b'{"type":"usage"}',
                         b'{"type":"registered","address":"AAAA"}', b'{"type":"register"}',
                         b'{"type":"error","error":"no_reason"}'):
                socket.send_frame(ws.TEXT, text)
            await reader.read()
        self.check(self.raw(talk).url, "the relay refused the register: no_reason")

    def test_redirects(self):
        async def talk(reader, writer):
            await ws.read_head(reader)
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/v1/link\r\n"
                         b"Content-Length: 0\r\n\r\n")
            await writer.drain()
            await reader.read()
        server = self.raw(talk)
        home, _ = self.check(server.url, "next try in")
        self.assertNotIn("127.0.0.1:1/", home.output)

    def test_an_endless_head(self):
        async def talk(reader, writer):
            await ws.read_head(reader)
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\n")
            while True:
                writer.write(b"X-Filler: " + b"x" * 8000 + b"\r\n")
                await writer.drain()
        self.check(self.raw(talk).url, "next try in")

    def test_a_message_without_end(self):
        async def talk(reader, writer):
            socket = await upgraded(reader, writer)
            await socket.recv()
            writer.write(b"\x01\x7f" + (1 << 40).to_bytes(8, "big"))
            while True:
                writer.write(bytes(1 << 16))
                await writer.drain()
        self.check(self.raw(talk).url, "a message that is too large")

    def test_a_flood_of_links(self):
        """A relay that introduces thousands: 64 are dialed, some wait, the rest is dropped."""
        address = []

        async def talk(reader, writer):
            socket = await upgraded(reader, writer)
            message = await socket.recv()
            text = message.decode() if isinstance(message, bytes) else message
            import json
            control = json.loads(text)
            if control["type"] != "register":
                await reader.read()  # dial-backs are never answered
                return
            address.append(control["address"])
            await socket.send(json.dumps({"type": "registered", "address": control["address"]}))
            for n in range(3000):
                await socket.send(json.dumps({"type": "relay", "linkId": f"link-{n}"}))
            await reader.read()
        bad = self.raw(talk)
        honest = self.relay()
        home = self.serving("home", bad.url, honest.url)
        home.wait_line(f"uplink {bad.url}: a link was dropped: too many are in flight")
        laptop = self.agent("laptop")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        home.wait_line("links were dropped: no slot was free in 8 s")
        self.assertLessEqual(len(os.listdir(f"/proc/{home.process.pid}/fd")), 64 + 40)


if __name__ == "__main__":
    agentkit.main()
