#include <errno.h>
#include <stdio.h>

#include "liblinkproto/control.h"
#include "liblinkproto/ipcmsg.h"
#include "tests/fuzz/ws-transcript.h"
#include "unit.h"

/* ---- heads ---- */

static const uint64_t lengths[] = {0,     1,     125,     126,        127,      65535,
                                   65536, 65537, 1 << 24, 1ULL << 32, INT64_MAX};

static void test_heads(void **state)
{
        static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
        static const uint8_t opcodes[] = {WS_CONTINUATION, WS_TEXT, WS_BINARY};

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(lengths); i++)
                for (unsigned v = 0; v < 4 * ELEMENTSOF(opcodes); v++) {
                        bool fin = v & 1, masked = v & 2;
                        uint8_t out[WSFRAME_HEAD_MAX], opcode = opcodes[v / 4];
                        size_t n = wsframe_encode_head(out, fin, opcode, lengths[i],
                                                       masked ? mask : NULL);
                        WsHead h;

                        assert_int_equal(n, (lengths[i] < 126     ? 2U
                                             : lengths[i] < 65536 ? 4U
                                                                  : 10U) +
                                                    (masked ? 4U : 0U));
                        for (size_t cut = 0; cut < n; cut++)
                                assert_int_equal(wsframe_decode_head(out, cut, &h), 0);
                        assert_int_equal(wsframe_decode_head(out, n, &h), n);
                        assert_int_equal(h.fin, fin);
                        assert_int_equal(h.opcode, opcode);
                        assert_int_equal(h.masked, masked);
                        assert_true(h.length == lengths[i]);
                        if (masked)
                                assert_memory_equal(h.mask, mask, 4);
                }
}

/* RFC 6455 section 5.7. */
static void test_rfc_heads(void **state)
{
        uint8_t out[WSFRAME_HEAD_MAX];

        (void)state;
        assert_hex(out, wsframe_encode_head(out, true, WS_TEXT, 5, NULL), "8105");
        assert_hex(out, wsframe_encode_head(out, false, WS_TEXT, 3, NULL), "0103");
        assert_hex(out, wsframe_encode_head(out, true, WS_CONTINUATION, 2, NULL), "8002");
        assert_hex(out, wsframe_encode_head(out, true, WS_PING, 5, NULL), "8905");
        assert_hex(out, wsframe_encode_head(out, true, WS_BINARY, 256, NULL), "827e0100");
        assert_hex(out, wsframe_encode_head(out, true, WS_BINARY, 65536, NULL),
                   "827f0000000000010000");
}

/* All first two bytes: what is refused is refused from them, and reserved bits and opcodes from the
 * first alone. */
static void test_every_start(void **state)
{
        (void)state;
        for (unsigned b0 = 0; b0 < 256; b0++)
                for (unsigned b1 = 0; b1 < 256; b1++) {
                        uint8_t p[2] = {(uint8_t)b0, (uint8_t)b1};
                        unsigned opcode = b0 & 15, length = b1 & 127;
                        bool control = opcode >= 8;
                        bool bad0 = b0 & 0x70 || (opcode > 2 && opcode < 8) || opcode > 10 ||
                                    (control && !(b0 & 0x80));
                        bool bad = bad0 || (control && length > 125);
                        int n = length == 126 || length == 127 || b1 & 128 ? 0 : 2;
                        WsHead h;

                        assert_int_equal(wsframe_decode_head(p, 1, &h), bad0 ? -EPROTO : 0);
                        assert_int_equal(wsframe_decode_head(p, 2, &h), bad ? -EPROTO : n);
                }
}

static void test_bad_lengths(void **state)
{
        static const struct {
                const char *head;
                int result;
        } cases[] = {
                {"827e007d", -EPROTO},
                {"827e007e", 4},
                {"827effff", 4},
                {"827f000000000000ffff", -EPROTO},
                {"827f0000000000000000", -EPROTO},
                {"827f0000000000010000", 10},
                {"827f7fffffffffffffff", 10},
                {"827f8000000000000000", -EPROTO},
                {"827fffffffffffffffff", -EPROTO},
                {"82fe007d01020304", -EPROTO},
                {"82fe007e01020304", 8},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Bytes b = unhex(cases[i].head);
                WsHead h;

                assert_int_equal(wsframe_decode_head(b.data, b.len, &h), cases[i].result);
        }
}

/* ---- masks ---- */

