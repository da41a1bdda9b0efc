/* How a connection comes about: dial.h's TCP, handed to libwebsockets for TLS and the upgrade. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "clock.h"
#include "liblinkproto/control.h"
#include "limits.h"
#include "ws-internal.h"

/* ---- libwebsockets' callbacks until it is open ---- */

void ws_on_verify(Ws *w, X509_STORE_CTX *store)
{
        const char *fault = ws_tls_verify(store, w->pin);

        if (fault)
                (void)snprintf(w->failure, sizeof(w->failure),
                               "the relay's certificate is not trusted: %s", fault); /* cut */
}

/* TLS stands, nothing was sent in it yet. */
int ws_on_request(Ws *w, struct lws *wsi)
{
        const char *fault;

        if (!w->url.tls)
                return 0;
        fault = ws_tls_check(lws_get_ssl(wsi), w->url.host, w->pin);
        if (!fault)
                return 0;
        (void)snprintf(w->failure, sizeof(w->failure), "%s", fault); /* fits */
        return -1;
}

int ws_on_answer(Ws *w, struct lws *wsi)
{
        char date[40];

        if (lws_hdr_copy(wsi, date, sizeof(date), WSI_TOKEN_HTTP_DATE) <= 0 ||
            clock_parse_http_date(date, &w->date_msec) < 0)
                w->date_msec = 0;
        return 0;
}

int ws_on_created(Ws *w, struct lws *wsi)
{
        int fd = w->fd, r;

        if (fd < 0)
                return 0;
        w->fd = -1;
        w->wsi = wsi;
        r = ws_loop_hand_over(wsi, fd);
        if (r < 0)
                (void)snprintf(w->failure, sizeof(w->failure), "%s", strerror(-r)); /* cut */
        return 0; /* on a failure nobody answers on the Unix socket */
}

/* ---- connecting ---- */

/* TCP stands: libwebsockets goes on with TLS and the upgrade. */
static void upgrade(Ws *w)
{
        struct lws_client_connect_info info = {
                .context = w->loop->context,
                .port = w->url.port,
                /* A relay does not send us on to somebody of its choice. Who it is, is checked by
                 * ws_tls_check; libwebsockets would cut an IPv6 address at its first colon. */
                .ssl_connection =
                        LCCSCF_HTTP_NO_FOLLOW_REDIRECT |
                        (w->url.tls ? LCCSCF_USE_SSL | LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK : 0),
                .path = w->path,
                .host = w->url.origin,
                .vhost = ws_loop_vhost(w->loop, w->url.tls),
                .local_protocol_name = "link",
                .ietf_version_or_minus_one = -1,
                .alpn = "http/1.1",
                .opaque_user_data = w,
                .retry_and_idle_policy = &ws_no_validity_checks,
        };

        w->in_connect = true;
        if (info.vhost)
                w->dying = !ws_loop_connect(w->loop, &info);
        else
                (void)snprintf(w->failure, sizeof(w->failure), "TLS cannot be set up"); /* fits */
        w->in_connect = false;
        if (w->fd >= 0) { /* not taken */
                (void)close(w->fd);
                w->fd = -1;
        }
        if (!w->wsi && w->state != WS_CLOSED)
                ws_closed(w, w->failure[0] ? w->failure : "could not connect");
        else if (!w->wsi)
                ws_maybe_destroy(w);
}

static void on_dialed(void *userdata, int fd, const char *why)
{
        Ws *w = userdata;

        w->dial = NULL; /* it ends itself */
        if (fd < 0) {
                (void)snprintf(w->failure, sizeof(w->failure), "%s", why); /* cut is fine */
                ws_closed(w, w->failure);
                return;
        }
        w->fd = fd;
        upgrade(w);
}

int ws_dial(Ws **ret, WsLoop *l, const char *url, const char *address, uint64_t timeout_msec,
            const WsHandler *handler, void *userdata)
{
        Ws *w = calloc(1, sizeof(*w));
        int r;

        if (!w)
                return -ENOMEM;
        w->loop = l;
        w->fd = -1;
        w->handler = handler;
        w->userdata = userdata;
        w->queue_end = &w->queue;
        w->message_max = CONTROL_ENDPOINT_MAX;
        r = relay_url_split(url, &w->url);
        w->timer = r < 0 ? NULL : timer_new(l->uv, ws_on_deadline, w);
        if (!w->timer) {
                free(w);
                return r < 0 ? r : -ENOMEM;
        }
        l->n_ws++;
        w->pin = settings_pin(l->settings, url);
        (void)snprintf(w->path, sizeof(w->path), address ? "/v1/link?a=%s" : "/v1/link", address);
        r = dial_start(&w->dial, l->uv, w->url.host, w->url.port,
                       proxy_for(&l->settings->proxy, w->url.host, w->url.port), on_dialed, w);
        if (r < 0) {
                ws_destroy(w);
                return r;
        }
        w->owned = true;
        timer_start(w->timer, timeout_msec);
        *ret = w;
        return 0;
}

void ws_dial_again(Ws *w)
{
        if (w->dial)
                dial_again(w->dial);
}
