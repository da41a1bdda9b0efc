/* libwebsockets on the daemon's uv loop: its context, its vhosts, and their end. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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
                .client_ssl_ca_filepath = tls ? l->settings->ca_file : NULL,
                .connect_timeout_secs = LWS_TIMEOUT_SEC,
                .options = !tls                   ? 0
                           : l->settings->ca_file ? LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
                                                            LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS
                                                  : LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
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

/* ---- handing a connected socket over ---- */

/* A name that the kernel chooses in the abstract namespace: nobody else can have it. */
static int open_stage(WsLoop *l)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        socklen_t size = sizeof(address.sun_family);

        l->stage_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (l->stage_fd < 0 || bind(l->stage_fd, (struct sockaddr *)&address, size) < 0 ||
            listen(l->stage_fd, 1) < 0)
                return -errno;
        size = sizeof(address);
        if (getsockname(l->stage_fd, (struct sockaddr *)&address, &size) < 0)
                return -errno;
        size -= offsetof(struct sockaddr_un, sun_path);
        if (size < 2 || size + 2 > sizeof(l->stage_name))
                return -ENAMETOOLONG;
        memcpy(l->stage_name, "+@", 2); /* libwebsockets' notation */
        memcpy(l->stage_name + 2, address.sun_path + 1, size - 1);
        return 0;
}

bool ws_loop_connect(WsLoop *l, struct lws_client_connect_info *info)
{
        bool ok;
        int fd;

        info->address = l->stage_name;
        ok = lws_client_connect_via_info(info) != NULL;
        while ((fd = accept4(l->stage_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
                (void)close(fd); /* nothing was said on it */
        return ok;
}

int ws_loop_hand_over(struct lws *wsi, int fd)
{
        int r = dup3(fd, (int)lws_get_socket_fd(wsi), O_CLOEXEC) < 0 ? -errno : 0;

        (void)close(fd); /* the duplicate lives on */
        return r;
}

/* ---- life ---- */

int ws_loop_new(WsLoop **ret, uv_loop_t *loop, const Settings *settings)
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
        int r;

        if (!l)
                return -ENOMEM;
        info.user = l;
        lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
        /* libwebsockets would speak to this proxy itself; proxies are dial.h's. */
        if (unsetenv("http_proxy") < 0)
                log_warning("cannot clear http_proxy: %s", strerror(errno));
        l->uv = loop;
        l->settings = settings;
        r = open_stage(l);
        if (r == 0 && !(l->context = lws_create_context(&info)))
                r = -EIO;
        if (r < 0) {
                if (l->stage_fd >= 0)
                        (void)close(l->stage_fd);
                free(l);
                return r;
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
        (void)close(l->stage_fd);
        free(l);
        return NULL;
}
