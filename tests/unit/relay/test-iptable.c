#include "relay/iptable.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "relay/limits.h"
#include "tests/unit/unit.h"

static IpKey key_of(const char *text)
{
        IpKey k;

        assert_int_equal(ip_key_parse(text, &k), 0);
        return k;
}

static void assert_same(const char *a, const char *b)
{
        IpKey ka = key_of(a), kb = key_of(b);

        assert_memory_equal(&ka, &kb, sizeof(ka));
}

static void assert_other(const char *a, const char *b)
{
        IpKey ka = key_of(a), kb = key_of(b);

        assert_memory_not_equal(&ka, &kb, sizeof(ka));
}

static void text_forms(void **state)
{
        static const char *const bad[] = {"",          "unknown",     "1.2.3",      "1.2.3.4.5",
                                          "_hidden",   "1.2.3.4 ",    "[]",         ":80",
                                          "[1.2.3.4x", "fe80::1%lo0", "12345::1",   "1.2.3.256",
                                          "localhost", "1::2::3",     "\"1.2.3.4\""};
        IpKey k = {.bytes = "untouched"};
        (void)state;

        assert_same("1.2.3.4", "1.2.3.4:5678");
        assert_same("1.2.3.4", "::ffff:1.2.3.4");
        assert_same("1.2.3.4", "[::ffff:1.2.3.4]:80");
        assert_same("2001:db8::1", "[2001:db8::1]");
        assert_same("2001:db8::1", "[2001:DB8::1]:443");
        assert_other("1.2.3.4", "1.2.3.5");
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(ip_key_parse(bad[i], &k), -EINVAL);
        assert_int_equal(
                ip_key_parse("1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc", &k),
                -EINVAL);
        assert_memory_equal(k.bytes, "untouched", 10);
}

static void v6_counts_by_64(void **state)
{
        (void)state;
        assert_same("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff");
        assert_other("2001:db8:0:1::1", "2001:db8:0:2::1");
        assert_other("::ffff:1.2.3.4", "::ffff:1.2.3.5"); /* mapped ones are IPv4 */
        assert_other("::1", "127.0.0.1");
}

static void sockaddrs(void **state)
{
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(99)};
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(99)};
        struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/x"};
        IpKey got, expect = key_of("10.1.2.3"), zero = {};
        (void)state;

        assert_int_equal(inet_pton(AF_INET, "10.1.2.3", &in.sin_addr), 1);
        got = ip_key_of_sockaddr((struct sockaddr *)&in);
        assert_memory_equal(&got, &expect, sizeof(got));
        assert_int_equal(inet_pton(AF_INET6, "::ffff:10.1.2.3", &in6.sin6_addr), 1);
        got = ip_key_of_sockaddr((struct sockaddr *)&in6);
        assert_memory_equal(&got, &expect, sizeof(got));
        assert_int_equal(inet_pton(AF_INET6, "2001:db8::7", &in6.sin6_addr), 1);
        got = ip_key_of_sockaddr((struct sockaddr *)&in6);
        expect = key_of("2001:db8::1:2:3:4");
        assert_memory_equal(&got, &expect, sizeof(got));
        got = ip_key_of_sockaddr((struct sockaddr *)&un);
        assert_memory_equal(&got, &zero, sizeof(got));
}

static IpEntry *open_text(IpTable *t, const char *text)
{
        IpKey k = key_of(text);
        IpEntry *e = NULL;

        assert_int_equal(iptable_open(t, &k, NULL, 0, &e), 0);
        return e;
}

static void windows(void **state)
{
        uint64_t start = 7777;
        IpTable t;
        IpEntry *a, *b;
        (void)state;

        assert_int_equal(iptable_init(&t), 0);
        a = open_text(&t, "1.2.3.4");
        b = open_text(&t, "1.2.3.5");
        for (int i = 0; i < 3; i++)
                assert_true(iptable_spend(a, 3, start + (uint64_t)i * 10000));
        assert_false(iptable_spend(a, 3, start + 30000));
        assert_true(iptable_spend(a, 4, start + 30000)); /* a reload to more */
        assert_false(iptable_spend(a, 2, start + 30000));
        assert_true(iptable_spend(b, 3, start + 30000)); /* another's is its own */
        assert_true(iptable_spend(a, 0, start + 30000)); /* 0: no limit */
        assert_false(iptable_spend(a, 3, start + IP_WINDOW_MSEC - 1));
        assert_true(iptable_spend(a, 3, start + IP_WINDOW_MSEC)); /* fixed, from the first */
        assert_true(iptable_spend(a, 3, start + IP_WINDOW_MSEC + 1));
        assert_true(iptable_spend(a, 3, start + IP_WINDOW_MSEC + 2));
        assert_false(iptable_spend(a, 3, start + 2 * IP_WINDOW_MSEC - 1));
        iptable_close(&t, a, start);
        iptable_close(&t, b, start);
        iptable_done(&t);
}

