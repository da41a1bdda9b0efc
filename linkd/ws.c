#include "ws.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libwebsockets.h>
#include <netinet/tcp.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>

#include "liblinkproto/buf.h"
#include "liblinkproto/control.h"
#include "liblinkproto/inviteuri.h"
#include "limits.h"
#include "log.h"
#include "timer.h"
#include "ws-internal.h"

/* RESOLVING → CONNECTING → OPEN → CLOSED. The owner's ws_free leaves an orphan that lives until
 * libwebsockets has let go of its wsi. */
typedef enum WsState { WS_RESOLVING, WS_CONNECTING, WS_OPEN, WS_CLOSED } WsState;

struct Ws {
        WsLoop *loop;
        WsState state;
        RelayUrl url;
        char path[80];
        struct lws *wsi;      /* NULL: none, or gone */
        bool owned;           /* the owner has not called ws_free yet */
        bool in_connect;      /* inside lws_client_connect_via_info */
        char failure[96];     /* why the last address failed */
        bool bad_certificate; /* and that was it */
        uv_getaddrinfo_t resolver;
        bool resolving;
        struct addrinfo *addresses; /* owned; what is left of them to try is next_address */
        struct addrinfo *next_address;
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

/* ---- messages ---- */

WsMessage *ws_message_new(size_t len, bool text)
{
        WsMessage *m = malloc(sizeof(*m) + LWS_PRE + len);
        if (!m)
                return NULL;
        *m = (WsMessage){.text = text, .len = len, .data = (uint8_t *)(m + 1) + LWS_PRE};
        return m;
}

WsMessage *ws_message_free(WsMessage *m)
{
        free(m);
        return NULL;
}

static WsMessage *queue_pop(Ws *w)
{
        WsMessage *m = w->queue;
        if (!m)
                return NULL;
        w->queue = m->next;
        if (!w->queue)
                w->queue_end = &w->queue;
        w->queued_bytes -= m->len;
        return m;
}

static void queue_clear(Ws *w)
{
        for (WsMessage *m; (m = queue_pop(w));)
                ws_message_free(m);
}

int ws_send(Ws *w, WsMessage *m)
{
        if (w->state != WS_OPEN || w->finish) {
                ws_message_free(m);
                return -ENOTCONN;
        }
        m->next = NULL;
        *w->queue_end = m;
        w->queue_end = &m->next;
        w->queued_bytes += m->len;
        if (lws_callback_on_writable(w->wsi) < 0)
                log_debug("ws %s: cannot ask for writability", w->url.origin);
        return 0;
}

int ws_send_text(Ws *w, const char *text, size_t len)
{
        WsMessage *m = ws_message_new(len, true);
        if (!m)
                return -ENOMEM;
        memcpy(m->data, text, len);
        return ws_send(w, m);
}

size_t ws_queued_bytes(const Ws *w)
{
        return w->queued_bytes;
}

/* ---- the end ---- */

static void destroy(Ws *w)
{
        if (w->addresses)
                uv_freeaddrinfo(w->addresses);
        queue_clear(w);
        buf_done_wipe(&w->rx);
        timer_free(w->timer);
        timer_free(w->ping_timer);
        if (--w->loop->n_ws == 0 && w->loop->stop_timer)
                timer_start(w->loop->stop_timer,
                            0); /* maybe inside libwebsockets: not on its stack */
        free(w);
}

/* A Ws goes when neither its owner nor anything of the two libraries refers to it any more. */
static void maybe_destroy(Ws *w)
{
        if (!w->owned && !w->wsi && !w->resolving && !w->in_connect)
                destroy(w);
}

/* The connection is over: tells the owner, or lets an orphan go. w may be gone afterwards. */
static void closed(Ws *w, const char *reason)
{
        const WsHandler *handler = w->handler;

        w->state = WS_CLOSED;
        w->handler = NULL;
        timer_stop(w->timer);
        if (w->ping_timer)
                timer_stop(w->ping_timer);
        if (w->owned && handler)
                handler->on_closed(w->userdata, w->close_code, reason);
        else
                maybe_destroy(w);
}

/* Makes libwebsockets close a connection soon, from its own timer and not on this stack. */
static void kill_wsi(Ws *w)
{
        if (w->wsi)
                lws_set_timeout(w->wsi, PENDING_TIMEOUT_CLOSE_ACK, LWS_TO_KILL_ASYNC);
}

static Ws *release(Ws *w, bool flush, unsigned code)
{
        if (!w)
                return NULL;
        w->handler = NULL;
        w->owned = false;
        if (w->resolving)
                (void)uv_cancel((uv_req_t *)&w->resolver); /* too late is fine: on_resolved looks */
        if (w->state == WS_OPEN && w->wsi && w->finish)
                return NULL; /* it ends already: see refuse_message */
        if (w->state == WS_OPEN && w->wsi) {
                if (!flush)
                        queue_clear(w);
                ws_pause(w, false); /* the answer to the close frame must be read */
                w->finish = true;
                w->finish_code = code;
                if (w->ping_timer)
                        timer_stop(w->ping_timer);
                timer_start(w->timer, FLUSH_MSEC);
                if (lws_callback_on_writable(w->wsi) < 0)
                        kill_wsi(w);
                return NULL;
        }
        w->state = WS_CLOSED;
        timer_stop(w->timer);
        kill_wsi(w);
        maybe_destroy(w);
        return NULL;
}

Ws *ws_free(Ws *w)
{
        return release(w, true, LWS_CLOSE_STATUS_NORMAL);
}

Ws *ws_kill(Ws *w, unsigned code)
{
        return release(w, false, code);
}

/* Connecting took too long, or an orphan's flush did. */
static void on_deadline(void *userdata)
{
        Ws *w = userdata;

        kill_wsi(w);
        if (w->owned)
                closed(w, "timed out while connecting");
}

/* ---- pings ---- */

static void on_ping_timer(void *userdata)
{
        Ws *w = userdata;

        if (w->ping_unanswered && !w->heard) {
                kill_wsi(w);
                closed(w, "no answer to a ping");
                return;
        }
        if (w->ping_unanswered) {
                w->ping_unanswered = false;
                timer_start(w->ping_timer, w->ping_interval_msec - w->ping_deadline_msec);
                return;
        }
        w->ping_due = true;
        w->ping_unanswered = true;
        w->heard = false;
        if (lws_callback_on_writable(w->wsi) < 0)
                log_debug("ws %s: cannot ask for writability", w->url.origin);
        timer_start(w->ping_timer, w->ping_deadline_msec);
}

int ws_keepalive(Ws *w, uint64_t interval_msec, uint64_t deadline_msec)
{
        if (!w->ping_timer)
                w->ping_timer = timer_new(w->loop->uv, on_ping_timer, w);
        if (!w->ping_timer)
                return -ENOMEM;
        w->ping_interval_msec = interval_msec;
        w->ping_deadline_msec = deadline_msec;
        timer_start(w->ping_timer, interval_msec);
        return 0;
}

/* ---- libwebsockets' callbacks, one function each ---- */

/* A quiet socket whose path is dead is noticed by TCP's own probes, also where a relay holds us and
 * answers no ping. */
static void probe_when_quiet(const Ws *w)
{
        const int on = 1, idle_sec = TCP_IDLE_SEC, interval_sec = TCP_PROBE_SEC, n = TCP_PROBES;
        int fd = (int)lws_get_socket_fd(w->wsi);

        if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
            setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_sec, sizeof(idle_sec)) < 0 ||
            setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_sec, sizeof(interval_sec)) < 0 ||
            setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &n, sizeof(n)) < 0)
                log_debug("ws %s: no TCP probes: %s", w->url.origin, strerror(errno));
}

