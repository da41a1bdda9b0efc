/* One accepted socket: request head, WebSocket frames in and out, its end.
 *
 *   socket.c       the only file with system calls on it
 *   conn.c         bytes in and out, close, time-outs
 *   conn-frames.c  control messages and control frames
 *   conn-head.c    the request head: upgrade or HTTP answer
 *   control.c      what control messages mean (roles, addresses, links)
 *   splice.c       payload from one end of a link to the other
 *
 * What an end is sent is one stream: `out` is what the socket has not taken yet. A control frame of
 * our own goes in only where that stream is at a frame's boundary (tx_mid_frame is false). */
#pragma once

#include <sys/queue.h>

#include "iptable.h"
#include "liblinkproto/buf.h"
#include "liblinkproto/control.h"
#include "liblinkproto/wsframe.h"
#include "relay.h"
#include "wheel.h"

typedef struct Conn Conn;
typedef struct Link Link;
typedef struct Address Address;

typedef enum ConnPhase {
        CONN_HEAD,    /* the request head is awaited */
        CONN_OPEN,    /* a WebSocket */
        CONN_CLOSING, /* we have closed: what is queued goes out, then the peer's answer is awaited
                       */
        CONN_DEAD,    /* the socket is closed; the memory goes at the end of the loop's turn */
} ConnPhase;

typedef enum ConnRole {
        ROLE_NEW,
        ROLE_CONTROL,   /* a host's control socket */
        ROLE_CLIENT,    /* introduced, or further */
        ROLE_RELAY_END, /* a host's end of a link */
} ConnRole;

/* Deadlines of constant length, so that each list is sorted by itself. A connection is in one at
 * most. */
typedef enum ConnDeadline {
        DEADLINE_HEAD,
        DEADLINE_ROLE,
        DEADLINE_HTTP,
        DEADLINE_LINGER,
        N_DEADLINES,
        DEADLINE_NONE = N_DEADLINES,
} ConnDeadline;

/* A control frame's payload as it comes, and the pong that it may become. */
typedef struct ControlFrame {
        uint8_t len;
        bool pong_due;
        uint8_t data[WSFRAME_CONTROL_MAX];
} ControlFrame;

struct Conn {
        uv_poll_t poll; /* socket.c's */
        Relay *relay;
        int fd;
        int watched;           /* events that poll looks for */
        uint8_t phase;         /* ConnPhase */
        uint8_t role;          /* ConnRole */
        uint8_t deadline;      /* ConnDeadline */
        bool spliced : 1;      /* all that comes is payload for the link's other end */
        bool held : 1;         /* a frame's header has been charged and waits in the wheel */
        bool head_due : 1;     /* that wait is over; the header is not forwarded yet */
        bool tx_mid_frame : 1; /* see above */
        bool stalled : 1;      /* in the relay's stall list: out is not empty */
        bool alive : 1;        /* something came since the last ping */
        bool ping_sent : 1, ping_due : 1;
        bool ping_behind : 1;  /* when it was sent, other bytes were still on their way */
        bool close_queued : 1; /* our close frame is in out, or sent */
        bool rx_broken : 1;    /* closing over a fault: what comes is no frames any more */
        bool tx_broken : 1;    /* it takes nothing any more, but is still read to its end */
        bool peer_closed : 1;  /* its close frame has come: nothing is awaited after ours */
        bool http : 1;         /* an HTTP answer: close after it */
        bool read_on_end : 1;  /* the peer has shut its side */
        uint16_t close_code;   /* CONN_CLOSING: ours */

        WsReceiver rx;
        ControlFrame *frame; /* NULL: no control frame with a payload is under way */
        Buf in;              /* head or control text in pieces; payload behind a held header */
        size_t in_off;       /* not 0: payload is kept */
        Buf out;
        size_t out_off;

        TAILQ_ENTRY(Conn) in_deadline, in_ping, in_stall, in_all;
        uint64_t deadline_msec, ping_msec, look_msec; /* when it entered that list */
        uint64_t stall_msec;                          /* when it last took something */
        size_t stall_bytes;                           /* unacknowledged at the last look */
        WheelEntry hold;

        IpEntry *ip;
        char *host; /* Host of the upgrade; NULL: not needed */
        union {
                struct {
                        Link *link; /* ROLE_CLIENT, ROLE_RELAY_END */
                };
                struct { /* ROLE_CONTROL */
                        LIST_HEAD(, Address) addresses;
                        LIST_HEAD(, Link) waiting; /* introduced or pending through this socket */
                        unsigned n_addresses;
                };
        };
};

typedef TAILQ_HEAD(ConnList, Conn) ConnList;

/* Takes a connected, non-blocking socket over. sa: its other end. 0 or negative errno (fd is
 * closed). */
int conn_new(Relay *r, int fd, const struct sockaddr *sa) _must_use_;
/* What the socket has. */
void conn_on_readable(Conn *c);
void conn_on_writable(Conn *c);
/* The socket is of no use any more. */
void conn_on_failed(Conn *c);

/* Queues bytes of the stream to the peer, and sends what the socket takes. */
void conn_write(Conn *c, const void *p, size_t n);
/* Sends a control message as a text frame. An end that lets too many wait is closed 4006. */
void conn_send_text(Conn *c, const char *text, size_t n);
/* Whether a pong or a ping waits for a frame's boundary. */
static inline bool conn_has_control(const Conn *c)
{
        return c->ping_due || (c->frame && c->frame->pong_due);
}
/* Queues them behind what is there, if that ends at a frame's boundary. */
void conn_insert_control(Conn *c);
/* The same into an empty output only: so a peer that pings and never reads has one pong waiting,
 * not many. */
void conn_flush_control(Conn *c);
/* Whether anything waits for the socket. */
static inline bool conn_has_output(const Conn *c)
{
        return c->out.len > c->out_off;
}

/* Ends it with a close code: leaves its role (control_left), sends what is queued and the code.
 * Closing twice is fine. */
void conn_close(Conn *c, unsigned code);
/* All that it will be sent is with the socket, and its close frame is not awaited: an HTTP answer,
 * or a close over a fault. */
void conn_said_all(Conn *c);
/* Ends it without a word. */
void conn_drop(Conn *c);

/* Reads or not, writes or not: computed from the state. */
void conn_update_watch(Conn *c);
void conn_set_deadline(Conn *c, ConnDeadline d);

/* conn-frames.c. Feeds frames that are there. data has WSFRAME_HEAD_MAX writable bytes before it.
 */
void conn_take_frames(Conn *c, uint8_t *data, size_t len);
/* What a control frame means; false: c is closed, or dead. Called at its end. */
bool conn_control_frame(Conn *c);
/* Keeps a piece of a control frame's payload. */
bool conn_control_data(Conn *c, const uint8_t *p, size_t n);
/* What comes while c closes: only the peer's close frame counts. */
void conn_discard_frames(Conn *c, uint8_t *data, size_t len);

/* conn-head.c. data has WSFRAME_HEAD_MAX writable bytes before it. */
void conn_head_bytes(Conn *c, uint8_t *data, size_t len);

/* The deadlines: called by the relay's sweep. */
void conn_sweep(Relay *r, uint64_t now_msec);