static void closing_does_not_refill(void **state)
{
        IpTable t;
        IpEntry *e;
        (void)state;

        assert_int_equal(iptable_init(&t), 0);
        e = open_text(&t, "1.2.3.4");
        assert_true(iptable_spend(e, 1, 1000));
        iptable_close(&t, e, 2000);
        iptable_sweep(&t, 2000 + IP_WINDOW_MSEC - 1);
        assert_int_equal(t.map.n, 1);
        e = open_text(&t, "1.2.3.4:9");
        assert_false(iptable_spend(e, 1, 1000 + IP_WINDOW_MSEC - 1));
        assert_ptr_equal(e, open_text(&t, "1.2.3.4"));
        iptable_close(&t, e, 70000);
        iptable_sweep(&t, 1000000); /* one is open still */
        assert_int_equal(t.map.n, 1);
        iptable_close(&t, e, 70000);
        iptable_sweep(&t, 70000 + IP_WINDOW_MSEC - 1);
        assert_int_equal(t.map.n, 1);
        iptable_sweep(&t, 70000 + IP_WINDOW_MSEC);
        assert_int_equal(t.map.n, 0);
        iptable_done(&t);
}

static void full_table(void **state)
{
        IpTable t;
        IpEntry *e = NULL, *last;
        IpKey k = {};
        (void)state;

        assert_int_equal(iptable_init(&t), 0);
        for (uint32_t i = 0; i < IPS_MAX; i++) {
                memcpy(k.bytes, &i, sizeof(i));
                assert_int_equal(iptable_open(&t, &k, NULL, 0, &e), 0);
                iptable_close(&t, e, i == 0 ? 0 : 1000);
        }
        last = e;
        assert_int_equal(iptable_open(&t, &k, NULL, 0, &e), 0); /* one that is there still comes */
        assert_ptr_equal(e, last);
        iptable_close(&t, e, 1000);
        k.bytes[15] = 1;
        assert_int_equal(iptable_open(&t, &k, NULL, 0, &e), -ENOMEM);
        iptable_sweep(&t, IP_WINDOW_MSEC); /* the first goes */
        assert_int_equal(t.map.n, IPS_MAX - 1);
        assert_int_equal(iptable_open(&t, &k, NULL, 0, &e), 0);
        iptable_close(&t, e, 1000);
        iptable_sweep(&t, IP_WINDOW_MSEC + 1000);
        assert_int_equal(t.map.n, 0);
        iptable_done(&t);
}

static void connections_cap(void **state)
{
        const IpCaps caps = {.connections = 2};
        IpKey key = key_of("1.2.3.4"), other = key_of("1.2.3.5"), local = key_of("127.9.9.9");
        IpEntry *e = NULL, *o = NULL, *l = NULL;
        IpTable t;
        (void)state;

        assert_int_equal(iptable_init(&t), 0);
        assert_int_equal(iptable_open(&t, &key, &caps, 0, &e), 0);
        assert_int_equal(iptable_open(&t, &key, &caps, 0, &e), 0);
        assert_int_equal(iptable_open(&t, &key, &caps, 0, &o), -EUSERS);
        assert_null(o); /* untouched */
        assert_int_equal(e->connections, 2);
        assert_int_equal(iptable_open(&t, &other, &caps, 0, &o), 0);
        iptable_close(&t, e, 0);
        assert_int_equal(iptable_open(&t, &key, &caps, 0, &e), 0);
        for (int i = 0; i < 5; i++)
                assert_int_equal(iptable_open(&t, &local, &caps, 0, &l), 0);
        for (int i = 0; i < 5; i++)
                iptable_close(&t, l, 0);
        iptable_close(&t, e, 0);
        iptable_close(&t, e, 0);
        iptable_close(&t, o, 0);
        iptable_done(&t);
}

static void accepts_cap(void **state)
{
        const IpCaps caps = {.accepts_per_sec = 2};
        IpKey key = key_of("2001:db8::1");
        uint64_t now = 5000;
        IpEntry *e = NULL;
        IpTable t;
        (void)state;

        assert_int_equal(iptable_init(&t), 0);
        for (int i = 0; i < 2 * IP_BURST_SEC; i++) {
                assert_int_equal(iptable_open(&t, &key, &caps, now, &e), 0);
                iptable_close(&t, e, now);
        }
        assert_int_equal(iptable_open(&t, &key, &caps, now, &e), -EBUSY);
        assert_int_equal(iptable_open(&t, &key, &caps, now + 499, &e), -EBUSY);
        assert_int_equal(iptable_open(&t, &key, &caps, now + 500, &e), 0); /* half a second: one */
        iptable_close(&t, e, now);
        assert_int_equal(iptable_open(&t, &key, &caps, now + 500, &e), -EBUSY);
        iptable_done(&t);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(text_forms),
                cmocka_unit_test(v6_counts_by_64),
                cmocka_unit_test(sockaddrs),
                cmocka_unit_test(windows),
                cmocka_unit_test(closing_does_not_refill),
                cmocka_unit_test(full_table),
                cmocka_unit_test(connections_cap),
                cmocka_unit_test(accepts_cap),
        };

        return unit_run(tests);
}
