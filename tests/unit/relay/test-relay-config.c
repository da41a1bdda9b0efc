/* Every knob of the environment: unset, valid, at its limits, one past them, garbage. */
#include "relay/relay-config.h"

#include <errno.h>
#include <unistd.h>

#include "liblinkproto/b64u.h"
#include "tests/unit/unit.h"

static const char *const names[] = {
        "LINK_PORT",
        "LINK_RELAY_MAX_BPS",
        "LINK_RELAY_HOURLY_BYTES",
        "LINK_RELAY_TRICKLE_BPS",
        "LINK_RELAY_IDLE_SEC",
        "LINK_IP_RATE_PER_MIN",
        "LINK_TRUST_PROXY",
        "LINK_MAX_CONNECTIONS",
        "LINK_MAX_CONNECTIONS_PER_IP",
        "LINK_ACCEPTS_PER_SEC_PER_IP",
        "LINK_MAX_QUEUE_BYTES",
        "LINK_DRAIN_SEC",
        "LINK_ALLOWED_REGISTER_KEYS",
        "LINK_ALLOWED_REGISTER_KEYS_FILE",
        "LINK_ORIGIN",
};

static int clear_environment(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (unsetenv(names[i]) < 0)
                        return -1;
        return 0;
}

static void load(RelayConfig *c)
{
        char *fault = NULL;

        relay_config_init(c);
        if (relay_config_load(c, NULL, false, &fault) != 0)
                fail_msg("%s", fault);
        assert_null(fault);
}

/* The value is refused, by a text that names both. */
static void assert_refused(const char *name, const char *value)
{
        char *fault = NULL;
        RelayConfig c;

        assert_int_equal(setenv(name, value, 1), 0);
        relay_config_init(&c);
        if (relay_config_load(&c, NULL, false, &fault) >= 0)
                fail_msg("%s=%s was taken", name, value);
        assert_non_null(fault);
        if (!strstr(fault, name) || !strstr(fault, value))
                fail_msg("%s=%s: \"%s\"", name, value, fault);
        free(fault);
        relay_config_init(&c); /* a caller that does not want the text */
        assert_true(relay_config_load(&c, NULL, false, NULL) < 0);
        relay_config_done(&c);
        assert_int_equal(unsetenv(name), 0);
}

static void defaults(void **state)
{
        RelayConfig c;
        (void)state;

        for (int empty = 0; empty < 2; empty++) {
                for (size_t i = 0; empty && i < ELEMENTSOF(names); i++)
                        assert_int_equal(setenv(names[i], "", 1), 0);
                load(&c);
                assert_int_equal(c.port, 80);
                assert_int_equal(c.shape.max_bps, 1048576);
                assert_int_equal(c.shape.hourly_bytes, 0);
                assert_int_equal(c.shape.trickle_bps, 16384);
                assert_int_equal(c.idle_sec, 300);
                assert_int_equal(c.ip_rate_per_min, 60);
                assert_false(c.trust_proxy);
                assert_false(c.closed);
                assert_null(c.origin);
                relay_config_done(&c);
        }
}

#define TWO_53 (UINT64_C(1) << 53)
#define KNOB(env, name, member, min, max)                                                          \
        {                                                                                          \
                env, name, offsetof(RelayConfig, member), min, max                                 \
        }

