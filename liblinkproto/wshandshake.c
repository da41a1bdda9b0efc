#include "wshandshake.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <time.h>

#include "httptext.h"

static const char upgrade_path[] = "/v1/link";
static const char key_guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 section 1.3 */

/* The headers that matter. A repeated Host, Key or Version is a fault. */
typedef struct Fields {
        HttpText host, key, version, forwarded_for;
        bool upgrade, connection, repeated;
} Fields;

static void once(Fields *f, HttpText *to, HttpText value)
{
        f->repeated = f->repeated || to->p;
        *to = value;
}

/* "Name: value". false: not a header line. */
static bool take_field(Fields *f, HttpText line)
{
        HttpText name, value;

        if (!http_field_cut(line, &name, &value))
                return false;
        if (http_text_is(name, "host"))
                once(f, &f->host, value);
        else if (http_text_is(name, "sec-websocket-key"))
                once(f, &f->key, value);
        else if (http_text_is(name, "sec-websocket-version"))
                once(f, &f->version, value);
        else if (http_text_is(name, "upgrade"))
                f->upgrade = f->upgrade || http_list_holds(value, "websocket");
        else if (http_text_is(name, "connection"))
                f->connection = f->connection || http_list_holds(value, "upgrade");
        else if (http_text_is(name, "x-forwarded-for") && !f->forwarded_for.p)
                f->forwarded_for = value;
        return true;
}

/* Copies text that fits, else nothing. */
static void copy_text(char *out, size_t size, HttpText t)
{
        if (t.n && t.n < size)
                memcpy(out, t.p, t.n); /* the rest is zero already */
}

typedef struct RequestLine {
        HttpText method, path;
        bool http11;
} RequestLine;

/* "GET /path?query HTTP/1.1". false: not such a line. */
static bool take_request_line(HttpText line, RequestLine *ret)
{
        const char *space = memchr(line.p, ' ', line.n), *end;
        HttpText target;

        if (!space || space == line.p)
                return false;
        for (const char *c = line.p; c < space; c++)
                if (!http_is_token_char(*c))
                        return false;
        target.p = space + 1;
        end = memchr(target.p, ' ', line.n - (size_t)(target.p - line.p));
        if (!end || line.p + line.n - end != 9 || memcmp(end, " HTTP/1.", 8) != 0)
                return false;
        if (end[8] != '1' && end[8] != '0')
                return false;
        target.n = (size_t)(end - target.p);
        for (size_t i = 0; i < target.n; i++)
                if ((unsigned char)target.p[i] <= 0x20 || target.p[i] == 0x7f)
                        return false;
        *ret = (RequestLine){.method = {line.p, (size_t)(space - line.p)},
                             .path = {target.p, strcspn(target.p, "? ")}, /* a blank follows it */
                             .http11 = end[8] == '1'};
        return target.n > 0;
}

static bool text_same(HttpText t, const char *s)
{
        return t.n == strlen(s) && memcmp(t.p, s, t.n) == 0;
}

/* The first of a list of addresses. */
static HttpText first_hop(HttpText list)
{
        const char *comma = memchr(list.p, ',', list.n);

        return http_text_trim((HttpText){list.p, comma ? (size_t)(comma - list.p) : list.n});
}

/* 16 bytes in base64: 22 characters and "==". */
static bool key_is_valid(HttpText key)
{
        if (key.n != 24 || memcmp(key.p + 22, "==", 2) != 0)
                return false;
        for (size_t i = 0; i < 22; i++)
                if (!((key.p[i] >= 'a' && key.p[i] <= 'z') ||
                      (key.p[i] >= 'A' && key.p[i] <= 'Z') ||
                      (key.p[i] >= '0' && key.p[i] <= '9') || key.p[i] == '+' || key.p[i] == '/'))
                        return false;
        return true;
}

static bool upgrade_is_valid(const Fields *f)
{
        return f->connection && !f->repeated && key_is_valid(f->key) &&
               http_text_is(f->version, "13") && f->host.n <= WSHANDSHAKE_HOST_MAX;
}