static void test_masks(void **state)
{
        static const uint8_t mask[4] = {0x01, 0x20, 0x43, 0x8f};

        (void)state;
        for (size_t n = 0; n < 70; n++)
                for (uint64_t phase = 0; phase < 5; phase++) {
                        uint8_t *p = malloc(n + 1); /* an exact end, and every alignment below */

                        assert_non_null(p);
                        for (size_t i = 0; i < n; i++)
                                p[i] = (uint8_t)(i * 3);
                        wsframe_mask(p, n, mask, phase);
                        for (size_t i = 0; i < n; i++)
                                assert_int_equal(p[i], (uint8_t)(i * 3) ^ mask[(phase + i) % 4]);
                        free(p);
                }
        uint8_t hello[] = {0x7f, 0x9f, 0x4d, 0x51, 0x58};
        wsframe_mask(hello, 5, (const uint8_t[]){0x37, 0xfa, 0x21, 0x3d}, 0);
        assert_memory_equal(hello, "Hello", 5);
        uint8_t far[] = {0x9f};
        wsframe_mask(far, 1, (const uint8_t[]){0x37, 0xfa, 0x21, 0x3d}, UINT64_MAX - 2);
        assert_int_equal(far[0], 'e');
}

/* ---- sequences ---- */

enum { SERVER = 1, CLIENT = 0 };

static const struct {
        int is_server;
        const char *input, *log;
        int result;
} sequences[] = {
        {CLIENT, "", "", 0},
        {CLIENT, "8100", "1+0:;", 0},
        {CLIENT, "810548656c6c6f", "1+5:48656c6c6f;", 0},
        {SERVER, "818537fa213d7f9f4d5158", "1+5:48656c6c6f;", 0},
        {SERVER, "828000000000", "2+0:;", 0},
        {CLIENT, "01044865", "1-4:4865", 0},
        {CLIENT, "010348656c80026c6f", "1-3:48656c;0+2:6c6f;", 0},
        {CLIENT, "0100000080008100", "1-0:;0-0:;0+0:;1+0:;", 0},
        {CLIENT,
         "0201aa890161000180"
         "8a00"
         "0001bb800181"
         "8800",
         "2-1:aa;9+1:61;0-1:80;a+0:;0-1:bb;0+1:81;8+0:;", 0},
        {SERVER,
         "0281ffffffff01"
         "8981010203046f"
         "8082040000000102",
         "2-1:fe;9+1:6e;0+2:0502;", 0},
        {CLIENT, "8100820081008900", "1+0:;2+0:;1+0:;9+0:;", 0},
        {CLIENT, "880203e8", "8+2:03e8;", 0},
        /* a header that does not end */
        {CLIENT, "82", "", 0},
        {CLIENT, "827e01", "", 0},
        {SERVER, "8281000000", "", 0},
        /* faults: mask, continuation, message within a message, bits, opcodes, control frames */
        {SERVER, "8100", "", -EPROTO},
        {CLIENT, "818000000000", "", -EPROTO},
        {SERVER, "8900", "", -EPROTO},
        {CLIENT, "898000000000", "", -EPROTO},
        {CLIENT, "8000", "", -EPROTO},
        {CLIENT, "0000", "", -EPROTO},
        {CLIENT, "81008000", "1+0:;", -EPROTO},
        {CLIENT, "01008100", "1-0:;", -EPROTO},
        {CLIENT, "01008200", "1-0:;", -EPROTO},
        {CLIENT, "010089000100", "1-0:;9+0:;", -EPROTO},
        {CLIENT,
         "01008000"
         "8000",
         "1-0:;0+0:;", -EPROTO},
        {CLIENT, "c100", "", -EPROTO},
        {CLIENT, "a100", "", -EPROTO},
        {CLIENT, "9100", "", -EPROTO},
        {CLIENT, "8300", "", -EPROTO},
        {CLIENT, "8b00", "", -EPROTO},
        {CLIENT, "0900", "", -EPROTO},
        {CLIENT, "897e007e", "", -EPROTO},
        {CLIENT, "887f0000000000010000", "", -EPROTO},
        {CLIENT, "827e0001", "", -EPROTO},
        {CLIENT, "827f8000000000000000", "", -EPROTO},
        /* message_max is 10 here: at the limit and one past it */
        {CLIENT, "820a00010203040506070809", "2+10:00010203040506070809;", 0},
        {CLIENT, "820b", "", -EMSGSIZE},
        {CLIENT, "02060001020304058904ffffffff800400010203",
         "2-6:000102030405;9+4:ffffffff;0+4:00010203;", 0},
        {CLIENT, "02060001020304058005", "2-6:000102030405;", -EMSGSIZE},
        {CLIENT,
         "020a000102030405060708090000"
         "8001",
         "2-10:00010203040506070809;0-0:;", -EMSGSIZE},
        {CLIENT, "890b0001020304050607080900", "9+11:0001020304050607080900;", 0},
        {CLIENT,
         "820a00010203040506070809"
         "820a00010203040506070809",
         "2+10:00010203040506070809;2+10:00010203040506070809;", 0},
        {CLIENT, "827e007e", "", -EMSGSIZE},
        {CLIENT, "827f0000000000010000", "", -EMSGSIZE},
        {CLIENT, "827f7fffffffffffffff", "", -EMSGSIZE},
        {CLIENT,
         "0201aa"
         "807f7fffffffffffffff",
         "2-1:aa;", -EMSGSIZE},
};

