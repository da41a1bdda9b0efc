#include <errno.h>
#include <stdio.h>

#include "liblinkproto/inviteuri.h"
#include "unit.h"

#define ADDRESS "nG_UeYRFdRWcw5PaKp__GJ5WZEJfaZ_lxp6Czvxcc28"
#define ID      "YDXdfpVNMDQ" /* 60 35 dd 7e 95 4d 30 34 */

/* ---- relay URLs ---- */

static void test_relay_urls(void **state)
{
        static const struct {
                const char *url, *normal; /* NULL: refused */
        } cases[] = {
                {"ws://relay.example", "ws://relay.example"},
                {"WS://Relay.Example/", "ws://relay.example"},
                {"ws://relay.example/v1/link", "ws://relay.example"},
                {"ws://relay.example:80", "ws://relay.example"},
                {"ws://relay.example:0080", "ws://relay.example"},
                {"ws://relay.example:443", "ws://relay.example:443"},
                {"wss://relay.example:443/v1/link", "wss://relay.example"},
                {"wss://relay.example:80", "wss://relay.example:80"},
                {"wss://relay.example:65535", "wss://relay.example:65535"},
                {"ws://127.0.0.1:1", "ws://127.0.0.1:1"},
                {"ws://a_b-c.d", "ws://a_b-c.d"},
                {"ws://[::1]", "ws://[::1]"},
                {"ws://[2001:DB8::A]:8080/", "ws://[2001:db8::a]:8080"},
                {"ws://[::ffff:127.0.0.1]", "ws://[::ffff:127.0.0.1]"},

                {"", NULL},
                {"w", NULL},
                {"ws", NULL},
                {"ws:/", NULL},
                {"ws://", NULL},
                {"wss://", NULL},
                {"http://relay.example", NULL},
                {"relay.example", NULL},
                {"wsx://relay.example", NULL},
                {"ws:///v1/link", NULL},
                {"ws://:80", NULL},
                {"ws://relay.example:", NULL},
                {"ws://relay.example:0", NULL},
                {"ws://relay.example:65536", NULL},
                {"ws://relay.example:99999999999999999999", NULL},
                {"ws://relay.example:80x", NULL},
                {"ws://relay.example:-1", NULL},
                {"ws://relay.example/other", NULL},
                {"ws://relay.example/v1/link/", NULL},
                {"ws://relay.example/V1/link", NULL},
                {"ws://relay.example?a=1", NULL},
                {"ws://relay.example/v1/link?a=1", NULL},
                {"ws://relay.example#x", NULL},
                {"ws://user@relay.example", NULL},
                {"ws://user:pass@relay.example", NULL},
                {"ws://relay example", NULL},
                {" ws://relay.example", NULL},
                {"ws://relay.example ", NULL},
                {"ws://rel\xc3\xa4y.example", NULL},
                {"ws://relay%2eexample", NULL},
                {"ws://[]", NULL},
                {"ws://[:]", NULL},
                {"ws://[::1", NULL},
                {"ws://[::1]x", NULL},
                {"ws://[:::]", NULL},
                {"ws://[1.2.3.4]", NULL},
                {"ws://[::1%25lo]", NULL},
                {"ws://[v1.a]", NULL},
                {"ws://::1", NULL},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *fault = NULL;
                char *normal = NULL;
                int r = relay_url_normalize(cases[i].url, strlen(cases[i].url), &normal, &fault);

                if (r != (cases[i].normal ? 0 : -EINVAL))
                        fail_msg("%s", cases[i].url);
                assert_int_equal(fault != NULL, r < 0);
                if (r < 0)
                        continue;
                assert_string_equal(normal, cases[i].normal);
                free(normal);
                /* what it gives, it takes */
                assert_int_equal(relay_url_normalize(cases[i].normal, strlen(cases[i].normal),
                                                     &normal, &fault),
                                 0);
                assert_string_equal(normal, cases[i].normal);
                free(normal);
        }
}

