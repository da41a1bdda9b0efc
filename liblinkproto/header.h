/* Frame 0 of a handshake (PROTOCOL.md "Header").
 *
 *   "FLk1" | u8 version | u8 mode | rest
 *   pair 1: version 1, or version 2 + 8-byte code id;  recover 2;  reconnect 3: 16-byte key id */
#pragma once

#include "util.h"

enum {
        CODE_ID_BYTES = 8,
        KEY_ID_BYTES = 16,
        HEADER_BYTES_MAX = 22,
        REFUSAL_BYTES = 6,
};

typedef enum HeaderMode {
        HEADER_PAIR = 1,
        HEADER_RECOVER = 2,
        HEADER_RECONNECT = 3,
} HeaderMode;

typedef struct Header {
        HeaderMode mode;
        bool has_code_id; /* pair only */
        uint8_t code_id[CODE_ID_BYTES];
        uint8_t key_id[KEY_ID_BYTES]; /* reconnect only */
} Header;

/* What a host sends in place of Noise message 2 to refuse a key id. */
extern const uint8_t header_refusal[REFUSAL_BYTES];

/* Reads a received frame; bytes after the fields are ignored. 0 or -EBADMSG. */
int header_decode(const uint8_t *frame, size_t len, Header *ret) _must_use_;
/* Writes the canonical form (the AAD and prologue) and returns its length. */
size_t header_encode(const Header *h, uint8_t out[HEADER_BYTES_MAX]);
