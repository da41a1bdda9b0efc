"""linkctl with a scripted agent, where other machines would have to take part: call, send, listen, serve.

    test_linkctl_talk.py LINKCTL LINKD MANPAGE [unittest arguments]"""
import base64
import json
import os
import select
import signal
import stat
import struct
import subprocess
import sys
import threading
import unittest

from case import WithFake
from fake_agent import (ASK, CANCEL, CLOSE, CLOSED, CREDIT, EVENT, OK, RECONNECTING, RESPONSE, RESULT, SERVE,
                        WAIT_SEC, cut_text)


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
        self.assertEqual(row.split(), ['k1', 'évil\\x1b[31m', 'default', '2025-01-01T00:00:00Z', '-', 'yes', '-', '-'])
        self.assertEqual(head.index('HOST'), row.index('default'))

    def test_params(self):
        p = self.start_ctl('pair', '--address', 'A', '--code', 'C', '--code-id', 'I', '--uplink', 'ws://a', '--uplink',
                           'ws://b', '--name', 'n', '--json')
        params = self.agent.accept().answer_call('pair', '{"name":"n","address":"A","keyId":"k","uplinks":[]}')
        self.assertEqual(json.loads(params), {'address': 'A', 'code': 'C', 'codeId': 'I', 'name': 'n', 'recovery': False,
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
        self.assertEqual(json.loads(params), {'device': 'laptop', 'host': 'work', 'all': False})
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
        self.assertIn('home answered: it \\x1b[1mbroke', self.end(p, 1)[1])
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
        """Nothing is lost while stdout is full, and signals still end it."""
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
        gate, ready, log = self.path('gate'), self.path('ready'), self.path('log')
        os.mkfifo(gate)
        os.mkfifo(ready)
        command = self.script('read -r line\n'
                              f'echo + >>{log}\n'
                              f'case $line in [12]) echo >{ready}; read -r go <{gate} ;; esac\n'
                              f'echo - >>{log}\n'
                              'echo "$line"\n')
        p, c, _ = self.serve('--exec', command, '--parallel', '2')
        c.incoming(1)
        for i in range(1, 5):
            c.ask(1, i, str(i))
        held, told = (os.open(path, os.O_RDWR) for path in (gate, ready))  # open whoever else closes them
        self.addCleanup(os.close, held)
        self.addCleanup(os.close, told)
        for _ in range(2):
            self.assertTrue(select.select([told], [], [], WAIT_SEC)[0])
            os.read(told, 1)
        os.write(held, b'go\n')
        first = c.response()[0]
        self.assertIn(first, (1, 2))
        self.assertEqual([c.response()[0] for _ in range(2)], [3, 4])
        os.write(held, b'go\n')
        self.assertEqual(c.response(), (3 - first, True, f'{3 - first}\n'))
        with open(log, encoding='utf-8') as f:
            steps = [1 if line == '+\n' else -1 for line in f]
        running = [sum(steps[:i]) for i in range(len(steps) + 1)]
        self.assertEqual((len(steps), max(running)), (8, 2))
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
