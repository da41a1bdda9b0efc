/* libwebsockets on the daemon's uv loop: its context, its vhosts, and their end. */
#include <errno.h>

#include "limits.h"
#include "log.h"
#include "ws-internal.h"

const lws_retry_bo_t ws_no_validity_checks;

struct lws_vhost *ws_loop_vhost(WsLoop *l, bool tls)
{
        struct lws_vhost **vhost = tls ? &l->tls_vhost : &l->plain_vhost;
        struct lws_context_creation_info info = {
                .port = CONTEXT_PORT_NO_LISTEN,
                .protocols = ws_protocols,
                .vhost_name = tls ? "tls" : "plain",
                .gid = (gid_t)-1,
                .uid = (uid_t)-1,
                /* The system's CA list costs a megabyte: only who dials wss pays for it. */
                .connect_timeout_secs = LWS_TIMEOUT_SEC,
                .options = tls ? LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT : 0,
                .retry_and_idle_policy = &ws_no_validity_checks,
        };

        if (!*vhost)
                *vhost = lws_create_vhost(l->context, &info);
        return *vhost;
}

static void on_lws_log(int level, const char *line)
{
        int n = (int)strcspn(line, "\n");

        if (level & LLL_ERR)
                log_debug("libwebsockets: %.*s", n,
                          line); /* every failure is told by its owner too */
}

int ws_loop_new(WsLoop **ret, uv_loop_t *loop)
{
        void *loops[] = {loop};
        struct lws_context_creation_info info = {
                .port = CONTEXT_PORT_NO_LISTEN,
                .protocols = ws_protocols,
                .gid = (gid_t)-1,
                .uid = (uid_t)-1,
                .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                           LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
                .foreign_loops = loops,
                /* Our own deadlines are shorter. */
                .timeout_secs = LWS_TIMEOUT_SEC,
                .pt_serv_buf_size = WS_RX_CHUNK_BYTES,
                .retry_and_idle_policy = &ws_no_validity_checks,
        };
        WsLoop *l = calloc(1, sizeof(*l));

        if (!l)
                return -ENOMEM;
        info.user = l;
        lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
        /* libwebsockets would send every connection, loopback too, through this proxy. */
        if (unsetenv("http_proxy") < 0)
                log_warning("cannot clear http_proxy: %s", strerror(errno));
        l->uv = loop;
        l->context = lws_create_context(&info);
        if (!l->context) {
                free(l);
                return -EIO;
        }
        *ret = l;
        return 0;
}

static void on_stop_timer(void *userdata)
{
        WsLoop *l = userdata;

        l->stop_timer = timer_free(l->stop_timer);
        lws_context_destroy(l->context);
}

void ws_loop_stop(WsLoop *l)
{
        l->stop_timer = timer_new(l->uv, on_stop_timer, l);
        if (l->stop_timer)
                timer_start(l->stop_timer, l->n_ws ? STOP_MSEC : 0);
        else
                lws_context_destroy(l->context);
}

WsLoop *ws_loop_free(WsLoop *l)
{
        if (!l)
                return NULL;
        lws_context_destroy(l->context);
        free(l);
        return NULL;
}