static void test_relay_url_limits(void **state)
{
        char url[RELAY_URL_MAX + 16] = "ws://", *normal;
        const char *fault;

        (void)state;
        memset(url + 5, 'h', 254);
        assert_int_equal(relay_url_normalize(url, 5 + 253, &normal, &fault), 0);
        RelayUrl u;
        assert_int_equal(relay_url_split(normal, &u), 0);
        assert_int_equal(strlen(u.host), 253);
        free(normal);
        assert_int_equal(relay_url_normalize(url, 5 + 254, &normal, &fault), -EINVAL);
        memset(url + 6, '0',
               sizeof(url) - 6); /* leading zeros of a port make it as long as one likes */
        url[6] = ':';
        url[RELAY_URL_MAX - 1] = url[RELAY_URL_MAX] = '1';
        assert_int_equal(relay_url_normalize(url, RELAY_URL_MAX, &normal, &fault), 0);
        assert_string_equal(normal, "ws://h:1");
        free(normal);
        assert_int_equal(relay_url_normalize(url, RELAY_URL_MAX + 1, &normal, &fault), -EINVAL);
}

static void test_split(void **state)
{
        static const struct {
                const char *url, *host, *origin;
                bool tls;
                uint16_t port;
        } cases[] = {
                {"ws://relay.example", "relay.example", "relay.example", false, 80},
                {"wss://relay.example", "relay.example", "relay.example", true, 443},
                {"wss://relay.example:80", "relay.example", "relay.example:80", true, 80},
                {"ws://[::1]:8080", "::1", "[::1]:8080", false, 8080},
                {"ws://[::1]", "::1", "[::1]", false, 80},
                {"", NULL, NULL, false, 0},
                {"ws:", NULL, NULL, false, 0},
                {"ws://", NULL, NULL, false, 0},
                {"wss:/", NULL, NULL, false, 0},
                {"wss://", NULL, NULL, false, 0},
                {"http:relay.example", NULL, NULL, false, 0},
                {"ws://relay.example:", NULL, NULL, false, 0},
                {"ws://relay.example/", NULL, NULL, false, 0},
                {"ws://relay.example:80x", NULL, NULL, false, 0},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                RelayUrl u;

                assert_int_equal(relay_url_split(cases[i].url, &u), cases[i].host ? 0 : -EINVAL);
                if (!cases[i].host)
                        continue;
                assert_string_equal(u.host, cases[i].host);
                assert_string_equal(u.origin, cases[i].origin);
                assert_int_equal(u.tls, cases[i].tls);
                assert_int_equal(u.port, cases[i].port);
        }
}

/* ---- invitations ---- */

static int parse(const char *text, InviteUri *ret, const char **ret_fault)
{
        return invite_uri_parse(text, strlen(text), ret, ret_fault);
}

static void test_whole(void **state)
{
        InviteUri u;
        const char *fault;

        (void)state;
        assert_int_equal(parse("LINK:" ADDRESS "?code=K7%2BX&x=1&id=" ID
                               "&relay=ws%3A%2F%2FR.example%3A80&flag&relay=wss://s:1/v1/link",
                               &u, &fault),
                         0);
        assert_string_equal(u.address, ADDRESS);
        assert_string_equal((const char *)u.code->data, "K7+X");
        assert_true(u.has_code_id);
        assert_hex(u.code_id, CODE_ID_BYTES, "6035dd7e954d3034");
        assert_int_equal(u.n_relays, 2);
        assert_string_equal(u.relays[0], "ws://r.example");
        assert_string_equal(u.relays[1], "wss://s:1");
        invite_uri_done(&u);
        assert_null(u.code);
        invite_uri_done(&u);

        assert_int_equal(parse("link:" ADDRESS, &u, &fault), 0);
        assert_null(u.code);
        assert_false(u.has_code_id);
        assert_int_equal(u.n_relays, 0);
        invite_uri_done(&u);
        assert_int_equal(parse("link:" ADDRESS "?", &u, &fault), 0);
        invite_uri_done(&u);
}

