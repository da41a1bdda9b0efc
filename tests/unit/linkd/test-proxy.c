#include <errno.h>

#include "linkd/log.h"
#include "linkd/proxy.h"
#include "tests/unit/unit.h"

LogLevel log_max_level = LOG_LEVEL_ERROR;

static void test_parse(void **state)
{
        static const struct {
                const char *text, *host;
                unsigned port;
                const char *authorization;
        } good[] = {
                {"http://proxy.example:3128", "proxy.example", 3128, ""},
                {"http://proxy.example:3128/", "proxy.example", 3128, ""},
                {"HTTP://proxy.example", "proxy.example", 1080, ""},
                {"proxy:8080", "proxy", 8080, ""},
                {"http://[fd00::1]:8080", "fd00::1", 8080, ""},
                {"[::1]", "::1", 1080, ""},
                {"http://Aladdin:open%20sesame@p:1", "p", 1, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
                {"http://a@b:c@p:65535", "p", 65535, "Basic YUBiOmM="},
        };
        static const char *const bad[] = {
                "",           "http://",    "http://:80",   "p:0",           "p:65536",
                "p:",         "p:80x",      "p:-1",         "p: 80",         "http://p q",
                "http://p/x", "http://p?x", "http://[::1",  "http://[::1]x", "socks5://p",
                "https://p",  "ftp://p:1",  "http://u%4@p", "http://u%zz@p", "a:b:c",
        };
        const char *fault;
        Proxy p;

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                assert_int_equal(proxy_parse(good[i].text, &p, &fault), 0);
                assert_string_equal(p.host, good[i].host);
                assert_int_equal(p.port, good[i].port);
                assert_string_equal(p.authorization, good[i].authorization);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                fault = NULL;
                assert_int_equal(proxy_parse(bad[i], &p, &fault), -EINVAL);
                assert_non_null(fault);
        }
}

static void test_except(void **state)
{
        static const struct {
                const char *list, *host;
                bool match;
        } cases[] = {
                {"*", "relay.example", true},
                {"relay.example", "relay.example", true},
                {"Relay.Example", "relay.example", true},
                {"example", "relay.example", true},
                {".example", "relay.example", true},
                {"*.example", "relay.example", true},
                {"ample", "relay.example", false},
                {"other, relay.example", "relay.example", true},
                {"other relay.example", "relay.example", true},
                {"relay.example:443", "relay.example", true},
                {"relay.example:80", "relay.example", false},
                {"127.0.0.1", "127.0.0.1", true},
                {"127.0.0.1", "127.0.0.12", false},
                {"::1", "::1", true},
                {"[::1]:443", "::1", true},
                {"[::1]:80", "::1", false},
                {"", "relay.example", false},
                {",, ,", "relay.example", false},
                {".", "relay.example", false},
                {"relay.example.org", "relay.example", false},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_int_equal(proxy_excepts(cases[i].list, cases[i].host, 443), cases[i].match);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_except),
        };

        return unit_run(tests);
}