static int on_established(Ws *w)
{
        if (!w->handler)
                return -1;
        w->state = WS_OPEN;
        timer_stop(w->timer);
        probe_when_quiet(w);
        if (w->paused)
                lws_rx_flow_control(w->wsi, 0);
        w->handler->on_open(w->userdata);
        return 0;
}

/* A message over the limit: closes 1009 and tells the owner. Never by a -1 to libwebsockets out of
 * this callback: version 4.1 then sends the close frame and reads on, past the end of its buffer.
 */
static void refuse_message(Ws *w)
{
        const WsHandler *handler = w->handler;

        w->handler = NULL; /* what still comes is nobody's */
        buf_done_wipe(&w->rx);
        queue_clear(w);
        w->finish = true;
        w->finish_code = LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE;
        if (w->ping_timer)
                timer_stop(w->ping_timer);
        timer_start(w->timer, FLUSH_MSEC);
        if (lws_callback_on_writable(w->wsi) < 0)
                kill_wsi(w);
        handler->on_closed(w->userdata, 0, "a message over the limit");
}

static int on_receive(Ws *w, uint8_t *data, size_t len)
{
        bool first = lws_is_first_fragment(w->wsi);
        bool last = lws_is_final_fragment(w->wsi) && lws_remaining_packet_payload(w->wsi) == 0;
        bool text = !lws_frame_is_binary(w->wsi);

        w->heard = true;
        if (!w->handler)
                return 0; /* an orphan flushes; what still comes is nobody's */
        if (lws_remaining_packet_payload(w->wsi) > w->message_max ||
            w->rx.len + len + lws_remaining_packet_payload(w->wsi) > w->message_max) {
                refuse_message(w);
                return 0;
        }
        if (first && last && w->rx.len == 0) {
                w->handler->on_message(w->userdata, text, data, len);
                return 0;
        }
        buf_add(&w->rx, data, len);
        if (buf_ok(&w->rx) < 0)
                return -1;
        if (last) {
                Buf whole = w->rx; /* the receiver may free w */
                w->rx = (Buf){};
                w->handler->on_message(w->userdata, text, whole.data, whole.len);
                buf_done_wipe(&whole);
        }
        return 0;
}

