"""A frozen copy of the Link v1 wire: host, client and relay, in plain Python.

FROZEN. It was written from the text of the wire protocol alone and shares no code, no constant and
no helper with the product. It stands for the peers of other people that are in use out there, so
it is NEVER edited to follow a change of the product: when a test that uses it fails, the product
has changed the wire, and the product is wrong. The one reason to touch it is a mistake in it that
the text of the protocol or a vector in tests/data proves.

Needs Python 3.11 and the package `cryptography` (X25519, Ed25519, ChaCha20-Poly1305); SPAKE2 with
its P-256 arithmetic, Noise and WebSocket are its own. Not constant time: for tests only.

    ws.py        RFC 6455, both sides, with raw access for malformed traffic
    codec.py     base64url, lenStr, HKDF, numbers that keep their text
    header.py    frame 0 and the refusal                   (section 6)
    spake2.py    P-256 and SPAKE2 with its welcome         (section 6)
    noise.py     Noise_NKpsk0_25519_ChaChaPoly_SHA256      (section 6)
    seal.py      sealed frames                             (section 6)
    register.py  host keys, addresses, register auth       (section 4)
    credential.py                                          (section 9)
    envelope.py  framed and legacy messages                (section 7)
    session.py   requests, events, cap over a sealed splice
    host.py      the host                                  (section 8)
    client.py    the client, and one that reconnects       (section 8)
    relay.py     a small relay that can misbehave          (sections 2 to 5)
"""
