#include "wsclient.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "httptext.h"
#include "wshandshake.h"

static void make_key(const uint8_t nonce[WSCLIENT_NONCE_BYTES], char key[25])
{
        (void)EVP_EncodeBlock((uint8_t *)key, nonce, WSCLIENT_NONCE_BYTES); /* 24 characters */
}

static bool ends_line(const char *s)
{
        return s[strcspn(s, "\r\n ")] != '\0';
}

int wsclient_request(const char *path, const char *host, const uint8_t nonce[WSCLIENT_NONCE_BYTES],
                     char out[WSCLIENT_REQUEST_MAX])
{
        char key[25];
        int n;

        if (ends_line(path) || ends_line(host))
                return -EINVAL;
        make_key(nonce, key);
        n = snprintf(out, WSCLIENT_REQUEST_MAX,
                     "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                     "Sec-WebSocket-Version: 13\r\n\r\n",
                     path, host, key);
        return n < 0 || n >= WSCLIENT_REQUEST_MAX ? -ENOBUFS : n;
}

/* "HTTP/1.1 101 words". 0: no such line. */
static unsigned status_of(HttpText line)
{
        static const char start[] = "HTTP/1.";
        const char *p = line.p;

        if (line.n < 12 || memcmp(p, start, 7) != 0 || (p[7] != '0' && p[7] != '1') ||
            p[8] != ' ' || (line.n > 12 && p[12] != ' '))
                return 0;
        for (int i = 9; i < 12; i++)
                if (p[i] < '0' || p[i] > '9')
                        return 0;
        return (unsigned)((p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0'));
}

typedef struct Fields {
        bool upgrade, connection, accept, unasked;
        unsigned n_accept;
} Fields;

/* false: not a header line. */
static bool take_field(Fields *f, HttpText line, const char accept[29], WsResponse *r)
{
        HttpText name, value;

        if (!http_field_cut(line, &name, &value))
                return false;
        if (http_text_is(name, "upgrade")) {
                f->upgrade = http_text_is(value, "websocket");
        } else if (http_text_is(name, "connection")) {
                f->connection = f->connection || http_list_holds(value, "upgrade");
        } else if (http_text_is(name, "sec-websocket-accept")) {
                f->n_accept++;
                f->accept = value.n == 28 && memcmp(value.p, accept, 28) == 0;
        } else if (http_text_is(name, "sec-websocket-extensions") ||
                   http_text_is(name, "sec-websocket-protocol")) {
                f->unasked = true; /* we offer none */
        } else if (http_text_is(name, "date") && value.n < sizeof(r->date)) {
                memset(r->date, 0, sizeof(r->date));
                memcpy(r->date, value.p, value.n);
        }
        return true;
}

WsAnswer wsclient_read(const char *data, size_t len, const uint8_t nonce[WSCLIENT_NONCE_BYTES],
                       WsResponse *ret)
{
        const char *end = memmem(data, len, "\r\n\r\n", 4), *p, *eol;
        char key[25], accept[29];
        WsResponse r = {};
        Fields f = {};

        if (!end) /* what cannot become an answer is not waited for */
                return len && memcmp(data, "HTTP/1.", MIN(len, (size_t)7)) != 0 ? WSANSWER_BAD
                                                                                : WSANSWER_MORE;
        make_key(nonce, key);
        if (wshandshake_accept(key, accept) < 0)
                return WSANSWER_BAD;
        r.head_len = (size_t)(end - data) + 4;
        eol = memmem(data, len, "\r\n", 2);
        r.status = status_of((HttpText){data, (size_t)(eol - data)});
        while (r.status && eol != end) {
                p = eol + 2;
                eol = memmem(p, len - (size_t)(p - data), "\r\n", 2);
                if (!take_field(&f, (HttpText){p, (size_t)(eol - p)}, accept, &r))
                        return WSANSWER_BAD;
        }
        if (!r.status || (r.status == 101 && (!f.upgrade || !f.connection || !f.accept ||
                                              f.n_accept != 1 || f.unasked)))
                return WSANSWER_BAD;
        *ret = r;
        return r.status == 101 ? WSANSWER_UPGRADED : WSANSWER_REFUSED;
}
