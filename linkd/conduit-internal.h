/* What the files of a conduit share: conduit.c (life, and what comes in) and conduit-out.c
 * (requests and events on their way out, until they are answered or written). */
#pragma once

#include "conduit.h"
#include "limits.h"
#include "timer.h"

/* A request of ours, until it is answered. */
typedef struct Pending {
        struct Pending *next;
        ConduitUser *user;
        uint32_t token;
        uint64_t id; /* on the wire, in this direction */
        uint64_t deadline_msec, timeout_msec;
        bool sent;
        size_t cost; /* still to be credited: 0 once it was */
        size_t len;
        char cmd[];
} Pending;

/* An event that waits for a session, or a payload for the peer's cap. */
typedef struct HeldEvent {
        struct HeldEvent *next;
        ConduitUser *user;
        uint32_t token;
        size_t cost;
        size_t data_len, payload_len;
        bool has_payload;
        uint8_t bytes[]; /* data, payload */
} HeldEvent;

/* A request of the other end that a user is to answer. */
typedef struct Incoming {
        struct Incoming *next;
        ConduitUser *user;
        uint32_t number;
        size_t id_len;
        char id[ID_TEXT_MAX]; /* echoed as the text it came in */
} Incoming;

/* Sent, not written yet: whom to tell. */
typedef struct Flight {
        struct Flight *next;
        uint64_t seq;
        ConduitUser *user; /* NULL: gone */
        uint32_t event_token;
        Pending *request; /* NULL: none, or it is over */
        size_t cost;
        bool own_answer; /* linkd's own error to a request: no application's credit bounds these */
} Flight;

struct Conduit {
        uv_loop_t *loop;
        bool resend, paused;
        const ConduitHandler *handler;
        void *userdata;
        Session *session;
        char cause[200]; /* why there is none; may be empty */
        ConduitUser *users;
        Pending *pending, **pending_end;
        size_t retained; /* bytes of pending */
        unsigned n_pending;
        HeldEvent *held, **held_end;
        uint64_t framed_deadline_msec; /* of the session: how long payloads wait for its cap */
        Incoming *incoming;
        unsigned n_incoming;
        uint32_t last_number;
        uint64_t last_id;
        Flight *flights, **flights_end;
        unsigned n_own_answers; /* in flight */
        Timer *timer;
        uint64_t armed_msec; /* when it is due, if it is active */
};

/* u may be NULL; nothing is said of a cost or token of 0. */
void conduit_credit(ConduitUser *u, size_t cost);
void conduit_failed(ConduitUser *u, uint32_t token, const char *word, const char *message);

/* The one timer runs to the earliest deadline there is, or to one that is over. */
void conduit_arm(Conduit *c);
void conduit_on_timer(void *userdata);

/* Take one out of its list (a request also out of the flights); the caller owns it. */
Pending *conduit_take_pending(Conduit *c, Pending **at);
HeldEvent *conduit_take_held(Conduit *c, HeldEvent **at);
/* The request is over: its credit; then the caller tells its user. */
void conduit_finish_pending(Conduit *c, Pending *p);
/* Credit of requests that were written while too much was retained. */
void conduit_release_retained(Conduit *c);

/* Seals and queues a plaintext. u NULL: linkd's own. 0 or negative errno; nothing was queued then.
 */
int conduit_send_plain(Conduit *c, Buf *plain, ConduitUser *u, Pending *request,
                       uint32_t event_token, size_t cost) _must_use_;
/* Sends what waits. */
void conduit_flush(Conduit *c);
