#!/usr/bin/python3
"""Ways to a relay: TLS with CAs and pins, proxies, names, address families."""

import base64
import datetime
import hashlib
import ipaddress
import pathlib
import socket
import ssl
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402

import agentkit  # noqa: E402
from agentkit import UNPACED, World  # noqa: E402


class Pipe:
    """A listener on loopback that does something with each connection, in a thread of its own."""

    def __init__(self, family=socket.AF_INET):
        self.listener = socket.socket(family)
        self.listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.sockets.append(client)
            threading.Thread(target=self._run, args=(client,), daemon=True).start()

    def _run(self, client):
        try:
            self.talk(client)
        except (OSError, ssl.SSLError, ValueError):
            pass
        finally:
            client.close()

    @staticmethod
    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except (OSError, ssl.SSLError, ValueError):
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def splice(self, a, b):
        self.sockets.append(b)
        other = threading.Thread(target=self.pump, args=(b, a), daemon=True)
        other.start()
        self.pump(a, b)
        other.join(agentkit.LIMIT_SEC)

    def stop(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for end in self.sockets:
            end.close()


class TlsFront(Pipe):
    """TLS in front of a relay."""

    def __init__(self, target_port, certificate, key):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.target_port = target_port
        super().__init__()

    def talk(self, client):
        inside = self.context.wrap_socket(client, server_side=True)
        self.sockets.append(inside)
        # Python's TLS sockets cannot be read and written by two threads: a socket pair between.
        inside.setblocking(False)
        with socket.create_connection(("127.0.0.1", self.target_port)) as relay:
            self.sockets.append(relay)
            self._pump_both(inside, relay)
        inside.close()

    @staticmethod
    def _pump_both(inside, relay):
        import select
        while True:
            if not inside.pending():
                select.select([inside, relay], [], [])
            try:
                data = inside.recv(65536)
                if not data:
                    return
                relay.sendall(data)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            if select.select([relay], [], [], 0)[0]:
                data = relay.recv(65536)
                if not data:
                    return
                while data:
                    try:
                        data = data[inside.send(data):]
                    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                        select.select([], [inside], [])


class ConnectProxy(Pipe):
    """HTTP CONNECT and nothing else. say: answers this instead; names: what a host name leads to."""

    def __init__(self, say=None, user=None, silent=False, in_pieces=False):
        self.asked = []
        self.say, self.user, self.silent, self.in_pieces = say, user, silent, in_pieces
        self.names = {}
        super().__init__()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def talk(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(4096)
            if not data:
                return
            head += data
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        if method != "CONNECT" or version != "HTTP/1.1" or f"Host: {target}" not in lines:
            self.asked.append(f"bad: {head!r}")
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return
        self.asked.append(target)
        if self.silent:
            client.recv(1)
            return
        if self.user and f"Proxy-Authorization: Basic {base64.b64encode(self.user).decode()}" not in lines:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        if self.say:
            client.sendall(self.say)
            return
        host, _, port = target.rpartition(":")
        with socket.create_connection((self.names.get(host, host.strip("[]")), int(port))) as relay:
            answer = b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n"
            for piece in ([answer[:20], answer[20:50], answer[50:]] if self.in_pieces else [answer]):
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.sendall(piece)
            self.splice(client, relay)


class Reach(World):
    def front(self, front):
        self.addCleanup(front.stop)
        return front

    def path(self, name):
        return str(pathlib.Path(self.directory) / name)

    def write(self, name, data):
        pathlib.Path(self.path(name)).write_bytes(data)
        return self.path(name)

    def host_at(self, url, config=UNPACED, **how):
        home = self.agent("home", config, **how)
        home.ctl("uplink", "add", url)
        return home

    def refused(self, home, pattern):
        home.wait_line(pattern)
        uplink = home.json("uplink", "list")[0]
        self.assertNotEqual(uplink["state"], "registered")
        self.assertRegex(uplink["cause"], pattern)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def pem(thing):
    return thing.public_bytes(serialization.Encoding.PEM)


class Tls(Reach):
    """An authority of this test, and a relay with its certificate."""

    def setUp(self):
        super().setUp()
        self.ca_key, self.ca = self.authority("test CA")
        self.ca_file = self.write("ca.pem", pem(self.ca))
        self.relay_key = ec.generate_private_key(ec.SECP256R1())
        self.r = self.relay()

    def authority(self, who):
        key = ec.generate_private_key(ec.SECP256R1())
        return key, self.certificate(who, key.public_key(), who, key, [], ca=True)

    @staticmethod
    def certificate(who, public, issuer, issuer_key, names, ca=False, days=1):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (x509.CertificateBuilder().subject_name(name(who)).issuer_name(name(issuer))
                   .public_key(public).serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=2))
                   .not_valid_after(now + datetime.timedelta(days=days))
                   .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    def serve(self, names=None, days=1, self_signed=False, relay=None):
        if names is None:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        issuer, key = ("relay", self.relay_key) if self_signed else ("test CA", self.ca_key)
        certificate = self.certificate("relay", self.relay_key.public_key(), issuer, key, names, days=days)
        chain = self.write("relay.pem", pem(certificate))
        key = self.write("relay.key", self.relay_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return self.front(TlsFront((relay or self.r).port, chain, key))

    def pin(self, key=None):
        spki = (key or self.relay_key).public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return "sha256//" + base64.b64encode(hashlib.sha256(spki).digest()).decode()

    def trusting(self):
        return UNPACED + f'ca_file = "{self.ca_file}";\n'

    def pinning(self, url, pin):
        return UNPACED + f'relays = ( {{ url = "{url}"; pin = "{pin}"; }} );\n'

    def test_a_configured_ca_and_a_call_through_tls(self):
        front = self.serve()
        for host in ("localhost", "127.0.0.1"):
            with self.subTest(host):
                home = self.agent("home-" + host, self.trusting())
                home.ctl("uplink", "add", f"wss://{host}:{front.port}")
                home.wait_registered()
                server = self.add(home.start_ctl("serve", "--echo"))
                server.wait_line("^serving")
                laptop = self.agent("laptop-" + host, self.trusting())
                laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
                text = '"' + "x" * 300000 + '"'
                self.assertEqual(laptop.ctl("call", "home", "-", stdin=text.encode()), text + "\n")

    def test_another_ca_is_refused(self):
        front = self.serve()
        _, other = self.authority("other CA")
        self.write("ca.pem", pem(other))
        self.refused(self.host_at(f"wss://localhost:{front.port}", self.trusting()), "not trusted")

    def test_the_systems_cas_do_not_know_it(self):
        front = self.serve()
        self.refused(self.host_at(f"wss://localhost:{front.port}"), "not trusted")

    def test_another_name_is_refused(self):
        front = self.serve([x509.DNSName("relay.example")])
        self.refused(self.host_at(f"wss://localhost:{front.port}", self.trusting()), "for another host")

    def test_another_address_is_refused(self):
        front = self.serve([x509.DNSName("127.0.0.1"), x509.DNSName("localhost")])
        self.refused(self.host_at(f"wss://127.0.0.1:{front.port}", self.trusting()), "for another host")

    def test_an_expired_certificate_is_refused(self):
        front = self.serve(days=-1)
        self.refused(self.host_at(f"wss://localhost:{front.port}", self.trusting()), "expired")

    def test_the_right_pin_needs_no_ca(self):
        front = self.serve([x509.DNSName("whatever")], self_signed=True)
        url = f"wss://localhost:{front.port}"
        self.host_at(url, self.pinning(url, self.pin())).wait_registered()

    def test_the_wrong_pin_is_refused_whatever_the_ca_says(self):
        front = self.serve()
        url = f"wss://localhost:{front.port}"
        other = ec.generate_private_key(ec.SECP256R1())
        config = self.trusting() + self.pinning(url, self.pin(other)).replace(UNPACED, "")
        self.refused(self.host_at(url, config), "key is not the configured one")

    def test_a_relay_without_tls(self):
        self.refused(self.host_at(f"wss://localhost:{self.r.port}", self.trusting()), "no TLS there")

    def test_a_ca_file_that_is_none(self):
        pathlib.Path(self.ca_file).write_text("no certificate\n")
        with self.assertRaises(AssertionError) as caught:
            self.agent("home", self.trusting())
        self.assertIn("must be a file of PEM certificates", str(caught.exception))

    def test_other_cas_by_a_reload(self):
        """They count for new connections; the one that stands is left alone."""
        front, another = self.serve(), self.serve(relay=self.relay())
        home = self.host_at(f"wss://localhost:{front.port}", self.trusting())
        home.wait_registered()
        since = home.json("uplink", "list")[0]["since"]
        _, other = self.authority("other CA")
        good = pathlib.Path(self.ca_file).read_bytes()
        self.write("ca.pem", pem(other))  # under the same name
        home.reload(self.trusting())
        start = home.count()
        home.ctl("uplink", "add", f"wss://127.0.0.1:{another.port}")
        home.wait_line("127.0.0.1.*not trusted", start)
        old, new = home.json("uplink", "list")
        self.assertEqual((old["state"], old["since"]), ("registered", since))
        self.assertNotEqual(new["state"], "registered")
        self.write("ca.pem", good + b"-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
        home.reload(self.trusting(), "must be a file of PEM certificates; the configuration stays")
        self.write("ca.pem", good)
        home.reload(self.trusting())
        home.wait_registered(2)
        self.assertEqual(home.json("uplink", "list")[0]["since"], since)

    def test_another_pin_by_a_reload(self):
        fronts = self.serve(self_signed=True), self.serve(self_signed=True, relay=self.relay())
        urls = [f"wss://localhost:{front.port}" for front in fronts]
        home = self.host_at(urls[0], self.pinning(urls[0], self.pin()))
        home.wait_registered()
        since = home.json("uplink", "list")[0]["since"]
        home.reload(self.pinning(urls[1], self.pin()))
        home.ctl("uplink", "add", urls[1])
        home.wait_registered(2)
        self.assertEqual(home.json("uplink", "list")[0]["since"], since)
        start = home.count()
        home.ctl("uplink", "remove", urls[0])
        home.ctl("uplink", "add", urls[0])  # it has no pin any more
        home.wait_line("localhost.*not trusted", start)

    def test_tls_through_a_proxy(self):
        front, proxy = self.serve(), self.front(ConnectProxy())
        self.host_at(f"wss://localhost:{front.port}", self.trusting() + f'proxy = "{proxy.url}";\n'
                     ).wait_registered()
        self.assertEqual(set(proxy.asked), {f"localhost:{front.port}"})


class Proxies(Reach):
    def setUp(self):
        super().setUp()
        self.r = self.relay()

    def through(self, proxy, config=UNPACED, **env):
        home = self.host_at(self.r.url, config, env=env)
        home.wait_registered()
        return home

    def test_from_the_environment(self):
        for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            with self.subTest(variable):
                proxy = self.front(ConnectProxy())
                agent = self.agent("home-" + variable, env={variable: proxy.url})
                agent.ctl("uplink", "add", self.r.url)
                agent.wait_registered()
                self.assertEqual(proxy.asked, [f"127.0.0.1:{self.r.port}"])

    def test_a_call_through_a_proxy_that_writes_in_pieces(self):
        proxy = self.front(ConnectProxy(in_pieces=True))
        home, laptop, _ = self.paired(self.r, home_config=UNPACED + f'proxy = "{proxy.url}";\n',
                                      laptop_config=UNPACED + f'proxy = "{proxy.url}";\n')
        self.assertEqual(laptop.ctl("call", "home", "1"), "1\n")
        self.assertGreaterEqual(len(proxy.asked), 4)
        self.assertEqual(set(proxy.asked), {f"127.0.0.1:{self.r.port}"})

    def test_with_user_and_password(self):
        proxy = self.front(ConnectProxy(user=b"me:p@ss word"))
        home = self.through(proxy, HTTPS_PROXY=f"http://me:p%40ss%20word@127.0.0.1:{proxy.port}")
        self.assertEqual(len(proxy.asked), 1)
        self.assertNotIn("ss word", home.output)
        self.assertNotIn("407", home.output)

    def test_the_proxy_resolves_the_relays_name(self):
        proxy = self.front(ConnectProxy())
        proxy.names["relay.invalid"] = "127.0.0.1"
        home = self.host_at(f"ws://relay.invalid:{self.r.port}", env={"HTTPS_PROXY": proxy.url})
        home.wait_registered()
        self.assertEqual(proxy.asked, [f"relay.invalid:{self.r.port}"])

    def test_no_proxy(self):
        proxy = self.front(ConnectProxy())
        for value in ("*", "127.0.0.1", f"example.org, 127.0.0.1:{self.r.port}"):
            with self.subTest(value):
                agent = self.agent("home-" + str(len(value)), env={"HTTPS_PROXY": proxy.url,
                                                                   "NO_PROXY": value})
                agent.ctl("uplink", "add", self.r.url)
                agent.wait_registered()
        self.assertEqual(proxy.asked, [])

    def test_the_configuration_comes_before_the_environment(self):
        proxy, other = self.front(ConnectProxy()), self.front(ConnectProxy())
        self.through(proxy, UNPACED + f'proxy = "{proxy.url}";\n', HTTPS_PROXY=other.url)
        self.assertEqual((len(proxy.asked), len(other.asked)), (1, 0))

    def test_no_proxy_at_all_by_configuration(self):
        other = self.front(ConnectProxy())
        self.through(None, UNPACED + 'proxy = "";\n', HTTPS_PROXY=other.url)
        self.assertEqual(other.asked, [])

    def test_another_proxy_by_a_reload(self):
        """Also while a dial through the old one is under way."""
        first, second = self.front(ConnectProxy()), self.front(ConnectProxy())
        home = self.through(first, UNPACED + f'proxy = "{first.url}";\n')
        since = home.json("uplink", "list")[0]["since"]
        silent = self.front(ConnectProxy(silent=True))
        home.reload(UNPACED + f'proxy = "{silent.url}";\n')
        home.ctl("uplink", "add", self.relay().url)
        home.until("asked", lambda: silent.asked)
        home.reload(UNPACED + f'proxy = "{second.url}";\n')
        other = self.relay()
        home.ctl("uplink", "add", other.url)
        home.wait_registered(3)
        self.assertEqual((len(first.asked), second.asked), (1, [f"127.0.0.1:{other.port}"]))
        self.assertEqual(home.json("uplink", "list")[0]["since"], since)
        home.reload(UNPACED + 'proxy = "socks5://x:secret@y";\n', "SOCKS.*stays as it was")
        self.assertNotIn("secret", home.output)

    def test_directly_when_the_proxy_refuses(self):
        proxy = self.front(ConnectProxy(say=b"HTTP/1.1 403 Forbidden\r\n\r\n"))
        home = self.through(proxy, HTTPS_PROXY=proxy.url)
        self.assertEqual(len(proxy.asked), 1)
        home.wait_line("proxy 127.0.0.1: it said: HTTP/1.1 403 Forbidden")

    def test_directly_when_the_proxy_is_gone(self):
        proxy = ConnectProxy()
        proxy.stop()
        home = self.through(proxy, HTTPS_PROXY=proxy.url)
        home.wait_line("proxy 127.0.0.1: connection refused")

    def test_directly_when_the_proxy_says_nothing(self):
        proxy = self.front(ConnectProxy(silent=True))
        home = self.through(proxy, HTTPS_PROXY=proxy.url)
        home.wait_line("the proxy takes long")

    def test_other_proxies_are_refused_clearly(self):
        for value, words in (("socks5://127.0.0.1:1", "SOCKS proxies are not supported"),
                             ("socks5h://127.0.0.1:1", "SOCKS proxies are not supported"),
                             ("https://127.0.0.1:1", "in TLS are not supported"),
                             ("ftp://127.0.0.1:1", "only http:// proxies"),
                             ("http://", "it is not http://"), ("http://a:0", "it is not http://"),
                             ("http://a/b", "has no path")):
            for how in ("environment", "configuration"):
                with self.subTest(value=value, how=how):
                    config = f'proxy = "{value}";\n' if how == "configuration" else ""
                    with self.assertRaises(AssertionError) as caught:
                        self.agent("home", config, env={"ALL_PROXY": value} if not config else {})
                    self.assertIn(words, str(caught.exception))


class Names(Reach):
    def test_a_name_that_does_not_exist_is_tried_again(self):
        home = self.host_at("ws://does-not-exist.invalid:1")
        for _ in range(2):
            home.wait_line("cannot resolve does-not-exist.invalid")
            seen = home.count()
            home.wait_line("waiting -> connecting", seen)
        self.assertRegex(home.json("uplink", "list")[0]["cause"], "cannot resolve")

    def test_a_refused_connection_is_told(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.refused(self.host_at(f"ws://127.0.0.1:{unused.getsockname()[1]}"),
                         "connection refused")

    def test_ipv6(self):
        try:
            relay = self.add(agentkit.Relay(host="[::1]"))
        except AssertionError:
            self.skipTest("no IPv6 here")
        self.host_at(relay.url).wait_registered()


if __name__ == "__main__":
    agentkit.main()
