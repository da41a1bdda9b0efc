#!/usr/bin/python3
"""linkd.conf: what is refused, what a reload takes in force, who may do what; and what the service manager is
told."""

import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import agentkit  # noqa: E402
from agentkit import UNPACED, World  # noqa: E402
from ipckit import (  # noqa: E402
    ASK, App, CALL, CONNECT, ERROR, INCOMING, NOTIFY, OPENED, REQUEST, RESPONSE, RESULT, SERVE, STATE, member,
    text, word, words)

SAMPLE = agentkit.ROOT / "deploy" / "linkd.conf.sample"
PIN = "sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
# The sample's examples, and what they are on any machine.
EXAMPLES = (('"link"', '"root"'), ("@link", "@root"), ("backup", "nobody"), ("alice", "root"), ("@ops", "@0"))


class Files(World):
    def write(self, content, name="linkd.conf"):
        path = pathlib.Path(self.directory) / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def check(self, content, status):
        done = subprocess.run([agentkit.program("linkd"), "--config", self.write(content), "--state-dir", "/nowhere",
                               "--socket", "/nowhere/s", "--check-config"], capture_output=True, text=True,
                              env=agentkit.clean_environment())
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        self.assertEqual(done.stdout, "" if status else "the configuration is valid\n")
        return done.stderr