static const struct {
        const char *variable, *name;
        size_t offset; /* of a uint64_t */
        uint64_t min, max;
} knobs[] = {
        KNOB("LINK_PORT", "port", port, 1, 65535),
        KNOB("LINK_RELAY_MAX_BPS", "max_bps", shape.max_bps, 0, TWO_53),
        KNOB("LINK_RELAY_HOURLY_BYTES", "hourly_bytes", shape.hourly_bytes, 0, TWO_53),
        KNOB("LINK_RELAY_TRICKLE_BPS", "trickle_bps", shape.trickle_bps, 1, TWO_53),
        KNOB("LINK_RELAY_IDLE_SEC", "idle_sec", idle_sec, 1, UINT32_MAX),
        KNOB("LINK_IP_RATE_PER_MIN", "ip_rate_per_min", ip_rate_per_min, 0, UINT32_MAX),
        KNOB("LINK_TRUST_PROXY", "trust_proxy", trust_proxy, 0, 1),
        KNOB("LINK_MAX_CONNECTIONS", "max_connections", max_connections, 0, UINT32_MAX),
        KNOB("LINK_MAX_CONNECTIONS_PER_IP", "max_connections_per_ip", max_connections_per_ip, 0,
             UINT32_MAX),
        KNOB("LINK_ACCEPTS_PER_SEC_PER_IP", "accepts_per_sec_per_ip", accepts_per_sec_per_ip, 0,
             UINT32_MAX),
        KNOB("LINK_MAX_QUEUE_BYTES", "max_queue_bytes", max_queue_bytes, 1024 * 1024, TWO_53),
        KNOB("LINK_DRAIN_SEC", "drain_sec", drain_sec, 0, 3600),
};

static uint64_t value_of(const RelayConfig *c, size_t knob)
{
        uint64_t v;

        memcpy(&v, (const char *)c + knobs[knob].offset, sizeof(v));
        return v;
}

static const char *decimal(uint64_t v)
{
        static char text[32];

        assert_in_range(snprintf(text, sizeof(text), "%llu", (unsigned long long)v), 1, 31);
        return text;
}

static void assert_taken(size_t knob, uint64_t v)
{
        RelayConfig c;

        assert_int_equal(setenv(knobs[knob].variable, decimal(v), 1), 0);
        load(&c);
        assert_int_equal(value_of(&c, knob), v);
        relay_config_done(&c);
        assert_int_equal(unsetenv(knobs[knob].variable), 0);
}

static void numbers_at_their_limits(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(knobs); i++) {
                assert_taken(i, knobs[i].min);
                assert_taken(i, knobs[i].max);
                assert_refused(knobs[i].variable, decimal(knobs[i].max + 1));
                if (knobs[i].min)
                        assert_refused(knobs[i].variable, decimal(knobs[i].min - 1));
        }
}

static void numbers_that_are_none(void **state)
{
        static const char *const garbage[] = {"x",
                                              "1x",
                                              "1 ",
                                              " 1",
                                              "-1",
                                              "+1",
                                              "1.0",
                                              "0x1",
                                              "1e0",
                                              "1\n",
                                              "\t1",
                                              "1,0",
                                              "--1",
                                              "true",
                                              "1_0",
                                              "18446744073709551616",
                                              "99999999999999999999999999",
                                              "18446744073709551617"};
        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(knobs); i++)
                for (size_t k = 0; k < ELEMENTSOF(garbage); k++)
                        assert_refused(knobs[i].variable, garbage[k]);
}

static void origin(void **state)
{
        RelayConfig c;
        (void)state;

        assert_int_equal(setenv("LINK_ORIGIN", "Relay.Example.ORG:8443", 1), 0);
        load(&c);
        assert_string_equal(c.origin, "relay.example.org:8443");
        relay_config_done(&c);
        assert_refused("LINK_ORIGIN", "wss://relay.example.org");
        assert_refused("LINK_ORIGIN", "relay.example.org/");
        assert_refused("LINK_ORIGIN", "relay.example.org ");
        assert_refused("LINK_ORIGIN", "a\tb");
}

/* ---- keys ---- */

typedef struct Key {
        uint8_t bytes[32];
        char text[44];
} Key;

static Key key(uint8_t n)
{
        Key k;

        memset(k.bytes, n, sizeof(k.bytes));
        b64u_encode(k.bytes, sizeof(k.bytes), k.text);
        return k;
}

