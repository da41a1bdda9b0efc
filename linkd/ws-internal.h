/* What ws.c (one connection), ws-loop.c (all of them on the daemon's loop) and ws-stream.c (its
 * bytes, plain or in TLS) share. */
#pragma once

#include <openssl/ssl.h>
#include <sys/queue.h>

#include "timer.h"
#include "ws.h"

struct WsLoop {
        uv_loop_t *uv;
        const Settings *settings;
        Hoard *hoard;
        SSL_CTX *tls;       /* NULL until first used: the system's CAs cost a megabyte */
        uv_prepare_t flush; /* once a turn of the loop: sends what was queued in it */
        LIST_HEAD(, Ws) all;
        LIST_HEAD(, Ws) dirty; /* something is to be sent, or was kept while paused */
        uint8_t *buffer;       /* one read; WS_READ_BYTES */
        Timer *stop_timer;
        unsigned n_ws; /* that exist, orphans included */
        bool stopping;
};

/* NULL: it could not be made. */
SSL_CTX *ws_loop_tls(WsLoop *l);
/* One has gone. */
void ws_loop_left(WsLoop *l);
/* ws.c: ends it at once; nobody owns it. */
void ws_abort(Ws *w);
/* ws.c: sends, and takes what was kept. */
void ws_work(Ws *w);

/* ---- ws-stream.c ---- */

typedef struct WsStream {
        int fd; /* -1: closed */
        SSL *ssl;
        const uint8_t *pin;
        bool read_wants_write, write_wants_read; /* TLS */
        char fault[160];                         /* of a failure that is TLS's own */
} WsStream;

/* Takes a connected socket over. tls NULL: plain. 0 or -ENOMEM (fd is closed). */
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
