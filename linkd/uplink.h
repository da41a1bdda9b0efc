/* A host's control socket to one relay: connects, registers, and comes back after every loss.
 *
 *   WAITING ──timer──▶ CONNECTING ──open──▶ REGISTERING ──registered──▶ REGISTERED
 *      ▲                    │                    │                          │
 *      └────────────────────┴──── any loss ──────┴──────────────────────────┘ */
#pragma once

#include "agent.h"
#include "liblinkproto/buf.h"

typedef struct Uplink Uplink;
typedef struct Dialback Dialback;

typedef enum UplinkState {
        UPLINK_WAITING,
        UPLINK_CONNECTING,
        UPLINK_REGISTERING,
        UPLINK_REGISTERED,
} UplinkState;

struct Uplink {
        Uplink *next;
        Host *host;
        char *url; /* normalized */
        UplinkState state;
        time_t since;
        char cause[160]; /* of the last loss; empty if none since registered */
        unsigned failures;
        uint64_t registered_msec; /* on the loop's clock */
        Ws *ws;
        Timer *timer;
        Dialback *dialbacks;
        unsigned n_dialbacks;
        bool told_full; /* that links are dropped: once, until there is room again */
};

/* url: normalized; copied. Not started. */
int uplink_new(Uplink **ret, Host *host, const char *url) _must_use_;
/* Ends the socket and the dial-backs in flight; sessions that stand live on. */
Uplink *uplink_free(Uplink *u);
void uplink_start(Uplink *u);
/* Asks for `usage`; usage_on_message() gets the answer. 0; -ENOTCONN: it is not registered. */
int uplink_ask_usage(Uplink *u) _must_use_;
const char *uplink_state_name(UplinkState state);
/* Appends {url, host, state, since, cause?}. */
void uplink_describe(const Uplink *u, Buf *out);
/* The members alone. */
void uplink_describe_members(const Uplink *u, Buf *out);
