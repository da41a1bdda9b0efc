#include <errno.h>
#include <stdio.h>

#include "liblinkproto/wshandshake.h"
#include "unit.h"

#define LINE  "GET /v1/link HTTP/1.1\r\n"
#define HOST  "Host: relay.example\r\n"
#define UP    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEY   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VER   "Sec-WebSocket-Version: 13\r\n"
#define END   "\r\n"
#define WHOLE LINE HOST UP KEY VER END

static const struct {
        const char *head;
        WsHeadResult result;
        const char *host;
} cases[] = {
        {WHOLE, WSHEAD_UPGRADE, "relay.example"},
        {"GET /v1/link?a=nG_UeYRF HTTP/1.1\r\n" HOST UP KEY VER END, WSHEAD_UPGRADE,
         "relay.example"},
        {"GET /v1/link? HTTP/1.1\r\n" HOST UP KEY VER END, WSHEAD_UPGRADE, "relay.example"},
        {LINE UP KEY VER END, WSHEAD_UPGRADE, ""},
        {LINE "HOST:\t Relay.EXAMPLE:8080 \t\r\n" UP KEY VER END, WSHEAD_UPGRADE,
         "relay.example:8080"},
        {LINE HOST "upgrade: h2c, WebSocket\r\nconnection: keep-alive , UPGRADE\r\n" KEY VER END,
         WSHEAD_UPGRADE, "relay.example"},
        {LINE HOST "Connection: keep-alive\r\n" UP KEY VER END, WSHEAD_UPGRADE, "relay.example"},
        {LINE HOST UP KEY VER "Sec-WebSocket-Extensions: permessage-deflate\r\nX:\r\n" END,
         WSHEAD_UPGRADE, "relay.example"},
        {LINE HOST UP KEY "Sec-WebSocket-Version:13\r\n" END, WSHEAD_UPGRADE, "relay.example"},

        {"GET /health HTTP/1.1\r\n" HOST END, WSHEAD_OTHER, NULL},
        {"GET / HTTP/1.0\r\n" END, WSHEAD_OTHER, NULL},
        {"POST /v1/link HTTP/1.1\r\n" HOST UP KEY VER END, WSHEAD_OTHER, NULL},
        {"get /v1/link HTTP/1.1\r\n" HOST UP KEY VER END, WSHEAD_OTHER, NULL},
        {"GET /v1/link HTTP/1.0\r\n" HOST UP KEY VER END, WSHEAD_OTHER, NULL},
        {"GET /v1/links HTTP/1.1\r\n" HOST UP KEY VER END, WSHEAD_OTHER, NULL},
        {"GET /v1/lin HTTP/1.1\r\n" HOST UP KEY VER END, WSHEAD_OTHER, NULL},
        {"GET /v1/link/ HTTP/1.1\r\n" HOST UP KEY VER END, WSHEAD_OTHER, NULL},
        {"GET /V1/link HTTP/1.1\r\n" HOST UP KEY VER END, WSHEAD_OTHER, NULL},
        {"GET /v1/link%3f HTTP/1.1\r\n" HOST UP KEY VER END, WSHEAD_OTHER, NULL},
        {"GET http://relay.example/v1/link HTTP/1.1\r\n" HOST UP KEY VER END, WSHEAD_OTHER, NULL},
        {"M / HTTP/1.1\r\n" HOST END, WSHEAD_OTHER, NULL},
        {"GE /v1/link HTTP/1.1\r\n" HOST UP KEY VER END, WSHEAD_OTHER, NULL},
        {"OPTIONS * HTTP/1.1\r\n" HOST END, WSHEAD_OTHER, NULL},
        {LINE HOST END, WSHEAD_OTHER, NULL},
        {LINE HOST "Upgrade: h2c\r\nConnection: Upgrade\r\n" END, WSHEAD_OTHER, NULL},
        {LINE HOST "Upgrade: websockets\r\nConnection: Upgrade\r\n" END, WSHEAD_OTHER, NULL},

        {LINE HOST "Upgrade: websocket\r\n" KEY VER END, WSHEAD_BAD, NULL},
        {LINE HOST "Upgrade: websocket\r\nConnection: close\r\n" KEY VER END, WSHEAD_BAD, NULL},
        {LINE HOST UP VER END, WSHEAD_BAD, NULL},
        {LINE HOST UP KEY END, WSHEAD_BAD, NULL},
        {LINE HOST UP KEY "Sec-WebSocket-Version: 8\r\n" END, WSHEAD_BAD, NULL},
        {LINE HOST UP KEY "Sec-WebSocket-Version: 13, 8\r\n" END, WSHEAD_BAD, NULL},
        {LINE HOST UP KEY "Sec-WebSocket-Version: 130\r\n" END, WSHEAD_BAD, NULL},
        {LINE HOST UP KEY KEY VER END, WSHEAD_BAD, NULL},
        {LINE HOST UP KEY VER VER END, WSHEAD_BAD, NULL},
        {LINE HOST HOST UP KEY VER END, WSHEAD_BAD, NULL},
        {LINE HOST "Host:\r\n" UP KEY VER END, WSHEAD_BAD, NULL},
        {LINE "Host:\r\n" HOST UP KEY VER END, WSHEAD_BAD, NULL},
        {LINE HOST UP VER "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n" END, WSHEAD_BAD, NULL},
        {LINE HOST UP VER "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ===\r\n" END, WSHEAD_BAD, NULL},
        {LINE HOST UP VER "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n" END, WSHEAD_BAD, NULL},
        {LINE HOST UP VER "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub2-jZQ==\r\n" END, WSHEAD_BAD, NULL},
        {LINE HOST UP VER "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub=5jZQ==\r\n" END, WSHEAD_BAD, NULL},
        {LINE HOST UP VER "Sec-WebSocket-Key:\r\n" END, WSHEAD_BAD, NULL},

        {"\r\n\r\n", WSHEAD_BAD, NULL},
        {"GET\r\n\r\n", WSHEAD_BAD, NULL},
        {"GET /v1/link\r\n\r\n", WSHEAD_BAD, NULL},
        {"GET  /v1/link HTTP/1.1\r\n\r\n", WSHEAD_BAD, NULL},
        {"GET /v1/link  HTTP/1.1\r\n\r\n", WSHEAD_BAD, NULL},
        {"GET  HTTP/1.1\r\n\r\n", WSHEAD_BAD, NULL},
        {" GET / HTTP/1.1\r\n\r\n", WSHEAD_BAD, NULL},
        {"G@T / HTTP/1.1\r\n\r\n", WSHEAD_BAD, NULL},
        {"GET / HTTP/2.0\r\n\r\n", WSHEAD_BAD, NULL},
        {"GET / HTTP/1.2\r\n\r\n", WSHEAD_BAD, NULL},
        {"GET / HTTP/1.11\r\n\r\n", WSHEAD_BAD, NULL},
        {"GET / http/1.1\r\n\r\n", WSHEAD_BAD, NULL},
        {"GET / HTTP/1.1 \r\n\r\n", WSHEAD_BAD, NULL},
        {"GET /a\x01 HTTP/1.1\r\n\r\n", WSHEAD_BAD, NULL},
        {"GET /a\x7f HTTP/1.1\r\n\r\n", WSHEAD_BAD, NULL},
        {LINE "no colon\r\n\r\n", WSHEAD_BAD, NULL},
        {LINE ": no name\r\n\r\n", WSHEAD_BAD, NULL},
        {LINE "Host : a\r\n\r\n", WSHEAD_BAD, NULL},
        {LINE "Ho\xc3\xa4st: a\r\n\r\n", WSHEAD_BAD, NULL},
        {LINE HOST " folded\r\n\r\n", WSHEAD_BAD, NULL},
        {LINE "X: a\rb\r\n\r\n", WSHEAD_BAD, NULL},
        {LINE "X: a\nHost: b\r\n\r\n", WSHEAD_BAD, NULL},
        {LINE "X: a\x7f\r\n\r\n", WSHEAD_BAD, NULL},
};

