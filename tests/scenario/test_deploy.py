#!/usr/bin/python3
"""The relay as it is run: behind proxies with TLS, several behind HAProxy, under systemd, reloaded, full.
docs/DEPLOY.md promises what is looked at here."""

import asyncio
import contextlib
import json
import os
import pathlib
import queue
import re
import signal
import socket as socket_module
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request
from urllib.parse import urlsplit

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
import proxykit  # noqa: E402
from agentkit import ROOT, Child, World, clean_environment, program  # noqa: E402

import relaykit  # noqa: E402
from linkv1 import codec, register, ws  # noqa: E402
from relaykit import LIMIT_SEC, RelayCase, main  # noqa: E402

UNKNOWN_ADDRESS = {"type": "error", "error": "unknown_address"}
SAMPLE = ROOT / "deploy" / "relay.conf.sample"


class Relay(Child):
    """As relaykit's, but under any words, and what it says can be waited for."""

    def __init__(self, *arguments, env=None, words=(), unlimited=True):
        limits = relaykit.UNLIMITED if unlimited else {}
        super().__init__([*words, program("link-relay"), *(arguments or ("--listen", "127.0.0.1:0"))],
                         limits | (env or {}))
        try:
            self.port = int(self.wait_line(agentkit.LISTENING)[1])
        except BaseException:
            self.kill()
            raise

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}"

    @property
    def origin(self):
        return f"127.0.0.1:{self.port}"

    def hangup(self, says):
        """SIGHUP; what it says about it."""
        start = self.count()
        self.process.send_signal(signal.SIGHUP)
        return self.wait_line(says, start)

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=LIMIT_SEC) as answer:
            return answer.read().decode()

    def stats(self):
        return json.loads(self.get("/v1/stats"))

    def metric(self, name):
        found = re.search(rf"^link_relay_{re.escape(name)} (\S+)$", self.get("/metrics"), re.M)
        if not found:
            raise AssertionError(f"/metrics has no {name}")
        return float(found[1])

    def refused(self, reason):
        return self.metric(f'refusals_total{{reason="{reason}"}}')


class DeployCase(RelayCase):
    """Every test starts its own relays; all ends with it."""

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    async def asyncSetUp(self):
        await super().asyncSetUp()
        asyncio.get_running_loop().set_debug(False)  # hundreds of TLS sockets are slow enough
        self.proxies = []
        self.ssl = None
        holder = tempfile.TemporaryDirectory(prefix="link-deploy-")
        self.addCleanup(holder.cleanup)
        self.directory = pathlib.Path(holder.name)

    async def asyncTearDown(self):
        try:
            await super().asyncTearDown()
        finally:
            for proxy in self.proxies:
                proxy.stop()

    def start(self, *arguments, **how):
        relay = Relay(*arguments, **how)
        self.own_relays.append(relay)
        self.relay = self.relay or relay
        return relay

    def killed(self, relay):
        relay.kill()
        relay.process.stdout.close()
        self.own_relays.remove(relay)

    def behind(self, kind, *relays):
        """A proxy before these relays; from now on everybody dials it."""
        if not proxykit.installed(kind.program):
            self.skipTest(f"{kind.program} IS NOT INSTALLED: nothing is known about the relay behind it")
        proxy = kind([relay.port for relay in relays])
        self.proxies.append(proxy)
        self.relay = proxy
        self.ssl = proxy.certificate.context()
        return proxy

    async def open(self, path="/v1/link", relay=None, **options):
        relay = relay or self.relay
        if relay.url.startswith("wss:"):
            options["ssl"] = self.ssl
        return await super().open(path, relay, **options)

    def conf(self, text, name="relay.conf"):
        path = self.directory / name
        path.write_text(text)
        return str(path)

    async def resolve(self, address="nobody", **options):
        """The answer; ws.Closed with what it was closed with."""
        socket = await self.open(**options)
        self.send(socket, {"type": "resolve", "address": address})
        return json.loads((await self.soon(socket.recv_message()))[1])

    async def spend(self, limit, **options):
        """How many resolves pass before 4002. A window may end on the way, so up to twice the budget."""
        for passed in range(2 * limit + 1):
            try:
                self.assertEqual(await self.resolve(**options), UNKNOWN_ADDRESS)
            except ws.Closed as closed:
                self.assertEqual(closed.code, 4002)
                return passed
        raise AssertionError("never 4002")


# ---- one relay behind a proxy ----