static void check_cuts(size_t i, const size_t *cuts, size_t n)
{
        Bytes in = unhex(sequences[i].input);
        Buf log = {};
        int r = ws_transcript(&log, in.data, in.len, cuts, n, sequences[i].is_server, 10);

        buf_add_u8(&log, 0);
        assert_int_equal(buf_ok(&log), 0);
        if (r != sequences[i].result || strcmp((char *)log.data, sequences[i].log) != 0)
                fail_msg("%s in %zu pieces: %d, %s", sequences[i].input, n + 1, r,
                         (char *)log.data);
        buf_done(&log);
}

/* Whole, in all two and three pieces (empty ones, too), and byte by byte. */
static void test_sequences(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(sequences); i++) {
                size_t len = strlen(sequences[i].input) / 2, bytes[64];

                check_cuts(i, NULL, 0);
                for (size_t a = 0; a <= len; a++)
                        for (size_t b = a; b <= len; b++)
                                check_cuts(i, (size_t[]){a, b}, 2);
                assert_true(len < ELEMENTSOF(bytes));
                for (size_t k = 0; k < len; k++)
                        bytes[k] = k + 1;
                check_cuts(i, bytes, len);
        }
}

/* The limits of Link: 16 MiB in one message after the splice, 4096 bytes before it. */
static void test_link_limits(void **state)
{
        static const struct {
                uint64_t max, length;
                int result;
        } cases[] = {
                {LINK_MESSAGE_MAX, LINK_MESSAGE_MAX, WS_EVENT_HEAD},
                {LINK_MESSAGE_MAX, LINK_MESSAGE_MAX + 1, -EMSGSIZE},
                {CONTROL_RELAY_MAX, CONTROL_RELAY_MAX, WS_EVENT_HEAD},
                {CONTROL_RELAY_MAX, CONTROL_RELAY_MAX + 1, -EMSGSIZE},
                {UINT64_MAX, UINT32_MAX, WS_EVENT_HEAD},
                {UINT64_MAX, 1ULL << 32, -EMSGSIZE}, /* what one message is counted in */
                {0, 0, WS_EVENT_HEAD},
                {0, 1, -EMSGSIZE},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint8_t head[WSFRAME_HEAD_MAX], *p;
                size_t n = wsframe_encode_head(head, true, WS_BINARY, cases[i].length, NULL);
                size_t at = 0, got;
                WsReceiver r;

                wsreceiver_init(&r, false);
                assert_int_equal(wsreceiver_next(&r, head, n, &at, cases[i].max, &p, &got),
                                 cases[i].result);
                assert_int_equal(at, n);
        }
}

/* A long masked payload in pieces of every small length: the mask goes on where it was. */
static void test_mask_over_pieces(void **state)
{
        enum { N = 1000 };

        (void)state;
        for (size_t step = 1; step < 40; step++) {
                uint8_t frame[WSFRAME_HEAD_MAX + N], got[N];
                const uint8_t mask[4] = {9, 8, 7, 6};
                size_t head = wsframe_encode_head(frame, true, WS_BINARY, N, mask), n = 0;
                WsReceiver r;

                for (size_t i = 0; i < N; i++)
                        frame[head + i] = (uint8_t)((i * 5) ^ mask[i % 4]);
                wsreceiver_init(&r, true);
                for (size_t from = 0; from < head + N; from += step) {
                        size_t at = 0, len = MIN(step, head + N - from), part;
                        uint8_t *p;
                        int e;

                        while ((e = wsreceiver_next(&r, frame + from, len, &at, N, &p, &part)) > 0)
                                if (e == WS_EVENT_DATA) {
                                        memcpy(got + n, p, part);
                                        n += part;
                                }
                        assert_int_equal(e, WS_EVENT_MORE);
                }
                assert_int_equal(n, N);
                for (size_t i = 0; i < N; i++)
                        assert_int_equal(got[i], (uint8_t)(i * 5));
        }
}

