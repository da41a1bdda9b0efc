"""Starts HAProxy, nginx and Caddy with the very sample configurations of deploy/, TLS on: only ports, paths
and names of files are others. Everything lives in a temporary directory and on loopback."""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time

from agentkit import LIMIT_SEC, ROOT, Child

DEPLOY = ROOT / "deploy"
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def installed(name):
    return shutil.which(name, path=PATH)


def free_port():
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def replaced(text, *changes):
    """Each change has to be found: the samples and the tests shall not drift apart."""
    for old, new in changes:
        if old not in text:
            raise AssertionError(f"the sample configuration has no {old!r}")
        text = text.replace(old, new)
    return text


class Certificate:
    """Self-made, for localhost and 127.0.0.1."""

    def __init__(self, directory):
        self.cert, self.key = directory / "relay.crt", directory / "relay.key"
        self.both = directory / "relay.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-keyout", self.key, "-out", self.cert, "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            check=True, capture_output=True, stdin=subprocess.DEVNULL)
        self.both.write_bytes(self.cert.read_bytes() + self.key.read_bytes())

    def context(self):
        return ssl.create_default_context(cafile=self.cert)


class Proxy(Child):
    """A proxy that answers TLS on self.port. relays: their ports."""

    def __init__(self, relays):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="link-proxy-"))
        self.certificate = Certificate(self.directory)
        self.port = free_port()
        super().__init__(self.prepare(relays), env={"XDG_DATA_HOME": str(self.directory),
                                                    "XDG_CONFIG_HOME": str(self.directory)})
        try:
            self._wait_listening()
        except BaseException:
            self.stop()
            raise

    def _wait_listening(self):
        deadline = time.monotonic() + LIMIT_SEC
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.command[0]} does not listen; it said:\n{self.output}")
            time.sleep(0.02)

    def sample(self, name, *changes):
        return replaced((DEPLOY / name).read_text(), *changes)

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text)
        return str(path)

    @property
    def url(self):
        return f"wss://127.0.0.1:{self.port}"

    @property
    def origin(self):
        return f"127.0.0.1:{self.port}"

    def stop(self):
        """How each of them ends on SIGTERM is its own affair."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(LIMIT_SEC)
        except subprocess.TimeoutExpired:
            self.kill()
        self.reader.join(LIMIT_SEC)
        self.process.stdout.close()
        shutil.rmtree(self.directory, True)


class HaProxy(Proxy):
    program = "haproxy"

    def common(self):
        return ((" :443 ssl", f" 127.0.0.1:{self.port} ssl"),
                ("/etc/haproxy/relay.pem", str(self.certificate.both)))

    def config(self, relays):
        return self.sample("haproxy.cfg", *self.common(), ("127.0.0.1:8080", f"127.0.0.1:{relays[0]}"))

    def prepare(self, relays):
        # Its own limit of descriptors may be lower than what the samples ask for.
        text = re.sub(r"maxconn \d+", "maxconn 2000", self.config(relays))
        return [installed("haproxy"), "-db", "-f", self.write("haproxy.cfg", text)]


class HaProxySeveral(HaProxy):
    def config(self, relays):
        return self.sample("haproxy-several.cfg", *self.common(),
                           *((f"10.0.0.{11 + i}:8080", f"127.0.0.1:{port}") for i, port in enumerate(relays)))


NGINX = """
daemon off;
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 1000; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/link-relay.conf;
}}
"""


class Nginx(Proxy):
    program = "nginx"

    def prepare(self, relays):
        self.write("link-relay.conf", self.sample(
            "nginx.conf", ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("    listen [::]:443 ssl;\n", ""), ("127.0.0.1:8080;", f"127.0.0.1:{relays[0]};"),
            ("/etc/nginx/relay.crt", str(self.certificate.cert)),
            ("/etc/nginx/relay.key", str(self.certificate.key))))
        text = NGINX.format(directory=self.directory, user="user root;" if os.getuid() == 0 else "")
        return [installed("nginx"), "-c", self.write("nginx.conf", text), "-p", str(self.directory)]


class Caddy(Proxy):
    program = "caddy"

    def prepare(self, relays):
        text = self.sample(
            "Caddyfile", ("relay.example.org {", f"https://127.0.0.1:{self.port} {{\n"
                          f"\ttls {self.certificate.cert} {self.certificate.key}"),
            ("127.0.0.1:8080", f"127.0.0.1:{relays[0]}"))
        text = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text
        return [installed("caddy"), "run", "--adapter", "caddyfile", "--config", self.write("Caddyfile", text)]
