/* Messages on their way out: queued, framed and masked a batch at a time, written. */
#include <errno.h>

#include "limits.h"
#include "ws-internal.h"

WsMessage *ws_message_new(size_t len, bool text)
{
        WsMessage *m = malloc(sizeof(*m) + len);

        if (!m)
                return NULL;
        *m = (WsMessage){.text = text, .len = len, .data = (uint8_t *)(m + 1)};
        return m;
}

WsMessage *ws_message_take(Buf *b)
{
        WsMessage *m = malloc(sizeof(*m));

        if (!m)
                return NULL;
        *m = (WsMessage){.len = b->len, .data = b->data, .owned = b->data};
        *b = (Buf){};
        return m;
}

WsMessage *ws_message_free(WsMessage *m)
{
        if (m)
                free(m->owned);
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

void ws_clear_messages(WsMessage **first, WsMessage ***end)
{
        for (WsMessage *m; (m = pop(first, end));)
                ws_message_free(m);
}

void ws_make_dirty(Ws *w)
{
        if (w->dirty || w->state == WS_CLOSED)
                return;
        w->dirty = true;
        LIST_INSERT_HEAD(&w->loop->dirty, w, in_dirty);
}

void ws_make_clean(Ws *w)
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
        ws_make_dirty(w);
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

/* ---- frames ---- */

void ws_add_frame(Ws *w, uint8_t opcode, const uint8_t *p, size_t n)
{
        uint8_t head[WSFRAME_HEAD_MAX], mask[4];
        size_t at;

        ws_loop_mask(w->loop, mask);
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
                ws_loop_mask(w->loop, w->mask);
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
                        ws_add_frame(w, WS_PONG, w->pong, w->pong_len);
                } else if (w->queue_off == 0 && w->ping_due) {
                        w->ping_due = false;
                        ws_add_frame(w, WS_PING, NULL, 0);
                } else if (w->queue) {
                        add_piece(w);
                } else {
                        break;
                }
        }
        if (w->queue || !w->finish || w->state != WS_OPEN || w->out.len >= WS_BATCH_BYTES)
                return;
        write_u16be(code, (uint16_t)w->finish_code);
        ws_add_frame(w, WS_CLOSE, code, w->finish_code == WS_CLOSE_NO_STATUS ? 0 : sizeof(code));
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

bool ws_has_output(const Ws *w)
{
        return w->out.len || w->queue || w->pong_due || w->ping_due ||
               (w->finish && w->state == WS_OPEN);
}

/* One batch. 0 or negative errno. */
int ws_flush(Ws *w)
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