/* ---- close ---- */

static void test_close_codes(void **state)
{
        (void)state;
        for (unsigned code = 0; code < 65536; code++) {
                bool valid = (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 &&
                              code != 1006) ||
                             (code >= 3000 && code <= 4999);
                uint8_t p[2] = {(uint8_t)(code >> 8), (uint8_t)code};
                unsigned got = 1;

                assert_int_equal(wsframe_decode_close(p, 2, &got), valid ? 0 : -EPROTO);
                assert_int_equal(got, valid ? code : 1);
        }
}

static void test_close_payloads(void **state)
{
        uint8_t out[4];
        unsigned code = 0;

        (void)state;
        assert_int_equal(wsframe_decode_close(NULL, 0, &code), 0);
        assert_int_equal(code, WS_CLOSE_NO_STATUS);
        assert_int_equal(wsframe_decode_close((const uint8_t *)"\x03", 1, &code), -EPROTO);
        assert_int_equal(wsframe_decode_close((const uint8_t *)"\x0f\xa3"
                                                               "gone \xe2\x82\xac",
                                              10, &code),
                         0);
        assert_int_equal(code, CLOSE_PEER_GONE);
        assert_int_equal(wsframe_decode_close((const uint8_t *)"\x03\xe8\xe2\x82", 4, &code),
                         -EBADMSG);
        assert_int_equal(wsframe_decode_close((const uint8_t *)"\x03\xed\xff", 3, &code), -EPROTO);
        assert_hex(out, wsframe_encode_close(out, WS_CLOSE_NO_STATUS), "8800");
        assert_hex(out, wsframe_encode_close(out, CLOSE_BAD_REQUEST), "88020fa0");
        assert_hex(out, wsframe_encode_close(out, WS_CLOSE_TOO_BIG), "880203f1");
}

/* Two checks of UTF-8 were written apart, this one and ipc_utf8_valid() (which refuses NUL): all
 * sequences of four bytes from the edges of RFC 3629's table. */
static void test_utf8(void **state)
{
        static const uint8_t edges[] = {0x01, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                        0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed,
                                        0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
        enum { N = ELEMENTSOF(edges) };
        size_t valid = 0;

        (void)state;
        for (size_t i = 0; i < (size_t)N * N * N * N; i++) {
                uint8_t p[4] = {edges[i % N], edges[i / N % N], edges[i / N / N % N],
                                edges[i / N / N / N]};

                for (size_t n = 1; n <= 4; n++)
                        if (ws_utf8_valid(p, n) != ipc_utf8_valid((char *)p, n))
                                fail_msg("%02x %02x %02x %02x, %zu", p[0], p[1], p[2], p[3], n);
                valid += ws_utf8_valid(p, 4);
        }
        assert_true(valid > 100 && valid < (size_t)N * N * N * N / 10);
        assert_true(ws_utf8_valid(NULL, 0));
        assert_true(ws_utf8_valid((const uint8_t *)"a\0b", 3));
        assert_true(ws_utf8_valid((const uint8_t *)"\xf4\x8f\xbf\xbf", 4));
        assert_false(ws_utf8_valid((const uint8_t *)"\xf4\x90\x80\x80", 4));
        assert_false(ws_utf8_valid((const uint8_t *)"\xed\xa0\x80", 3));
        assert_false(ws_utf8_valid((const uint8_t *)"\xc0\x80", 2));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_heads),       cmocka_unit_test(test_rfc_heads),
                cmocka_unit_test(test_every_start), cmocka_unit_test(test_bad_lengths),
                cmocka_unit_test(test_masks),       cmocka_unit_test(test_sequences),
                cmocka_unit_test(test_link_limits), cmocka_unit_test(test_mask_over_pieces),
                cmocka_unit_test(test_close_codes), cmocka_unit_test(test_close_payloads),
                cmocka_unit_test(test_utf8),
        };

        return unit_run(tests);
}
