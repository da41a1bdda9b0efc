"""linkctl as a user or a script meets it: exit statuses, help, documents, errors, serving.

    test_linkctl.py LINKCTL LINKD MANPAGE [unittest arguments]

The real agent answers where it can alone; a scripted one where other machines would have to take part."""
import base64
import json
import os
import re
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

from fake_agent import (ASK, CALL, CANCEL, CLOSE, CLOSED, CREDIT, EVENT, OK, RECONNECTING, RESPONSE, RESULT,
                        SERVE, WAIT_SEC, FakeAgent, cut_text)

LINKCTL, LINKD, MANPAGE = (os.path.abspath(p) for p in sys.argv[1:4])


def environment(**more):
    env = {k: v for k, v in os.environ.items() if k not in ('LINKD_SOCKET', 'XDG_RUNTIME_DIR')}
    env.update(more)
    return env


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='linkctl-')
        self.addCleanup(shutil.rmtree, self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def run_ctl(self, *args, status=0, stdin=None, env=None, text=True, **more):
        """Runs to the end; returns stdout, stderr."""
        p = subprocess.run([LINKCTL, *args], input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
                           stdout=more.pop('stdout', subprocess.PIPE), stderr=subprocess.PIPE, text=text,
                           env=env or environment(), timeout=WAIT_SEC, **more)
        self.assertEqual(p.returncode, status, (args, p.stdout, p.stderr))
        return p.stdout, p.stderr

    def start_ctl(self, *args, **more):
        p = subprocess.Popen([LINKCTL, *args], stdin=more.pop('stdin', subprocess.DEVNULL),
                             stdout=more.pop('stdout', subprocess.PIPE), stderr=subprocess.PIPE, text=True,
                             env=environment(LINKD_SOCKET=self.agent.path, **more.pop('env', {})), **more)
        self.addCleanup(self.reap, p)
        return p

    def reap(self, p):
        if p.poll() is None:
            p.kill()
        p.wait()
        for f in (p.stdin, p.stdout, p.stderr):
            if f:
                f.close()

    def end(self, p, status):
        out, err = p.communicate(timeout=WAIT_SEC)
        self.assertEqual(p.returncode, status, (out, err))
        return out, err

    def json_error(self, *args, status=1, word, env=None, **more):
        out, err = self.run_ctl(*args, '--json', status=status, env=env, **more)
        self.assertEqual(out, '')
        self.assertEqual(err.count('\n'), 1)
        error = json.loads(err)
        self.assertEqual(sorted(error), ['error', 'message'])
        self.assertEqual(error['error'], word, error)
        return error['message']


def verbs():
    """Name to help text, as linkctl tells them."""
    overview = subprocess.run([LINKCTL, '--help'], stdout=subprocess.PIPE, text=True, check=True).stdout
    part = overview.split('\n\n')[1]
    names = [re.match(r'  (\S+(?: \S+)?) ', line).group(1) for line in part.splitlines()]
    return {n: subprocess.run([LINKCTL, *n.split(), '--help'], stdout=subprocess.PIPE, text=True,
                              check=True).stdout for n in names}


class Usage(Case):
    def test_help(self):
        found = verbs()
        self.assertEqual(sorted(found), sorted(
            ['status', 'host list', 'uplink add', 'uplink remove', 'uplink list', 'invite', 'invitations', 'uninvite',
             'pair', 'devices', 'revoke', 'peers', 'peer show', 'peer remove', 'call', 'send', 'listen', 'serve',
             'completion']))
        for name, text in found.items():
            self.assertTrue(text.startswith(f'Usage: linkctl {name}'), text)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 120, line)
        for group in ('host', 'uplink', 'peer'):
            out, _ = self.run_ctl(group, '--help')
            self.assertIn(f'linkctl {group} VERB', out)
        self.assertEqual(self.run_ctl('-h')[0], self.run_ctl('--help')[0])
        self.assertRegex(self.run_ctl('--version')[0], r'^linkctl \d+\.\d+\.\d+\n$')

    def test_man_page_is_complete(self):
        with open(MANPAGE, encoding='utf-8') as f:
            page = f.read()
        for name, text in verbs().items():
            self.assertRegex(page, rf'(?m)^\.It Cm {name}\b', name)
            for option in re.findall(r'(?m)^  --([a-z-]+)', text):
                self.assertIn(f'Fl Fl {option}', page)

    def test_wrong_usage(self):
        for args in ([], ['nothing'], ['status', 'extra'], ['status', '--nothing'], ['uplink'], ['uplink', 'x'],
                     ['call', 'home'], ['call', 'home', '{bad'], ['call', 'home', '1', '--timeout', 'soon'],
                     ['call', 'home', '1', '--timeout', '0'], ['invite', '--ttl', '15q'],
                     ['invite', '--ttl', '0.5'], ['invite', '--ttl'], ['pair'], ['pair', '--address', 'x'],
                     ['pair', 'link:x', '--code', 'y'], ['listen'], ['listen', 'home', '--host', 'default'],
                     ['serve'], ['serve', '--echo', '--exec', 'cat'], ['serve', '--echo', '--timeout', '1'],
                     ['serve', '--exec', 'cat', '--parallel', '0'], ['completion', 'tcsh'],
                     ['send', 'home', '-', '--payload', '-'], ['status', '--user', '--system']):
            out, err = self.run_ctl(*args, status=2)
            self.assertEqual(out, '', args)
            self.assertNotEqual(err, '', args)
        self.assertIn('Try: linkctl call --help', self.run_ctl('call', status=2)[1])
        self.assertIn('bogus', self.json_error('bogus', status=2, word='usage'))
        self.run_ctl(b'call', b'home', b'"\xff"', status=2)

    def test_no_agent(self):
        path = self.path('none.sock')
        _, err = self.run_ctl('--socket', path, 'status', status=1)
        self.assertIn(path, err)
        self.assertIn('systemctl start linkd', err)
        self.assertIn(path, self.json_error('status', word='noAgent', env=environment(LINKD_SOCKET=path)))
        user = environment(XDG_RUNTIME_DIR=self.dir)
        self.assertIn(self.path('linkd/linkd.sock'),
                      self.json_error('status', '--user', word='noAgent', env=user))
        with open(path, 'w', encoding='utf-8'):
            pass  # a file where nobody listens
        self.json_error('status', '--socket', path, word='noAgent')

    def test_stdout_is_full(self):
        with open('/dev/full', 'w', encoding='utf-8') as full:
            _, err = self.run_ctl('--help', status=1, stdout=full)
        self.assertIn('No space left', err)
        r, w = os.pipe()
        os.close(r)
        _, err = self.run_ctl('--help', status=1, stdout=w)
        os.close(w)
        self.assertIn('Broken pipe', err)


