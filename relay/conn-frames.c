/* Frames that are the relay's own to read: control messages before the splice, pings and closes at
 * any time, and what still comes while a connection closes. */
#include <errno.h>

#include "relay-internal.h"

bool conn_control_data(Conn *c, const uint8_t *p, size_t n)
{
        if (c->rx.opcode == WS_PONG)
                return true; /* that it came is all it says */
        if (!c->frame || c->frame->pong_due) {
                /* A pong that waits gives way to the newer one (RFC 6455 section 5.5.3). */
                free(c->frame);
                c->frame = calloc(1, sizeof(*c->frame));
        }
        if (!c->frame) {
                conn_drop(c);
                return false;
        }
        memcpy(c->frame->data + c->frame->len, p, n); /* 125 in all: wsframe has checked it */
        c->frame->len = (uint8_t)(c->frame->len + n);
        return true;
}

static void close_frame(Conn *c)
{
        size_t len = c->frame && !c->frame->pong_due ? c->frame->len : 0;
        unsigned code = WS_CLOSE_PROTOCOL;
        int r = wsframe_decode_close(c->frame ? c->frame->data : NULL, len, &code);

        if (r == -EBADMSG)
                code = WS_CLOSE_BAD_DATA;
        c->peer_closed = true;
        conn_close(c, code);
}

bool conn_control_frame(Conn *c)
{
        if (c->rx.opcode == WS_CLOSE) {
                close_frame(c);
                return false;
        }
        if (c->rx.opcode == WS_PONG)
                return true;
        if (!c->frame || c->frame->pong_due) { /* an empty ping */
                free(c->frame);
                c->frame = calloc(1, sizeof(*c->frame));
                if (!c->frame) {
                        conn_drop(c);
                        return false;
                }
        }
        c->frame->pong_due = true;
        conn_flush_control(c);
        return c->phase == CONN_OPEN;
}

/* ---- control messages ---- */

static void fault(Conn *c, int error, unsigned too_big)
{
        c->rx_broken = true;
        conn_close(c, error == -EMSGSIZE ? too_big : WS_CLOSE_PROTOCOL);
}

/* The end of a data frame: a whole message is looked at where it lies, one in pieces in c->in. */
static void text_end(Conn *c, const uint8_t *whole, size_t whole_len)
{
        Buf text = c->in;

        if (!c->rx.fin)
                return;
        c->in = (Buf){};
        if (buf_ok(&text) < 0)
                conn_drop(c);
        else
                control_message(c, text.len ? text.data : whole, text.len ? text.len : whole_len);
        buf_done(&text);
}

static void text_data(Conn *c, const uint8_t *p, size_t n, const uint8_t **whole, size_t *whole_len)
{
        if (c->in.len == 0 && c->rx.fin && c->rx.left == 0) {
                *whole = p;
                *whole_len = n;
        } else {
                buf_add(&c->in, p, n);
        }
}

void conn_take_frames(Conn *c, uint8_t *data, size_t len)
{
        const uint8_t *whole = NULL;
        size_t at = 0, n, whole_len = 0;
        uint8_t *p;

        while (c->phase == CONN_OPEN && !c->spliced) {
                int event = wsreceiver_next(&c->rx, data, len, &at, CONTROL_RELAY_MAX, &p, &n);
                bool control = wsframe_is_control(c->rx.opcode);

                if (event == WS_EVENT_MORE)
                        return;
                if (event < 0)
                        fault(c, event, CLOSE_BAD_REQUEST);
                else if (event == WS_EVENT_HEAD && c->rx.opcode == WS_BINARY)
                        conn_close(c, CLOSE_BAD_REQUEST);
                else if (event == WS_EVENT_DATA && control)
                        (void)conn_control_data(c, p, n); /* the phase tells */
                else if (event == WS_EVENT_DATA)
                        text_data(c, p, n, &whole, &whole_len);
                else if (event == WS_EVENT_END && control)
                        (void)conn_control_frame(c);
                else if (event == WS_EVENT_END) {
                        text_end(c, whole, whole_len);
                        whole_len = 0;
                }
        }
        if (c->phase == CONN_OPEN)
                splice_bytes(c, data + at, len - at);
        else if (c->phase == CONN_CLOSING)
                conn_discard_frames(c, data + at, len - at);
}

void conn_discard_frames(Conn *c, uint8_t *data, size_t len)
{
        uint8_t *p;
        size_t at = 0, n;
        int event;

        if (c->http || c->rx_broken)
                return;
        do {
                event = wsreceiver_next(&c->rx, data, len, &at, LINK_MESSAGE_MAX, &p, &n);
                if (event == WS_EVENT_END && c->rx.opcode == WS_CLOSE) {
                        c->peer_closed = true;
                        if (!conn_has_output(c))
                                conn_drop(c);
                        return;
                }
        } while (event > 0);
        c->rx_broken = event < 0;
}
