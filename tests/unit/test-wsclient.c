#include <errno.h>
#include <stdio.h>

#include "liblinkproto/wsclient.h"
#include "liblinkproto/wshandshake.h"
#include "unit.h"

/* The answer to a nonce of zeros. */
#define LINE   "HTTP/1.1 101 Switching Protocols\r\n"
#define UP     "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define ACCEPT "Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n"
#define END    "\r\n"

static const uint8_t nonce[WSCLIENT_NONCE_BYTES];

static const struct {
        const char *head;
        WsAnswer result;
        unsigned status;
        const char *date;
} cases[] = {
        {LINE UP ACCEPT END, WSANSWER_UPGRADED, 101, ""},
        {"HTTP/1.1 101\r\n" UP ACCEPT END, WSANSWER_UPGRADED, 101, ""},
        {LINE "UPGRADE: WebSocket\r\nconnection: keep-alive, upgrade\r\n" ACCEPT END,
         WSANSWER_UPGRADED, 101, ""},
        {LINE UP ACCEPT "Date: Tue, 24 Nov 2026 10:00:00 GMT\r\nServer: x\r\n" END,
         WSANSWER_UPGRADED, 101, "Tue, 24 Nov 2026 10:00:00 GMT"},
        {LINE UP ACCEPT "Date: Tue, 24 Nov 2026 10:00:00 GMT and more\r\n" END, WSANSWER_UPGRADED,
         101, ""},
        {LINE UP ACCEPT END "\x81\x02hi", WSANSWER_UPGRADED, 101, ""},

        {"HTTP/1.1 404 Not Found\r\nDate: x\r\n" END, WSANSWER_REFUSED, 404, "x"},
        {"HTTP/1.0 502 Bad Gateway\r\n" END, WSANSWER_REFUSED, 502, ""},
        {"HTTP/1.1 000 \r\nA: b\r\n" END, WSANSWER_BAD, 0, ""},

        {LINE "Connection: Upgrade\r\n" ACCEPT END, WSANSWER_BAD, 0, ""},
        {LINE "Upgrade: websocket\r\n" ACCEPT END, WSANSWER_BAD, 0, ""},
        {LINE "Upgrade: h2c\r\nConnection: Upgrade\r\n" ACCEPT END, WSANSWER_BAD, 0, ""},
        {LINE UP END, WSANSWER_BAD, 0, ""},
        {LINE UP ACCEPT ACCEPT END, WSANSWER_BAD, 0, ""},
        {LINE UP "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" END, WSANSWER_BAD, 0, ""},
        {LINE UP "Sec-WebSocket-Accept: \r\n" END, WSANSWER_BAD, 0, ""},
        {LINE UP ACCEPT "Sec-WebSocket-Extensions: permessage-deflate\r\n" END, WSANSWER_BAD, 0,
         ""},
        {LINE UP ACCEPT "Sec-WebSocket-Protocol: link\r\n" END, WSANSWER_BAD, 0, ""},
        {LINE UP ACCEPT "no field\r\n" END, WSANSWER_BAD, 0, ""},
        {LINE UP ACCEPT ": nameless\r\n" END, WSANSWER_BAD, 0, ""},
        {LINE UP ACCEPT "Blank : x\r\n" END, WSANSWER_BAD, 0, ""},
        {LINE UP ACCEPT "A: \x01\r\n" END, WSANSWER_BAD, 0, ""},
        {LINE UP ACCEPT " folded\r\n" END, WSANSWER_BAD, 0, ""},
        {"HTTP/1.2 101 Switching Protocols\r\n" UP ACCEPT END, WSANSWER_BAD, 0, ""},
        {"HTTP/1.1 1010\r\n" UP ACCEPT END, WSANSWER_BAD, 0, ""},
        {"HTTP/1.1 1x1 Switching\r\n" UP ACCEPT END, WSANSWER_BAD, 0, ""},
        {"HTTP/1.1  101 Switching\r\n" UP ACCEPT END, WSANSWER_BAD, 0, ""},
        {"HTTP/1.1\r\n" END, WSANSWER_BAD, 0, ""},
        {"SSH-2.0-OpenSSH", WSANSWER_BAD, 0, ""},
        {"\x15\x03\x01", WSANSWER_BAD, 0, ""},
        {"HTTP/2", WSANSWER_BAD, 0, ""},

        {"", WSANSWER_MORE, 0, ""},
        {"HTT", WSANSWER_MORE, 0, ""},
        {LINE UP ACCEPT, WSANSWER_MORE, 0, ""},
        {LINE UP ACCEPT "\r", WSANSWER_MORE, 0, ""},
};

