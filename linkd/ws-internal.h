/* What ws.c (one connection), ws-dial.c (how it comes about), ws-loop.c (libwebsockets on the
 * daemon's loop) and ws-tls.c (who the relay is) share. */
#pragma once

#include <libwebsockets.h>
#include <openssl/ssl.h>

#include "dial.h"
#include "liblinkproto/buf.h"
#include "liblinkproto/inviteuri.h"
#include "timer.h"
#include "ws.h"

struct WsLoop {
        uv_loop_t *uv;
        const Settings *settings;
        struct lws_context *context;
        struct lws_vhost *plain_vhost, *tls_vhost; /* NULL until first used */
        Timer *stop_timer;                         /* NULL: not stopping, or stopped */
        unsigned n_ws;                             /* that exist, orphans included */
        int stage_fd;                              /* see ws_loop_hand_over */
        char stage_name[16];
};

/* CONNECTING → OPEN → CLOSED. The owner's ws_free leaves an orphan that lives until libwebsockets
 * has let go of its wsi. */
typedef enum WsState { WS_CONNECTING, WS_OPEN, WS_CLOSED } WsState;

struct Ws {
        WsLoop *loop;
        WsState state;
        RelayUrl url;
        char path[80];
        struct lws *wsi; /* NULL: none, or gone */
        bool dying;      /* it failed at once, and will be gone soon */
        bool owned;      /* the owner has not called ws_free yet */
        bool in_connect; /* inside ws_loop_connect */
        Dial *dial;      /* NULL: TCP is connected */
        int fd;          /* connected, until libwebsockets has it; -1 */
        const uint8_t *pin;
        int64_t date_msec;
        char failure[160];        /* why it did not connect */
        const WsHandler *handler; /* NULL: nobody listens */
        void *userdata;
        Timer *timer; /* connecting, then flushing: the deadline */
        Timer *ping_timer;
        uint64_t ping_interval_msec, ping_deadline_msec;
        bool ping_due, ping_unanswered, heard;
        WsMessage *queue, **queue_end;
        size_t queued_bytes;
        Buf rx; /* a message that came in parts */
        size_t message_max;
        bool paused, finish; /* finish: close once the queue is empty */
        unsigned finish_code;
        unsigned close_code; /* that came from the other end */
};

/* Frees what nothing refers to. */
void ws_destroy(Ws *w);
/* A Ws goes when neither its owner nor libwebsockets refers to it any more. */
void ws_maybe_destroy(Ws *w);
/* The connection is over: tells the owner, or lets an orphan go. w may be gone afterwards. */
void ws_closed(Ws *w, const char *reason);
/* Of w->timer. */
void ws_on_deadline(void *w);

/* libwebsockets' callbacks until the connection is open: 0, or -1 to end it. */
int ws_on_created(Ws *w, struct lws *wsi);
void ws_on_verify(Ws *w, X509_STORE_CTX *store);
int ws_on_request(Ws *w, struct lws *wsi);
int ws_on_answer(Ws *w, struct lws *wsi);

/* Liveness is judged by ws_keepalive; the library's timers walk a list (see docs/ARCHITECTURE.md).
 */
extern const lws_retry_bo_t ws_no_validity_checks;
extern const struct lws_protocols ws_protocols[];

/* NULL: it could not be made. */
struct lws_vhost *ws_loop_vhost(WsLoop *l, bool tls);
/* libwebsockets opens its own socket to whom it connects. So it connects to a Unix socket of this
 * process (info->address is set), which succeeds at once, and puts the socket that dial.h connected
 * in its place while LWS_CALLBACK_WSI_CREATE is called: after its connect, before its first byte.
 * false: it failed at once; if that callback came, LWS_CALLBACK_WSI_DESTROY comes later. */
bool ws_loop_connect(WsLoop *l, struct lws_client_connect_info *info);
/* In that callback. fd is closed. 0 or negative errno. */
int ws_loop_hand_over(struct lws *wsi, int fd) _must_use_;

/* OpenSSL's verify callback; pin NULL: CAs decide. NULL: go on; else what is wrong, a static text.
 */
const char *ws_tls_verify(X509_STORE_CTX *store, const uint8_t *pin);
/* Before the first byte is sent through it. NULL: it is the relay; else what is wrong. */
const char *ws_tls_check(SSL *ssl, const char *host, const uint8_t *pin);
