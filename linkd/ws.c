#include "ws.h"

#include <errno.h>
#include <libwebsockets.h>
#include <netinet/tcp.h>
#include <stdio.h>

#include "liblinkproto/buf.h"
#include "liblinkproto/control.h"
#include "limits.h"
#include "log.h"
#include "ws-internal.h"

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

void ws_destroy(Ws *w)
{
        queue_clear(w);
        buf_done_wipe(&w->rx);
        timer_free(w->timer);
        timer_free(w->ping_timer);
        if (--w->loop->n_ws == 0 && w->loop->stop_timer)
                timer_start(w->loop->stop_timer,
                            0); /* maybe inside libwebsockets: not on its stack */
        free(w);
}

void ws_maybe_destroy(Ws *w)
{
        if (!w->owned && !w->wsi && !w->in_connect)
                ws_destroy(w);
}

void ws_closed(Ws *w, const char *reason)
{
        const WsHandler *handler = w->handler;

        w->state = WS_CLOSED;
        w->handler = NULL;
        w->dial = dial_free(w->dial);
        timer_stop(w->timer);
        if (w->ping_timer)
                timer_stop(w->ping_timer);
        if (w->owned && handler)
                handler->on_closed(w->userdata, w->close_code, reason);
        else
                ws_maybe_destroy(w);
}

/* Makes libwebsockets close a connection soon, from its own timer and not on this stack. */
static void kill_wsi(Ws *w)
{
        if (w->wsi && !w->dying)
                lws_set_timeout(w->wsi, PENDING_TIMEOUT_CLOSE_ACK, LWS_TO_KILL_ASYNC);
}

static Ws *release(Ws *w, bool flush, unsigned code)
{
        if (!w)
                return NULL;
        w->handler = NULL;
        w->owned = false;
        w->dial = dial_free(w->dial);
        if (w->state == WS_OPEN && w->wsi) {
                if (!flush)
                        queue_clear(w);
                ws_pause(w, false); /* the answer to the close frame must be read */
                if (!w->finish)
                        w->finish_code = code; /* else: refuse() has said why */
                w->finish = true;
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
        ws_maybe_destroy(w);
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
void ws_on_deadline(void *userdata)
{
        Ws *w = userdata;

        kill_wsi(w);
        if (w->owned)
                ws_closed(w, "timed out while connecting");
}

/* ---- pings ---- */

static void on_ping_timer(void *userdata)
{
        Ws *w = userdata;

        if (w->ping_unanswered && !w->heard) {
                kill_wsi(w);
                ws_closed(w, "no answer to a ping");
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

void ws_probe(Ws *w)
{
        if (w->state != WS_OPEN || !w->ping_timer || w->finish || w->ping_unanswered)
                return; /* one that is unanswered has its deadline */
        on_ping_timer(w);
}

uint64_t ws_unconfirmed_msec(const Ws *w)
{
        struct tcp_info info = {};
        socklen_t size = sizeof(info);

        if (w->state != WS_OPEN || !w->wsi ||
            getsockopt((int)lws_get_socket_fd(w->wsi), IPPROTO_TCP, TCP_INFO, &info, &size) < 0 ||
            info.tcpi_unacked == 0)
                return 0;
        return MIN(info.tcpi_last_ack_recv, info.tcpi_last_data_sent);
}

int64_t ws_server_date_msec(const Ws *w)
{
        return w->date_msec;
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

/* The other end sent what is not taken. Never by returning -1 from LWS_CALLBACK_CLIENT_RECEIVE: the
 * library (4.1) then leaves its receive buffer full, goes on parsing while it waits for the answer
 * to its close frame, and writes past the buffer's end. */
static int refuse(Ws *w, unsigned code, const char *reason)
{
        const WsHandler *handler = w->handler;

        buf_done_wipe(&w->rx);
        w->rx = (Buf){};
        queue_clear(w);
        w->handler = NULL;
        w->finish = true;
        w->finish_code = code;
        if (w->ping_timer)
                timer_stop(w->ping_timer);
        if (lws_callback_on_writable(w->wsi) < 0)
                kill_wsi(w);
        handler->on_closed(w->userdata, 0, reason);
        return 0;
}

static int on_receive(Ws *w, uint8_t *data, size_t len)
{
        bool first = lws_is_first_fragment(w->wsi);
        bool last = lws_is_final_fragment(w->wsi) && lws_remaining_packet_payload(w->wsi) == 0;
        bool text = !lws_frame_is_binary(w->wsi);

        w->heard = true;
        if (!w->handler)
                return 0; /* an orphan flushes; what still comes is nobody's */
        if (w->rx.len + len > w->message_max)
                return refuse(w, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE,
                              "it sent a message that is too large");
        if (first && last && w->rx.len == 0) {
                w->handler->on_message(w->userdata, text, data, len);
                return 0;
        }
        buf_add(&w->rx, data, len);
        if (buf_ok(&w->rx) < 0)
                return refuse(w, LWS_CLOSE_STATUS_UNEXPECTED_CONDITION, "out of memory");
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

static void on_gone(Ws *w);

static void on_connect_failed(Ws *w, const char *why)
{
        if (!w->failure[0] && why)
                (void)snprintf(w->failure, sizeof(w->failure), "%s", why); /* cut is fine */
        on_gone(w);
}

static void on_gone(Ws *w)
{
        w->wsi = NULL;
        if (w->in_connect) /* it failed at once: upgrade() goes on by itself */
                return;
        if (w->state == WS_CONNECTING)
                ws_closed(w, w->failure[0] ? w->failure : "it hung up before the upgrade");
        else if (w->state != WS_CLOSED)
                ws_closed(w, w->close_code ? "closed by the other end" : "connection lost");
        else
                ws_maybe_destroy(w);
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
        Ws *w = lws_get_opaque_user_data(wsi);

        if (!w)
                return 0;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wswitch-enum" /* the library's enum has a hundred values */
        switch (reason) {
        case LWS_CALLBACK_WSI_CREATE:
                return ws_on_created(w, wsi);
        case LWS_CALLBACK_OPENSSL_PERFORM_SERVER_CERT_VERIFICATION:
                ws_on_verify(w, user);
                return 0; /* OpenSSL knows */
        case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
                return ws_on_request(w, wsi);
        case LWS_CALLBACK_CLIENT_FILTER_PRE_ESTABLISH:
                return ws_on_answer(w, wsi);
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
        case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
                lws_set_opaque_user_data(wsi, NULL);
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
