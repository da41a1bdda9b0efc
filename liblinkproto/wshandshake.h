/* The server's side of the WebSocket opening handshake (RFC 6455 section 4.2): a strict reader of
 * HTTP/1.1 request heads, and the answer. No I/O. */
#pragma once

#include "util.h"

enum {
        WSHANDSHAKE_HOST_MAX = 261,
        WSHANDSHAKE_RESPONSE_MAX = 208,
        WSHANDSHAKE_DATE_MAX = 30,      /* with the NUL */
        WSHANDSHAKE_PATH_MAX = 63,      /* longer than any path that is served */
        WSHANDSHAKE_FORWARDED_MAX = 63, /* longer than any address */
};

typedef enum WsHeadResult {
        WSHEAD_MORE = 0,    /* the head is not complete */
        WSHEAD_UPGRADE = 1, /* a WebSocket upgrade of /v1/link */
        WSHEAD_OTHER = 2,   /* any other request: an HTTP server's */
        WSHEAD_BAD = 3,     /* not an HTTP request, or an upgrade that is not valid: answer 400 */
} WsHeadResult;

typedef struct WsRequest {
        size_t head_len;                     /* bytes up to and with the empty line */
        char host[WSHANDSHAKE_HOST_MAX + 1]; /* Host, trimmed and lower-cased; "" if none */
        char key[25];                        /* Sec-WebSocket-Key, as sent: 24 characters */
        /* First hop of X-Forwarded-For; "" if there is none or it is too long. */
        char forwarded_for[WSHANDSHAKE_FORWARDED_MAX + 1];
        bool is_get, is_head;                /* the method; neither for any other */
        char path[WSHANDSHAKE_PATH_MAX + 1]; /* without the query; "" if too long */
} WsRequest;

/* Looks at what has come of a request head. ret is set on WSHEAD_UPGRADE and WSHEAD_OTHER. */
WsHeadResult wshandshake_read(const char *data, size_t len, WsRequest *ret) _must_use_;

/* The 101 response for a key, with the Date. Its length, or -EIO. */
int wshandshake_response(const char key[25], int64_t now_msec,
                         char out[WSHANDSHAKE_RESPONSE_MAX]) _must_use_;
/* An HTTP date (RFC 9110 section 5.6.7) of milliseconds since the epoch. 0; -EINVAL: not in the
 * years 1970 to 9999. */
int wshandshake_date(int64_t msec, char out[WSHANDSHAKE_DATE_MAX]) _must_use_;
/* The same for a client that wants to check: the value of Sec-WebSocket-Accept (28 characters). 0
 * or -EIO. */
int wshandshake_accept(const char key[25], char out[29]) _must_use_;