static void assert_allows(const RelayConfig *c, unsigned mask)
{
        for (uint8_t i = 0; i < 8; i++)
                assert_int_equal(relay_config_allows(c, key(i).bytes), (mask >> i) & 1);
}

static void with_keys(const char *list, unsigned mask)
{
        RelayConfig c;

        assert_int_equal(setenv("LINK_ALLOWED_REGISTER_KEYS", list, 1), 0);
        load(&c);
        assert_true(c.closed);
        assert_allows(&c, mask);
        relay_config_done(&c);
        assert_int_equal(unsetenv("LINK_ALLOWED_REGISTER_KEYS"), 0);
}

static void key_list(void **state)
{
        char list[512];
        RelayConfig c;
        (void)state;

        load(&c);
        assert_allows(&c, 0xff); /* open */
        relay_config_done(&c);
        with_keys(key(3).text, 1 << 3);
        assert_in_range(snprintf(list, sizeof(list), " %s, %s,,%s\t%s ,", key(7).text, key(1).text,
                                 key(4).text, key(1).text),
                        1, sizeof(list) - 1);
        with_keys(list, 1 << 7 | 1 << 1 | 1 << 4);
        with_keys(" , ", 0); /* not empty, no key: closed to all */
}

static void bad_keys(void **state)
{
        char text[128];
        Key k = key(9);
        (void)state;

        assert_refused("LINK_ALLOWED_REGISTER_KEYS", "nonsense");
        for (size_t n = 41; n <= 42; n++) { /* 31 bytes and a bit; 42 is none of base64 */
                assert_in_range(snprintf(text, sizeof(text), "%.*s", (int)n, k.text), 1, 64);
                assert_refused("LINK_ALLOWED_REGISTER_KEYS", text);
        }
        assert_in_range(snprintf(text, sizeof(text), "%sA", k.text), 1, 64);
        assert_refused("LINK_ALLOWED_REGISTER_KEYS", text);
        assert_in_range(snprintf(text, sizeof(text), "%s=", k.text), 1, 64);
        assert_refused("LINK_ALLOWED_REGISTER_KEYS", text);
        k.text[5] = '+';
        assert_refused("LINK_ALLOWED_REGISTER_KEYS", k.text);
}

/* ---- the file ---- */

typedef struct File {
        char path[64];
} File;

static File file_with(const char *content)
{
        File f = {.path = "/tmp/test-relay-config-XXXXXX"};
        size_t n = strlen(content);
        int fd = mkstemp(f.path);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, content, n), n);
        assert_int_equal(close(fd), 0);
        return f;
}

static File key_file_with(const char *content)
{
        File f = file_with(content);

        assert_int_equal(setenv("LINK_ALLOWED_REGISTER_KEYS_FILE", f.path, 1), 0);
        return f;
}

static void file_allows(const char *content, unsigned mask)
{
        File f = key_file_with(content);
        RelayConfig c;

        load(&c);
        assert_true(c.closed);
        assert_allows(&c, mask);
        relay_config_done(&c);
        assert_int_equal(unlink(f.path), 0);
}

static void key_file(void **state)
{
        char text[8192];
        size_t n;
        (void)state;

        file_allows("", 0);
        file_allows("# nobody yet\n\n", 0);
        assert_in_range(snprintf(text, sizeof(text), "# ours\n%s # home\r\n\n  %s", key(2).text,
                                 key(5).text),
                        1, sizeof(text) - 1);
        file_allows(text, 1 << 2 | 1 << 5);
        /* A comment longer than any buffer of lines, with the key behind it. */
        memset(text, 'x', sizeof(text));
        text[0] = '#';
        n = 6000;
        assert_in_range(snprintf(text + n, sizeof(text) - n, "\n%s\n", key(6).text), 1, 64);
        file_allows(text, 1 << 6);
        /* In union with the list. */
        assert_int_equal(setenv("LINK_ALLOWED_REGISTER_KEYS", key(1).text, 1), 0);
        file_allows(key(0).text, 1 << 1 | 1 << 0);
}