static int write_ping(Ws *w)
{
        uint8_t space[LWS_PRE];

        w->ping_due = false;
        if (lws_write(w->wsi, space + LWS_PRE, 0, LWS_WRITE_PING) < 0)
                return -1;
        return w->queue || w->finish ? lws_callback_on_writable(w->wsi) : 0;
}

static int on_writable(Ws *w)
{
        _cleanup_(freep) WsMessage *m = NULL;

        if (lws_partial_buffered(w->wsi))
                return lws_callback_on_writable(w->wsi) < 0 ? -1 : 0;
        if (w->ping_due)
                return write_ping(w) < 0 ? -1 : 0;
        m = queue_pop(w);
        if (!m) {
                if (!w->finish)
                        return 0;
                lws_close_reason(w->wsi, (enum lws_close_status)w->finish_code, NULL, 0);
                return -1;
        }
        if (lws_write(w->wsi, m->data, m->len, m->text ? LWS_WRITE_TEXT : LWS_WRITE_BINARY) < 0)
                return -1;
        if (!w->owned)
                timer_start(w->timer, FLUSH_MSEC); /* the deadline is for each message */
        if ((w->queue || w->finish) && lws_callback_on_writable(w->wsi) < 0)
                return -1;
        if (w->handler && w->handler->on_written)
                w->handler->on_written(w->userdata, m->len);
        return 0;
}

static void on_peer_close(Ws *w, const uint8_t *data, size_t len)
{
        if (len >= 2)
                w->close_code = read_u16be(data);
}

static void try_next_address(Ws *w);

/* What libwebsockets says, in words that help. */
static const char *words_of(const char *why)
{
        static const struct {
                const char *start, *words;
        } known[] = {
                {"closed before established", "connection refused: is link-relay running there?"},
                {"HS: ", "what answers there is no Link relay"},
                {"read failed", "the connection was closed without an answer: is it a Link relay?"},
                {"connect SSL err", "no TLS there: use ws://, or put a TLS proxy in front"},
        };

        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (strncmp(why, known[i].start, strlen(known[i].start)) == 0)
                        return known[i].words;
        return why;
}

