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
void relay_log(Relay *r, RelayLogLevel level, const char *format, ...) _printf_(3, 4);
/* Looks whether the stop is complete. */
void relay_check_stopped(Relay *r);

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
