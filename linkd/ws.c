/* One connection: dialed, TLS where the URL says so, the upgrade, then messages in RFC 6455 frames.
 *
 *   DIALING ─▶ SECURING ─▶ UPGRADING ─▶ OPEN ─▶ CLOSING ─▶ CLOSED
 *
 * The owner's ws_free leaves an orphan that lives until it has flushed and the other end has
 * answered its close frame, or the deadline. Frames are cut and made by liblinkproto/wsframe. */
#include "ws.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdio.h>

#include "clock.h"
#include "dial.h"
#include "liblinkproto/control.h"
#include "liblinkproto/inviteuri.h"
#include "liblinkproto/wsclient.h"
#include "limits.h"
#include "log.h"
#include "ws-internal.h"

/* ---- the end ---- */

static void on_poll_closed(uv_handle_t *handle)
{
        Ws *w = container_of((uv_poll_t *)handle, Ws, poll);
        WsLoop *l = w->loop;

        free(w);
        ws_loop_left(l);
}

/* Frees a Ws that neither its owner nor a function on the stack refers to any more. */
static void maybe_destroy(Ws *w)
{
        WsLoop *l = w->loop;

        if (w->owned || w->depth || w->state != WS_CLOSED)
                return;
        LIST_REMOVE(w, in_all);
        timer_free(w->timer);
        timer_free(w->ping_timer);
        if (w->has_poll) {
                uv_close((uv_handle_t *)&w->poll, on_poll_closed);
                return;
        }
        free(w);
        ws_loop_left(l);
}

/* The socket and all buffers go. */
static void shut(Ws *w)
{
        w->state = WS_CLOSED;
        ws_make_clean(w);
        timer_stop(w->timer);
        if (w->ping_timer)
                timer_stop(w->ping_timer);
        w->dial = dial_free(w->dial);
        if (w->has_poll)
                (void)uv_poll_stop(&w->poll); /* always 0 */
        ws_stream_close(&w->stream);
        ws_clear_messages(&w->queue, &w->queue_end);
        ws_clear_messages(&w->sent, &w->sent_end);
        buf_done_wipe(&w->message);
        ws_note_message(w);
        buf_done_wipe(&w->kept);
        buf_done(&w->out);
        w->queued_bytes = 0;
}

/* The connection is over: tells the owner, or lets an orphan go. w may be gone afterwards. */
void ws_closed(Ws *w, const char *reason)
{
        const WsHandler *handler = w->handler;

        if (w->state == WS_CLOSED)
                return;
        w->handler = NULL;
        shut(w);
        w->depth++;
        if (w->owned && handler)
                handler->on_closed(w->userdata, w->close_code, reason);
        w->depth--;
        maybe_destroy(w);
}

void ws_abort(Ws *w)
{
        w->owned = false;
        w->handler = NULL;
        if (w->state != WS_CLOSED)
                shut(w);
        maybe_destroy(w);
}

static Ws *release(Ws *w, bool flush, unsigned code)
{
        if (!w)
                return NULL;
        w->handler = NULL;
        w->owned = false;
        if (w->state == WS_CLOSED) {
                maybe_destroy(w);
                return NULL;
        }
        if (w->state == WS_OPEN && !w->finish) {
                /* A message that is sent in part is sent whole: the close frame could not follow
                 * else. */
                if (!flush && !w->queue_off) {
                        ws_clear_messages(&w->queue, &w->queue_end);
                        w->queued_bytes = 0;
                } else if (!flush) {
                        WsMessage *rest = w->queue->next;

                        w->queue->next = NULL;
                        w->queue_end = &w->queue->next;
                        w->queued_bytes = w->queue->len;
                        for (WsMessage *m; (m = rest); ws_message_free(m))
                                rest = m->next;
                }
                w->finish = true;
                w->finish_code = code;
                buf_done_wipe(&w->message); /* what comes is nobody's any more */
                ws_note_message(w);
                if (w->ping_timer)
                        timer_stop(w->ping_timer);
                timer_start(w->timer, FLUSH_MSEC);
                ws_pause(w, false); /* the answer to the close frame must be read */
                ws_make_dirty(w);
                return NULL;
        }
        if (w->finish)
                return NULL; /* its deadline runs */
        shut(w);
        maybe_destroy(w);
        return NULL;
}