/* Codes as they are typed: any bytes but NUL, percent-encoded where a URI needs it. */
static void test_codes(void **state)
{
        static const struct {
                const char *encoded, *code; /* NULL: refused */
        } cases[] = {
                {"482%20915", "482 915"},
                {"a%0Ab%09c%7Fd%01", "a\nb\tc\x7f"
                                     "d\x01"},
                {"Schl%C3%BCssel", "Schl\xc3\xbcssel"},
                {"Schl\xc3\xbcssel", "Schl\xc3\xbcssel"},
                {"%25%26%3D%3f%23%2B+", "%&=?#++"},
                {"aB%6a%4A", "aBjJ"},
                {"x=y", "x=y"},
                {"", NULL},
                {"%00", NULL},
                {"a%00b", NULL},
                {"%", NULL},
                {"a%4", NULL},
                {"%4g", NULL},
                {"%g4", NULL},
                {"%%41", NULL},
                {"% 41", NULL},
                {"a b", NULL},
                {"a\tb", NULL},
                {"a\nb", NULL},
                {"a\x7f", NULL},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *fault = NULL;
                char text[256];
                InviteUri u;
                int r;

                assert_in_range(
                        snprintf(text, sizeof(text), "link:" ADDRESS "?code=%s", cases[i].encoded),
                        1, sizeof(text) - 1);
                r = parse(text, &u, &fault);
                if (r != (cases[i].code ? 0 : -EINVAL))
                        fail_msg("%s", text);
                if (r < 0) {
                        assert_non_null(strstr(fault, cases[i].encoded[0] ? "percent" : "code"));
                        continue;
                }
                assert_string_equal((const char *)u.code->data, cases[i].code);
                assert_int_equal(u.code->len, strlen(cases[i].code));
                invite_uri_done(&u);
        }
}

static void test_refused(void **state)
{
        static const struct {
                const char *text, *fault;
        } cases[] = {
                {"", "begins with link:"},
                {"link", "begins with link:"},
                {"http:" ADDRESS, "begins with link:"},
                {" link:" ADDRESS, "begins with link:"},
                {"link:", "address"},
                {"link:nG_UeYRFdRWcw5PaKp__GJ5WZEJfaZ_lxp6Czvxcc2", "address"},
                {"link:" ADDRESS "8", "address"},
                {"link:" ADDRESS "&code=1", "address"},
                {"link:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB", "address"},
                {"link://" ADDRESS, "address"},
                {"link:" ADDRESS "?code=1&code=1", "code is"},
                {"link:" ADDRESS "?code=", "code is"},
                {"link:" ADDRESS "?id=", "code id"},
                {"link:" ADDRESS "?id=YDXdfpVNMD", "code id"},
                {"link:" ADDRESS "?id=YDXdfpVNMDQA", "code id"},
                {"link:" ADDRESS "?id=YDXdfpVNMDR", "code id"},
                {"link:" ADDRESS "?id=" ID "&id=" ID, "code id"},
                {"link:" ADDRESS "?relay=", "ws://"},
                {"link:" ADDRESS "?relay=http://r", "ws://"},
                {"link:" ADDRESS "?relay=ws://r%20", "path"},
                {"link:" ADDRESS "?relay=ws://r%2fother", "path"},
                {"link:" ADDRESS "?code=1&relay=ws://r&relay=ws://%5b", "host"},
                {"link:" ADDRESS "?unknown=%zz", "percent"},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *fault = NULL;
                InviteUri u = {.n_relays = 3};

                assert_int_equal(parse(cases[i].text, &u, &fault), -EINVAL);
                if (!strstr(fault, cases[i].fault))
                        fail_msg("%s: %s", cases[i].text, fault);
                assert_int_equal(u.n_relays, 3);
        }
}