class Behind:
    """The same of every proxy."""

    kind = None
    LIMIT = 4

    async def test_pairs_talk(self):
        self.behind(self.kind, self.start(env={"LINK_TRUST_PROXY": "1"}))
        # Without LINK_ORIGIN the Host that came through the proxy is what hosts sign.
        pair = await self.spliced()
        for size in (0, 1, 125, 70_000, 1_000_000):
            data = os.urandom(size)
            await self.carry(pair.client, pair.end, data)
            await self.carry(pair.end, pair.client, data, ws.TEXT if size == 125 else ws.BINARY)
        # Close codes pass.
        await self.soon(pair.client.close())
        await self.expect_close(pair.end, 4003)

    async def test_origin(self):
        self.behind(self.kind, self.start(env={"LINK_TRUST_PROXY": "1", "LINK_ORIGIN": "Relay.Example.org"}))
        await self.control(origin="relay.example.org")
        socket = await self.open()
        self.send(socket, self.register_message(register.Identity()))
        await self.expect_close(socket, 4007)

    async def test_forged_forwarded_for(self):
        self.behind(self.kind, self.start(env={"LINK_TRUST_PROXY": "1",
                                               "LINK_IP_RATE_PER_MIN": str(self.LIMIT)}))
        # A new forged address each time; were it believed, the budget would never be spent.
        numbers = iter(range(1, 250))

        def forged(source):
            return {"local_addr": (source, 0),
                    "extra": [("X-Forwarded-For", f"192.0.2.{next(numbers)}")]}

        for source in ("127.0.0.2", "127.0.0.3"):  # each has its own
            passed = 0
            with self.assertRaises(ws.Closed) as caught:
                for _ in range(2 * self.LIMIT + 1):
                    self.assertEqual(await self.resolve(**forged(source)), UNKNOWN_ADDRESS)
                    passed += 1
            self.assertEqual(caught.exception.code, 4002)
            self.assertGreaterEqual(passed, self.LIMIT, source)

    async def test_what_is_public(self):
        proxy = self.behind(self.kind, self.start(env={"LINK_TRUST_PROXY": "1"}))

        def ask(path):
            try:
                with urllib.request.urlopen(f"https://127.0.0.1:{proxy.port}{path}", timeout=LIMIT_SEC,
                                            context=self.ssl) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, b""

        self.assertEqual(await asyncio.to_thread(ask, "/health"), (200, b'{"status":"ok"}'))
        for path in ("/metrics", "/v1/stats", "/", "/v1/link/x"):
            self.assertEqual((await asyncio.to_thread(ask, path))[0], 404, path)


class BehindHaProxy(Behind, DeployCase):
    kind = proxykit.HaProxy


class BehindNginx(Behind, DeployCase):
    kind = proxykit.Nginx


class BehindCaddy(Behind, DeployCase):
    kind = proxykit.Caddy


class Agents(World):
    """linkd and linkctl through TLS."""

    def behind(self, kind, *relays):
        if not proxykit.installed(kind.program):
            self.skipTest(f"{kind.program} IS NOT INSTALLED: nothing is known about the relay behind it")
        proxy = kind([relay.port for relay in relays])
        self.addCleanup(proxy.stop)
        # The agents trust what OpenSSL trusts.
        self.addCleanup(os.environ.pop, "SSL_CERT_FILE", None)
        os.environ["SSL_CERT_FILE"] = str(proxy.certificate.cert)
        return proxy

    def sample_relay(self):
        """A relay from its sample file, with the preset and what a proxy needs."""
        text = re.sub(r"^##(\w+ = )", r"\1", SAMPLE.read_text(), flags=re.M)
        config = pathlib.Path(self.directory) / "relay.conf"
        config.write_text(text + 'listen = [ "127.0.0.1:0" ];\ntrust_proxy = true;\n')
        return self.add(Relay("--config", str(config), unlimited=False))

    def test_pair_and_call_through_nginx(self):
        proxy = self.behind(proxykit.Nginx, self.sample_relay())
        _, laptop, _ = self.paired(proxy)
        self.assertEqual(laptop.ctl("call", "home", '{"n":1.0}'), '{"n":1.0}\n')

    def test_their_relay_dies(self):
        relays = [self.add(Relay(env={"LINK_TRUST_PROXY": "1"})) for _ in range(3)]
        proxy = self.behind(proxykit.HaProxySeveral, *relays)
        home, laptop, _ = self.paired(proxy)
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        held = [relay for relay in relays if relay.stats()["addressRegistrations"]]
        self.assertEqual(len(held), 1)
        held[0].kill()
        self.ended(held[0])
        rest = [relay for relay in relays if relay is not held[0]]
        home.until("another relay has it", lambda: any(
            relay.stats()["addressRegistrations"] for relay in rest))

        def called():
            try:
                return laptop.ctl("call", "home", "2") == "2\n"
            except agentkit.Failed:
                return False  # not yet

        laptop.until("home answers", called)


# ---- several relays behind HAProxy ----