/* A refused certificate is told before the failed handshake, which does not say it. */
static void on_certificate(Ws *w, X509_STORE_CTX *store, bool valid)
{
        w->bad_certificate = !valid;
        if (!valid)
                (void)snprintf(
                        w->failure, sizeof(w->failure), "its certificate is not trusted: %s",
                        X509_verify_cert_error_string(X509_STORE_CTX_get_error(store))); /* cut */
}

static void on_connect_failed(Ws *w, const char *why)
{
        w->wsi = NULL;
        if (why && !w->bad_certificate)
                (void)snprintf(w->failure, sizeof(w->failure), "%s",
                               words_of(why)); /* cut is fine */
        w->bad_certificate = false;
        if (!w->in_connect) /* else try_next_address goes on by itself */
                try_next_address(w);
}

static void on_gone(Ws *w)
{
        w->wsi = NULL;
        if (w->in_connect) /* it failed at once: try_next_address goes on by itself */
                return;
        if (w->state == WS_CONNECTING)
                try_next_address(w);
        else if (w->state != WS_CLOSED)
                closed(w, w->close_code ? "closed by the other end" : "connection lost");
        else
                maybe_destroy(w);
}

/* In place of the Ws, once a wsi has failed to connect. */
static void *const failed_wsi = (void *)&failed_wsi;

static void free_handle(uv_handle_t *handle)
{
        free(handle); /* libwebsockets' allocator is malloc's */
}

static void close_watcher_of(uv_handle_t *handle, void *wsi)
{
        if (handle->type == UV_POLL && handle->data == wsi && !uv_is_closing(handle))
                uv_close(handle, free_handle);
}

/* When a connect fails, libwebsockets 4.1 closes its socket and forgets the uv_poll_t on it. A wsi
 * that ends properly has closed its watcher before. */
static void close_lost_watcher(struct lws *wsi)
{
        const WsLoop *l = lws_context_user(lws_get_context(wsi));

        uv_walk(l->uv, close_watcher_of, wsi);
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
        Ws *w = lws_get_opaque_user_data(wsi);

        if (reason == LWS_CALLBACK_WSI_DESTROY && w) /* without CLIENT_CLOSED: never was open */
                close_lost_watcher(wsi);
        if (!w || w == failed_wsi)
                return 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wswitch-enum" /* the library's enum has a hundred values */
        switch (reason) {
        case LWS_CALLBACK_CLIENT_ESTABLISHED:
                return on_established(w);
        case LWS_CALLBACK_CLIENT_RECEIVE:
                return on_receive(w, in, len);
        case LWS_CALLBACK_CLIENT_RECEIVE_PONG:
                w->heard = true;
                return 0;
        case LWS_CALLBACK_CLIENT_WRITEABLE:
                return on_writable(w);
        case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
                on_peer_close(w, in, len);
                return 0;
        case LWS_CALLBACK_OPENSSL_PERFORM_SERVER_CERT_VERIFICATION:
                on_certificate(w, user, len != 0);
                return 0;
        case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
                lws_set_opaque_user_data(wsi, failed_wsi);
                on_connect_failed(w, in);
                return 0;
        case LWS_CALLBACK_CLIENT_CLOSED:
        case LWS_CALLBACK_WSI_DESTROY:
                lws_set_opaque_user_data(wsi, NULL);
                on_gone(w);
                return 0;
        default:
                return 0;
        }
#pragma GCC diagnostic pop
}

const struct lws_protocols ws_protocols[] = {
        {.name = "link", .callback = callback, .rx_buffer_size = WS_RX_CHUNK_BYTES},
        {},
};

/* ---- connecting ---- */

