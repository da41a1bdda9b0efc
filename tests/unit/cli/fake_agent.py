"""An agent for tests: speaks docs/IPC.md on a Unix socket, and says only what the test tells it to."""
import os
import socket
import struct

HELLO, ERROR, CALL, RESULT = 0x01, 0x02, 0x03, 0x04
CONNECT, OPENED, STATE, SERVE, INCOMING, CLOSE = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15
REQUEST, RESPONSE, EVENT, ASK, CANCEL, CREDIT = 0x20, 0x21, 0x22, 0x23, 0x24, 0x25
CONNECTED, RECONNECTING, CLOSED = 2, 3, 4
OK = 0x01
WAIT_SEC = 60  # for what must come; never reached on a sound run


def text(s):
    raw = s.encode()
    return struct.pack('>H', len(raw)) + raw


def cut_text(body):
    n, = struct.unpack_from('>H', body)
    return body[2:2 + n].decode(), body[2 + n:]


class Frame:
    def __init__(self, kind, flags, session, request, body):
        self.kind, self.flags, self.session, self.request, self.body = kind, flags, session, request, body


class Connection:
    """One application, past its HELLO."""

    def __init__(self, sock):
        sock.settimeout(WAIT_SEC)
        self.sock = sock
        hello = self.take(HELLO)
        assert hello.body[:6] == b'LKIP\0\1', hello.body
        self.send(HELLO, b'LKIP' + struct.pack('>HHII', 1, 0, 0, 16 * 1024 * 1024 + 65536) + text('fake 1'))

    def send(self, kind, body=b'', session=0, request=0, flags=0):
        self.sock.sendall(struct.pack('>IBBHII', 12 + len(body), kind, flags, 0, session, request) + body)

    def read(self, n):
        data = b''
        while len(data) < n:
            chunk = self.sock.recv(n - len(data))
            if not chunk:
                return None
            data += chunk
        return data

    def next(self):
        """The next frame, or None at the end."""
        head = self.read(16)
        if head is None:
            return None
        n, kind, flags, _, session, request = struct.unpack('>IBBHII', head)
        return Frame(kind, flags, session, request, self.read(n - 12) if n > 12 else b'')

    def take(self, kind, skip=()):
        """The next frame, which must be of that kind; those of kinds in skip are passed over."""
        while True:
            f = self.next()
            if f is None or f.kind not in skip:
                break
        assert f is not None, f'the connection ended where 0x{kind:02x} was due'
        assert f.kind == kind, f'0x{f.kind:02x} came where 0x{kind:02x} was due: {f.body!r}'
        return f

    def answer_call(self, method, result):
        """Takes a CALL of that method, answers it, and returns its params as text."""
        f = self.take(CALL)
        name, params = cut_text(f.body)
        assert name == method, name
        self.send(RESULT, result.encode(), request=f.request)
        return params.decode()

    def error(self, f, word, message, number):
        self.send(ERROR, text(word) + text(message) + struct.pack('>I', number),
                  session=f.session if f.kind in (REQUEST, EVENT) else 0, request=f.request)

    def state(self, session, state, word='', message=''):
        self.send(STATE, bytes([state]) + text(word) + text(message), session=session)

    def accept_serve(self):
        """Takes a SERVE and says yes. Returns host and roles."""
        f = self.take(SERVE)
        _, roles = struct.unpack_from('>IB', f.body)
        self.send(RESULT, b'{}', request=f.request)
        return cut_text(f.body[5:])[0], roles

    def incoming(self, session, window=1024 * 1024, label='laptop'):
        self.send(INCOMING, struct.pack('>I', window) +
                  b'{"host":"default","keyId":"a2V5","label":"%s"}' % label.encode(), session=session)

    def accept_connect(self, session=1, word='framed'):
        """Takes a CONNECT; the session is connected. Returns the peer's name."""
        f = self.take(CONNECT)
        self.send(OPENED, struct.pack('>I', 1024 * 1024) + b'{}', session=session, request=f.request)
        self.state(session, CONNECTED, word)
        return cut_text(f.body[4:])[0]

    def ask(self, session, request, json):
        self.send(REQUEST, struct.pack('>I', 0) + json.encode(), session=session, request=request)

    def event(self, session, json, payload=None):
        raw = json.encode()
        self.send(EVENT, struct.pack('>I', len(raw)) + raw + (payload or b''), session=session)

    def response(self, skip=(CREDIT,)):
        """The next RESPONSE: request, whether it is ok, its text."""
        f = self.take(RESPONSE, skip)
        return f.request, bool(f.flags & OK), f.body.decode()

    def close(self):
        self.sock.close()


class FakeAgent:
    def __init__(self, directory):
        self.path = os.path.join(directory, 'agent.sock')
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.listener.settimeout(WAIT_SEC)
        self.accepted = []

    def accept(self):
        sock, _ = self.listener.accept()
        self.accepted.append(sock)
        return Connection(sock)

    def close(self):
        for sock in self.accepted:
            sock.close()
        self.listener.close()
        os.unlink(self.path)