Ws *ws_free(Ws *w)
{
        return release(w, true, WS_CLOSE_NORMAL);
}

Ws *ws_kill(Ws *w, unsigned code)
{
        return release(w, false, code);
}

static void fault(Ws *w, unsigned code, const char *reason);

/* Connecting took too long, or an orphan's flush or its peer's answer; or a message stands still.
 */
static void on_deadline(void *userdata)
{
        Ws *w = userdata;

        if (w->state != WS_OPEN || w->finish)
                ws_closed(w, "timed out while connecting");
        else if (!ws_message_goes_on(w))
                fault(w, WS_CLOSE_PROTOCOL, "a message began and did not go on");
}

/* The other end broke the rules: closes with a code and tells the owner at once. */
static void fault(Ws *w, unsigned code, const char *reason)
{
        const WsHandler *handler = w->handler;

        w->handler = NULL;
        ws_clear_messages(&w->queue, &w->queue_end);
        w->queued_bytes = 0;
        buf_done_wipe(&w->message);
        ws_note_message(w);
        if (w->queue_off) { /* in the middle of a frame of ours: no close frame fits in */
                w->handler = handler;
                ws_closed(w, reason);
                return;
        }
        w->deaf = true;
        w->finish = true;
        w->finish_code = code;
        if (w->ping_timer)
                timer_stop(w->ping_timer);
        timer_start(w->timer, CLOSE_ANSWER_MSEC);
        ws_make_dirty(w);
        w->depth++;
        if (w->owned && handler)
                handler->on_closed(w->userdata, 0, reason);
        w->depth--;
        maybe_destroy(w);
}

void ws_fault(Ws *w, int error)
{
        if (w->state != WS_OPEN || w->finish)
                ws_closed(w, "closed");
        else if (error == -EMSGSIZE)
                fault(w, WS_CLOSE_TOO_BIG, "it sent a message that is too large");
        else
                fault(w, WS_CLOSE_PROTOCOL, "the relay broke the WebSocket protocol");
}

/* ---- pings ---- */

static void on_ping_timer(void *userdata)
{
        Ws *w = userdata;

        if (w->ping_unanswered && !w->heard) {
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
        ws_make_dirty(w);
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

        if (w->state != WS_OPEN ||
            getsockopt(w->stream.fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 ||
            info.tcpi_unacked == 0)
                return 0;
        return MIN(info.tcpi_last_ack_recv, info.tcpi_last_data_sent);
}

int64_t ws_server_date_msec(const Ws *w)
{
        return w->date_msec;
}

/* ---- the socket ---- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(Ws *w)
{
        bool securing = w->state == WS_SECURING;
        bool out = !securing && ws_has_output(w), in = securing || ws_may_read(w);
        int events;

        if (w->state == WS_CLOSED)
                return;
        events = (in && !w->stream.read_wants_write) || (out && w->stream.write_wants_read)
                         ? UV_READABLE
                         : 0;
        if ((out && !w->stream.write_wants_read) || (in && w->stream.read_wants_write))
                events |= UV_WRITABLE;
        if (events == w->watched)
                return;
        w->watched = events;
        /* Both fail only on a handle that is closing. */
        if (events)
                (void)uv_poll_start(&w->poll, events, on_poll);
        else
                (void)uv_poll_stop(&w->poll);
}

static void send_request(Ws *w)
{
        char request[WSCLIENT_REQUEST_MAX];
        int n;

        randombytes_buf(w->nonce, sizeof(w->nonce));
        n = wsclient_request(w->path, w->url.origin, w->nonce, request);
        if (n > 0)
                buf_add(&w->out, request, (size_t)n);
        if (n < 0 || buf_ok(&w->out) < 0) {
                ws_closed(w, "the request could not be made");
                return;
        }
        w->state = WS_UPGRADING;
}

static void secure(Ws *w)
{
        int r = ws_stream_handshake(&w->stream);

        if (r == 0)
                send_request(w);
        else if (r != -EAGAIN)
                ws_closed(w, w->stream.fault);
}

void ws_work(Ws *w)
{
        int r = 0;

        w->depth++;
        ws_make_clean(w);
        ws_take_kept(w);
        if (ws_may_read(w) && ws_stream_has_more(&w->stream))
                ws_read_some(w);
        if (w->state >= WS_UPGRADING && w->state != WS_CLOSED)
                r = ws_flush(w);
        if (r < 0)
                ws_closed(w, strerror(-r));
        watch(w);
        w->depth--;
        maybe_destroy(w);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
        Ws *w = container_of(poll, Ws, poll);

        w->depth++;
        if (w->state == WS_SECURING)
                secure(w);
        else if (ws_may_read(w) &&
                 (status < 0 || events & UV_READABLE || w->stream.read_wants_write))
                ws_read_some(w);
        if (status < 0 && w->state != WS_CLOSED) /* an error is pending; libuv watches no more */
                ws_closed(w, "connection lost");
        w->depth--;
        if (w->state == WS_CLOSED)
                maybe_destroy(w);
        else
                ws_work(w);
}

/* A quiet socket whose path is dead is noticed by TCP's own probes, also where a relay holds us and
 * answers no ping. */
static void prepare_socket(const Ws *w)
{
        const int on = 1, idle_sec = TCP_IDLE_SEC, interval_sec = TCP_PROBE_SEC, n = TCP_PROBES;
        int fd = w->stream.fd;

        if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
            setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_sec, sizeof(idle_sec)) < 0 ||
            setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_sec, sizeof(interval_sec)) < 0 ||
            setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &n, sizeof(n)) < 0)
                log_debug("ws %s: a socket option: %s", w->url.origin, strerror(errno));
}