/* Reads an exact copy on the heap. */
static WsHeadResult read_head(const char *head, size_t len, WsRequest *ret)
{
        _cleanup_(freep) char *copy = malloc(len + 1);

        assert_non_null(copy);
        memcpy(copy, head, len);
        return wshandshake_read(copy, len, ret);
}

static void test_heads(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t len = strlen(cases[i].head);
                WsRequest r = {.head_len = 1};

                if (read_head(cases[i].head, len, &r) != cases[i].result)
                        fail_msg("%s", cases[i].head);
                bool set = cases[i].result == WSHEAD_UPGRADE || cases[i].result == WSHEAD_OTHER;
                assert_int_equal(r.head_len, set ? len : 1);
                if (cases[i].result != WSHEAD_UPGRADE)
                        continue;
                assert_string_equal(r.host, cases[i].host);
                assert_string_equal(r.key, "dGhlIHNhbXBsZSBub25jZQ==");
        }
}

/* Cut anywhere, a head is waited for or, when it begins with no method, refused; bytes behind it
 * are left alone. */
static void test_cut(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t len = strlen(cases[i].head);
                WsRequest r;

                for (size_t n = 0; n < len; n++) {
                        WsHeadResult got = read_head(cases[i].head, n, &r);

                        if (got != WSHEAD_MORE &&
                            (got != WSHEAD_BAD || cases[i].result != WSHEAD_BAD))
                                fail_msg("%zu of %s", n, cases[i].head);
                }
        }
        WsRequest r;
        assert_int_equal(read_head(WHOLE "\x82\0", strlen(WHOLE) + 2, &r), WSHEAD_UPGRADE);
        assert_int_equal(r.head_len, strlen(WHOLE));
        assert_int_equal(read_head("\x16\x03\x01", 3, &r), WSHEAD_BAD); /* TLS */
        assert_int_equal(read_head("\x16", 1, &r), WSHEAD_BAD);
        assert_int_equal(read_head("GET /\0 HTTP/1.1\r\n\r\n", 19, &r), WSHEAD_BAD);
}

