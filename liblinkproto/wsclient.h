/* The client's side of the WebSocket opening handshake (RFC 6455 section 4.1): the request, and a
 * strict reader of the answer. No I/O. */
#pragma once

#include "util.h"

enum {
        WSCLIENT_NONCE_BYTES = 16,
        WSCLIENT_REQUEST_MAX = 1024,
        WSCLIENT_DATE_MAX = 30, /* with the NUL */
};

/* Writes the request. path: with its query; host: as it stands in Host; nonce: random bytes. The
 * length, or -ENOBUFS, -EINVAL: a character that would end a line. */
int wsclient_request(const char *path, const char *host, const uint8_t nonce[WSCLIENT_NONCE_BYTES],
                     char out[WSCLIENT_REQUEST_MAX]) _must_use_;

typedef enum WsAnswer {
        WSANSWER_MORE = 0,     /* the head is not complete */
        WSANSWER_UPGRADED = 1, /* what follows head_len are frames */
        WSANSWER_REFUSED = 2,  /* an HTTP answer with another status */
        WSANSWER_BAD = 3,      /* no HTTP answer, or an upgrade that breaks the rules */
} WsAnswer;

typedef struct WsResponse {
        size_t head_len; /* bytes up to and with the empty line */
        unsigned status;
        char date[WSCLIENT_DATE_MAX]; /* Date, "" if none */
} WsResponse;

/* Looks at what has come of an answer to the request with that nonce. ret is set on UPGRADED and
 * REFUSED. */
WsAnswer wsclient_read(const char *data, size_t len, const uint8_t nonce[WSCLIENT_NONCE_BYTES],
                       WsResponse *ret) _must_use_;
