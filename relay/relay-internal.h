/* The relay's state, for its own files. */
#pragma once

#include "iptable.h"
#include "link.h"
#include "relay.h"
#include "replay.h"
#include "stats.h"
#include "wheel.h"

typedef struct Listener {
        uv_poll_t poll;
        Relay *relay;
        int fd;
        unsigned port;
        bool watching;
        char *name; /* owned */
        bool is_unix;
} Listener;

struct Relay {
        uv_loop_t *loop;
        RelayConfig config;
        uv_timer_t sweep, holds;
        uint8_t *read_buffer; /* WSFRAME_HEAD_MAX + READ_BYTES */

        Listener *listeners[LISTENERS_MAX];
        size_t n_listeners;
        uint64_t accept_again_msec; /* not 0: accepting pauses until then */
        int spare_fd;               /* given up to accept and close when there are none */

        IpTable ips;
        Replay replay;
        HashMap addresses; /* by text */
        HashMap links;     /* by id */

        Wheel wheel;
        ConnList all;   /* those that live */
        size_t n_conns; /* with those whose memory is still there */
        ConnList deadlines[N_DEADLINES], pings, stalls;
        LinkList idle, usage;

        Stats stats;
        Buf stats_document; /* of a relay with many links */
        uint64_t stats_document_msec;
        size_t n_heads; /* connections without a whole head */
        uint64_t max_connections;
        uint64_t complained_msec[N_REFUSALS]; /* when the log was last told */
        uint64_t swept_msec;                  /* when the sweep last ran */

        bool stopping;
        uint64_t stop_end_msec; /* when the drain is over */
        uint64_t stop_drain_msec;
        size_t stop_total; /* WebSockets that were open when the stop began */
        size_t n_handles;  /* timers and listeners that have not closed yet */
        RelayStopped stopped;
        void *stopped_data;
};

static inline uint64_t relay_now_msec(const Relay *r)
{
        return uv_now(r->loop);
}

/* Wall clock, msec since the epoch. */
int64_t relay_wall_msec(void);
void relay_log(Relay *r, RelayLogLevel level, const char *event, const char *format, ...)
        _printf_(4, 5);
/* Somebody was refused something: counts it, and tells the log now and then. */
void relay_count_refusal(Relay *r, Refusal why);
/* Of what iptable_open said. */
Refusal relay_refusal_of(int err);
/* /v1/stats, from memory if it was just made and is large. */
void stats_document(Relay *r, Buf *b);
/* Looks whether the stop is complete. */
void relay_check_stopped(Relay *r);
/* Whether one more connection may be taken. */
bool relay_has_room(const Relay *r);

/* listener.c */
void listener_close_all(Relay *r);
void listener_resume(Relay *r, uint64_t now_msec);

/* control.c */
/* A whole control message. */
void control_message(Conn *c, const uint8_t *text, size_t n);

/* splice.c */
/* Payload from c. data has WSFRAME_HEAD_MAX writable bytes before it. */
void splice_bytes(Conn *c, uint8_t *data, size_t len);
/* Goes on where c's payload was held back, if it may. */
void splice_resume(Conn *c);
/* The holds that are due. */
void splice_holds(Relay *r, uint64_t now_msec);

/* http.c */
struct WsRequest;
void http_answer(Conn *c, const struct WsRequest *q);
void http_bad_request(Conn *c);
