/* RFC 6455 framing without I/O and without a buffer of its own: an incremental header parser,
 * unmasking in place, header writing, and the protocol's rules on sequences of frames. Server and
 * client side. */
#pragma once

#include "util.h"

enum {
        WSFRAME_HEAD_MAX = 14,     /* 2 + 8 length + 4 mask */
        WSFRAME_CONTROL_MAX = 125, /* payload of a control frame (section 5.5) */
};

typedef enum WsOpcode {
        WS_CONTINUATION = 0,
        WS_TEXT = 1,
        WS_BINARY = 2,
        WS_CLOSE = 8,
        WS_PING = 9,
        WS_PONG = 10,
} WsOpcode;

/* Close codes of RFC 6455 section 7.4.1 that are used here. */
enum {
        WS_CLOSE_NORMAL = 1000,
        WS_CLOSE_GOING_AWAY = 1001,
        WS_CLOSE_PROTOCOL = 1002,
        WS_CLOSE_NO_STATUS = 1005, /* never sent */
        WS_CLOSE_BAD_DATA = 1007,
        WS_CLOSE_TOO_BIG = 1009,
};

/* A frame's header. */
typedef struct WsHead {
        bool fin;
        uint8_t opcode; /* WsOpcode */
        bool masked;
        uint8_t mask[4];
        uint64_t length; /* of the payload */
} WsHead;

/* Decodes a header from its first len bytes. > 0: its size, *ret is set. 0: more bytes are needed.
 * -EPROTO: reserved bits or opcode, a control frame that is long or fragmented, a length that is
 * not minimal or has its top bit set. */
int wsframe_decode_head(const uint8_t *p, size_t len, WsHead *ret) _must_use_;
/* Writes a header (mask NULL: unmasked). Its size, at most WSFRAME_HEAD_MAX. */
size_t wsframe_encode_head(uint8_t *out, bool fin, uint8_t opcode, uint64_t length,
                           const uint8_t *mask);
/* XORs n bytes with the mask; phase: how many payload bytes of this frame came before. In place,
 * wide. */
void wsframe_mask(uint8_t *p, size_t n, const uint8_t mask[4], uint64_t phase);
/* The same from p to `to`, in one pass; the two may overlap where `to` does not lie behind p. */
void wsframe_mask_to(uint8_t *to, const uint8_t *p, size_t n, const uint8_t mask[4],
                     uint64_t phase);

static inline bool wsframe_is_control(uint8_t opcode)
{
        return opcode & 8;
}

/* The sequence of frames of one direction: sans-I/O state of a receiver. Small: one is kept a
 * socket. */
typedef struct WsReceiver {
        uint64_t left;    /* payload bytes of the frame that are still to come */
        uint32_t message; /* bytes of the message so far, by its headers */
        uint8_t mask[4];
        uint8_t phase;    /* payload bytes so far, modulo 4 */
        uint8_t opcode;   /* of the frame */
        uint8_t head_len; /* header bytes kept */
        bool in_frame, fin, masked;
        bool in_message;  /* a data message has begun and its last frame has not ended */
        bool expect_mask; /* a server's receiver */
        uint8_t head[WSFRAME_HEAD_MAX]; /* a header that came in pieces */
} WsReceiver;

typedef enum WsEvent {
        WS_EVENT_MORE = 0, /* all bytes are used */
        WS_EVENT_HEAD = 1, /* a frame begins: opcode, fin, left are set */
        WS_EVENT_DATA = 2, /* payload, unmasked in place */
        WS_EVENT_END = 3,  /* the frame has ended (after its DATA, or at once if it is empty) */
} WsEvent;

void wsreceiver_init(WsReceiver *r, bool is_server);
/* Takes the next step over data[*at..len). Moves *at. On WS_EVENT_DATA *ret, *ret_len are the
 * payload. message_max: bytes of one data message, of which 2^32-1 are counted at most. A WsEvent;
 * -EPROTO (close 1002); -EMSGSIZE (close 1009). */
int wsreceiver_next(WsReceiver *r, uint8_t *data, size_t len, size_t *at, uint64_t message_max,
                    uint8_t **ret, size_t *ret_len) _must_use_;
/* The same for who moves the payload anyway: on WS_EVENT_DATA it still lies there as it came, and
 * wsreceiver_unmask_to() takes it, once, before the next step. */
int wsreceiver_next_raw(WsReceiver *r, const uint8_t *data, size_t len, size_t *at,
                        uint64_t message_max, size_t *ret_offset, size_t *ret_len) _must_use_;
/* That payload's plain bytes; `to` may be its own place or lie before it. */
void wsreceiver_unmask_to(const WsReceiver *r, uint8_t *to, const uint8_t *p, size_t n);

/* The payload of a close frame. 0: *ret_code is set (WS_CLOSE_NO_STATUS for an empty one); -EPROTO:
 * one byte, a code that may not be sent; -EBADMSG: a reason that is not UTF-8. */
int wsframe_decode_close(const uint8_t *payload, size_t len, unsigned *ret_code) _must_use_;
/* A whole unmasked close frame, at most 4 bytes; code WS_CLOSE_NO_STATUS: an empty one. */
size_t wsframe_encode_close(uint8_t out[4], unsigned code);

/* Whether text is UTF-8 (RFC 3629). */
bool ws_utf8_valid(const uint8_t *p, size_t n);
