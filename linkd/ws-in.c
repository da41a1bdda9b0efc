/* What comes: the answer to the upgrade, then frames, cut by liblinkproto/wsframe. */
#include <errno.h>
#include <stdio.h>

#include "clock.h"
#include "hoard.h"
#include "limits.h"
#include "ws-internal.h"

void ws_begin_step(Ws *w)
{
        w->progress = w->counted;
        timer_start(w->timer, MESSAGE_STEP_MSEC);
}

bool ws_message_goes_on(Ws *w)
{
        if (!w->paused && w->counted - w->progress < MESSAGE_STEP_BYTES)
                return false;
        ws_begin_step(w);
        return true;
}

void ws_note_message(Ws *w)
{
        hoard_count(w->loop->hoard, &w->counted, w->state == WS_OPEN ? w->message.len : 0);
        if (w->state != WS_OPEN || w->finish)
                return; /* the timer is for other things */
        if (w->counted == 0)
                timer_stop(w->timer);
        else if (!timer_active(w->timer))
                ws_begin_step(w);
}

size_t ws_unfinished_bytes(const Ws *w)
{
        return w->counted;
}

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
                ws_add_frame(w, WS_CLOSE, answer, code == WS_CLOSE_NO_STATUS ? 0 : sizeof(answer));
                if (buf_ok(&w->out) == 0)
                        (void)ws_stream_write(&w->stream, w->out.data, w->out.len);
        }
        ws_closed(w, "closed by the other end");
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
                ws_make_dirty(w);
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
                ws_closed(w, "out of memory");
        else
                ws_note_message(w);
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
        ws_note_message(w);
        w->handler->on_message(w->userdata, w->text, whole.data ? whole.data : (uint8_t *)"",
                               whole.len);
        buf_done_wipe_content(&whole);
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
                        ws_fault(w, event);
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
                ws_closed(w, "out of memory");
                return;
        }
        switch (wsclient_read((char *)w->message.data, w->message.len, w->nonce, &r)) {
        case WSANSWER_MORE:
                if (w->message.len > ANSWER_HEAD_MAX)
                        ws_closed(w, "what answers there is no Link relay");
                return;
        case WSANSWER_BAD:
                ws_closed(w, "what answers there is no Link relay");
                return;
        case WSANSWER_REFUSED:
                (void)snprintf(text, sizeof(text), "what answers there is no Link relay (HTTP %u)",
                               r.status); /* fits */
                ws_closed(w, text);
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
                ws_make_dirty(w);
        }
        buf_done(&head);
}

/* Bytes that wait from before a pause, or from behind the answer. */
void ws_take_kept(Ws *w)
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
                ws_closed(w, "out of memory");
}

bool ws_may_read(const Ws *w)
{
        return w->state == WS_UPGRADING ||
               (w->state >= WS_OPEN && w->state != WS_CLOSED && !w->paused && w->kept.len == 0);
}

/* One read; more only where TLS has it already. */
void ws_read_some(Ws *w)
{
        do {
                ssize_t n = ws_stream_read(&w->stream, w->loop->buffer, WS_READ_BYTES);

                if (n == -EAGAIN)
                        return;
                if (n <= 0) {
                        ws_closed(w, w->state == WS_UPGRADING
                                             ? "the connection was closed without an "
                                               "answer: is it a Link relay?"
                                     : n == 0             ? "connection lost"
                                     : w->stream.fault[0] ? w->stream.fault
                                                          : strerror((int)-n));
                        return;
                }
                take_bytes(w, w->loop->buffer, (size_t)n);
        } while (w->state != WS_CLOSED && ws_may_read(w) && ws_stream_has_more(&w->stream));
}