static void test_limits(void **state)
{
        char text[INVITE_URI_MAX + 2];
        const char *fault;
        InviteUri u;

        (void)state;
        strcpy(text, "link:" ADDRESS "?code=");
        size_t at = strlen(text);
        memset(text + at, 'c', INVITE_CODE_MAX + 1);
        assert_int_equal(invite_uri_parse(text, at + INVITE_CODE_MAX, &u, &fault), 0);
        assert_int_equal(u.code->len, INVITE_CODE_MAX);
        invite_uri_done(&u);
        assert_int_equal(invite_uri_parse(text, at + INVITE_CODE_MAX + 1, &u, &fault), -EINVAL);

        strcpy(text, "link:" ADDRESS "?");
        for (int i = 0; i < INVITE_RELAYS_MAX; i++)
                strcat(text, "relay=ws://r&");
        assert_int_equal(parse(text, &u, &fault), 0);
        assert_int_equal(u.n_relays, INVITE_RELAYS_MAX);
        invite_uri_done(&u);
        strcat(text, "relay=ws://r");
        assert_int_equal(parse(text, &u, &fault), -EINVAL);

        strcpy(text, "link:" ADDRESS "?x=");
        at = strlen(text);
        memset(text + at, 'y', sizeof(text) - at);
        assert_int_equal(invite_uri_parse(text, INVITE_URI_MAX, &u, &fault), 0);
        invite_uri_done(&u);
        assert_int_equal(invite_uri_parse(text, INVITE_URI_MAX + 1, &u, &fault), -EINVAL);
}

/* Every code of one byte, and the largest invitation there is, come back as they were. */
static void test_round_trip(void **state)
{
        static const uint8_t id[CODE_ID_BYTES] = {0xff, 0xfe, 1, 2, 3, 4, 5, 0};
        char host[RELAY_URL_MAX], code[INVITE_CODE_MAX + 1];
        const char *relays[INVITE_RELAYS_MAX], *fault;
        InviteUri u;

        (void)state;
        for (int c = 1; c < 256; c++) {
                const char one[] = {(char)c, '\0'}, *relay = "wss://[::1]:8080";
                _cleanup_(secret_freep) Secret *s = invite_uri_format(ADDRESS, one, id, &relay, 1);

                assert_int_equal(invite_uri_parse((char *)s->data, s->len, &u, &fault), 0);
                assert_string_equal((char *)u.code->data, one);
                assert_memory_equal(u.code_id, id, sizeof(id));
                assert_string_equal(u.relays[0], relay);
                invite_uri_done(&u);
        }
        strcpy(host, "wss://");
        memset(host + 6, 'h', 253);
        strcpy(host + 6 + 253, ":65535");
        memset(code, ' ', sizeof(code) - 1);
        code[sizeof(code) - 1] = '\0';
        for (size_t i = 0; i < INVITE_RELAYS_MAX; i++)
                relays[i] = host;
        _cleanup_(secret_freep) Secret *s =
                invite_uri_format(ADDRESS, code, id, relays, INVITE_RELAYS_MAX);
        assert_true(s->len <= INVITE_URI_MAX);
        assert_int_equal(invite_uri_parse((char *)s->data, s->len, &u, &fault), 0);
        assert_string_equal((char *)u.code->data, code);
        assert_int_equal(u.n_relays, INVITE_RELAYS_MAX);
        invite_uri_done(&u);
}

static void test_format(void **state)
{
        static const uint8_t id[CODE_ID_BYTES] = {0x60, 0x35, 0xdd, 0x7e, 0x95, 0x4d, 0x30, 0x34};
        const char *const relays[] = {"ws://r.example:8080", "wss://[::1]"};

        (void)state;
        _cleanup_(secret_freep) Secret *s = invite_uri_format(ADDRESS, "482 915", id, relays, 2);
        assert_string_equal((char *)s->data, "link:" ADDRESS "?code=482%20915&id=" ID
                                             "&relay=ws://r.example:8080&relay=wss://%5B::1%5D");
        _cleanup_(secret_freep) Secret *bare = invite_uri_format(ADDRESS, "K7MX3P", NULL, NULL, 0);
        assert_string_equal((char *)bare->data, "link:" ADDRESS "?code=K7MX3P");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_relay_urls), cmocka_unit_test(test_relay_url_limits),
                cmocka_unit_test(test_split),      cmocka_unit_test(test_whole),
                cmocka_unit_test(test_codes),      cmocka_unit_test(test_refused),
                cmocka_unit_test(test_limits),     cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_format),
        };

        return unit_run(tests);
}