static void fill_request(const Fields *f, const RequestLine *line, size_t head_len, WsRequest *ret)
{
        *ret = (WsRequest){.head_len = head_len,
                           .is_get = text_same(line->method, "GET"),
                           .is_head = text_same(line->method, "HEAD")};
        copy_text(ret->path, sizeof(ret->path), line->path);
        copy_text(ret->key, sizeof(ret->key), f->key);
        copy_text(ret->host, sizeof(ret->host), f->host);
        for (char *c = ret->host; *c; c++)
                if (*c >= 'A' && *c <= 'Z')
                        *c = (char)(*c - 'A' + 'a');
        if (f->forwarded_for.p)
                copy_text(ret->forwarded_for, sizeof(ret->forwarded_for),
                          first_hop(f->forwarded_for));
}

WsHeadResult wshandshake_read(const char *data, size_t len, WsRequest *ret)
{
        const char *end = memmem(data, len, "\r\n\r\n", 4), *p = data, *eol;
        WsRequest request;
        RequestLine line;
        Fields f = {};
        bool upgrade;

        if (!end) {
                /* What cannot become a request is not waited for. */
                for (size_t i = 0; i < MIN(len, (size_t)3) && (i == 0 || data[i] != ' '); i++)
                        if (!http_is_token_char(data[i]))
                                return WSHEAD_BAD;
                return WSHEAD_MORE;
        }
        eol = memmem(p, len, "\r\n", 2);
        if (!take_request_line((HttpText){p, (size_t)(eol - p)}, &line))
                return WSHEAD_BAD;
        while (eol != end) {
                p = eol + 2;
                eol = memmem(p, len - (size_t)(p - data), "\r\n", 2);
                if (!take_field(&f, (HttpText){p, (size_t)(eol - p)}))
                        return WSHEAD_BAD;
        }
        fill_request(&f, &line, (size_t)(end - data) + 4, &request);
        upgrade = request.is_get && line.http11 && text_same(line.path, upgrade_path) && f.upgrade;
        if (upgrade && !upgrade_is_valid(&f))
                return WSHEAD_BAD;
        *ret = request;
        return upgrade ? WSHEAD_UPGRADE : WSHEAD_OTHER;
}

int wshandshake_accept(const char key[25], char out[29])
{
        char text[24 + sizeof(key_guid)];
        uint8_t digest[20];
        unsigned n = 0;

        memcpy(text, key, 24);
        memcpy(text + 24, key_guid, sizeof(key_guid));
        if (!EVP_Digest(text, 24 + sizeof(key_guid) - 1, digest, &n, EVP_sha1(), NULL) ||
            n != sizeof(digest))
                return -EIO;
        return EVP_EncodeBlock((uint8_t *)out, digest, sizeof(digest)) == 28 ? 0 : -EIO;
}

int wshandshake_date(int64_t msec, char out[WSHANDSHAKE_DATE_MAX])
{
        static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        time_t t = (time_t)(msec / 1000);
        struct tm tm;
        int n;

        if (msec < 0 || !gmtime_r(&t, &tm) || tm.tm_year > 9999 - 1900)
                return -EINVAL;
        n = snprintf(out, WSHANDSHAKE_DATE_MAX, "%s, %02d %s %04d %02d:%02d:%02d GMT",
                     days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour,
                     tm.tm_min, tm.tm_sec);
        return n == WSHANDSHAKE_DATE_MAX - 1 ? 0 : -EINVAL;
}

int wshandshake_response(const char key[25], int64_t now_msec, char out[WSHANDSHAKE_RESPONSE_MAX])
{
        char accept[29], date[WSHANDSHAKE_DATE_MAX];
        int n;

        if (wshandshake_accept(key, accept) < 0 || wshandshake_date(now_msec, date) < 0)
                return -EIO;
        n = snprintf(out, WSHANDSHAKE_RESPONSE_MAX,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\nDate: %s\r\n\r\n",
                     accept, date);
        return n < 0 || n >= WSHANDSHAKE_RESPONSE_MAX ? -EIO : n;
}