class LightHost:
    """Holds its control socket at /v1/link?a=ADDRESS, registers anew when that closes, and resolves itself
    when it is told to."""

    def __init__(self, case):
        self.case = case
        self.identity = register.Identity()
        self.path = f"/v1/link?a={self.identity.address}"
        self.socket = None
        self.dials = set()
        self.registered = asyncio.Event()
        self.task = asyncio.ensure_future(self._hold())

    async def dial(self):
        case = self.case
        return await case.soon(ws.connect(case.relay.url + self.path, ssl=case.ssl))

    async def _hold(self):
        while True:
            try:
                self.socket = await self.dial()
                await self._serve()
            except (OSError, ws.Closed, ws.HandshakeError):
                pass  # its relay is gone, or not up yet
            finally:
                self.registered.clear()
                if self.socket:
                    self.socket.abort()
            await asyncio.sleep(0.1)  # the back-off of a host

    async def _serve(self):
        self.case.send(self.socket, self.case.register_message(self.identity))
        while True:
            message = json.loads(await self.socket.recv())
            if message["type"] == "registered":
                self.registered.set()
            elif message["type"] == "relay":
                self.dials.add(asyncio.ensure_future(self._dial_back(message["linkId"])))

    async def _dial_back(self, link):
        """Says who it is and waits for the other end to go."""
        with contextlib.suppress(OSError, ws.Closed, ws.HandshakeError):  # as the client may be gone
            end = await self.dial()
            try:
                self.case.send(end, {"type": "accept", "linkId": link})
                if json.loads(await end.recv())["type"] == "relaying":
                    end.send_frame(ws.BINARY, self.identity.address.encode())
                    await end.recv()
            finally:
                end.abort()

    async def resolves_itself(self):
        """Whether its relay is still where its name leads; if not, it registers there."""
        socket = await self.dial()
        try:
            self.case.send(socket, {"type": "resolve", "address": self.identity.address})
            if json.loads(await self.case.soon(socket.recv()))["type"] == "found":
                return True
        except (ws.Closed, OSError):
            pass
        finally:
            socket.abort()
        self.registered.clear()
        self.socket.abort()
        return False

    async def reach(self):
        """A client comes through to it; as clients do, it tries again until it does."""
        deadline = time.monotonic() + agentkit.LIMIT_SEC
        while True:
            try:
                if await self._reached():
                    return
            except (OSError, ws.Closed, ws.HandshakeError):
                pass
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.identity.address} is not reachable any more")
            await asyncio.sleep(0.1)

    async def _reached(self):
        client = await self.dial()
        try:
            self.case.send(client, {"type": "resolve", "address": self.identity.address})
            found = json.loads(await self.case.soon(client.recv()))
            if found["type"] != "found":
                return False
            self.case.send(client, {"type": "relay", "linkId": found["linkId"]})
            await self.case.expect(client, {"type": "relaying", "linkId": found["linkId"]})
            hello = await self.case.soon(client.recv())
            self.case.assertEqual(hello.decode(), self.identity.address)
            return True
        finally:
            client.abort()


class Several(DeployCase):
    HOSTS = 200

    async def everybody(self, work):
        """Sixteen at a time: it is the relays that are looked at, not this machine's patience."""
        gate = asyncio.Semaphore(16)

        async def one(host):
            async with gate:
                return await work(host)

        return await asyncio.gather(*(one(host) for host in self.hosts))

    async def all_registered(self):
        await asyncio.gather(*(asyncio.wait_for(host.registered.wait(), agentkit.LIMIT_SEC) for host in self.hosts))

    async def stop_hosts(self):
        tasks = [task for host in self.hosts for task in (host.task, *host.dials)]
        for task in tasks:
            task.cancel()
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(end, Exception):
                raise end

    async def test_one_of_three_goes_and_comes_back(self):
        relays = [self.start("--listen", "127.0.0.1:0", "--log-level", "debug", env={"LINK_TRUST_PROXY": "1"})
                  for _ in range(3)]
        self.behind(proxykit.HaProxySeveral, *relays)
        self.hosts = [LightHost(self) for _ in range(self.HOSTS)]
        try:
            await self.all_registered()
            self.assertTrue(all(await self.everybody(LightHost.resolves_itself)))
            held = [relay.stats()["addressRegistrations"] for relay in relays]
            self.assertEqual(sum(held), self.HOSTS)
            self.assertTrue(all(held), held)
            await self.goes(relays)
            await self.comes_back(relays[0].port, held[0])
        finally:
            await self.stop_hosts()

    async def goes(self, relays):
        self.orphans = [host for host in self.hosts
                        if f"{host.identity.address} is registered" in relays[0].output]
        self.killed(relays[0])
        await self.everybody(LightHost.reach)
        self.assertEqual(sum(relay.stats()["addressRegistrations"] for relay in relays[1:]), self.HOSTS)

    async def comes_back(self, port, share):
        relay = self.start("--listen", f"127.0.0.1:{port}", env={"LINK_TRUST_PROXY": "1"})
        # The proxy finds it by its checks; from then on its share of names leads there. A host notices when it
        # next resolves itself.
        deadline = time.monotonic() + agentkit.LIMIT_SEC
        while await self.orphans[0].resolves_itself():
            self.assertLess(time.monotonic(), deadline, "the relay that came back gets nobody")
            await asyncio.sleep(0.1)
        await self.everybody(LightHost.resolves_itself)
        await self.all_registered()
        await self.everybody(LightHost.reach)
        # The ring is the same as before.
        self.assertEqual(relay.stats()["addressRegistrations"], share)


