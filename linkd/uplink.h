/* A host's control socket to one relay: connects, registers, and comes back after every loss.
 *
 *   WAITING ──timer──▶ CONNECTING ──open──▶ REGISTERING ──registered──▶ REGISTERED
 *      ▲                    │                    │                          │
 *      └────────────────────┴──── any loss ──────┴──────────────────────────┘
 *
 * While registered it resolves its own address there from time to time (selfcheck.h): a proxy that
 * shares addresses out over several relays may have moved it. */
#pragma once

#include "agent.h"
#include "liblinkproto/buf.h"
#include "log.h"

typedef struct Uplink Uplink;
typedef struct Dialback Dialback;
typedef struct WaitingLink WaitingLink;
typedef struct SelfCheck SelfCheck;

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
        char cause[240]; /* of the last loss; empty if none since registered */
        unsigned failures;
        uint64_t registered_msec;  /* on the loop's clock */
        uint64_t usage_asked_msec; /* the same; 0: no answer is due */
        unsigned round_trip_msec;  /* of the last question for usage; 0: not known */
        Ws *ws;
        Timer *timer;
        /* Registers: the time stamp of the last one that was sent and of the last that the relay
         * took, which are never signed again; and by how much the relay's clock is ahead, used once
         * after it has refused ours. */
        int64_t sent_ts_msec, taken_ts_msec, offset_msec;
        bool offset_known; /* from the Date of the answer to the present connection's upgrade */
        int64_t date_offset_msec;
        bool replaced; /* another socket took the address: not hurried */
        SelfCheck *self_check;
        Timer *self_check_timer;
        Dialback *dialbacks;
        unsigned n_dialbacks;
        LogLimit log;      /* of its own comings and goings: a relay may hang up again and again */
        LogLimit link_log; /* of what becomes of links: a relay can bring them without end */
        WaitingLink *waiting, **waiting_end; /* for a slot */
        unsigned n_waiting;
        Timer *waiting_timer;
};

/* url: normalized; copied. Not started. */
int uplink_new(Uplink **ret, Host *host, const char *url) _must_use_;
/* Ends the socket and the dial-backs in flight; sessions that stand live on. */
Uplink *uplink_free(Uplink *u);
void uplink_start(Uplink *u);
/* Asks for `usage`; usage_on_message() gets the answer. 0; -ENOTCONN: it is not registered. */
int uplink_ask_usage(Uplink *u) _must_use_;
/* After a wake-up or a change of the network: dials now, or pings with a short deadline. */
void uplink_probe(Uplink *u);
/* How often it checks itself has changed. */
void uplink_rearm(Uplink *u);
const char *uplink_state_name(UplinkState state);
/* Appends {url, host, state, since, cause?}. */
void uplink_describe(const Uplink *u, Buf *out);
/* The members alone. */
void uplink_describe_members(const Uplink *u, Buf *out);