static void on_dialed(void *userdata, int fd, const char *why)
{
        Ws *w = userdata;
        SSL_CTX *tls = w->url.tls && fd >= 0 ? ws_loop_tls(w->loop) : NULL;

        w->dial = NULL; /* it ends itself */
        if (fd < 0) {
                ws_closed(w, strcmp(why, "connection refused") == 0
                                     ? "connection refused: is link-relay running there?"
                                     : why);
                return;
        }
        if (w->url.tls && !tls) {
                w->stream.fd = fd;
                ws_closed(w, "TLS does not start: see the log");
                return;
        }
        if (ws_stream_open(&w->stream, fd, tls, w->url.host, w->has_pin ? w->pin : NULL) < 0 ||
            uv_poll_init(w->loop->uv, &w->poll, fd) < 0) {
                ws_closed(w, "out of memory");
                return;
        }
        w->has_poll = true;
        prepare_socket(w);
        w->state = WS_SECURING;
        w->depth++;
        secure(w);
        w->depth--;
        if (w->state == WS_CLOSED)
                maybe_destroy(w);
        else
                ws_work(w);
}

int ws_dial(Ws **ret, WsLoop *l, const char *url, const char *address, uint64_t timeout_msec,
            const WsHandler *handler, void *userdata)
{
        Ws *w = calloc(1, sizeof(*w));
        const uint8_t *pin;
        int r;

        if (!w)
                return -ENOMEM;
        w->loop = l;
        w->stream.fd = -1;
        w->handler = handler;
        w->userdata = userdata;
        w->queue_end = &w->queue;
        w->sent_end = &w->sent;
        w->message_max = CONTROL_ENDPOINT_MAX;
        wsreceiver_init(&w->rx, false);
        r = relay_url_split(url, &w->url);
        w->timer = r < 0 ? NULL : timer_new(l->uv, on_deadline, w);
        if (!w->timer) {
                free(w);
                return r < 0 ? r : -ENOMEM;
        }
        pin = settings_pin(l->settings, url);
        w->has_pin = pin != NULL;
        if (pin)
                memcpy(w->pin, pin, sizeof(w->pin));
        (void)snprintf(w->path, sizeof(w->path), address ? "/v1/link?a=%s" : "/v1/link", address);
        l->n_ws++;
        LIST_INSERT_HEAD(&l->all, w, in_all);
        r = dial_start(&w->dial, l->uv, w->url.host, w->url.port,
                       proxy_for(&l->settings->proxy, w->url.host, w->url.port), on_dialed, w);
        if (r < 0) {
                w->state = WS_CLOSED;
                maybe_destroy(w);
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
        if (!paused && w->counted)
                ws_begin_step(w); /* its time runs while it is read */
        if (w->state >= WS_OPEN && w->state != WS_CLOSED)
                ws_make_dirty(w); /* watches anew, and takes what was kept */
}
