/* What a WsReceiver says of an input, as text, so that two ways to cut the input can be compared:
 * `opcode`, + (last frame of its message) or -, length, `:`, the payload in hex, `;` at its end. */
#pragma once

#include "liblinkproto/buf.h"
#include "liblinkproto/wsframe.h"

/* Feeds one piece and appends to log. 0, or the receiver's errno; 1: the receiver left bytes. */
static inline int ws_transcript_piece(Buf *log, WsReceiver *r, uint8_t *data, size_t len,
                                      uint64_t message_max)
{
        size_t at = 0;

        for (;;) {
                uint8_t *p = NULL;
                size_t n = 0;
                int e = wsreceiver_next(r, data, len, &at, message_max, &p, &n);

                if (e < 0)
                        return e;
                switch ((WsEvent)e) {
                case WS_EVENT_MORE:
                        return at != len;
                case WS_EVENT_HEAD:
                        buf_printf(log, "%x%c%llu:", r->opcode, r->fin ? '+' : '-',
                                   (unsigned long long)r->left);
                        break;
                case WS_EVENT_DATA:
                        for (size_t i = 0; i < n; i++)
                                buf_printf(log, "%02x", p[i]);
                        break;
                case WS_EVENT_END:
                        buf_add_str(log, ";");
                        break;
                }
        }
}

/* Feeds an input in n_cuts + 1 pieces, each in memory of its own. Returns as above. */
static inline int ws_transcript(Buf *log, const uint8_t *data, size_t len, const size_t *cuts,
                                size_t n_cuts, bool is_server, uint64_t message_max)
{
        WsReceiver r;
        size_t from = 0;
        int e = 0;

        wsreceiver_init(&r, is_server);
        for (size_t i = 0; e == 0 && i <= n_cuts; i++) {
                size_t to = i < n_cuts ? cuts[i] : len;
                uint8_t *piece = malloc(to - from + 1);

                if (!piece)
                        return 1;
                if (to > from)
                        memcpy(piece, data + from, to - from);
                e = ws_transcript_piece(log, &r, piece, to - from, message_max);
                free(piece);
                from = to;
        }
        return e;
}
