/* What ws.c (one connection), ws-loop.c (libwebsockets on the daemon's loop) and ws-tls.c (who the
 * relay is) share. */
#pragma once

#include <libwebsockets.h>
#include <openssl/ssl.h>

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
