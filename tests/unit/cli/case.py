"""What linkctl's tests share. The program is their first argument."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from fake_agent import WAIT_SEC, FakeAgent

LINKCTL = os.path.abspath(sys.argv[1])


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


class WithFake(Case):
    def setUp(self):
        super().setUp()
        self.agent = FakeAgent(self.dir)
        self.addCleanup(self.agent.close)
