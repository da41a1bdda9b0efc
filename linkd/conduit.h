/* The life of requests and events on top of a sealed session that may come and go.
 *
 *   IPC session, one-shot asks          (ConduitUser)
 *              │
 *           Conduit                     pending requests, held events, answers due
 *              │
 *           Session or none             a device's session, or whichever a peer link has just now
 *
 * A peer link attaches a new session after each reconnection; requests that were not answered are
 * then sent again. A device's conduit keeps its one session. */
#pragma once

#include "liblinkproto/ipcmsg.h"
#include "session.h"

typedef struct Conduit Conduit;
typedef struct ConduitUser ConduitUser;

/* What a user hears. Slices are gone after the call. NULL functions are not called. */
typedef struct ConduitUserOps {
        void (*on_request)(ConduitUser *u, uint32_t number, JsonSlice cmd);
        /* No answer to that request is wanted any more. */
        void (*on_cancel)(ConduitUser *u, uint32_t number);
        void (*on_event)(ConduitUser *u, JsonSlice data, const uint8_t *payload, size_t len);
        /* The answer to a request. ok: body is data, else the error, a JSON value. */
        void (*on_response)(ConduitUser *u, uint32_t token, bool ok, JsonSlice body);
        /* A request or event will not be answered or sent. */
        void (*on_failed)(ConduitUser *u, uint32_t token, const char *word, const char *message);
        /* An event with a token has been written to the network. */
        void (*on_event_done)(ConduitUser *u, uint32_t token);
        /* cost bytes that the user was charged are free again. */
        void (*on_credit)(ConduitUser *u, size_t cost);
} ConduitUserOps;

/* Embedded in whoever uses a conduit. */
struct ConduitUser {
        const ConduitUserOps *ops;
        uint8_t roles;     /* IPC_ROLE_*: which incoming messages it gets */
        bool blocked;      /* it cannot take more just now */
        size_t kept_bytes; /* of messages that came for it and that it keeps (hoard.h) */
        Conduit *conduit;
        ConduitUser *next;
};

typedef struct ConduitHandler {
        /* The session ended by itself and is gone; only for conduits that can attach another. */
        void (*on_session_ended)(void *userdata, const char *word, const char *reason);
        void (*on_framed)(void *userdata);
        /* The other end of a session has proved itself. Must not free the conduit. May be NULL. */
        void (*on_heard)(void *userdata);
} ConduitHandler;

/* resend: requests wait for the next session (a peer link); otherwise they fail with the session.
 */
int conduit_new(Conduit **ret, uv_loop_t *loop, bool resend, const ConduitHandler *handler,
                void *userdata) _must_use_;
/* Fails all that is pending with that word and message; ends the session, flushed. */
Conduit *conduit_free(Conduit *c, const char *word, const char *message);
/* Why there is no session just now, for requests whose time is over; "" or cut is fine. */
void conduit_note_cause(Conduit *c, const char *cause);
/* Ends the session as if the network had, but what is queued is sent first: on_session_ended
 * follows, and requests wait for the next session. Nothing happens without one. */
void conduit_end_session(Conduit *c, const char *word, const char *reason);
/* Ends the session at once, unflushed: a revocation. */
void conduit_kill_session(Conduit *c);

/* session_probe, if there is one. It may end, and a device's conduit with it. */
void conduit_probe(Conduit *c, bool changed);

/* Makes a session of an open connection and its keys (both taken over, also on failure), and sends
 * what waits. */
int conduit_attach(Conduit *c, Ws *w, SealPair *keys) _must_use_;
bool conduit_is_connected(const Conduit *c);
bool conduit_is_framed(const Conduit *c);
/* Whether nothing waits to be sent or answered. */
bool conduit_is_idle(const Conduit *c);
unsigned conduit_n_pending(const Conduit *c);
/* Bytes that the other end makes us keep (hoard.h). */
size_t conduit_kept_bytes(const Conduit *c);

void conduit_add_user(Conduit *c, ConduitUser *u);
/* Forgets a user: its requests and held events are dropped, requests it was to answer get the
 * error. */
void conduit_remove_user(ConduitUser *u);
/* The user's blocked flag changed. */
void conduit_update_flow(Conduit *c);

/* Sends a request; exactly one on_response or on_failed follows (maybe at once), unless
 * it is cancelled. cost: what to give back by on_credit. 0; -ENOMEM. */
int conduit_request(ConduitUser *u, uint32_t token, IpcStr cmd, uint64_t timeout_msec,
                    size_t cost) _must_use_;
/* Whether there was such a request. */
bool conduit_cancel(ConduitUser *u, uint32_t token);
/* Sends an event; token 0: no on_event_done or on_failed wanted. Held while there is no session. */
int conduit_event(ConduitUser *u, uint32_t token, IpcStr data, const uint8_t *payload, size_t len,
                  size_t cost) _must_use_;
/* Answers a request that on_request told. ok: body is JSON; else a JSON string. Unknown numbers are
 * ignored: it may just have been cancelled. */
int conduit_respond(ConduitUser *u, uint32_t number, bool ok, IpcStr body, size_t cost) _must_use_;