class Check(Files):
    """--check-config, and the sample."""

    def refused(self, content, *words):
        told = self.check(content, 1)
        self.assertEqual(len(told.splitlines()), 1, told)
        for w in words:
            self.assertIn(w, told)

    def test_faults_name_line_and_value(self):
        for line, words in (
                ('log_level = "loud";', 'log_level = "loud": must be one of error'),
                ('state_dir = "here";', 'state_dir = "here": must be a path that begins with /'),
                ("socket = 7;", "socket = 7: must be a string"),
                ('socket = "/' + "x" * 108 + '";', 'socket = "/xxx'),
                ('socket_group = "no-such-group";', 'socket_group = "no-such-group": must be a group'),
                ("nonsense = 1;", 'unknown setting "nonsense"; there are state_dir, socket, '),
                ("socket = ;", "syntax error"),
                ("log_level = \"info\"; log_level = \"info\";", "duplicate setting name"),
                ("self_check_sec = 0;", "self_check_sec = 0: must be a whole number from 1 to 86400"),
                ("self_check_sec = 86401;", "self_check_sec = 86401: must"),
                ("self_check_sec = 1.0;", "self_check_sec = 1: must"),
                ("self_check_sec = true;", "self_check_sec = true: must"),
                ("relay_budget_per_min = -1;", "relay_budget_per_min = -1: must"),
                # libconfig of Debian 12 would cut these to 32 bits, and say nothing.
                ("self_check_sec = 4294967396;", "self_check_sec = 4294967396: must"),
                ("relay_budget_per_min = 0x10000003C;", "relay_budget_per_min = 4294967356: must"),
                ("relay_budget_per_min = 99999999999999999999;", "relay_budget_per_min = 9223372036854775807"),
                ('ca_file = "/nowhere/ca.pem";', 'ca_file = "/nowhere/ca.pem": must be a file that can be read'),
                ('ca_file = "/etc/passwd";', 'ca_file = "/etc/passwd": must be a file of PEM certificates'),
                ('relays = "x";', "relays = \"x\": must be a list"),
                ("relays = ( 1 );", "relays = 1: must be made of"),
                ('relays = ( { url = "wss://x"; } );', "relays = {...}: must be made of"),
                ('relays = ( { url = "ws://x"; pin = "%s"; } );' % PIN, 'url = "ws://x": must be a wss://'),
                ('relays = ( { url = "wss://x"; pin = "sha256//AA"; } );', 'pin = "sha256//AA": must be'),
                ('relays = ( { url = "wss://x"; pin = "%s"; port = 1; } );' % PIN, 'unknown setting "port"; there are'),
                ('relays = ( { url = "wss://x"; pin = "%s"; }, { url = "wss://x:443/"; pin = "%s"; } );' % (PIN, PIN),
                 'relays = "wss://x": must be there once'),
                ('access = [ "root" ];', "access = [...]: must be a group"),
                ("access = { write = []; };", 'unknown setting "write"; there are read, use, serve, administer'),
                ('access = { read = "root"; };', 'read = "root": must be an array'),
                ("access = { read = [ 0 ]; };", "read = [...]: must be an array"),
                ('access = { use = [ "no-such-user" ]; };', 'use = "no-such-user": must be a user'),
                ('access = { use = [ "@no-such-group" ]; };', 'use = "@no-such-group": must be @ and a group'),
                ('access = { use = [ "" ]; };', 'use = "": must be a user'),
                ('access = { use = [ "4294967295" ]; };', 'use = "4294967295": must be a user'),
                ("access = { serve = [ " + ", ".join(['"0"'] * 257) + " ]; };", "serve = [...]: must be shorter"),
                ("access = { hosts = [ ]; };", "hosts = [...]: must be a list"),
                ("access = { hosts = ( { serve = []; } ); };", "hosts = {...}: must be a list"),
                ('access = { hosts = ( { name = "a"; use = []; } ); };', 'unknown setting "use"; there are name, serve'),
                ('access = { peers = ( { name = "a"; use = []; }, { name = "a"; use = []; } ); };',
                 'peers = "a": must be there once')):
            with self.subTest(line):
                self.refused("# a comment\n\n" + line + "\n", "linkd.conf:3: ", words)

    def test_passwords_are_not_told(self):
        told = self.check('proxy = "socks5://me:secret@proxy";', 1)
        self.assertIn("linkd.conf:1: proxy: SOCKS", told)
        self.assertNotIn("secret", told)

    def test_files_that_are_none(self):
        self.refused("#" * (1 << 20) + "\n", "linkd.conf: File too large")
        self.refused('log_level = "info";\0log_level = "loud";', "linkd.conf: ")
        self.write("self_check_sec = 4294967396;\n", "more.conf")
        self.refused(f'@include "{self.directory}/more.conf"\n', "@include", "not supported")
        self.refused('@include "/nowhere/more.conf"\n', "linkd.conf:1: ", "include")
        os.unlink(self.write(""))
        done = subprocess.run([agentkit.program("linkd"), "--config", self.directory + "/linkd.conf",
                               "--check-config"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("linkd.conf: No such file", done.stderr)

    def test_what_is_valid(self):
        for content in ("", "# nothing", "self_check_sec = 86400; relay_budget_per_min = 0;",
                        "relay_budget_per_min = 6000L; /* 4294967396 */ # 4294967396",
                        'proxy = ""; no_proxy = "*";', 'socket = "/' + "x" * 106 + '";',
                        'socket_group = "0"; access = { };',
                        "access = { serve = [ " + ", ".join(['"0"'] * 256) + " ]; };",
                        'access = { use = (); peers = ( { name = "p"; use = [ "0", "@0", "4294967294" ]; } ); };'):
            with self.subTest(content):
                self.assertEqual(self.check(content, 0), "")

    def sample(self):
        """With every setting put in force."""
        content = SAMPLE.read_text()
        for old, new in (*EXAMPLES, ("/etc/link/ca.pem", "/etc/ssl/certs/ca-certificates.crt")):
            self.assertIn(old, content)
            content = content.replace(old, new)
        return re.sub(r"^#(?=(    )?\w+ = |\};| {13}pin = )", "", content, flags=re.M)

    def keys(self, content):
        """Those that linkd knows, where that content has a wrong one."""
        return set(re.search(r"there are (.*)", self.check(content, 1))[1].split(", "))

    def test_the_sample(self):
        self.assertEqual(self.check(SAMPLE.read_text(), 0), "")
        if not os.path.exists("/etc/ssl/certs/ca-certificates.crt"):
            self.skipTest("no system CAs here")
        self.assertEqual(self.check(self.sample(), 0), "")

    def test_the_sample_has_all_keys(self):
        content = self.sample()
        self.assertEqual(set(re.findall(r"^(\w+) = ", content, re.M)), self.keys("x = 1;"))
        access = re.search(r"^access = \{$(.*?)^\};$", content, re.M | re.S)[1]
        self.assertEqual(set(re.findall(r"^    (\w+) = ", access, re.M)), self.keys("access = { x = 1; };"))
        for part in ("hosts", "peers"):
            self.assertEqual(set(re.findall(r"(\w+) = [^(]", re.search(part + r" = (.*)", access)[1])),
                             self.keys("access = { %s = ( { x = 1; } ); };" % part))
        self.assertEqual({"url", "pin"}, self.keys('relays = ( { url = ""; pin = ""; x = 1; } );'.replace(
            'url = "";', 'url = "wss://x";').replace('pin = "";', f'pin = "{PIN}";')))

    def test_the_sample_tells_the_defaults(self):
        content = SAMPLE.read_text()
        for line in ('#log_level = "info";', "#self_check_sec = 300;", "#relay_budget_per_min = 60;",
                     '#state_dir = "/var/lib/linkd";', '#socket = "/run/linkd/linkd.sock";'):
            self.assertIn("\n" + line + "\n", content)


class Reload(Files):
    def linkd(self, content):
        """One whose paths stand in the file."""
        base = pathlib.Path(self.directory)
        self.paths = f'state_dir = "{base}/state"; socket = "{base}/s";\n'
        linkd = self.add(agentkit.Child([agentkit.program("linkd"), "--config", self.write(self.paths + content)]))
        linkd.wait_line("^ready")
        return linkd

    def again(self, linkd, content, says="the configuration was read again"):
        start = linkd.count()
        self.write(content)
        linkd.process.send_signal(signal.SIGHUP)
        linkd.wait_line(says, start)
        return "\n".join(linkd.lines[start:])

    def test_level_and_paths(self):
        linkd = self.linkd('log_level = "warning";\n')
        ctl = [agentkit.program("linkctl"), "--socket", self.directory + "/s"]
        monitor = self.add(agentkit.Child(ctl + ["monitor"]))
        monitor.wait_line("monitoring")
        told = self.again(linkd, 'state_dir = "/elsewhere"; socket = "/else/where";\n')
        self.assertIn('warning: state_dir = "/elsewhere" counts from the next start', told)
        self.assertIn('warning: socket = "/else/where" counts from the next start', told)
        self.assertIn("info: ", told)  # the default again
        self.assertNotIn("next start", self.again(linkd, self.paths))
        self.assertIn("socket", self.again(linkd, self.paths.replace('/s"', '/t"')))
        subprocess.run(ctl + ["host", "add", "work"], check=True, capture_output=True)
        monitor.wait_line("host added work")  # nobody was dropped
        monitor.stop()
        self.ended(monitor)

    def test_all_or_nothing(self):
        linkd = self.linkd("")
        told = self.again(linkd, 'log_level = "error";\nself_check_sec = 4294967396;\n', "stays as it was")
        self.assertIn("linkd.conf:2: self_check_sec = 4294967396: must be", told)
        told = self.again(linkd, 'log_level = "error";\nself_check_sec = ;\n', "stays as it was")
        self.assertIn("linkd.conf:2: syntax error", told)
        self.assertIn("info: ", self.again(linkd, self.paths))  # else it would not be told
        os.unlink(self.directory + "/linkd.conf")
        start = linkd.count()
        linkd.process.send_signal(signal.SIGHUP)
        linkd.wait_line("linkd.conf: No such file.*stays as it was", start)

    def test_self_check(self):
        """The next one is not waited for as long as it was to be."""
        home = self.agent("home", UNPACED + "self_check_sec = 86400;\n")
        home.ctl("uplink", "add", self.relay().url)
        home.wait_registered()
        start = home.count()
        home.reload(UNPACED + "self_check_sec = 1;\n")
        home.wait_line("it leads to this host", start)

    def test_budget(self):
        net = self.relay()
        home, laptop, _ = self.paired(net)
        home.reload("relay_budget_per_min = 1;\n")
        start = home.count()
        home.ctl("uplink", "remove", net.url)
        home.ctl("uplink", "add", net.url)
        home.wait_registered()
        home.ctl("uplink", "remove", net.url)
        home.ctl("uplink", "add", net.url)
        home.wait_line("registered as often as it allows", start)
        home.reload(UNPACED)
        home.ctl("uplink", "remove", net.url)
        home.ctl("uplink", "add", net.url)
        home.wait_registered()


@unittest.skipUnless(os.geteuid() == 0, "needs root, to be somebody else")
class Access(World):
    """Users 65530 to 65532 in the socket's group, 65529 outside; group 65500 is nobody's own."""

    ALICE, BOB, CAROL, EVE = 65530, 65531, 65532, 65529
    SPECIAL = 65500

    def setUp(self):
        super().setUp()
        os.chmod(self.directory, 0o755)

    def app(self, agent, uid, gid=0, groups=()):
        with member(uid, gid, groups):
            app = App(agent)
        self.addCleanup(app.close)
        return app

    def access(self, content):
        return UNPACED + "access = { " + content + " };\n"

    def use(self, app, peer="home"):
        """The session that it opens, or the error's word."""
        app.send(CONNECT, struct.pack(">I", 65536) + text(peer), request=1)
        got = app.until(OPENED, ERROR)
        return got[2] if got[0] == OPENED else word(got)

    def ask(self, app, peer="home"):
        app.send(ASK, struct.pack(">I", 0) + text(peer) + b"7", request=2)
        got = app.until(RESPONSE, ERROR, request=2)
        return got[4] if got[0] == RESPONSE else word(got)

    def serve(self, app, host="default"):
        app.send(SERVE, struct.pack(">IB", 65536, 2) + text(host), request=3)
        got = app.until(RESULT, ERROR, request=3)
        return True if got[0] == RESULT else word(got)

    def call(self, app, method, params=b""):
        app.send(CALL, text(method) + params, request=4)
        got = app.until(RESULT, ERROR, request=4)
        return True if got[0] == RESULT else word(got)

    def levels(self, agent, uid, **who):
        """What a user may do, by doing it."""
        try:
            app = self.app(agent, uid, **who)
        except (AssertionError, ConnectionError):  # an ERROR in HELLO's place, or closed already
            return None
        told = self.call(app, "status"), self.use(app), self.serve(app), self.call(app, "invitations")
        app.send(SERVE, struct.pack(">IB", 65536, 0) + text(""), request=3)
        app.until(RESULT, ERROR, request=3)  # for the next one
        app.close()
        self.assertIn(set(told) - {True, told[1]}, ({"forbidden"}, set()))
        return tuple(r != "forbidden" for r in told)

    def test_levels(self):
        _, laptop, _ = self.paired(self.relay())
        laptop.socket.chmod(0o666)  # so that the policy alone decides
        nothing, all_ = None, (True,) * 4
        for content, expected in (
                ("", {self.ALICE: (True, True, False, False), self.EVE: nothing}),
                ('read = [ "65529" ];', {self.ALICE: (True, True, False, False), self.EVE: (True, False, False, False)}),
                ('use = [ "65530" ];', {self.ALICE: (True, True, False, False), self.BOB: (True, False, False, False)}),
                ("use = []; read = [];", {self.ALICE: nothing, 0: all_}),
                ('serve = [ "65529" ];', {self.EVE: (True, False, True, False), self.ALICE: (True, True, False, False)}),
                ('administer = [ "65529" ]; use = []; read = [];', {self.EVE: all_, self.ALICE: nothing}),
                ('peers = ( { name = "home"; use = [ "65529" ]; } );',
                 {self.EVE: (True, True, False, False), self.ALICE: (True, False, False, False), 0: all_}),
                ('peers = ( { name = "other"; use = [ "65529" ]; } );',
                 {self.EVE: (True, False, False, False), self.ALICE: (True, True, False, False)}),
                ('hosts = ( { name = "default"; serve = [ "65531" ]; } ); serve = [ "65530" ];',
                 {self.BOB: (True, True, True, False), self.ALICE: (True, True, False, False)})):
            laptop.reload(self.access(content))
            for uid, levels in expected.items():
                with self.subTest(content, uid=uid):
                    self.assertEqual(self.levels(laptop, uid, gid=65534 if uid == self.EVE else 0), levels)
        laptop.reload(self.access('use = [ "@65500" ];'))
        self.assertEqual(self.levels(laptop, self.EVE, gid=65534, groups=[self.SPECIAL]), (True, True, False, False))
        self.assertEqual(self.levels(laptop, self.EVE, gid=self.SPECIAL), (True, True, False, False))
        self.assertEqual(self.levels(laptop, self.EVE, gid=65534), None)

    def test_calls_of_one_peer(self):
        """ASK and CONNECT say which peer, and why."""
        _, laptop, _ = self.paired(self.relay())
        laptop.reload(self.access('peers = ( { name = "home"; use = [ "65530" ]; } );'))
        self.assertEqual(self.ask(self.app(laptop, self.ALICE)), b"7")
        bob = self.app(laptop, self.BOB)
        self.assertEqual(self.ask(bob), "forbidden")
        bob.send(CONNECT, struct.pack(">I", 65536) + text("home"), request=1)
        self.assertEqual(words(bob.until(ERROR)), (
            "forbidden", "this user may not use peer home: see `access` in linkd.conf"))
        bob.send(CONNECT, struct.pack(">I", 65536) + text("nobody"), request=1)
        self.assertEqual(word(bob.until(ERROR)), "noSuchPeer")

    def test_taken_away_from_who_is_connected(self):
        home, laptop, _ = self.paired(self.relay())
        alice, bob = self.app(laptop, self.ALICE), self.app(laptop, self.BOB)
        sessions = {}
        for app in (alice, bob):
            sessions[app] = self.use(app)
            self.echo(app, sessions[app])
        laptop.reload(self.access('use = [ "65530" ];'))
        got = bob.until(STATE, ERROR)
        while got[0] == STATE and got[4][0] != 4:
            got = bob.until(STATE, ERROR)
        self.assertEqual((got[0], got[2], words(got)[0]), (STATE, sessions[bob], "forbidden"))
        self.assertEqual(self.use(bob), "forbidden")
        self.assertEqual(self.ask(bob), "forbidden")
        self.assertIs(self.call(bob, "status"), True)  # read is left
        self.echo(alice, sessions[alice])  # on the session that it had
        laptop.reload(self.access('read = []; use = [ "65530" ];'))
        self.assertEqual(word(bob.until(ERROR, request=0)), "forbidden")
        with self.assertRaises(EOFError):
            bob.next()
        self.echo(alice, sessions[alice])
        laptop.reload(UNPACED)
        self.echo(alice, sessions[alice])
        self.assertEqual(self.ask(self.app(laptop, self.BOB)), b"7")

    def echo(self, app, session):
        app.send(REQUEST, struct.pack(">I", 0) + b"5", session=session, request=9)
        self.assertEqual(app.until(RESPONSE, ERROR, request=9)[4], b"5")

    def test_an_unanswered_call_is_taken_away(self):
        home, laptop, server = self.paired(self.relay())
        server.stop()
        self.ended(server)
        nobody_answers = App(home)
        self.addCleanup(nobody_answers.close)
        nobody_answers.send(SERVE, struct.pack(">IB", 65536, 1) + text(""), request=1)
        self.assertEqual(nobody_answers.next()[0], RESULT)
        bob = self.app(laptop, self.BOB)
        bob.send(ASK, struct.pack(">I", 0) + text("home") + b"7", request=2)
        nobody_answers.until(REQUEST)
        laptop.reload(self.access("use = [];"))
        self.assertEqual(word(bob.until(RESPONSE, ERROR, request=2)), "forbidden")
        self.assertIs(self.call(bob, "status"), True)

    def test_serving_is_taken_away(self):
        home, laptop, server = self.paired(self.relay())
        server.stop()
        self.ended(server)
        home.reload(self.access('hosts = ( { name = "default"; serve = [ "65530" ]; } );'))
        alice, bob = self.app(home, self.ALICE), self.app(home, self.BOB)
        self.assertEqual(self.serve(bob), "forbidden")
        self.assertIs(self.serve(alice), True)
        listener = self.add(laptop.start_ctl("listen", "home"))
        listener.wait_line("listening")
        session = alice.until(INCOMING)[2]
        home.reload(self.access('hosts = ( { name = "default"; serve = [ "65531" ]; } );'))
        got = alice.until(NOTIFY)
        self.assertEqual(got[4][2:10], b"unserved")
        told = json.loads(got[4][10:])
        self.assertEqual((told["host"], told["word"]), ("default", "forbidden"))
        got = alice.until(STATE)
        self.assertEqual((got[2], got[4][0]), (session, 4))
        self.assertEqual(self.serve(alice), "forbidden")
        self.assertIs(self.serve(bob), True)
        bob.until(INCOMING)  # the device's session has lived on
        listener.stop()
        self.ended(listener)

    def test_administering_is_taken_away(self):
        a = self.agent("a", self.access('administer = [ "65530" ];'))
        alice = self.app(a, self.ALICE)
        self.assertIs(self.call(alice, "subscribe", b'{"topics":["invitation","host"]}'), True)
        silent = socket.create_server(("127.0.0.1", 0))  # a relay that never answers
        self.addCleanup(silent.close)
        alice.send(CALL, text("pair") + json.dumps({
            "address": "A" * 43, "code": "234567", "uplinks": [f"ws://127.0.0.1:{silent.getsockname()[1]}"]}).encode(),
            request=8)
        dialed, _ = silent.accept()
        self.addCleanup(dialed.close)
        a.reload(UNPACED)
        self.assertEqual(word(alice.until(ERROR, RESULT, request=8)), "forbidden")
        self.assertEqual(self.call(alice, "invitations"), "forbidden")
        a.ctl("uplink", "add", "ws://127.0.0.1:1")
        a.ctl("invite")
        a.ctl("host", "add", "work")
        self.assertIn(b'"added"', alice.until(NOTIFY)[4])  # of the host: the invitation's would be first
        self.assertEqual(self.call(alice, "host.add", b'{"name":"x"}'), "forbidden")

    def test_a_renamed_peer_has_another_list(self):
        _, laptop, _ = self.paired(self.relay())
        laptop.reload(self.access('peers = ( { name = "home"; use = [ "65530" ]; }, '
                                  '{ name = "casa"; use = [ "65531" ]; } );'))
        laptop.wait_line("warning: access: there is no peer casa")
        alice, bob = self.app(laptop, self.ALICE), self.app(laptop, self.BOB)
        self.echo(alice, self.use(alice))
        start = laptop.count()
        laptop.ctl("peer", "rename", "home", "casa")
        laptop.wait_line("warning: peer casa: no longer has the access list of its old name", start)
        got = alice.until(STATE)
        self.assertEqual((got[4][0], words(got)[0]), (4, "forbidden"))
        self.assertEqual(self.ask(bob, "casa"), b"7")

    def test_an_administrator_has_no_larger_share(self):
        """What is kept for root and the agent's own user is not for others who may do everything."""
        a = self.agent("a", self.access('administer = [ "65530" ];'))
        apps = [self.app(a, self.ALICE) for _ in range(128)]
        with member(self.ALICE, 0, []):
            late = App(a, hello=False)
        self.assertEqual(word(late.next()), "tooMany")
        late.close()
        self.assertEqual(len(apps), 128)

    def test_socket_group(self):
        a = self.agent("a", UNPACED + 'socket_group = "65500";\n')

        def group():
            info = a.socket.stat()
            return info.st_gid, info.st_mode & 0o777

        self.assertEqual(group(), (self.SPECIAL, 0o660))
        alice = self.app(a, self.ALICE, gid=65534, groups=[self.SPECIAL])
        with self.assertRaises(PermissionError):
            self.app(a, self.BOB, gid=0)
        a.reload(UNPACED)
        self.assertEqual(group(), (os.getegid(), 0o660))
        self.assertEqual(word(alice.until(ERROR)), "forbidden")
        self.assertIs(self.call(self.app(a, self.BOB, gid=0), "status"), True)


class Service(World):
    """What the service manager is told."""

    def setUp(self):
        super().setUp()
        path = os.path.join(self.directory, "notify")
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.told.close)
        self.told.bind(path)
        self.told.settimeout(agentkit.LIMIT_SEC)
        self.env = {"NOTIFY_SOCKET": path}

    def wait(self, *lines):
        """The message that has all these lines; what comes on the way does not matter."""
        while True:
            got = self.told.recv(4096).decode().splitlines()
            if set(lines) <= set(got):
                return got

    def test_status(self):
        home = self.agent("home", env=self.env)
        self.wait("READY=1", "STATUS=0 of 0 uplinks registered, 0 peers, 0 sessions")
        net = self.relay()
        home.ctl("uplink", "add", net.url)
        self.wait("STATUS=1 of 1 uplink registered, 0 peers, 0 sessions")
        home.ctl("uplink", "add", "ws://127.0.0.1:1")
        self.wait("STATUS=1 of 2 uplinks registered, 0 peers, 0 sessions")
        laptop = self.agent("laptop")
        laptop.ctl("pair", home.json("invite")["uri"], "--name", "home")
        listener = self.add(laptop.start_ctl("listen", "home"))
        listener.wait_line("listening")
        self.wait("STATUS=1 of 2 uplinks registered, 0 peers, 1 session")
        net.kill()
        self.ended(net)
        self.wait("STATUS=0 of 2 uplinks registered, 0 peers, 0 sessions")
        listener.stop()
        self.ended(listener)
        home.stop()
        self.ended(home)
        self.wait("STOPPING=1")

    def test_ready_is_when_the_socket_answers(self):
        base = pathlib.Path(self.directory)
        linkd = self.add(agentkit.Child([agentkit.program("linkd"), "--state-dir", str(base / "state"), "--socket",
                                         str(base / "s"), "--config", os.devnull], self.env))
        got = self.told.recv(4096).decode().splitlines()  # the first that is told at all
        self.assertEqual(got, ["READY=1", "STATUS=0 of 0 uplinks registered, 0 peers, 0 sessions"])
        linkd.socket = base / "s"
        app = App(linkd)
        self.assertEqual(app.status()[0], RESULT)
        app.close()

    def test_a_start_that_fails_is_never_ready(self):
        home = self.agent("home", env=self.env)
        self.wait("READY=1")
        with self.assertRaises(AssertionError):
            self.agent("home", env=self.env)  # the state is in use
        home.stop()
        self.ended(home)
        self.assertEqual(self.told.recv(4096), b"STOPPING=1")

    def test_reloads(self):
        home = self.agent("home", env=self.env)
        self.wait("READY=1")
        for config, says in ((UNPACED, "was read again"), ("nonsense;", "stays as it was")):
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            home.reload(config, says)
            got = self.wait("RELOADING=1")
            usec = int(dict(line.split("=", 1) for line in got)["MONOTONIC_USEC"])
            self.assertLessEqual(before, usec)
            self.assertLessEqual(usec, time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)
            got = self.told.recv(4096).decode().splitlines()  # at once, also when it was refused
            self.assertIn("READY=1", got)

    def test_watchdog(self):
        home = self.agent("home", env=self.env | {"WATCHDOG_USEC": "200000"})
        for _ in range(3):
            self.wait("WATCHDOG=1")
        os.kill(home.process.pid, signal.SIGSTOP)  # it hangs
        while b"State:\tT" not in pathlib.Path(f"/proc/{home.process.pid}/status").read_bytes():
            time.sleep(0.01)
        self.told.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                self.told.recv(4096)
        time.sleep(0.5)  # of what must not come there is no event
        with self.assertRaises(BlockingIOError):
            self.told.recv(4096)
        os.kill(home.process.pid, signal.SIGCONT)
        self.told.settimeout(agentkit.LIMIT_SEC)
        self.wait("WATCHDOG=1")

    def test_no_watchdog(self):
        """It is for another process, or none at all."""
        for n, env in enumerate(({}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"})):
            home = self.agent(f"home{n}", env=self.env | env)
            home.ctl("status")
            home.stop()
            self.ended(home)
            got = self.told.recv(4096)
            while b"STOPPING=1" not in got:
                self.assertNotIn(b"WATCHDOG", got)
                got = self.told.recv(4096)


if __name__ == "__main__":
    agentkit.main()
