/* What ws.c, ws-out.c, ws-in.c (one connection), ws-loop.c (all of them on the daemon's loop) and
 * ws-stream.c (its bytes, plain or in TLS) share. */
#pragma once

#include <openssl/ssl.h>
#include <sys/queue.h>

#include "dial.h"
#include "liblinkproto/buf.h"
#include "liblinkproto/inviteuri.h"
#include "liblinkproto/wsclient.h"
#include "liblinkproto/wsframe.h"
#include "limits.h"
#include "timer.h"
#include "ws.h"

struct WsLoop {
        uv_loop_t *uv;
        const Settings *settings;
        Hoard *hoard;
        SSL_CTX *tls; /* NULL until used with these settings: the system's CAs cost a megabyte */
        uv_prepare_t flush; /* once a turn of the loop: sends what was queued in it */
        LIST_HEAD(, Ws) all;
        LIST_HEAD(, Ws) dirty; /* something is to be sent, or was kept while paused */
        uint8_t *buffer;       /* one read; WS_READ_BYTES */
        uint8_t masks[4 * WS_MASKS];
        size_t n_masks; /* of these that are not used yet */
        Timer *stop_timer;
        unsigned n_ws; /* that exist, orphans included */
        bool stopping;
};

/* NULL: it could not be made. */
SSL_CTX *ws_loop_tls(WsLoop *l);
/* One has gone. */
void ws_loop_left(WsLoop *l);
/* Four random bytes that no frame had before. */
void ws_loop_mask(WsLoop *l, uint8_t mask[4]);
/* ws.c: ends it at once; nobody owns it. */
void ws_abort(Ws *w);
/* ws.c: sends, and takes what was kept. */
void ws_work(Ws *w);

/* ---- ws-stream.c ---- */

typedef struct WsStream {
        int fd; /* -1: closed */
        SSL *ssl;
        const uint8_t *pin;                      /* NULL: none */
        bool read_wants_write, write_wants_read; /* TLS */
        char fault[160];                         /* of a failure that is TLS's own */
} WsStream;

/* Takes a connected socket over. tls NULL: plain. pin: NULL for none; must stay. 0 or -ENOMEM (fd
 * is closed). */
int ws_stream_open(WsStream *s, int fd, SSL_CTX *tls, const char *host,
                   const uint8_t *pin) _must_use_;
/* TLS's handshake. 0: done, the other end is who it must be; -EAGAIN; -EPROTO: fault says why. */
int ws_stream_handshake(WsStream *s) _must_use_;
/* Bytes; 0: the end; -EAGAIN; negative errno. */
ssize_t ws_stream_read(WsStream *s, void *p, size_t n);
ssize_t ws_stream_write(WsStream *s, const void *p, size_t n);
/* Whether bytes were read off the socket that ws_stream_read has not given out. */
bool ws_stream_has_more(const WsStream *s);
void ws_stream_close(WsStream *s);

/* ---- one connection ---- */

typedef enum WsState {
        WS_DIALING,
        WS_SECURING,
        WS_UPGRADING,
        WS_OPEN,
        WS_CLOSING, /* our close frame is queued or sent */
        WS_CLOSED,  /* the socket is gone */
} WsState;

struct Ws {
        WsLoop *loop;
        LIST_ENTRY(Ws) in_all, in_dirty;
        WsState state;
        RelayUrl url;
        char path[80];
        bool owned;     /* the owner has not called ws_free yet */
        bool dirty;     /* in the loop's list */
        bool has_poll;  /* poll is initialised */
        unsigned depth; /* of callbacks that are running: not freed under them */
        Dial *dial;     /* DIALING */
        uv_poll_t poll;
        int watched;
        WsStream stream;
        bool has_pin;           /* else CAs decide */
        uint8_t pin[PIN_BYTES]; /* of the relay's TLS key */
        uint8_t nonce[WSCLIENT_NONCE_BYTES];
        int64_t date_msec;
        const WsHandler *handler; /* NULL: nobody listens */
        void *userdata;
        /* The deadline: connecting; a message's next piece; flushing; the answer to our close. */
        Timer *timer;
        Timer *ping_timer;
        uint64_t ping_interval_msec, ping_deadline_msec;
        bool ping_due, ping_unanswered, heard;

        /* Out: queue → (framed, masked, a batch at a time) out → socket. */
        WsMessage *queue, **queue_end; /* the first may be framed in part: queue_off */
        size_t queue_off;
        size_t queued_bytes;
        uint8_t mask[4];
        WsMessage *sent, **sent_end; /* wholly in out: told when that has gone */
        Buf out;
        size_t out_off;
        bool deaf;   /* what comes is no frames any more */
        bool finish; /* a close frame once the queue is empty */
        unsigned finish_code;
        bool pong_due;
        uint8_t pong_len, pong[WSFRAME_CONTROL_MAX];

        /* In. */
        WsReceiver rx;
        Buf message;              /* that came in parts; before OPEN the answer's head */
        size_t counted, progress; /* of it: told the hoard; at the last look of the deadline */
        size_t message_max;
        uint8_t control_len, control[WSFRAME_CONTROL_MAX];
        bool text; /* the message that comes */
        bool told; /* with its data, before the end of its frame: the owner may pause between the
                      two */
        bool paused;
        Buf kept;            /* read, but paused before it was looked at */
        unsigned close_code; /* that came from the other end */
};

/* ws.c: the connection is over: tells the owner, or lets an orphan go. w may be gone afterwards. */
void ws_closed(Ws *w, const char *reason);
/* ws.c: what wsreceiver_next said of what came: closes with a code and tells the owner at once. */
void ws_fault(Ws *w, int error);

/* ---- ws-out.c ---- */

/* Something is to be done for it before the loop waits. */
void ws_make_dirty(Ws *w);
void ws_make_clean(Ws *w);
void ws_clear_messages(WsMessage **first, WsMessage ***end);
/* A whole masked frame into out. */
void ws_add_frame(Ws *w, uint8_t opcode, const uint8_t *p, size_t n);
bool ws_has_output(const Ws *w);
/* Writes one batch. 0 or negative errno. */
int ws_flush(Ws *w) _must_use_;

/* ---- ws-in.c ---- */

/* What has come of a message has changed: its bytes count (hoard.h), and it must go on. */
void ws_note_message(Ws *w);
/* Its next piece has MESSAGE_STEP_MSEC from now. */
void ws_begin_step(Ws *w);
/* That time is up. false: too little came, though it was read. */
bool ws_message_goes_on(Ws *w);
bool ws_may_read(const Ws *w);
/* One read; more only where TLS has it already. */
void ws_read_some(Ws *w);
/* Bytes that wait from before a pause, or from behind the answer. */
void ws_take_kept(Ws *w);
