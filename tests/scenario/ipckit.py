"""An application that speaks docs/IPC.md itself, byte by byte, as itself or as another user."""

import contextlib
import os
import socket
import struct

import agentkit

HELLO, ERROR, CALL, RESULT, NOTIFY = 0x01, 0x02, 0x03, 0x04, 0x05
CONNECT, OPENED, STATE, SERVE, INCOMING = 0x10, 0x11, 0x12, 0x13, 0x14
REQUEST, RESPONSE, EVENT, ASK = 0x20, 0x21, 0x22, 0x23
FRAME_MAX = 16 * 1024 * 1024 + 65536


def text(s):
    raw = s.encode()
    return struct.pack(">H", len(raw)) + raw


def frame(kind, body=b"", session=0, request=0):
    return struct.pack(">IBBHII", 12 + len(body), kind, 0, 0, session, request) + body


HELLO_FRAME = frame(HELLO, b"LKIP" + struct.pack(">HHII", 1, 0, 0, FRAME_MAX) + text("attacker"))


class App:
    """An application that speaks docs/IPC.md itself."""

    def __init__(self, agent, hello=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(agentkit.LIMIT_SEC)
        self.socket.connect(str(agent.socket))
        if hello:
            self.socket.sendall(HELLO_FRAME)
            kind = self.next()[0]
            assert kind == HELLO, kind

    def send(self, kind, body=b"", session=0, request=0):
        self.socket.sendall(frame(kind, body, session, request))

    def _exactly(self, n):
        data = bytearray()
        while len(data) < n:
            part = self.socket.recv(n - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def next(self):
        """(type, flags, session, request, body); EOFError at the end."""
        n, kind, flags, _, session, request = struct.unpack(">IBBHII", self._exactly(16))
        return kind, flags, session, request, self._exactly(n - 12)

    def until(self, *kinds, request=None):
        while True:
            got = self.next()
            if got[0] in kinds and (request is None or got[3] == request):
                return got

    def status(self):
        """Something that is answered at once."""
        self.send(CALL, text("status"), request=0xffffffff)
        return self.next()

    def close(self):
        self.socket.close()


def word(error):
    n = struct.unpack_from(">H", error[4])[0]
    return error[4][2:2 + n].decode()


def words(message):
    """The two texts of an ERROR, or of a STATE behind its number."""
    body = message[4][1:] if message[0] == STATE else message[4]
    n = struct.unpack_from(">H", body)[0]
    m = struct.unpack_from(">H", body, 2 + n)[0]
    return body[2:2 + n].decode(), body[4 + n:4 + n + m].decode()


@contextlib.contextmanager
def member(uid, gid=None, groups=None):
    """Another user, for what is done inside: only sockets that connect there are that user's."""
    old = os.getegid(), os.getgroups()
    if groups is not None:
        os.setgroups(groups)
    if gid is not None:
        os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(old[0])
        os.setgroups(old[1])
