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
#include "liblinkproto/buf.h"
#include "liblinkproto/control.h"
#include "liblinkproto/inviteuri.h"
#include "liblinkproto/wsclient.h"
#include "liblinkproto/wsframe.h"
#include "limits.h"
#include "log.h"
#include "ws-internal.h"

typedef enum WsState {
        WS_DIALING,
        WS_SECURING,
        WS_UPGRADING,
        WS_OPEN,
        WS_CLOSING, /* our close frame is queued or sent */
        WS_CLOSED,  /* the socket is gone */
} WsState;

struct Ws {
        WsLoop *loop;
        LIST_ENTRY(Ws) in_all, in_dirty;
        WsState state;
        RelayUrl url;
        char path[80];
        bool owned;     /* the owner has not called ws_free yet */
        bool dirty;     /* in the loop's list */
        bool has_poll;  /* poll is initialised */
        unsigned depth; /* of callbacks that are running: not freed under them */
        Dial *dial;     /* DIALING */
        uv_poll_t poll;
        int watched;
        WsStream stream;
        const uint8_t *pin; /* of the relay's TLS key; NULL: CAs decide */
        uint8_t nonce[WSCLIENT_NONCE_BYTES];
        int64_t date_msec;
        const WsHandler *handler; /* NULL: nobody listens */
        void *userdata;
        Timer *timer; /* connecting, then flushing, then the answer to our close: the deadline */
        Timer *ping_timer;
        uint64_t ping_interval_msec, ping_deadline_msec;
        bool ping_due, ping_unanswered, heard;

        /* Out: queue → (framed, masked, a batch at a time) out → socket. */
        WsMessage *queue, **queue_end; /* the first may be framed in part: queue_off */
        size_t queue_off;
        size_t queued_bytes;
        uint8_t mask[4];
        WsMessage *sent, **sent_end; /* wholly in out: told when that has gone */
        Buf out;
        size_t out_off;
        bool deaf;   /* what comes is no frames any more */
        bool finish; /* a close frame once the queue is empty */
        unsigned finish_code;
        bool pong_due;
        uint8_t pong_len, pong[WSFRAME_CONTROL_MAX];

        /* In. */
        WsReceiver rx;
        Buf message; /* that came in parts; before OPEN the answer's head */
        size_t message_max;
        uint8_t control_len, control[WSFRAME_CONTROL_MAX];
        bool text; /* the message that comes */
        bool told; /* with its data, before the end of its frame: the owner may pause between the
                      two */
        bool paused;
        Buf kept;            /* read, but paused before it was looked at */
        unsigned close_code; /* that came from the other end */
};

/* ---- messages ---- */

WsMessage *ws_message_new(size_t len, bool text)
{
        WsMessage *m = malloc(sizeof(*m) + len);

        if (!m)
                return NULL;
        *m = (WsMessage){.text = text, .len = len, .data = (uint8_t *)(m + 1)};
        return m;
}

WsMessage *ws_message_free(WsMessage *m)
{
        free(m);
        return NULL;
}

static WsMessage *pop(WsMessage **first, WsMessage ***end)
{
        WsMessage *m = *first;

        if (m && !(*first = m->next))
                *end = first;
        return m;
}

static void clear(WsMessage **first, WsMessage ***end)
{
        for (WsMessage *m; (m = pop(first, end));)
                ws_message_free(m);
}

static void make_dirty(Ws *w)
{
        if (w->dirty || w->state == WS_CLOSED)
                return;
        w->dirty = true;
        LIST_INSERT_HEAD(&w->loop->dirty, w, in_dirty);
}

static void make_clean(Ws *w)
{
        if (w->dirty)
                LIST_REMOVE(w, in_dirty);
        w->dirty = false;
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
        make_dirty(w);
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

size_t ws_n_unwritten(const Ws *w)
{
        size_t n = 0;

        for (const WsMessage *m = w->queue; m; m = m->next)
                n++;
        for (const WsMessage *m = w->sent; m; m = m->next)
                n++;
        return n;
}

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
        make_clean(w);
        timer_stop(w->timer);
        if (w->ping_timer)
                timer_stop(w->ping_timer);
        w->dial = dial_free(w->dial);
        if (w->has_poll)
                (void)uv_poll_stop(&w->poll); /* always 0 */
        ws_stream_close(&w->stream);
        clear(&w->queue, &w->queue_end);
        clear(&w->sent, &w->sent_end);
        buf_done_wipe(&w->message);
        buf_done_wipe(&w->kept);
        buf_done(&w->out);
        w->queued_bytes = 0;
}

/* The connection is over: tells the owner, or lets an orphan go. w may be gone afterwards. */
static void closed(Ws *w, const char *reason)
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
                        clear(&w->queue, &w->queue_end);
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
                if (w->ping_timer)
                        timer_stop(w->ping_timer);
                timer_start(w->timer, FLUSH_MSEC);
                ws_pause(w, false); /* the answer to the close frame must be read */
                make_dirty(w);
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

