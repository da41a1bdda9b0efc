/* A sealed session over a spliced WebSocket: seals and opens frames, exchanges `cap`, cuts
 * envelopes. Knows nothing of requests' lives (conduit.h) or of how the connection came about. */
#pragma once

#include "liblinkproto/envelope.h"
#include "liblinkproto/seal.h"
#include "ws.h"

typedef struct Session Session;

/* Slices are gone after the call; any callback may free the session. */
typedef struct SessionHandler {
        /* The first frame has opened: whoever it is holds the keys. Before all others; may be NULL.
         */
        void (*on_heard)(void *userdata);
        /* req, res or evt. */
        void (*on_envelope)(void *userdata, const Envelope *e);
        /* The peer has said that it reads the framed form, so payloads can be sent. */
        void (*on_framed)(void *userdata);
        /* The message that session_send numbered seq has been written to the network. */
        void (*on_written)(void *userdata, uint64_t seq);
        /* The end; the owner still calls session_free. word: an error word of docs/IPC.md. */
        void (*on_ended)(void *userdata, const char *word, const char *reason);
} SessionHandler;

/* Takes over w (open, handshake done) and keys (secret_object_new), also on failure, and sends
 * `cap`. */
int session_new(Session **ret, uv_loop_t *loop, Ws *w, SealPair *keys,
                const SessionHandler *handler, void *userdata) _must_use_;
/* Ends it: what was sent goes out first. NULL is fine. */
Session *session_free(Session *s);
/* Ends it without what is queued: a revocation. */
Session *session_kill(Session *s);

bool session_is_framed(const Session *s);
/* Seals and sends an envelope's plaintext, which an envelope_*() function made for
 * session_is_framed(); it is sealed where it is, and plain is empty then. *ret_seq: its number for
 * on_written. 0; -EMSGSIZE (over 16 MiB sealed); -ENOTCONN; -ENOMEM; -EOVERFLOW. */
int session_send(Session *s, Buf *plain, uint64_t *ret_seq) _must_use_;
/* Whether an application holds it: a held session is kept alive across quiet times. */
void session_set_held(Session *s, bool held);
/* Ends it if the other end of TCP has confirmed nothing of what was sent for SESSION_DEAD_MSEC. A
 * socket that is merely held (by a relay's shaping, or a slow reader) confirms. changed: the
 * network has; a keepalive is sent, and must be confirmed within PING_DEADLINE_MSEC. */
void session_probe(Session *s, bool changed);
/* Bytes of a message that has begun to come and is not whole. */
size_t session_unfinished_bytes(const Session *s);
/* Stops or resumes reading from the network. */
void session_pause(Session *s, bool paused);