# ---- configuration ----


class Check(unittest.TestCase):
    """--check-config, and the sample file."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="link-deploy-")
        self.addCleanup(holder.cleanup)
        self.directory = pathlib.Path(holder.name)

    def check(self, text=None, *more, env=None):
        """(status, stderr)."""
        path = self.directory / "relay.conf"
        if text is not None:
            path.write_text(text)
        done = subprocess.run([program("link-relay"), "--config", str(path), "--check-config", *more],
                              env=clean_environment() | (env or {}), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=LIMIT_SEC)
        self.assertEqual(done.stdout, "" if done.returncode else "the configuration is valid\n")
        return done.returncode, done.stderr

    def fails(self, text, *says):
        status, told = self.check(text)
        self.assertEqual(status, 1, told)
        for word in says:
            self.assertIn(word, told)

    def test_status(self):
        self.assertEqual(self.check("max_bps = 0;\n"), (0, ""))
        self.assertEqual(self.check(""), (0, ""))
        (self.directory / "relay.conf").unlink()
        status, told = self.check()
        self.assertEqual(status, 1)
        self.assertIn("relay.conf", told)
        self.assertEqual(self.check("", "--nonsense")[0], 2)
        self.assertEqual(self.check("", "nonsense")[0], 2)
        for where in ("nowhere", "1.2.3.4:x", "65536", "", "localhost:80", "/" + 200 * "x"):
            status, told = self.check("", "--listen", where)
            self.assertEqual(status, 2, where)
            self.assertIn(f'--listen "{where}" is not PORT, ADDRESS:PORT or /PATH', told)
        self.assertEqual(self.check("", "--listen", "[::1]:0", "--listen", "/tmp/x", "--listen", "80"), (0, ""))
        status, told = self.check("", env={"LINK_RELAY_IDLE_SEC": "0"})
        self.assertEqual(status, 1)
        self.assertIn("LINK_RELAY_IDLE_SEC=0", told)

    def test_faults_name_the_line(self):
        for bad in ('max_bps = "fast";', "max_bps = -1;", "max_bps = 1.5;", "port = 0;", "port = 65536;",
                    "trust_proxy = 2;", "idle_sec = 0;", 'speed = 1;', 'listen = "nowhere";', "listen = 80;",
                    'listen = [ "[::1]:80", "x:y" ];', 'log_format = "xml";', 'origin = "https://x/";',
                    'allowed_register_keys = "short";', "max_bps = ;", "max_bps = 1; max_bps = 2;"):
            with self.subTest(bad):
                self.fails(f"# a comment\nidle_sec = 5;\n{bad}\n" if "idle" not in bad else f"\n\n{bad}\n",
                           "relay.conf:3: ")

    def test_large_numbers(self):
        """libconfig of Debian 12 would cut them to 32 bits, and say nothing."""
        for good in ("max_queue_bytes = 4294967296;", "max_queue_bytes = 4294967296L;", "hourly_bytes = 0x100000000;",
                     "max_bps = 9007199254740992;", '/* 4294967297 */ origin = "a4294967297"; # 4294967297'):
            self.assertEqual(self.check(good), (0, ""), good)
        for bad in ("port = 4294967376;", "port = 0x100000050;", "max_bps = 9007199254740993;",
                    "max_bps = 99999999999999999999;", "max_bps = -4294967295;", "max_bps = 4294967296.0;"):
            self.fails("\n\n" + bad, "relay.conf:3: ")
        self.fails("port = 4294967376;", "4294967376")
        self.fails("#" * (1024 * 1024 + 1), "relay.conf: File too large")
        self.fails("port = 80;\0port = 81;", "relay.conf: ")

    def test_environment_wins(self):
        # A value of the file that is wrong stays wrong; the environment's takes its place only if both are.
        self.assertEqual(self.check("max_bps = 5;", env={"LINK_RELAY_MAX_BPS": "6"}), (0, ""))
        self.assertEqual(self.check("max_bps = 5;", env={"LINK_RELAY_MAX_BPS": "six"})[0], 1)

    def sample(self, marker):
        keys = self.directory / "relay.keys"
        keys.write_text("# none\n")
        text = proxykit.replaced(SAMPLE.read_text(), ("/etc/link/relay.keys", str(keys)))
        return re.subn(rf"^{marker}(\w+ = )", r"\1", text, flags=re.M)

    def test_sample(self):
        self.assertEqual(self.check(SAMPLE.read_text()), (0, ""))
        for marker in ("#", "##"):
            text, n = self.sample(marker)
            self.assertGreaterEqual(n, 4)
            self.assertEqual(self.check(text), (0, ""), marker)

    def test_sample_is_complete_and_tells_the_defaults(self):
        help_text = subprocess.run([program("link-relay"), "--help"], capture_output=True, text=True,
                                   check=True, timeout=LIMIT_SEC).stdout
        knobs = re.findall(r"^  LINK_(?:RELAY_)?(\w+)  .*?(?:\((\d+)\))?$",
                           re.sub(r"\n {8,}", " ", help_text), re.M)
        knobs = [(name, default) for name, default in knobs]
        self.assertEqual(len(knobs), 15, knobs)
        set_here = dict(re.findall(r"^#(\w+) = (.*);$", SAMPLE.read_text(), re.M))
        for name, default in knobs:
            value = set_here[name.lower()]
            if default:
                self.assertEqual({"false": "0"}.get(value, value), default, name)
        self.assertEqual(set(set_here) - {name.lower() for name, _ in knobs}, {"listen", "log_format"})


class Reload(DeployCase):
    async def test_new_limits_and_nobody_dropped(self):
        listed, other = register.Identity(), register.Identity()
        path = self.conf("ip_rate_per_min = 0;\nmax_bps = 0;\n")
        relay = self.start("--config", path, "--listen", "127.0.0.1:0", unlimited=False)
        pair = await self.spliced()
        waiting, _ = await self.introduced(pair.control, pair.address)
        new = await self.open()

        rate = 400_000
        key = codec.b64u(listed.register_public)
        self.conf(f'ip_rate_per_min = 0;\nmax_bps = {rate};\nallowed_register_keys = [ "{key}" ];\n')
        relay.hangup("read again")
        await self.control(listed)
        socket = await self.open()
        self.send(socket, self.register_message(other))
        await self.expect_close(socket, 4010)
        # Those from before are still there, and shaped from now on, the host that is not listed too.
        for sockets in (pair.control, waiting, new):
            await self.alive(sockets)
        started, chunk, total = time.monotonic(), 100_000, 12 * 100_000
        for _ in range(total // chunk):
            await self.carry(pair.client, pair.end, bytes(chunk))
        # What is above the burst, less the last message (which may go into debt).
        self.assertGreaterEqual(time.monotonic() - started, (total - 2 * rate - chunk) / rate - 0.1)

        self.conf("ip_rate_per_min = 1;\nmax_bps = 0;\n")
        relay.hangup("read again")
        await self.spend(1)
        await self.alive(pair.control)

    async def test_a_bad_file_is_refused_as_a_whole(self):
        path = self.conf("ip_rate_per_min = 0;\n")
        relay = self.start("--config", path, "--listen", "127.0.0.1:0", unlimited=False)
        pair = await self.spliced()
        for text, says in (("ip_rate_per_min = 1;\nmax_bps = fast;\n", "relay.conf:2: "),
                           ("ip_rate_per_min = 1;\n\nmax_bps = \"fast\";\n", 'relay.conf:3: max_bps = "fast": must be'),
                           ("ip_rate_per_min = 1;\nspeed = 2;\n", 'relay.conf:2: unknown setting "speed"'),
                           ("ip_rate_per_min = 1;\nallowed_register_keys_file = \"/nonexistent\";\n",
                            "/nonexistent")):
            self.conf(text)
            relay.hangup(re.escape(says))
            relay.hangup("stays as it was")
        os.unlink(path)
        relay.hangup("relay.conf: No such file")
        for _ in range(5):
            self.assertEqual(await self.resolve(), UNKNOWN_ADDRESS)
        await self.control()
        await self.carry(pair.client, pair.end, b"still here")


# ---- sockets ----


class Listeners(DeployCase):
    async def connect_unix(self, path):
        reader, writer = await self.soon(asyncio.open_unix_connection(str(path)))
        socket = await self.soon(ws.upgrade(reader, writer, urlsplit("ws://relay.example/v1/link")))
        self.sockets.append(socket)
        return socket

    async def test_several(self):
        path = self.directory / "relay.sock"
        config = self.conf(f'listen = [ "127.0.0.1:0", "{path}", "127.0.0.2:0" ];\n')
        relay = self.start("--config", config)
        other = int(relay.wait_line(r"listening on 127\.0\.0\.2:(\d+)")[1])
        relay.wait_line(f"listening on {re.escape(str(path))}$")
        control, identity = await self.control()
        # All lead to the same relay.
        on_path = await self.connect_unix(path)
        self.send(on_path, {"type": "resolve", "address": identity.address})
        await self.expect(on_path, {"type": "found", "linkId": ...})
        third = await self.soon(ws.connect(f"ws://127.0.0.2:{other}/v1/link"))
        self.sockets.append(third)
        self.send(third, {"type": "resolve", "address": identity.address})
        await self.expect(third, {"type": "found", "linkId": ...})

    @unittest.skipUnless(socket_module.has_ipv6 and os.path.exists("/proc/net/if_inet6"), "no IPv6")
    async def test_ipv6(self):
        relay = self.start("--listen", "[::1]:0", "--listen", "127.0.0.1:0")
        port = int(relay.wait_line(r"listening on \[::1\]:(\d+)")[1])
        socket = await self.soon(ws.connect(f"ws://[::1]:{port}/v1/link"))
        self.sockets.append(socket)
        await self.control(socket=socket, origin=f"[::1]:{port}")

    async def test_unix_socket_comes_and_goes(self):
        path = self.directory / "relay.sock"
        where = ("--listen", "127.0.0.1:0", "--listen", str(path))
        relay = self.start(*where)
        relay.wait_line("listening on /")
        self.assertTrue(stat.S_ISSOCK(path.stat().st_mode))
        await self.control(socket=await self.connect_unix(path), origin="relay.example")
        # A living one is not touched.
        second = Child([program("link-relay"), "--listen", str(path)])
        second.wait_line("in use")
        self.assertEqual(second.process.wait(LIMIT_SEC), 1)
        second.process.stdout.close()
        await self.alive(await self.connect_unix(path))
        # One that was left behind is.
        self.killed(relay)
        self.assertTrue(path.exists())
        relay = self.start(*where)
        relay.wait_line("listening on /")
        await self.alive(await self.connect_unix(path))
        await asyncio.to_thread(relay.stop)
        self.assertFalse(path.exists())
        self.own_relays.remove(relay)

    ACTIVATE = """