/* What the relay needs of a request that is no upgrade, and from behind a proxy. */
static void test_other_fields(void **state)
{
        static const char head[] = "HEAD /metrics?x=1 HTTP/1.1\r\nHost: A\r\n"
                                   "X-Forwarded-For: 2001:db8::1 , 10.0.0.1\r\n"
                                   "X-Forwarded-For: 1.2.3.4\r\n\r\n";
        WsRequest r;

        (void)state;
        assert_int_equal(read_head(head, sizeof(head) - 1, &r), WSHEAD_OTHER);
        assert_true(r.is_head);
        assert_false(r.is_get);
        assert_string_equal(r.path, "/metrics");
        assert_string_equal(r.forwarded_for, "2001:db8::1");
}

static void test_host_limit(void **state)
{
        char head[1024], host[WSHANDSHAKE_HOST_MAX + 2];
        WsRequest r;

        (void)state;
        memset(host, 'H', sizeof(host));
        host[WSHANDSHAKE_HOST_MAX + 1] = '\0';
        assert_in_range(snprintf(head, sizeof(head), LINE "Host: %s\r\n" UP KEY VER END, host), 1,
                        sizeof(head) - 1);
        assert_int_equal(read_head(head, strlen(head), &r), WSHEAD_BAD);
        host[WSHANDSHAKE_HOST_MAX] = '\0';
        assert_in_range(snprintf(head, sizeof(head), LINE "Host: %s\r\n" UP KEY VER END, host), 1,
                        sizeof(head) - 1);
        assert_int_equal(read_head(head, strlen(head), &r), WSHEAD_UPGRADE);
        assert_int_equal(strlen(r.host), WSHANDSHAKE_HOST_MAX);
        assert_int_equal(strspn(r.host, "h"), WSHANDSHAKE_HOST_MAX);
}

/* RFC 6455 section 1.3. */
static void test_response(void **state)
{
        char accept[29], out[WSHANDSHAKE_RESPONSE_MAX];
        int n;

        (void)state;
        assert_int_equal(wshandshake_accept("dGhlIHNhbXBsZSBub25jZQ==", accept), 0);
        assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        n = wshandshake_response("dGhlIHNhbXBsZSBub25jZQ==", 784111777999, out);
        assert_int_equal(n, strlen(out));
        assert_string_equal(out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                 "Connection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                                 "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n");
}

static void test_date(void **state)
{
        char date[WSHANDSHAKE_DATE_MAX];

        (void)state;
        assert_int_equal(wshandshake_date(0, date), 0);
        assert_string_equal(date, "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_int_equal(wshandshake_date(951782400000, date), 0);
        assert_string_equal(date, "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_int_equal(wshandshake_date(253402300799999, date), 0);
        assert_string_equal(date, "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_int_equal(wshandshake_date(253402300800000, date), -EINVAL);
        assert_int_equal(wshandshake_date(-1, date), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_heads),        cmocka_unit_test(test_cut),
                cmocka_unit_test(test_other_fields), cmocka_unit_test(test_host_limit),
                cmocka_unit_test(test_response),     cmocka_unit_test(test_date),
        };

        return unit_run(tests);
}
