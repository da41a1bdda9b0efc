/* What ws.c (one connection) and ws-loop.c (libwebsockets on the daemon's loop) share. */
#pragma once

#include <libwebsockets.h>

#include "timer.h"
#include "ws.h"

struct WsLoop {
        uv_loop_t *uv;
        struct lws_context *context;
        struct lws_vhost *plain_vhost, *tls_vhost; /* NULL until first used */
        Timer *stop_timer;                         /* NULL: not stopping, or stopped */
        unsigned n_ws;                             /* that exist, orphans included */
};

/* Liveness is judged by ws_keepalive; the library's timers walk a list (see docs/ARCHITECTURE.md).
 */
extern const lws_retry_bo_t ws_no_validity_checks;
extern const struct lws_protocols ws_protocols[];

/* NULL: it could not be made. */
struct lws_vhost *ws_loop_vhost(WsLoop *l, bool tls);