static void test_cases(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                WsResponse r = {};
                WsAnswer got = wsclient_read(cases[i].head, strlen(cases[i].head), nonce, &r);

                if (got != cases[i].result)
                        fail_msg("case %zu: %d in place of %d:\n%s", i, got, cases[i].result,
                                 cases[i].head);
                if (got != WSANSWER_UPGRADED && got != WSANSWER_REFUSED)
                        continue;
                assert_int_equal(r.status, cases[i].status);
                assert_string_equal(r.date, cases[i].date);
                assert_memory_equal(cases[i].head + r.head_len - 4, "\r\n\r\n", 4);
        }
}

/* However it comes in pieces. */
static void test_pieces(void **state)
{
        static const char head[] = LINE UP ACCEPT END;
        WsResponse r;

        (void)state;
        for (size_t n = 0; n < sizeof(head) - 1; n++)
                assert_int_equal(wsclient_read(head, n, nonce, &r), WSANSWER_MORE);
        assert_int_equal(wsclient_read(head, sizeof(head) - 1, nonce, &r), WSANSWER_UPGRADED);
}

/* What it asks, our relay's reader grants; and the grant is what it accepts. */
static void test_both_sides(void **state)
{
        static const uint8_t some[WSCLIENT_NONCE_BYTES] = {1, 2, 3, 255};
        char request[WSCLIENT_REQUEST_MAX], response[WSHANDSHAKE_RESPONSE_MAX];
        int n = wsclient_request("/v1/link?a=x", "Relay.example:8080", some, request);
        WsRequest q;
        WsResponse r;

        (void)state;
        assert_true(n > 0);
        assert_int_equal(wshandshake_read(request, (size_t)n, &q), WSHEAD_UPGRADE);
        assert_int_equal(q.head_len, n);
        assert_string_equal(q.host, "relay.example:8080");
        n = wshandshake_response(q.key, 1000, response);
        assert_true(n > 0);
        assert_int_equal(wsclient_read(response, (size_t)n, some, &r), WSANSWER_UPGRADED);
        assert_string_equal(r.date, "Thu, 01 Jan 1970 00:00:01 GMT");
        assert_int_equal(wsclient_read(response, (size_t)n, nonce, &r), WSANSWER_BAD);
}

static void test_requests_that_are_not_made(void **state)
{
        char out[WSCLIENT_REQUEST_MAX], path[WSCLIENT_REQUEST_MAX];

        (void)state;
        assert_int_equal(wsclient_request("/v1/link\r\nX: y", "h", nonce, out), -EINVAL);
        assert_int_equal(wsclient_request("/v1/link x", "h", nonce, out), -EINVAL);
        assert_int_equal(wsclient_request("/v1/link", "h\nX: y", nonce, out), -EINVAL);
        memset(path, 'a', sizeof(path));
        path[sizeof(path) - 1] = '\0';
        assert_int_equal(wsclient_request(path, "h", nonce, out), -ENOBUFS);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cases),
                cmocka_unit_test(test_pieces),
                cmocka_unit_test(test_both_sides),
                cmocka_unit_test(test_requests_that_are_not_made),
        };

        return unit_run(tests);
}