/* Connecting took too long, or an orphan's flush or its peer's answer did. */
static void on_deadline(void *userdata)
{
        closed(userdata, "timed out while connecting");
}

/* The other end broke the rules: closes with a code and tells the owner at once. */
static void fault(Ws *w, unsigned code, const char *reason)
{
        const WsHandler *handler = w->handler;

        w->handler = NULL;
        clear(&w->queue, &w->queue_end);
        w->queued_bytes = 0;
        buf_done_wipe(&w->message);
        if (w->queue_off) { /* in the middle of a frame of ours: no close frame fits in */
                w->handler = handler;
                closed(w, reason);
                return;
        }
        w->deaf = true;
        w->finish = true;
        w->finish_code = code;
        if (w->ping_timer)
                timer_stop(w->ping_timer);
        timer_start(w->timer, CLOSE_ANSWER_MSEC);
        make_dirty(w);
        w->depth++;
        if (w->owned && handler)
                handler->on_closed(w->userdata, 0, reason);
        w->depth--;
        maybe_destroy(w);
}

static void on_fault(Ws *w, int error)
{
        if (w->state != WS_OPEN || w->finish)
                closed(w, "closed");
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
        make_dirty(w);
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

/* ---- out ---- */

static void add_frame(Ws *w, uint8_t opcode, const uint8_t *p, size_t n)
{
        uint8_t head[WSFRAME_HEAD_MAX], mask[4];
        size_t at;

        randombytes_buf(mask, sizeof(mask));
        buf_add(&w->out, head, wsframe_encode_head(head, true, opcode, n, mask));
        at = w->out.len;
        buf_add(&w->out, p, n);
        if (buf_ok(&w->out) == 0 && n)
                wsframe_mask(w->out.data + at, n, mask, 0);
}

/* What fits of the first message: its head, and a piece. */
static void add_piece(Ws *w)
{
        WsMessage *m = w->queue;
        uint8_t head[WSFRAME_HEAD_MAX];
        size_t n;

        if (w->queue_off == 0) {
                randombytes_buf(w->mask, sizeof(w->mask));
                buf_add(&w->out, head,
                        wsframe_encode_head(head, true, m->text ? WS_TEXT : WS_BINARY, m->len,
                                            w->mask));
        }
        n = MIN(m->len - w->queue_off, (size_t)WS_BATCH_BYTES);
        if (n && buf_reserve(&w->out, n) == 0) {
                wsframe_mask_to(w->out.data + w->out.len, m->data + w->queue_off, n, w->mask,
                                w->queue_off);
                w->out.len += n;
        }
        w->queue_off += n;
        if (w->queue_off < m->len)
                return;
        w->queue_off = 0;
        (void)pop(&w->queue, &w->queue_end); /* it is m */
        m->next = NULL;
        *w->sent_end = m;
        w->sent_end = &m->next;
}

/* Frames what waits, a batch of it. Control frames go between messages. */
static void fill(Ws *w)
{
        uint8_t code[2];

        while (w->out.len < WS_BATCH_BYTES && buf_ok(&w->out) == 0) {
                if (w->queue_off == 0 && w->pong_due) {
                        w->pong_due = false;
                        add_frame(w, WS_PONG, w->pong, w->pong_len);
                } else if (w->queue_off == 0 && w->ping_due) {
                        w->ping_due = false;
                        add_frame(w, WS_PING, NULL, 0);
                } else if (w->queue) {
                        add_piece(w);
                } else {
                        break;
                }
        }
        if (w->queue || !w->finish || w->state != WS_OPEN || w->out.len >= WS_BATCH_BYTES)
                return;
        write_u16be(code, (uint16_t)w->finish_code);
        add_frame(w, WS_CLOSE, code, w->finish_code == WS_CLOSE_NO_STATUS ? 0 : sizeof(code));
        w->state = WS_CLOSING;
}

/* Tells of the messages that are with the kernel. */
static void tell_written(Ws *w)
{
        for (WsMessage *m; (m = pop(&w->sent, &w->sent_end));) {
                size_t len = m->len;

                w->queued_bytes -= MIN(len, w->queued_bytes);
                ws_message_free(m);
                if (!w->owned && w->state == WS_OPEN)
                        timer_start(w->timer, FLUSH_MSEC); /* the deadline is for each message */
                if (w->handler && w->handler->on_written)
                        w->handler->on_written(w->userdata, len);
                if (w->state == WS_CLOSED)
                        return;
        }
}

static bool has_output(const Ws *w)
{
        return w->out.len || w->queue || w->pong_due || w->ping_due ||
               (w->finish && w->state == WS_OPEN);
}

/* One batch. 0 or negative errno. */
static int flush(Ws *w)
{
        ssize_t n;

        if (w->out.len == 0)
                fill(w);
        if (buf_ok(&w->out) < 0)
                return -ENOMEM;
        if (w->out.len == 0)
                return 0;
        n = ws_stream_write(&w->stream, w->out.data + w->out_off, w->out.len - w->out_off);
        if (n < 0)
                return n == -EAGAIN ? 0 : (int)n;
        w->out_off += (size_t)n;
        if (w->out_off < w->out.len)
                return 0;
        w->out.len = w->out_off = 0;
        if (!w->queue && w->out.cap > WS_BATCH_BYTES / 4)
                buf_done(&w->out); /* an idle connection keeps little */
        if (w->state == WS_CLOSING)
                timer_start(w->timer, CLOSE_ANSWER_MSEC);
        tell_written(w);
        return 0;
}

/* ---- in ---- */

static void on_peer_close(Ws *w)
{
        unsigned code = WS_CLOSE_PROTOCOL;
        uint8_t answer[2];

        if (wsframe_decode_close(w->control, w->control_len, &code) == 0 &&
            code != WS_CLOSE_NO_STATUS)
                w->close_code = code;
        /* The answer, if it fits between two frames and the socket takes it now: nothing waits for
         * it. */
        if (w->state == WS_OPEN && w->queue_off == 0 && w->out.len == 0) {
                write_u16be(answer, (uint16_t)code);
                add_frame(w, WS_CLOSE, answer, code == WS_CLOSE_NO_STATUS ? 0 : sizeof(answer));
                if (buf_ok(&w->out) == 0)
                        (void)ws_stream_write(&w->stream, w->out.data, w->out.len);
        }
        closed(w, "closed by the other end");
}

static void on_control(Ws *w)
{
        switch ((WsOpcode)w->rx.opcode) {
        case WS_CLOSE:
                on_peer_close(w);
                return;
        case WS_PING:
                if (w->state != WS_OPEN)
                        return;
                w->pong_len = w->control_len;
                memcpy(w->pong, w->control, w->control_len);
                w->pong_due = true;
                make_dirty(w);
                return;
        case WS_PONG: /* that something came is noted already */
        case WS_CONTINUATION:
        case WS_TEXT:
        case WS_BINARY:
                return;
        }
}

static void on_data(Ws *w, uint8_t *p, size_t n)
{
        if (wsframe_is_control(w->rx.opcode)) {
                memcpy(w->control + w->control_len, p, n); /* 125 in all: wsframe has checked it */
                w->control_len = (uint8_t)(w->control_len + n);
                return;
        }
        if (!w->handler)
                return;                                            /* an orphan's: nobody's */
        if (w->message.len == 0 && w->rx.fin && w->rx.left == 0) { /* all of a message */
                w->told = true;
                w->handler->on_message(w->userdata, w->text, p, n);
                return;
        }
        buf_add(&w->message, p, n);
        if (buf_ok(&w->message) < 0)
                closed(w, "out of memory");
}

static void on_head(Ws *w)
{
        if (wsframe_is_control(w->rx.opcode))
                w->control_len = 0;
        else if (w->rx.opcode != WS_CONTINUATION)
                w->text = w->rx.opcode == WS_TEXT;
}

static void on_frame_end(Ws *w)
{
        Buf whole = w->message; /* the receiver may free w */
        bool told = w->told;

        if (wsframe_is_control(w->rx.opcode)) {
                on_control(w);
                return;
        }
        w->told = false;
        if (!w->rx.fin || told || !w->handler)
                return;
        w->message = (Buf){};
        w->handler->on_message(w->userdata, w->text, whole.data ? whole.data : (uint8_t *)"",
                               whole.len);
        buf_done_wipe(&whole);
}

/* Takes frames until all bytes are used, or the owner pauses or goes. Returns how many were used.
 */
static size_t take_frames(Ws *w, uint8_t *data, size_t len)
{
        size_t at = 0, n = 0;
        uint8_t *p = NULL;
        int event;

        while (w->state != WS_CLOSED && !w->paused) {
                event = wsreceiver_next(&w->rx, data, len, &at, w->message_max, &p, &n);
                if (event == WS_EVENT_MORE)
                        return len;
                if (event < 0) {
                        on_fault(w, event);
                        return len;
                }
                if (event == WS_EVENT_HEAD)
                        on_head(w);
                else if (event == WS_EVENT_DATA)
                        on_data(w, p, n);
                else
                        on_frame_end(w);
        }
        return at;
}

/* The answer to the upgrade; what is behind it are frames. */
static void take_answer(Ws *w, const uint8_t *data, size_t len)
{
        WsResponse r;
        Buf head;
        char text[64];

        buf_add(&w->message, data, len);
        if (buf_ok(&w->message) < 0) {
                closed(w, "out of memory");
                return;
        }
        switch (wsclient_read((char *)w->message.data, w->message.len, w->nonce, &r)) {
        case WSANSWER_MORE:
                if (w->message.len > ANSWER_HEAD_MAX)
                        closed(w, "what answers there is no Link relay");
                return;
        case WSANSWER_BAD:
                closed(w, "what answers there is no Link relay");
                return;
        case WSANSWER_REFUSED:
                (void)snprintf(text, sizeof(text), "what answers there is no Link relay (HTTP %u)",
                               r.status); /* fits */
                closed(w, text);
                return;
        case WSANSWER_UPGRADED:
                break;
        }
        if (!r.date[0] || clock_parse_http_date(r.date, &w->date_msec) < 0)
                w->date_msec = 0;
        w->state = WS_OPEN;
        timer_stop(w->timer);
        head = w->message;
        w->message = (Buf){};
        w->handler->on_open(w->userdata);
        if (w->state != WS_CLOSED && r.head_len < head.len) {
                buf_add(&w->kept, head.data + r.head_len, head.len - r.head_len);
                make_dirty(w);
        }
        buf_done(&head);
}

/* Bytes that wait from before a pause, or from behind the answer. */
static void take_kept(Ws *w)
{
        Buf kept = w->kept;
        size_t used;

        if (kept.len == 0 || w->paused || w->state < WS_OPEN || w->state == WS_CLOSED)
                return;
        w->kept = (Buf){};
        used = take_frames(w, kept.data, kept.len);
        if (w->state != WS_CLOSED && used < kept.len) {
                buf_drop(&kept, used);
                w->kept = kept; /* nothing else was read meanwhile */
                return;
        }
        buf_done_wipe(&kept);
}

static void take_bytes(Ws *w, uint8_t *data, size_t len)
{
        size_t used;

        w->heard = true;
        if (w->deaf)
                return;
        if (w->state == WS_UPGRADING) {
                take_answer(w, data, len);
                return;
        }
        used = take_frames(w, data, len);
        if (w->state == WS_CLOSED || used == len)
                return;
        buf_add(&w->kept, data + used, len - used);
        if (buf_ok(&w->kept) < 0)
                closed(w, "out of memory");
}

static bool may_read(const Ws *w)
{
        return w->state == WS_UPGRADING ||
               (w->state >= WS_OPEN && w->state != WS_CLOSED && !w->paused && w->kept.len == 0);
}

/* One read; more only where TLS has it already. */
static void read_some(Ws *w)
{
        do {
                ssize_t n = ws_stream_read(&w->stream, w->loop->buffer, WS_READ_BYTES);

                if (n == -EAGAIN)
                        return;
                if (n <= 0) {
                        closed(w, w->state == WS_UPGRADING ? "the connection was closed without an "
                                                             "answer: is it a Link relay?"
                                  : n == 0                 ? "connection lost"
                                  : w->stream.fault[0]     ? w->stream.fault
                                                           : strerror((int)-n));
                        return;
                }
                take_bytes(w, w->loop->buffer, (size_t)n);
        } while (w->state != WS_CLOSED && may_read(w) && ws_stream_has_more(&w->stream));
}

/* ---- the socket ---- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(Ws *w)
{
        bool securing = w->state == WS_SECURING;
        bool out = !securing && has_output(w), in = securing || may_read(w);
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
                closed(w, "the request could not be made");
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
                closed(w, w->stream.fault);
}

void ws_work(Ws *w)
{
        int r = 0;

        w->depth++;
        make_clean(w);
        take_kept(w);
        if (may_read(w) && ws_stream_has_more(&w->stream))
                read_some(w);
        if (w->state >= WS_UPGRADING && w->state != WS_CLOSED)
                r = flush(w);
        if (r < 0)
                closed(w, strerror(-r));
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
        else if (may_read(w) && (status < 0 || events & UV_READABLE || w->stream.read_wants_write))
                read_some(w);
        if (status < 0 && w->state != WS_CLOSED) /* an error is pending; libuv watches no more */
                closed(w, "connection lost");
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
                closed(w, strcmp(why, "connection refused") == 0
                                  ? "connection refused: is link-relay running there?"
                                  : why);
                return;
        }
        if (w->url.tls && !tls) {
                w->stream.fd = fd;
                closed(w, "TLS does not start: see the log");
                return;
        }
        if (ws_stream_open(&w->stream, fd, tls, w->url.host, w->pin) < 0 ||
            uv_poll_init(w->loop->uv, &w->poll, fd) < 0) {
                closed(w, "out of memory");
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
        w->pin = settings_pin(l->settings, url);
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
        if (w->state >= WS_OPEN && w->state != WS_CLOSED)
                make_dirty(w); /* watches anew, and takes what was kept */
}