static void try_next_address(Ws *w)
{
        char address[64];

        while (w->owned && w->state != WS_CLOSED && w->next_address) {
                struct addrinfo *ai = w->next_address;
                struct lws_client_connect_info info = {
                        .context = w->loop->context,
                        .address = address,
                        .port = w->url.port,
                        /* A relay does not send us on to somebody of its choice. */
                        .ssl_connection =
                                (w->url.tls ? LCCSCF_USE_SSL : 0) | LCCSCF_HTTP_NO_FOLLOW_REDIRECT,
                        .path = w->path,
                        .host = w->url.origin,
                        .vhost = ws_loop_vhost(w->loop, w->url.tls),
                        .local_protocol_name = "link",
                        .ietf_version_or_minus_one = -1,
                        .alpn = "http/1.1",
                        .opaque_user_data = w,
                        .retry_and_idle_policy = &ws_no_validity_checks,
                        .pwsi = &w->wsi,
                };

                w->next_address = ai->ai_next;
                if (!info.vhost || getnameinfo(ai->ai_addr, ai->ai_addrlen, address,
                                               sizeof(address), NULL, 0, NI_NUMERICHOST) != 0)
                        continue;
                w->in_connect = true;
                (void)lws_client_connect_via_info(&info); /* its result is *pwsi */
                w->in_connect = false;
                if (w->wsi)
                        return;
        }
        if (w->state != WS_CLOSED)
                closed(w, w->failure[0] ? w->failure : "could not connect");
        else
                maybe_destroy(w);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *result)
{
        Ws *w = container_of(req, Ws, resolver);

        w->resolving = false;
        w->addresses = w->next_address = result;
        if (!w->owned || w->state == WS_CLOSED) {
                maybe_destroy(w);
                return;
        }
        if (status < 0) {
                (void)snprintf(w->failure, sizeof(w->failure), "cannot resolve %.60s: %s",
                               w->url.host, uv_strerror(status)); /* cut is fine */
                closed(w, w->failure);
                return;
        }
        w->state = WS_CONNECTING;
        try_next_address(w);
}

static bool is_numeric(const char *host)
{
        struct in6_addr a;

        return inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1;
}

int ws_dial(Ws **ret, WsLoop *l, const char *url, const char *address, uint64_t timeout_msec,
            const WsHandler *handler, void *userdata)
{
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
        char port[8];
        Ws *w = calloc(1, sizeof(*w));
        int r;

        if (!w)
                return -ENOMEM;
        w->loop = l;
        w->handler = handler;
        w->userdata = userdata;
        w->queue_end = &w->queue;
        w->message_max = CONTROL_ENDPOINT_MAX;
        r = relay_url_split(url, &w->url);
        w->timer = r < 0 ? NULL : timer_new(l->uv, on_deadline, w);
        if (!w->timer) {
                free(w);
                return r < 0 ? r : -ENOMEM;
        }
        l->n_ws++;
        (void)snprintf(w->path, sizeof(w->path), address ? "/v1/link?a=%s" : "/v1/link", address);
        (void)snprintf(port, sizeof(port), "%u", w->url.port);
        /* With AI_ADDRCONFIG, [::1] would not be an address on a machine without IPv6 elsewhere. */
        if (!is_numeric(w->url.host))
                hints.ai_flags = AI_ADDRCONFIG;
        r = uv_getaddrinfo(l->uv, &w->resolver, on_resolved, w->url.host, port, &hints);
        if (r < 0) {
                destroy(w);
                return r;
        }
        w->resolving = true;
        w->owned = true;
        timer_start(w->timer, timeout_msec);
        *ret = w;
        return 0;
}

void ws_set_handler(Ws *w, const WsHandler *handler, void *userdata)
{
        w->handler = handler;
        w->userdata = userdata;
}

void ws_set_message_max(Ws *w, size_t bytes)
{
        w->message_max = bytes;
}

void ws_pause(Ws *w, bool paused)
{
        if (w->paused == paused)
                return;
        w->paused = paused;
        if (w->wsi && w->state == WS_OPEN)
                lws_rx_flow_control(w->wsi, !paused);
}
