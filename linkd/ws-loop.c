/* All connections on the daemon's loop: what they share, and their end. */
#include <errno.h>
#include <sodium.h>

#include "limits.h"
#include "log.h"
#include "ws-internal.h"

SSL_CTX *ws_loop_tls(WsLoop *l)
{
        static const unsigned char alpn[] = "\x08http/1.1";
        const char *ca_file = l->settings->ca_file;
        SSL_CTX *tls;

        if (l->tls)
                return l->tls;
        tls = SSL_CTX_new(TLS_client_method());
        if (!tls)
                return NULL;
        SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
        if (SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1 ||
            SSL_CTX_set_alpn_protos(tls, alpn, sizeof(alpn) - 1) != 0 ||
            (ca_file ? SSL_CTX_load_verify_file(tls, ca_file)
                     : SSL_CTX_set_default_verify_paths(tls)) != 1) {
                log_error("TLS does not start%s%s",
                          ca_file ? ": no certificates could be read from " : "",
                          ca_file ? ca_file : "");
                SSL_CTX_free(tls);
                return NULL;
        }
        l->tls = tls;
        return tls;
}

void ws_loop_mask(WsLoop *l, uint8_t mask[4])
{
        if (l->n_masks == 0) {
                randombytes_buf(l->masks, sizeof(l->masks));
                l->n_masks = WS_MASKS;
        }
        memcpy(mask, l->masks + 4 * --l->n_masks, 4);
}

static void on_flush(uv_prepare_t *prepare)
{
        WsLoop *l = prepare->data;
        Ws *w;

        while ((w = LIST_FIRST(&l->dirty)))
                ws_work(w);
}

/* Those that have not flushed in time. */
static void on_stop_timer(void *userdata)
{
        WsLoop *l = userdata;
        Ws *w;

        while ((w = LIST_FIRST(&l->all)))
                ws_abort(w);
}

int ws_loop_new(WsLoop **ret, uv_loop_t *loop, const Settings *settings, Hoard *hoard)
{
        WsLoop *l = calloc(1, sizeof(*l));

        if (!l)
                return -ENOMEM;
        l->uv = loop;
        l->settings = settings;
        l->hoard = hoard;
        l->buffer = malloc(WS_READ_BYTES);
        l->stop_timer = timer_new(loop, on_stop_timer, l);
        if (!l->buffer || !l->stop_timer) {
                free(l->buffer);
                timer_free(l->stop_timer);
                free(l);
                return -ENOMEM;
        }
        (void)uv_prepare_init(loop, &l->flush); /* none of the three can fail */
        l->flush.data = l;
        (void)uv_prepare_start(&l->flush, on_flush);
        uv_unref((uv_handle_t *)&l->flush);
        *ret = l;
        return 0;
}

void ws_loop_settings_changed(WsLoop *l)
{
        SSL_CTX_free(l->tls); /* those that use it hold it; NULL is fine */
        l->tls = NULL;
}

static void finish_stop(WsLoop *l)
{
        l->stop_timer = timer_free(l->stop_timer);
        uv_close((uv_handle_t *)&l->flush, NULL);
}

void ws_loop_stop(WsLoop *l)
{
        l->stopping = true;
        if (l->n_ws)
                timer_start(l->stop_timer, STOP_MSEC);
        else
                finish_stop(l);
}

void ws_loop_left(WsLoop *l)
{
        if (--l->n_ws == 0 && l->stopping)
                finish_stop(l);
}

WsLoop *ws_loop_free(WsLoop *l)
{
        if (!l)
                return NULL;
        SSL_CTX_free(l->tls);
        free(l->buffer);
        free(l);
        return NULL;
}