class Completion(Case):
    def test_syntax(self):
        for shell in ('bash', 'zsh', 'fish'):
            out, _ = self.run_ctl('completion', shell)
            for name in verbs():
                for word in name.split():
                    self.assertRegex(out, rf'\b{word}\b', shell)
            for option in ('ttl', 'no-id', 'payload', 'parallel', 'socket', 'code-id'):
                self.assertRegex(out, rf'\b{option}\b', shell)
            if shutil.which(shell):
                with open(self.path(shell), 'w', encoding='utf-8') as f:
                    f.write(out)
                subprocess.run([shell, '-n', self.path(shell)], check=True)

    def complete(self, *words):
        script = ('. "$1"; shift; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _linkctl; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        with open(self.path('bash'), 'w', encoding='utf-8') as f:
            f.write(self.run_ctl('completion', 'bash')[0])
        if not os.path.exists(self.path('linkctl')):
            os.symlink(LINKCTL, self.path('linkctl'))
        env = environment(PATH=self.dir + ':' + os.environ['PATH'])
        out = subprocess.run(['bash', '-c', script, 'bash', self.path('bash'), 'linkctl', *words],
                             stdout=subprocess.PIPE, text=True, check=True, env=env).stdout
        return sorted(out.split())

    def test_bash(self):
        self.assertEqual(self.complete('up'), ['uplink'])
        self.assertEqual(self.complete('--user', 'uplink', ''), ['add', 'list', 'remove'])
        self.assertEqual(self.complete('invite', '--label', 'x', '--t'), ['--ttl'])
        self.assertEqual(self.complete('completion', ''), ['bash', 'fish', 'zsh'])
        self.assertEqual(self.complete('send', 'home', '1', '--payload', self.path('bas')), [self.path('bash')])
        self.assertEqual(self.complete('call', 'home', '1', ''), [])


class WithAgent(Case):
    """The real one, alone: no relay answers where it is told to go."""

    def setUp(self):
        super().setUp()
        self.socket = self.path('linkd.sock')
        p = subprocess.Popen([LINKD, '--config', '/dev/null', '--state-dir', self.path('state'), '--socket',
                              self.socket, '--no-bus'], stderr=subprocess.PIPE, text=True, env=environment())
        self.addCleanup(p.stderr.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.terminate)
        for line in p.stderr:
            if line.startswith('ready:'):
                break
        else:
            self.fail('linkd did not start')

    def ctl(self, *args, **more):
        return self.run_ctl('--socket', self.socket, *args, **more)

    def doc(self, *args, **more):
        out, err = self.ctl(*args, '--json', **more)
        self.assertEqual((out.count('\n'), err), (1, ''))
        return json.loads(out)

    def error(self, *args, word, **more):
        return self.json_error('--socket', self.socket, *args, word=word, **more)

    def test_lists_of_nothing(self):
        for args in (['peers'], ['devices'], ['invitations'], ['uplink', 'list']):
            self.assertEqual(self.doc(*args), [])
            self.assertEqual(self.ctl(*args)[0].count('\n'), 1)
        hosts = self.doc('host', 'list')
        self.assertEqual([h['name'] for h in hosts], ['default'])
        self.assertRegex(hosts[0]['address'], r'^[\w-]{43}$')
        status = self.doc('status')
        self.assertEqual(status['hosts'], hosts)
        for member in ('version', 'pid', 'startedAt', 'stateDir', 'peers', 'sessions', 'problems'):
            self.assertIn(member, status)
        out, _ = self.ctl('status')
        self.assertIn(hosts[0]['address'], out)
        self.assertIn(self.path('state'), out)

    def test_errors_of_the_agent(self):
        self.error('invite', word='noUplink')
        self.error('invite', 'nobody', word='noSuchHost')
        self.error('uplink', 'add', 'http://r', word='badRequest')
        self.error('uplink', 'remove', 'ws://r', word='noSuchUplink')
        self.error('revoke', 'nobody', word='noSuchDevice')
        self.error('peer', 'show', 'nobody', word='noSuchPeer')
        self.error('peer', 'remove', 'nobody', word='noSuchPeer')
        self.error('call', 'nobody', '1', word='noSuchPeer')
        self.error('send', 'nobody', '1', word='noSuchPeer')
        self.error('listen', 'nobody', word='noSuchPeer')
        self.error('listen', '--host', 'nobody', word='noSuchHost')
        self.error('serve', 'nobody', '--echo', word='noSuchHost')
        self.error('uninvite', 'AAECAwQFBgc', word='noSuchInvitation')
        self.error('pair', 'nonsense', word='badRequest')
        # Where nobody listens (port 1 of loopback), no relay answers.
        address = self.doc('host', 'list')[0]['address']
        self.error('pair', '--address', address, '--code', '-', '--uplink', 'ws://127.0.0.1:1',
                   word='unreachable', stdin='ABCDEF\n')

    def test_uplinks(self):
        added = self.doc('uplink', 'add', 'ws://127.0.0.1:1/')
        self.assertEqual((added['url'], added['host']), ('ws://127.0.0.1:1', 'default'))
        self.error('uplink', 'add', 'ws://127.0.0.1:1', word='exists')
        listed = self.doc('uplink', 'list')
        self.assertEqual([u['url'] for u in listed], ['ws://127.0.0.1:1'])
        self.assertIn(listed[0]['state'], ('connecting', 'waiting'))
        self.assertIn('ws://127.0.0.1:1', self.ctl('uplink', 'list', '--host', 'default')[0])
        self.assertIn('removed relay ws://127.0.0.1:1', self.ctl('uplink', 'remove', 'ws://127.0.0.1:1')[0])

    def test_invitations(self):
        self.ctl('uplink', 'add', 'ws://127.0.0.1:1')
        address = self.doc('host', 'list')[0]['address']
        made = self.doc('invite', '--label', 'laptop', '--ttl', '2h')
        self.assertEqual(sorted(made), ['address', 'code', 'codeId', 'expiresAt', 'host', 'label', 'uri'])
        self.assertEqual((made['address'], made['host'], made['label']), (address, 'default', 'laptop'))
        self.assertRegex(made['code'], r'^[23456789A-HJKMNP-Z]{6}$')
        self.assertTrue(made['uri'].startswith(f'link:{address}?code={made["code"]}&id={made["codeId"]}&relay='))
        own = self.doc('invite', '--no-id', '--code', '-', stdin='MixedCase7\n')
        self.assertEqual((own['code'], own['codeId']), ('MixedCase7', None))
        self.error('invite', '--code', 'short', word='badRequest')
        self.error('invite', '--code', '-', word='input', stdin='\n')
        self.error('invite', '--ttl', '8d', word='badRequest')
        ids = [i['codeId'] for i in self.doc('invitations')]
        self.assertEqual(sorted(ids, key=str), sorted([made['codeId'], None], key=str))
        self.assertIn(made['codeId'], self.ctl('invitations')[0])
        self.assertEqual(self.doc('uninvite', made['codeId'])['codeId'], made['codeId'])
        self.ctl('uninvite', '')
        self.assertEqual(self.doc('invitations'), [])

    def test_invite_for_people(self):
        self.ctl('uplink', 'add', 'ws://127.0.0.1:1')
        out, _ = self.ctl('invite')
        lines = out.splitlines()
        qr = [line for line in lines if line and set(line) <= set('█▀▄ ')]
        self.assertEqual(len({len(line) for line in qr}), 1)
        self.assertEqual(len(qr), (len(qr[0]) + 1) // 2)
        link = next(line for line in lines if line.startswith('link:'))
        code = re.search(r'code=(\w+)', link).group(1)
        self.assertRegex(out, rf'(?m)^code +{code}$')
        self.assertRegex(out, r'(?m)^address +[\w-]{43}$')
        self.assertRegex(out, r'(?m)^expires +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$')
        self.assertIn(f"linkctl pair '{link}'", out)

    def test_completion_asks_the_agent(self):
        self.ctl('uplink', 'add', 'ws://127.0.0.1:1')
        complete = lambda *words: Completion.complete(self, '--socket', self.socket, *words)
        self.assertEqual(complete('devices', ''), ['default'])
        # bash has cut the URL at its colons.
        self.assertEqual(complete('uplink', 'remove', 'ws', ':', '//127'), ['//127.0.0.1:1'])
        self.assertEqual(complete('uplink', 'list', '--host', 'def'), ['default'])

    def test_serving(self):
        first = subprocess.Popen([LINKCTL, '--socket', self.socket, 'serve', '--echo'], stderr=subprocess.PIPE,
                                 text=True)
        self.addCleanup(self.reap_plain, first)
        self.assertEqual(first.stderr.readline(), 'serving default\n')
        self.error('serve', '--echo', word='busy')
        first.terminate()
        self.assertEqual(first.wait(WAIT_SEC), 0)

    def reap_plain(self, p):
        p.stderr.close()
        if p.poll() is None:
            p.kill()
            p.wait()


class WithFake(Case):
    def setUp(self):
        super().setUp()
        self.agent = FakeAgent(self.dir)
        self.addCleanup(self.agent.close)


class Calls(WithFake):
    def test_rows(self):
        devices = [{'keyId': 'k1', 'host': 'default', 'label': 'évil\x1b[31m', 'createdAt': '2025-01-01T00:00:00Z',
                    'lastSeenAt': None, 'codeId': None, 'connected': True}]
        p = self.start_ctl('devices', '--json')
        c = self.agent.accept()
        c.answer_call('devices', json.dumps({'devices': devices}))
        out, _ = self.end(p, 0)
        self.assertEqual(json.loads(out), devices)
        p = self.start_ctl('devices')
        self.agent.accept().answer_call('devices', json.dumps({'devices': devices}))
        out, _ = self.end(p, 0)
        self.assertNotIn('\x1b', out)  # a terminal is not told what to do
        head, row = out.splitlines()
        self.assertEqual(row.split(), ['k1', 'évil\\x1b[31m', 'default', '2025-01-01T00:00:00Z', '-', 'yes', '-'])
        self.assertEqual(head.index('HOST'), row.index('default'))

    def test_params(self):
        p = self.start_ctl('pair', '--address', 'A', '--code', 'C', '--code-id', 'I', '--uplink', 'ws://a', '--uplink',
                           'ws://b', '--name', 'n', '--json')
        params = self.agent.accept().answer_call('pair', '{"name":"n","address":"A","keyId":"k","uplinks":[]}')
        self.assertEqual(json.loads(params), {'address': 'A', 'code': 'C', 'codeId': 'I', 'name': 'n',
                                              'uplinks': ['ws://a', 'ws://b']})
        self.assertEqual(json.loads(self.end(p, 0)[0])['keyId'], 'k')
        p = self.start_ctl('pair', '-', stdin=subprocess.PIPE)
        p.stdin.write('link:x\n')
        p.stdin.flush()  # the line is enough
        params = self.agent.accept().answer_call('pair', '{"name":"n"}')
        self.assertEqual(json.loads(params)['uri'], 'link:x')
        self.end(p, 0)
        p = self.start_ctl('revoke', 'laptop', '--host', 'work')
        params = self.agent.accept().answer_call('revoke', '{"keyId":"k","label":"laptop","sessionsEnded":2}')
        self.assertEqual(json.loads(params), {'device': 'laptop', 'host': 'work'})
        self.assertRegex(self.end(p, 0)[0], r'sessions ended +2')

    def ask(self, *args, stdin=None):
        p = self.start_ctl('call', 'home', *args, **({} if stdin is None else {'stdin': subprocess.PIPE}))
        if stdin is not None:
            p.stdin.write(stdin)
            p.stdin.close()
            p.stdin = None
        c = self.agent.accept()
        f = c.take(ASK)
        timeout, = struct.unpack_from('>I', f.body)
        peer, text = cut_text(f.body[4:])
        self.assertEqual(peer, 'home')
        return p, c, f, timeout, text.decode()

    def test_call_is_unchanged(self):
        text = '{"n":123456789012345678901234567890,"f":1.0,"e":1e400,"z":1,"a":"\\u0000\\ud800é","a" : [ ]}'
        for args, stdin in (([text], None), (['-'], f' \n{text}\r\n')):
            p, c, f, _, got = self.ask(*args, stdin=stdin)
            self.assertEqual(got, text)
            c.send(RESPONSE, text.encode(), request=f.request, flags=OK)
            self.assertEqual(self.end(p, 0)[0], text + '\n')

    def test_call_timeout(self):
        for given, msec in (([], 30000), (['--timeout', '0.25'], 250), (['--timeout', '2m'], 120000)):
            p, c, f, timeout, _ = self.ask('1', *given)
            self.assertEqual(timeout or 30000, msec)
            c.error(f, 'timeout', 'no answer in time', 110)
            self.assertIn('home: no answer in time', self.end(p, 1)[1])

    def test_call_errors(self):
        p, c, f, _, _ = self.ask('1', '--json')
        c.send(RESPONSE, b'"it \\u001b[1mbroke"', request=f.request)
        error = json.loads(self.end(p, 1)[1])
        self.assertEqual(error['error'], 'remoteError')
        self.assertIn('it \x1b[1mbroke', error['message'])
        p, c, f, _, _ = self.ask('1')
        c.send(RESPONSE, b'"it \\u001b[1mbroke"', request=f.request)
        self.assertIn('home answered an error: it \\x1b[1mbroke', self.end(p, 1)[1])
        p, c, f, _, _ = self.ask('1', '--json')
        c.error(f, 'revoked', 'gone', 128)
        self.assertEqual(json.loads(self.end(p, 1)[1])['error'], 'revoked')
        p, c, f, _, _ = self.ask('1', '--json')
        c.close()
        self.assertEqual(json.loads(self.end(p, 1)[1])['error'], 'disconnected')

    def test_agent_speaks_nonsense(self):
        for answer in ('[]', '{"other":[]}'):
            p = self.start_ctl('peers', '--json')
            self.agent.accept().answer_call('peers', answer)
            self.assertEqual(json.loads(self.end(p, 1)[1])['error'], 'protocol')

    def test_send(self):
        with open(self.path('payload'), 'wb') as f:
            f.write(b'\0\xff' * 5)
        p = self.start_ctl('send', 'home', '{"a":1.0}', '--payload', self.path('payload'))
        c = self.agent.accept()
        self.assertEqual(c.accept_connect(), 'home')
        f = c.take(EVENT)
        n, = struct.unpack_from('>I', f.body)
        self.assertEqual((f.body[4:4 + n], f.body[4 + n:]), (b'{"a":1.0}', b'\0\xff' * 5))
        self.assertNotEqual(f.request, 0)  # it wants to know that it was written
        c.send(RESULT, b'{}', session=1, request=f.request)
        self.assertEqual(c.take(CLOSE).session, 1)
        c.state(1, CLOSED, 'closed', 'closed by the application')
        self.assertEqual(self.end(p, 0), ('', ''))

    def test_send_fails(self):
        p = self.start_ctl('send', 'home', '1', '--json')
        c = self.agent.accept()
        c.accept_connect(word='')
        f = c.take(EVENT)
        c.error(f, 'noPayload', 'it takes none', 95)
        self.assertEqual(json.loads(self.end(p, 1)[1])['error'], 'noPayload')
        self.run_ctl('send', 'home', '1', '--payload', self.path('nothing'), status=1)


class Listening(WithFake):
    def test_peer(self):
        p = self.start_ctl('listen', 'home')
        c = self.agent.accept()
        self.assertEqual(c.accept_connect(), 'home')
        self.assertEqual(p.stderr.readline(), 'listening to home\n')
        c.event(1, '{"n":1.0,\n\t"e":1e400}')
        self.assertEqual(p.stdout.readline(), '{"peer":"home","data":{"n":1.0, \t"e":1e400}}\n')
        c.event(1, '"x"', b'\0\1\2\xff')
        line = json.loads(p.stdout.readline())
        self.assertEqual(base64.b64decode(line.pop('payload'), validate=True), b'\0\1\2\xff')
        self.assertEqual(line, {'peer': 'home', 'data': 'x'})
        c.state(1, RECONNECTING, 'unreachable', 'it went')
        self.assertEqual(p.stderr.readline(), 'reconnecting to home: it went\n')
        c.state(1, CLOSED, 'revoked', 'shut out')
        self.assertIn('shut out', self.end(p, 1)[1])

    def test_host(self):
        p = self.start_ctl('listen', '--host', 'default')
        c = self.agent.accept()
        self.assertEqual(c.accept_serve(), ('default', 2))
        self.assertEqual(p.stderr.readline(), 'listening on default\n')
        c.incoming(7)
        c.event(7, '[]')
        self.assertEqual(json.loads(p.stdout.readline()),
                         {'host': 'default', 'device': 'laptop', 'keyId': 'a2V5', 'data': []})
        p.send_signal(signal.SIGINT)
        self.end(p, 0)

    def test_agent_is_lost(self):
        p = self.start_ctl('listen', '--host', 'default')
        c = self.agent.accept()
        c.accept_serve()
        c.close()
        self.assertIn('has ended the connection', self.end(p, 1)[1])

    def test_reader_is_lost(self):
        p = self.start_ctl('listen', 'home')
        c = self.agent.accept()
        c.accept_connect()
        p.stderr.readline()
        p.stdout.close()  # noticed without an event
        self.assertEqual(p.wait(WAIT_SEC), 1)
        self.assertIn('standard output', p.stderr.read())

    def test_slow_reader(self):
        """Nothing is lost, nothing is taken ahead without bound, and signals still end it."""
        payload = bytes(range(256)) * 1024
        p = self.start_ctl('listen', 'home')
        c = self.agent.accept()
        c.accept_connect()
        p.stderr.readline()
        sender = threading.Thread(target=lambda: [c.event(1, str(i), payload) for i in range(8)])
        sender.start()
        for i in range(8):
            line = json.loads(p.stdout.readline())
            self.assertEqual((line['data'], base64.b64decode(line['payload'])), (i, payload))
        sender.join()
        c.event(1, '9', payload)
        select.select([p.stdout], [], [], WAIT_SEC)  # it writes, and the pipe is full soon
        p.terminate()
        self.assertEqual(p.wait(WAIT_SEC), 0)


class Serving(WithFake):
    def serve(self, *args, **more):
        p = self.start_ctl('serve', *args, **more)
        c = self.agent.accept()
        host, roles = c.accept_serve()
        self.assertEqual(p.stderr.readline(), f'serving {host}\n')
        return p, c, roles

    def test_echo(self):
        p, c, roles = self.serve('--echo')
        self.assertEqual(roles, 3)
        c.incoming(1)
        text = '{"n":123456789012345678901234567890,"a":1,"a":1e400}'
        c.ask(1, 5, text)
        self.assertEqual(c.response(), (5, True, text))
        c.event(1, text, b'\0payload')
        f = c.take(EVENT, skip=(CREDIT,))
        self.assertEqual((f.session, f.request), (1, 0))
        self.assertEqual(f.body, struct.pack('>I', len(text)) + text.encode() + b'\0payload')
        p.terminate()
        self.end(p, 0)

    def test_echo_waits_for_credit(self):
        """With room for one message each answer waits for the one before, in order, events too."""
        p, c, _ = self.serve('--echo')
        c.incoming(1, window=1)
        c.incoming(2)
        for i in range(1, 6):
            c.ask(1, i, f'"{i}"')
        c.event(1, '"event"')
        self.assertEqual(c.response(), (1, True, '"1"'))
        c.ask(2, 9, '"other"')  # of another session: nothing else has come until it
        f = c.take(RESPONSE, skip=(CREDIT,))
        self.assertEqual((f.session, f.body), (2, b'"other"'))
        cost = 16 + len('"1"')
        for i in range(2, 6):
            c.send(CREDIT, struct.pack('>I', cost), session=1)
            self.assertEqual(c.response(), (i, True, f'"{i}"'))
        c.send(CREDIT, struct.pack('>I', cost), session=1)
        self.assertEqual(c.take(EVENT, skip=(CREDIT,)).body[4:], b'"event"')
        c.ask(1, 7, '7')
        c.state(1, CLOSED, 'closed', 'gone')  # with an answer waiting
        c.ask(2, 10, '10')
        self.assertEqual(c.response(), (10, True, '10'))
        p.terminate()
        self.end(p, 0)

    def test_errors(self):
        p = self.start_ctl('serve', 'work', '--echo', '--json')
        c = self.agent.accept()
        f = c.take(SERVE)
        self.assertEqual(cut_text(f.body[5:])[0], 'work')
        c.error(f, 'busy', 'another application serves this host', 16)
        self.assertEqual(json.loads(self.end(p, 1)[1])['error'], 'busy')
        p, c, _ = self.serve('--echo')
        c.close()
        self.assertIn('has ended the connection', self.end(p, 1)[1])

    def script(self, text):
        path = self.path('command')
        with open(path, 'w', encoding='utf-8') as f:
            f.write('#!/bin/sh\n' + text)
        os.chmod(path, stat.S_IRWXU)
        return path

    def test_exec(self):
        command = self.script('read -r line\n'
                              'case $line in\n'
                              '*fail*) echo first >&2; printf "the last\\tline\\n\\n" >&2; exit 3 ;;\n'
                              '*silent*) exit 4 ;;\n'
                              '*signal*) kill -9 $$ ;;\n'
                              '*text*) echo hello ;;\n'
                              '*two*) echo 1 2 ;;\n'
                              '*none*) echo ;;\n'
                              '*env*) printf \'"%s/%s/%s"\' "$LINK_HOST" "$LINK_KEY_ID" "$LINK_LABEL" ;;\n'
                              '*deaf*) exec <&-; echo true ;;\n'
                              '*) printf \' {"got":%s,"n":1e400}\\n \' "$line" ;;\n'
                              'esac\n')
        p, c, roles = self.serve('--exec', command)
        self.assertEqual(roles, 1)  # events are left to others
        c.incoming(1)
        for i, (asked, ok, answer) in enumerate((
                ('{"x":1.0}', True, '{"got":{"x":1.0},"n":1e400}'),
                ('"fail"', False, '"the last\\\\x09line"'),
                ('"silent"', False, '"the command failed with status 4"'),
                ('"text"', False, '"the command\'s answer is not JSON"'),
                ('"two"', False, '"the command\'s answer is not JSON"'),
                ('"none"', True, 'null'),
                ('"env"', True, '"default/a2V5/laptop"'),
                ('"deaf"', True, 'true')), start=1):
            c.ask(1, i, asked)
            number, got_ok, text = c.response()
            self.assertEqual((number, got_ok, text.strip()), (i, ok, answer))
        c.ask(1, 20, '"signal"')
        number, ok, text = c.response()
        self.assertEqual((number, ok), (20, False))
        self.assertRegex(text, 'Killed|status 137')
        c.ask(1, 21, '"' + 'x' * 500000 + '"')  # more than a pipe holds, both ways
        self.assertEqual(c.response()[2].strip(), '{"got":"' + 'x' * 500000 + '","n":1e400}')
        c.ask(1, 22, '"deaf' + 'x' * 500000 + '"')
        self.assertEqual(c.response(), (22, True, 'true\n'))
        p.terminate()
        self.end(p, 0)

    def test_exec_parallel(self):
        """No more children than allowed; the rest waits its turn; answers come as they are ready."""
        gate = self.path('gate')
        os.mkfifo(gate)
        command = self.script('read -r line\n'
                              'case $line in\n'
                              f'1|2) echo "$line" >>{self.path("started")}; read -r go <{gate}; echo "$line" ;;\n'
                              '*) echo "$line" ;;\n'
                              'esac\n')
        p, c, _ = self.serve('--exec', command, '--parallel', '2')
        c.incoming(1)
        for i in range(1, 5):
            c.ask(1, i, str(i))
        held = os.open(gate, os.O_RDWR)  # so that the children's opening does not end the test's
        self.addCleanup(os.close, held)
        self.assertFalse(select.select([c.sock], [], [], 0)[0])  # 3 and 4 wait for 1 or 2
        os.write(held, b'go\n')
        first = c.response()
        self.assertIn(first[0], (1, 2))
        self.assertEqual(c.response()[0], 3)
        self.assertEqual(c.response()[0], 4)
        os.write(held, b'go\n')
        self.assertEqual(c.response()[0], 3 - first[0])
        p.terminate()
        self.end(p, 0)

    def endless(self, trap=''):
        """A command that tells its process id and then never ends."""
        fifo = self.path('pid')
        if not os.path.exists(fifo):
            os.mkfifo(fifo)
        return self.script(f'{trap}\necho $$ >{fifo}\nwhile :; do sleep 1000; done\n')

    def child_pid(self):
        with open(self.path('pid'), encoding='utf-8') as f:
            return int(f.readline())

    def wait_gone(self, pid):
        """Until it has ended; a zombie that init has not taken yet has."""
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        self.assertTrue(select.select([fd], [], [], WAIT_SEC)[0], 'the child still runs')
        os.close(fd)

    def test_exec_cancelled(self):
        p, c, _ = self.serve('--exec', self.endless())
        c.incoming(1)
        c.ask(1, 1, '1')
        pid = self.child_pid()
        c.send(CANCEL, session=1, request=1)
        self.wait_gone(pid)
        c.ask(1, 2, '2')
        pid = self.child_pid()
        c.state(1, CLOSED, 'closed', 'gone')
        self.wait_gone(pid)
        p.terminate()
        self.end(p, 0)

    def test_exec_stubborn(self):
        """SIGTERM may be ignored; SIGKILL follows."""
        p, c, _ = self.serve('--exec', 'exec ' + self.endless('trap "" TERM'))
        c.incoming(1)
        c.ask(1, 1, '1')
        pid = self.child_pid()
        c.state(1, CLOSED, 'closed', 'gone')
        self.wait_gone(pid)
        p.terminate()
        self.end(p, 0)

    def test_exec_time_out(self):
        p, c, _ = self.serve('--exec', self.endless(), '--timeout', '0.2')
        c.incoming(1)
        c.ask(1, 1, '1')
        pid = self.child_pid()
        self.assertEqual(c.response(), (1, False, '"the command took too long"'))
        self.wait_gone(pid)
        p.terminate()
        self.end(p, 0)

    def test_exec_ends_with_serve(self):
        p, c, _ = self.serve('--exec', self.endless())
        c.incoming(1)
        c.ask(1, 1, '1')
        pid = self.child_pid()
        p.terminate()
        self.assertEqual(c.response(), (1, False, '"the application is ending"'))
        self.end(p, 0)
        self.wait_gone(pid)
        p, c, _ = self.serve('--exec', self.endless())
        c.incoming(1)
        c.ask(1, 1, '1')
        pid = self.child_pid()
        c.close()
        self.end(p, 1)
        self.wait_gone(pid)

    def test_exec_too_long(self):
        p, c, _ = self.serve('--exec', 'cat /dev/zero')
        c.incoming(1)
        c.ask(1, 1, '1')
        self.assertEqual(c.response(), (1, False, '"the command\'s answer is too long"'))
        p.terminate()
        self.end(p, 0)

    def test_exec_cannot_run(self):
        p, c, _ = self.serve('--exec', self.path('nothing'))
        c.incoming(1)
        c.ask(1, 1, '1')
        number, ok, text = c.response()
        self.assertEqual((number, ok), (1, False))
        self.assertIn('not found', text)
        p.terminate()
        self.end(p, 0)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