import os, socket, sys
tcp, path = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
path.bind(sys.argv[1]); path.listen()
for fd, s in enumerate((tcp, path), 3):
    os.dup2(os.dup(s.fileno()) if s.fileno() == fd else s.fileno(), fd)
    os.set_inheritable(fd, True)
os.environ |= {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""

    async def test_sockets_of_systemd(self):
        path = self.directory / "systemd.sock"
        relay = self.start("--log-level", "info", words=["/usr/bin/python3", "-c", self.ACTIVATE, str(path)])
        relay.wait_line(f"listening on {re.escape(str(path))}$")
        self.assertEqual(relay.output.count("listening on"), 2)  # not on port 80 as well
        control, identity = await self.control()
        socket = await self.connect_unix(path)
        self.send(socket, {"type": "resolve", "address": identity.address})
        await self.expect(socket, {"type": "found", "linkId": ...})
        await asyncio.to_thread(relay.stop)
        self.own_relays.remove(relay)
        self.assertTrue(path.exists())  # it is systemd's

    async def test_a_socket_that_does_not_listen(self):
        code = ("import os, socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0));"
                "os.dup2(s.fileno(), 3); os.set_inheritable(3, True);"
                "os.environ |= {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())};"
                "os.execv(sys.argv[1], sys.argv[1:])")
        relay = Child(["/usr/bin/python3", "-c", code, program("link-relay")])
        relay.wait_line("cannot use systemd's socket 0")
        self.assertEqual(relay.process.wait(LIMIT_SEC), 1)
        relay.process.stdout.close()


# ---- life ----


class Life(DeployCase):
    def notify_socket(self):
        """What is told to systemd, as it comes: an unread datagram would make the relay wait."""
        socket = socket_module.socket(socket_module.AF_UNIX, socket_module.SOCK_DGRAM)
        path = str(self.directory / "notify")
        socket.bind(path)
        messages = queue.Queue()

        def read():
            while message := socket.recv(4096):
                messages.put(message.decode())

        def end():
            with socket_module.socket(socket_module.AF_UNIX, socket_module.SOCK_DGRAM) as ender:
                ender.sendto(b"", path)
            reader.join(LIMIT_SEC)
            socket.close()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        # Before the directory goes, which is a clean-up of its own.
        self.addCleanup(end)
        return messages, {"NOTIFY_SOCKET": path}

    def told(self, messages, first):
        """The next message that begins so."""
        while True:
            message = messages.get(timeout=LIMIT_SEC)
            if message.startswith(first):
                return message

    async def test_sd_notify(self):
        notify, env = self.notify_socket()
        relay = self.start(env=env | {"WATCHDOG_USEC": "200000", "LINK_DRAIN_SEC": "1"})
        self.assertIn("READY=1", await asyncio.to_thread(self.told, notify, "READY"))
        await self.alive(await self.open())
        for _ in range(3):
            await asyncio.to_thread(self.told, notify, "WATCHDOG=1")
        relay.process.send_signal(signal.SIGHUP)
        reloading = await asyncio.to_thread(self.told, notify, "RELOADING")
        self.assertRegex(reloading, r"RELOADING=1\nMONOTONIC_USEC=\d+")
        await asyncio.to_thread(self.told, notify, "READY=1")
        relay.process.terminate()
        stopping = await asyncio.to_thread(self.told, notify, "STOPPING=1")
        self.assertGreaterEqual(int(re.search(r"EXTEND_TIMEOUT_USEC=(\d+)", stopping)[1]), 1_000_000)
        # The watchdog is fed through the drain.
        await asyncio.to_thread(self.told, notify, "WATCHDOG=1")
        self.assertEqual(await asyncio.to_thread(relay.process.wait, LIMIT_SEC), 0)

    async def test_ready_means_listening(self):
        notify, env = self.notify_socket()
        port = proxykit.free_port()
        child = self.start("--listen", f"127.0.0.1:{port}", env=env)
        await asyncio.to_thread(self.told, notify, "READY=1")
        with socket_module.create_connection(("127.0.0.1", port), LIMIT_SEC):
            pass
        self.assertEqual(child.port, port)

    async def test_no_ready_without_listening(self):
        notify, env = self.notify_socket()
        taken = self.start()
        child = Child([program("link-relay"), "--listen", f"127.0.0.1:{taken.port}"], env)
        child.wait_line("cannot listen on")
        self.assertEqual(child.process.wait(LIMIT_SEC), 1)
        child.process.stdout.close()
        with socket_module.socket(socket_module.AF_UNIX, socket_module.SOCK_DGRAM) as last:
            last.sendto(b"nothing before this", env["NOTIFY_SOCKET"])
        self.assertEqual(notify.get(timeout=LIMIT_SEC), "nothing before this")

    async def test_drain_spreads_the_closes(self):
        relay = self.start(env={"LINK_DRAIN_SEC": "2"})
        sockets = [await self.open() for _ in range(20)]
        started = time.monotonic()
        relay.process.terminate()
        await asyncio.gather(*(self.expect_close(socket, 1001) for socket in sockets))
        self.assertGreaterEqual(time.monotonic() - started, 1.5)  # the last of twenty: after 1.9 s
        self.assertEqual(await asyncio.to_thread(relay.process.wait, LIMIT_SEC), 0)

    async def test_a_long_drain(self):
        relay = self.start(env={"LINK_DRAIN_SEC": "600"})
        sockets = [await self.open() for _ in range(600)]
        pair = await self.spliced()  # the oldest go first
        relay.process.terminate()
        waits = {asyncio.ensure_future(self.expect_close(socket, 1001)): socket for socket in sockets}
        done, rest = await asyncio.wait(waits, timeout=LIMIT_SEC, return_when=asyncio.FIRST_COMPLETED)
        for wait in rest:
            wait.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for wait in done:
            wait.result()
        self.assertTrue(rest, "all were closed at once")
        self.assertTrue(done)
        with self.assertRaises(OSError):
            await self.open()  # it accepts nobody any more
        # SIGHUP has no meaning now and does no harm; a second SIGTERM ends it at once.
        relay.process.send_signal(signal.SIGHUP)
        await self.alive(waits[rest.pop()])
        await self.carry(pair.client, pair.end, b"still here")
        relay.process.terminate()
        self.assertEqual(await asyncio.to_thread(relay.process.wait, LIMIT_SEC), -signal.SIGTERM)
        self.killed(relay)

    async def test_json_log(self):
        relay = self.start("--config", self.conf('log_format = "json";'), "--listen", "127.0.0.1:0",
                           "--log-level", "debug")
        await self.control()
        relay.hangup("read again")
        relay.process.terminate()
        self.assertEqual(await asyncio.to_thread(relay.process.wait, LIMIT_SEC), 0)
        relay.reader.join(LIMIT_SEC)
        lines = [json.loads(line) for line in relay.lines if line is not None]
        for line in lines:
            self.assertEqual(set(line), {"time", "level", "event", "message"})
            self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual([line["event"] for line in lines], ["listen", "registered", "reload", "stop"])

    async def test_health_command_of_the_container(self):
        text = (ROOT / "deploy" / "Containerfile").read_text()
        command = json.loads(re.search(r"HEALTHCHECK .*\\\n\s+CMD (\[.*\])", text)[1])
        relay = self.start()

        def health(port):
            return subprocess.run(command, env={"LINK_PORT": str(port), "PATH": os.environ["PATH"]},
                                  capture_output=True, timeout=LIMIT_SEC).returncode

        self.assertEqual(await asyncio.to_thread(health, relay.port), 0)
        self.assertNotEqual(await asyncio.to_thread(health, proxykit.free_port()), 0)


# ---- caps ----


def coming_from(address):
    return {"extra": [("X-Forwarded-For", address)]}


class Caps(DeployCase):
    GONE = (ws.HandshakeError, ws.Closed, OSError)

    async def test_max_connections(self):
        relay = self.start(env={"LINK_MAX_CONNECTIONS": "5"})
        sockets = [await self.open() for _ in range(5)]
        for _ in range(3):
            with self.assertRaises(self.GONE):
                await self.open()
        for socket in sockets:
            await self.alive(socket)
        await self.soon(sockets.pop().close())

        def refused():
            try:
                return relay.refused("max_connections")
            except (OSError, urllib.error.URLError):
                return 0  # the place is not free yet
        self.assertGreaterEqual(await self.until(refused, "a place is free again"), 3)

    async def test_max_connections_per_ip(self):
        relay = self.start(env={"LINK_MAX_CONNECTIONS_PER_IP": "2", "LINK_TRUST_PROXY": "1"})
        for address in ("192.0.2.1", "2001:db8:0:1::1"):
            held = [await self.open(**coming_from(address)) for _ in range(2)]
            with self.assertRaises(self.GONE):
                await self.open(**coming_from(address))
            for socket in held:
                await self.alive(socket)
        # One machine has a whole /64.
        with self.assertRaises(self.GONE):
            await self.open(**coming_from("2001:db8:0:1:ffff::7"))
        await self.alive(await self.open(**coming_from("192.0.2.2")))
        # Loopback, where a proxy lives, has no cap.
        for _ in range(5):
            await self.open()
        self.assertEqual(relay.refused("max_connections_per_ip"), 3)
        await self.soon(held[0].close())

        async def again():
            await self.alive(await self.open(**coming_from("2001:db8:0:1::1")))
        await self.soon(self.persist(again))

    async def persist(self, work):
        while True:
            try:
                return await work()
            except self.GONE:
                await asyncio.sleep(0.02)

    async def test_accepts_per_sec_per_ip(self):
        relay = self.start(env={"LINK_ACCEPTS_PER_SEC_PER_IP": "1", "LINK_TRUST_PROXY": "1"})
        passed = 0
        with self.assertRaises(self.GONE):
            for _ in range(500):
                await self.open(**coming_from("192.0.2.1"))
                passed += 1
        self.assertGreaterEqual(passed, 10)  # ten seconds' worth
        await self.alive(await self.open(**coming_from("192.0.2.2")))
        for _ in range(20):
            await self.open()
        self.assertGreaterEqual(relay.refused("accepts_per_sec_per_ip"), 1)

    async def test_max_queue_bytes(self):
        limit = 1024 * 1024
        relay = self.start(env={"LINK_MAX_QUEUE_BYTES": str(limit)})
        living = await self.spliced()
        stalled = [await self.spliced() for _ in range(32)]
        for pair in stalled:
            pair.end.writer.transport.pause_reading()
            pair.end.writer.get_extra_info("socket").setsockopt(
                socket_module.SOL_SOCKET, socket_module.SO_RCVBUF, 4096)

        def flood():
            for pair in stalled:
                if pair.client.writer.transport.get_write_buffer_size() < limit:
                    pair.client.send_frame(ws.BINARY, bytes(limit), mask=bytes(4))
            return relay.metric("queued_bytes") > limit
        await self.until(flood, "the queues are full")

        for _ in range(3):
            with self.assertRaises(ws.Closed) as caught:
                await self.resolve(living.address)
            self.assertEqual(caught.exception.code, 4002)
        self.assertEqual(relay.refused("max_queue_bytes"), 3)
        # The living go on, and a host may still register.
        await self.carry(living.client, living.end, bytes(300_000))
        await self.carry(living.end, living.client, bytes(300_000))
        await self.control()
        self.assertEqual(json.loads(relay.get("/health")), {"status": "ok"})
        with self.assertRaises(urllib.error.HTTPError) as caught:
            relay.stats()
        self.assertEqual(caught.exception.code, 503)
        caught.exception.close()
        # When they are gone it introduces again.
        for pair in stalled:
            pair.end.abort()
        await self.until(lambda: relay.metric("queued_bytes") <= limit, "the queues are empty")
        self.assertEqual((await self.resolve(living.address))["type"], "found")


if __name__ == "__main__":
    missing = [name for name in ("haproxy", "nginx") if not proxykit.installed(name)]
    try:
        main()
    except SystemExit as ended:
        if ended.code == 0 and missing:
            print(f"SKIPPED in part: {' and '.join(missing)} not installed (scripts/install-deps test)", flush=True)
            sys.exit(77)  # meson shows it
        raise