/* The fault names the variable, the path, the line and what stands there. */
static void bad_key_file(void **state)
{
        char text[256], *fault = NULL;
        RelayConfig c;
        File f;
        (void)state;

        assert_in_range(snprintf(text, sizeof(text), "%s\n\nwrong\n", key(2).text), 1, 200);
        f = key_file_with(text);
        relay_config_init(&c);
        assert_int_equal(relay_config_load(&c, NULL, false, &fault), -EINVAL);
        assert_non_null(strstr(fault, "LINK_ALLOWED_REGISTER_KEYS_FILE"));
        assert_non_null(strstr(fault, f.path));
        assert_non_null(strstr(fault, "line 3"));
        assert_non_null(strstr(fault, "wrong"));
        free(fault);
        relay_config_done(&c);
        assert_int_equal(unlink(f.path), 0);
        assert_refused("LINK_ALLOWED_REGISTER_KEYS_FILE", f.path); /* it is gone */
        assert_refused("LINK_ALLOWED_REGISTER_KEYS_FILE", "/");    /* opens, cannot be read */
}

/* ---- the configuration file ---- */

/* What has no end, and what is no text, is refused by its line. */
static void endless_key_file(void **state)
{
        _cleanup_(freep) char *text = malloc(KEYS_LINE_MAX + 2);
        char *fault = NULL;
        RelayConfig c;
        File f;
        (void)state;

        assert_non_null(text);
        memset(text, ' ', KEYS_LINE_MAX + 2);
        text[0] = '#';
        text[KEYS_LINE_MAX - 2] = '\n'; /* the longest that is read */
        text[KEYS_LINE_MAX - 1] = '\0';
        file_allows(text, 0);
        text[KEYS_LINE_MAX - 2] = ' ';
        text[KEYS_LINE_MAX - 1] = '\n';
        text[KEYS_LINE_MAX] = '\0';
        f = key_file_with(text);
        relay_config_init(&c);
        assert_int_equal(relay_config_load(&c, NULL, false, &fault), -EFBIG);
        assert_non_null(strstr(fault, "line 1"));
        free(fault);
        relay_config_done(&c);
        assert_int_equal(unlink(f.path), 0);
        assert_refused("LINK_ALLOWED_REGISTER_KEYS_FILE", "/dev/zero");
}

static void load_file(const char *content, RelayConfig *c)
{
        File f = file_with(content);
        char *fault = NULL;

        relay_config_init(c);
        if (relay_config_load(c, f.path, true, &fault) != 0)
                fail_msg("%s", fault);
        assert_int_equal(unlink(f.path), 0);
}

/* The fault names the file, the line, and what stands there. */
static void file_refused(const char *content, unsigned line, const char *what)
{
        File f = file_with(content);
        char *fault = NULL, where[96];
        RelayConfig c;

        relay_config_init(&c);
        if (relay_config_load(&c, f.path, true, &fault) >= 0)
                fail_msg("taken: %s", content);
        assert_in_range(snprintf(where, sizeof(where), "%s:%u", f.path, line), 1, 95);
        if (!strstr(fault, where) || !strstr(fault, what))
                fail_msg("\"%s\" names not %s and %s", fault, where, what);
        free(fault);
        relay_config_done(&c);
        assert_int_equal(unlink(f.path), 0);
}

static void setting(char text[128], const char *name, uint64_t v)
{
        assert_in_range(snprintf(text, 128, "\n%s = %llu%s;\n", name, (unsigned long long)v,
                                 v > INT32_MAX ? "L" : ""),
                        1, 127);
}

