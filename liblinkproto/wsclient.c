#include "wsclient.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>

#include "wshandshake.h"

typedef struct Text {
        const char *p;
        size_t n;
} Text;

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

static Text trim(Text t)
{
        while (t.n && (t.p[0] == ' ' || t.p[0] == '\t'))
                t = (Text){t.p + 1, t.n - 1};
        while (t.n && (t.p[t.n - 1] == ' ' || t.p[t.n - 1] == '\t'))
                t.n--;
        return t;
}

static bool text_is(Text t, const char *s)
{
        return t.n == strlen(s) && strncasecmp(t.p, s, t.n) == 0;
}

static bool list_holds(Text list, const char *token)
{
        while (list.n) {
                const char *comma = memchr(list.p, ',', list.n);
                size_t n = comma ? (size_t)(comma - list.p) : list.n;

                if (text_is(trim((Text){list.p, n}), token))
                        return true;
                n += comma != NULL;
                list = (Text){list.p + n, list.n - n};
        }
        return false;
}

/* "HTTP/1.1 101 words". 0: no such line. */
static unsigned status_of(Text line)
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
static bool take_field(Fields *f, Text line, const char accept[29], WsResponse *r)
{
        const char *colon = memchr(line.p, ':', line.n);
        Text name, value;

        if (!colon || colon == line.p)
                return false;
        name = (Text){line.p, (size_t)(colon - line.p)};
        value = trim((Text){colon + 1, line.n - name.n - 1});
        if (text_is(name, "upgrade")) {
                f->upgrade = text_is(value, "websocket");
        } else if (text_is(name, "connection")) {
                f->connection = f->connection || list_holds(value, "upgrade");
        } else if (text_is(name, "sec-websocket-accept")) {
                f->n_accept++;
                f->accept = value.n == 28 && memcmp(value.p, accept, 28) == 0;
        } else if (text_is(name, "sec-websocket-extensions") ||
                   text_is(name, "sec-websocket-protocol")) {
                f->unasked = true; /* we offer none */
        } else if (text_is(name, "date") && value.n < sizeof(r->date)) {
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
        r.status = status_of((Text){data, (size_t)(eol - data)});
        while (r.status && eol != end) {
                p = eol + 2;
                eol = memmem(p, len - (size_t)(p - data), "\r\n", 2);
                if (!take_field(&f, (Text){p, (size_t)(eol - p)}, accept, &r))
                        return WSANSWER_BAD;
        }
        if (!r.status || (r.status == 101 && (!f.upgrade || !f.connection || !f.accept ||
                                              f.n_accept != 1 || f.unasked)))
                return WSANSWER_BAD;
        *ret = r;
        return r.status == 101 ? WSANSWER_UPGRADED : WSANSWER_REFUSED;
}
