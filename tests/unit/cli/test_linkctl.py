"""linkctl alone, and with the real agent: exit statuses, help, completion, documents, errors.

    test_linkctl.py LINKCTL LINKD MANPAGE [unittest arguments]"""
import json
import os
import re
import shutil
import subprocess
import sys
import time
import unittest

from case import LINKCTL, Case, environment
from fake_agent import WAIT_SEC, FakeAgent

LINKD, MANPAGE = (os.path.abspath(p) for p in sys.argv[2:4])


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
            ['status', 'host add', 'host remove', 'host list', 'host show', 'uplink add', 'uplink remove', 'uplink list',
             'recovery', 'invite', 'invitations', 'uninvite', 'pair', 'devices', 'revoke', 'peers', 'peer show',
             'peer remove', 'peer rename', 'peer export', 'peer import', 'call', 'send', 'listen', 'serve', 'usage',
             'monitor', 'doctor', 'completion', 'help']))
        for name, text in found.items():
            self.assertTrue(text.startswith(f'Usage: linkctl {name}'), text)
            for line in text.splitlines():
                self.assertLessEqual(len(line), 120, line)
        for group in ('host', 'uplink', 'peer'):
            out, _ = self.run_ctl(group, '--help')
            self.assertIn(f'linkctl {group} VERB', out)
            self.assertEqual(self.run_ctl('help', group)[0], out)
        self.assertEqual(self.run_ctl('-h')[0], self.run_ctl('--help')[0])
        self.assertEqual(self.run_ctl('help')[0], self.run_ctl('--help')[0])
        for name in ('uplink add', 'serve'):
            self.assertEqual(self.run_ctl('help', *name.split())[0], found[name])
        self.assertRegex(self.run_ctl('--version')[0], r'^linkctl \d+\.\d+\.\d+\n$')

    def test_man_page_is_complete(self):
        with open(MANPAGE, encoding='utf-8') as f:
            page = f.read()
        for name, text in verbs().items():
            self.assertRegex(page, rf'(?m)^\.It Cm {name}\b', name)
            for option in re.findall(r'(?m)^  --([a-z-]+)', text):
                self.assertIn(f'Fl Fl {option}', page)

    def test_alternatives(self):
        for name, usage in (
                ('serve', '[HOST] (--echo | --exec COMMAND [--timeout TIME] [--parallel N])'),
                ('listen', '(PEER | --host HOST)'),
                ('pair', '[--name NAME] (URI | --address ADDRESS --uplink URL... --code CODE [--code-id ID] | '
                         '--address ADDRESS --uplink URL... --recovery [--key-file FILE])')):
            shown = ' '.join(self.run_ctl(name, '--help')[0].split())
            self.assertTrue(shown.startswith(f'Usage: linkctl {name} {usage} '), shown)
        self.assertIn('listen --host', self.run_ctl('serve', '--help')[0])

    def test_a_slip_is_understood(self):
        for meant, *args in (('status', 'stats'), ('uplink add', 'uplink', 'ad'), ('uplink', 'uplnk', 'add'),
                             ('devices', 'device'), ('pair', 'pairr')):
            _, err = self.run_ctl(*args, status=2)
            self.assertIn(f'; did you mean {meant}?', err)
        self.assertIn('did you mean status?', self.run_ctl('help', 'stats', status=2)[1])
        for args in (['nothing'], ['x'], ['__name'], [40 * 'x']):
            self.assertNotIn('did you mean', self.run_ctl(*args, status=2)[1])

    def test_a_group_alone_lists_its_verbs(self):
        out, err = self.run_ctl('uplink', status=2)
        self.assertEqual(out, '')
        for name in ('uplink add', 'uplink remove', 'uplink list'):
            self.assertRegex(err, rf'(?m)^  {name} ')
        self.json_error('uplink', status=2, word='usage')

    def test_wrong_usage(self):
        for args in ([], ['nothing'], ['status', 'extra'], ['status', '--nothing'], ['uplink'], ['uplink', 'x'],
                     ['call', 'home'], ['call', 'home', '{bad'], ['call', 'home', '1', '--timeout', 'soon'],
                     ['call', 'home', '1', '--timeout', '0'], ['invite', '--ttl', '15q'],
                     ['invite', '--ttl', '0.5'], ['invite', '--ttl'], ['pair'], ['pair', '--address', 'x'],
                     ['pair', 'link:x', '--code', 'y'], ['listen'], ['listen', 'home', '--host', 'default'],
                     ['recovery'], ['recovery', 'on'], ['recovery', 'default', 'enable', 'x'], ['pair', '--recovery', 'KEY'],
                     ['peer', 'import'], ['peer', 'import', 'eyJhZGRyZXNzIjoi', '--uplink', 'ws://r'],
                     ['pair', '--recovery', '--address', 'x', '--uplink', 'y', '--code', 'KEY'],
                     ['serve'], ['serve', '--echo', '--exec', 'cat'], ['serve', '--echo', '--timeout', '1'],
                     ['serve', '--exec', 'cat', '--parallel', '0'], ['completion', 'tcsh'],
                     ['send', 'home', '-', '--payload', '-'], ['status', '--user', '--system']):
            out, err = self.run_ctl(*args, status=2)
            self.assertEqual(out, '', args)
            self.assertNotEqual(err, '', args)
        self.assertIn('Try: linkctl call --help', self.run_ctl('call', status=2)[1])
        self.assertIn('bogus', self.json_error('bogus', status=2, word='usage'))
        self.run_ctl(b'call', b'home', b'"\xff"', status=2)

    def test_what_was_typed(self):
        for text, *args in (
                ('"http://x" is no invitation: paste the whole link: line, in quotes', 'pair', 'http://x'),
                ('the link is empty', 'pair', ''),
                ('the code is empty', 'invite', '--code', ''),
                ('--ttl 8d is out of range: above 0, and at most 7 d', 'invite', '--ttl', '8d'),
                ('--ttl 0 is out of range: above 0, and at most 7 d', 'invite', '--ttl', '0'),
                ('--timeout 0.0001 is too short: 0.001 s is the least', 'call', 'home', '1', '--timeout', '0.0001'),
                ('at most 1 d', 'call', 'home', '1', '--timeout', '2d')):
            self.assertIn(text, self.run_ctl(*args, status=2)[1])

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

    def test_an_agent_that_is_just_starting_is_waited_for(self):
        for attempt in range(10):  # this machine may stop us for longer than linkctl waits
            directory = self.path(str(attempt))
            os.mkdir(directory)
            agent = None
            p = subprocess.Popen([LINKCTL, '--socket', os.path.join(directory, 'agent.sock'), 'peers'],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
            try:
                waited = self.wait_asleep(p)
                agent = FakeAgent(directory)
                agent.listener.settimeout(2)
                agent.accept().answer_call('peers', '{"peers":[]}')
            except TimeoutError:
                continue  # it was too late
            finally:
                out, err = p.communicate(timeout=WAIT_SEC)
                if agent:
                    agent.close()
            self.assertTrue(waited)
            self.assertEqual((p.returncode, err), (0, ''), out)
            return
        self.fail('it does not wait')

    def wait_asleep(self, p):
        """Until it sleeps between two tries; False: it ended."""
        end = time.monotonic() + WAIT_SEC
        while p.poll() is None and time.monotonic() < end:
            with open(f'/proc/{p.pid}/stat', encoding='ascii') as f:
                if f.read().rpartition(') ')[2][0] == 'S':
                    return True
        return False

    def test_stdout_is_full(self):
        with open('/dev/full', 'w', encoding='utf-8') as full:
            _, err = self.run_ctl('--help', status=1, stdout=full)
        self.assertIn('No space left', err)
        r, w = os.pipe()
        os.close(r)
        # As `| head` leaves it: quietly.
        for args in (['--help'], ['completion', 'zsh']):
            self.assertEqual(self.run_ctl(*args, status=1, stdout=w)[1], '')
        self.assertIn('Broken pipe', self.run_ctl('--help', '--json', status=1, stdout=w)[1])
        os.close(w)


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
        # Where nobody listens (port 1 of loopback), no relay answers.
        address = self.doc('host', 'list')[0]['address']
        self.error('pair', '--address', address, '--code', '-', '--uplink', 'ws://127.0.0.1:1',
                   word='unreachable', stdin='ABCDEF\n')

    def test_messages_name_the_object(self):
        for word, text, *args in (
                ('noSuchHost', 'there is no host nobody', 'devices', 'nobody'),
                ('noSuchHost', 'there is no host nobody', 'serve', 'nobody', '--echo'),
                ('noSuchHost', 'there is no host nobody', 'host', 'remove', 'nobody'),
                ('exists', 'there is a host default already', 'host', 'add', 'default'),
                ('noSuchPeer', 'there is no peer nobody; see `linkctl peers`', 'call', 'nobody', '1'),
                ('noSuchPeer', 'there is no peer nobody; see `linkctl peers`', 'send', 'nobody', '1'),
                ('noSuchPeer', 'there is no peer nobody; see `linkctl peers`', 'peer', 'remove', 'nobody'),
                ('noSuchPeer', 'there is no peer of that name; see `linkctl peers`', 'call', 'n' * 300, '1'),
                ('noSuchDevice', 'there is no device nobody; see `linkctl devices`', 'revoke', 'nobody'),
                ('noSuchInvitation', 'there is no open invitation nobody', 'uninvite', 'nobody'),
                ('noSuchInvitation', 'there is no open invitation without a code id', 'uninvite', ''),
                ('noSuchUplink', 'host default has no relay ws://r', 'uplink', 'remove', 'ws://r')):
            message = self.error(*args, word=word)
            self.assertTrue(message.startswith(text), message)

    def test_what_was_typed_is_wrong_usage(self):
        address = self.doc('host', 'list')[0]['address']
        pieces = ('pair', '--code', 'ABCDEF', '--uplink')
        for text, *args in (
                ('a relay URL begins with ws:// or wss://', 'uplink', 'add', 'http://x'),
                ('relay.example:8080 is no relay URL: did you mean ws://relay.example:8080?',
                 'uplink', 'add', 'relay.example:8080'),
                ('did you mean ws://r?', *pieces, 'r', '--address', address),
                ('no path, query or user', 'uplink', 'add', 'ws://user:pw@h'),
                ('no path, query or user', 'uplink', 'add', 'ws://h/path'),
                ('"xyz" is no address', *pieces, 'ws://r', '--address', 'xyz'),
                ('"xyz" is no code id', *pieces, 'ws://r', '--address', address, '--code-id', 'xyz'),
                ('at least 6 characters', 'invite', '--code', 'abc')):
            if args[0] == 'invite':
                self.ctl('uplink', 'add', 'ws://127.0.0.1:1')
            self.assertIn(text, self.error(*args, word='badRequest', status=2))
        # Before a guess is spent: nobody is dialed.
        self.assertIn('at least 6 characters',
                      self.error('pair', '--address', address, '--code', 'ABCDE', '--uplink', 'ws://127.0.0.1:1',
                                 word='badRequest', status=2))

    def test_a_refused_connection_is_told_in_words(self):
        address = self.doc('host', 'list')[0]['address']
        message = self.error('pair', '--address', address, '--code', 'ABCDEF', '--uplink', 'ws://127.0.0.1:1',
                             word='unreachable')
        self.assertEqual(message, 'ws://127.0.0.1:1: connection refused: is link-relay running there?')

    def test_uplinks(self):
        added = self.doc('uplink', 'add', 'ws://127.0.0.1:1/')
        self.assertEqual((added['url'], added['host']), ('ws://127.0.0.1:1', 'default'))
        self.assertEqual((added['state'], added['cause']),
                         ('waiting', 'connection refused: is link-relay running there?'))
        self.error('uplink', 'add', 'ws://127.0.0.1:1', word='exists')
        self.assertIn('not yet registered: connection refused: is link-relay running there?; linkd keeps trying\n',
                      self.ctl('uplink', 'add', 'ws://127.0.0.1:2')[0])
        self.ctl('uplink', 'remove', 'ws://127.0.0.1:2')
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
        self.error('invite', '--code', 'short', word='badRequest', status=2)
        self.error('invite', '--code', '-', word='input', stdin='\n')
        for ttl in ('8d', '50d'):  # 50 days are more milliseconds than 32 bits hold
            self.assertIn('at most 7 d', self.error('invite', '--ttl', ttl, word='usage', status=2))
        ids = [i['codeId'] for i in self.doc('invitations')]
        self.assertEqual(sorted(ids, key=str), sorted([made['codeId'], None], key=str))
        self.assertIn(made['codeId'], self.ctl('invitations')[0])
        self.assertEqual(self.doc('uninvite', made['codeId'])['codeId'], made['codeId'])
        self.ctl('uninvite', '')
        self.assertEqual(self.doc('invitations'), [])

    def test_invite_for_people(self):
        self.ctl('uplink', 'add', 'ws://127.0.0.1:1')
        out, err = self.ctl('invite')
        self.assertRegex(err, r'warning: no relay has registered host default yet \(ws://127.0.0.1:1: connection refused.*'
                              'nobody can pair until one has')
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
        self.assertIn('another application takes the requests and events of host default',
                      self.error('serve', '--echo', word='busy'))
        self.assertIn('takes the events of host', self.error('listen', '--host', 'default', word='busy'))
        first.terminate()
        self.assertEqual(first.wait(WAIT_SEC), 0)

    def reap_plain(self, p):
        p.stderr.close()
        if p.poll() is None:
            p.kill()
            p.wait()


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