static void file_numbers(void **state)
{
        char text[128];
        RelayConfig c;
        (void)state;

        for (size_t i = 0; i < ELEMENTSOF(knobs); i++) {
                for (int max = 0; max < 2; max++) {
                        setting(text, knobs[i].name, max ? knobs[i].max : knobs[i].min);
                        load_file(text, &c);
                        assert_int_equal(value_of(&c, i), max ? knobs[i].max : knobs[i].min);
                        relay_config_done(&c);
                }
                setting(text, knobs[i].name, knobs[i].max + 1);
                file_refused(text, 2, knobs[i].name);
                if (knobs[i].min) {
                        setting(text, knobs[i].name, knobs[i].min - 1);
                        file_refused(text, 2, knobs[i].name);
                }
                assert_in_range(snprintf(text, sizeof(text), "%s = \"1\";", knobs[i].name), 1, 127);
                file_refused(text, 1, knobs[i].name);
                assert_in_range(snprintf(text, sizeof(text), "%s = -1;", knobs[i].name), 1, 127);
                file_refused(text, 1, knobs[i].name);
        }
}

static void file_and_environment(void **state)
{
        char text[512];
        RelayConfig c;
        (void)state;

        assert_in_range(snprintf(text, sizeof(text),
                                 "port = 8080; idle_sec = 7; trust_proxy = true;\n"
                                 "listen = [\"127.0.0.1:0\", \"/run/x\"];\n"
                                 "origin = \"Relay.Example\"; log_format = \"json\";\n"
                                 "allowed_register_keys = [\"%s\", \"%s\"];\n",
                                 key(1).text, key(2).text),
                        1, sizeof(text) - 1);
        assert_int_equal(setenv("LINK_PORT", "99", 1), 0); /* the environment wins */
        load_file(text, &c);
        assert_int_equal(c.port, 99);
        assert_int_equal(c.idle_sec, 7);
        assert_int_equal(c.trust_proxy, 1);
        assert_int_equal(c.n_listen, 2);
        assert_string_equal(c.listen[1], "/run/x");
        assert_string_equal(c.origin, "relay.example");
        assert_true(c.log_json);
        assert_allows(&c, 1 << 1 | 1 << 2);
        relay_config_done(&c);

        assert_int_equal(setenv("LINK_ALLOWED_REGISTER_KEYS", key(3).text, 1), 0);
        assert_int_equal(setenv("LINK_ORIGIN", "other:81", 1), 0);
        load_file(text, &c);
        assert_allows(&c, 1 << 3);
        assert_string_equal(c.origin, "other:81");
        relay_config_done(&c);
}

static void bad_files(void **state)
{
        (void)state;
        file_refused("port = 80;\nprot = 81;\n", 2, "prot");
        file_refused("\n\nport = = 80;\n", 3, "");
        file_refused("listen = 80;\n", 1, "listen");
        file_refused("listen = { a = 1; };\n", 1, "listen");
        file_refused("listen = [ 1 ];\n", 1, "listen");
        file_refused("log_format = \"xml\";\n", 1, "log_format");
        file_refused("\nallowed_register_keys = \"short\";\n", 2, "short");
}

static void absent_file(void **state)
{
        static const char path[] = "/nonexistent/link/relay.conf";
        char *fault = NULL;
        RelayConfig c;
        (void)state;

        relay_config_init(&c);
        assert_int_equal(relay_config_load(&c, path, false, &fault), 0);
        assert_null(fault);
        assert_int_equal(relay_config_load(&c, path, true, &fault), -ENOENT);
        assert_non_null(strstr(fault, path));
        free(fault);
        relay_config_done(&c);
}

#define config_test(f) cmocka_unit_test_setup(f, clear_environment)

int main(void)
{
        const struct CMUnitTest tests[] = {
                config_test(defaults),
                config_test(numbers_at_their_limits),
                config_test(numbers_that_are_none),
                config_test(origin),
                config_test(key_list),
                config_test(bad_keys),
                config_test(key_file),
                config_test(bad_key_file),
                config_test(endless_key_file),
                config_test(file_numbers),
                config_test(file_and_environment),
                config_test(bad_files),
                config_test(absent_file),
        };

        return unit_run(tests);
}
