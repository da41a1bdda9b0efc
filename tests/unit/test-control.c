#include <errno.h>

#include "liblinkproto/control.h"
#include "unit.h"

static const char *const type_names[] = {"register", "registered", "resolve", "found",
                                         "arrived",  "relay",      "accept",  "relaying",
                                         "getUsage", "usage",      "error"};

static int decode(const char *text, ControlMessage *ret)
{
        return control_decode(text, strlen(text), ret);
}

static void test_types(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(type_names); i++) {
                char text[64];
                ControlMessage m;

                assert_in_range(snprintf(text, sizeof(text), "{\"type\":\"%s\"}", type_names[i]), 1,
                                sizeof(text) - 1);
                assert_int_equal(decode(text, &m), 0);
                assert_int_equal(m.type, CONTROL_REGISTER + i);
                assert_string_equal(control_type_name(m.type), type_names[i]);
                assert_string_equal(m.address, "");
                assert_string_equal(m.link_id, "");
                assert_string_equal(m.error, "");
                assert_null(m.auth.p);
                assert_null(m.connections.p);
        }
        assert_int_equal(CONTROL_REGISTER + ELEMENTSOF(type_names) - 1, CONTROL_ERROR);
        assert_null(control_type_name(CONTROL_UNKNOWN));
}

static void test_unknown_types(void **state)
{
        static const char *const texts[] = {
                "{\"type\":\"Register\"}",        "{\"type\":\"\"}",
                "{\"type\":\"register \"}",       "{\"type\":\"registe\"}",
                "{\"type\":\"register\\u0000\"}", "{\"type\":\"relay\",\"type\":\"none\"}",
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                ControlMessage m;

                assert_int_equal(decode(texts[i], &m), 0);
                assert_int_equal(m.type, CONTROL_UNKNOWN);
        }
}

static void test_refused(void **state)
{
        static const char *const texts[] = {
                "",
                "{",
                "null",
                "[]",
                "[{\"type\":\"relay\"}]",
                "\"relay\"",
                "{}",
                "{\"type\":null}",
                "{\"type\":1}",
                "{\"type\":[\"relay\"]}",
                "{\"type\":\"relay\",\"type\":1}",
                "{\"Type\":\"relay\"}",
                "{\"type\":\"relay\"}{}",
                "{\"type\":\"relay\",}",
                "{'type':'relay'}",
                "{\"type\":\"relay\",\"x\":\"\xff\"}",
                "\xef\xbb\xbf{\"type\":\"relay\"}",
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                ControlMessage m = {.type = CONTROL_USAGE, .error = "kept"};

                assert_int_equal(decode(texts[i], &m), -EBADMSG);
                assert_int_equal(m.type, CONTROL_USAGE);
                assert_string_equal(m.error, "kept");
        }
}

static void test_members(void **state)
{
        ControlMessage m;

        (void)state;
        assert_int_equal(decode(" { \"x\":[{}], \"linkId\":\"l\\u0069nk\", \"address\":\"a\\/b\","
                                "\"\\u0074ype\":\"relay\", \"auth\":{\"pub\":1},"
                                "\"connections\":[ 1 ], \"error\":\"unknown_link\" } ",
                                &m),
                         0);
        assert_int_equal(m.type, CONTROL_RELAY);
        assert_string_equal(m.link_id, "link");
        assert_string_equal(m.address, "a/b");
        assert_string_equal(m.error, "unknown_link");
        assert_int_equal(m.auth.n, 9);
        assert_memory_equal(m.auth.p, "{\"pub\":1}", 9);
        assert_int_equal(m.connections.n, 5);
        assert_memory_equal(m.connections.p, "[ 1 ]", 5);
}

/* count characters written as unit each, as address and as linkId: taken up to 128. */
static void check_length(const char *unit, size_t count, const char *plain)
{
        char text[4096] = "{\"type\":\"resolve\",\"address\":\"", id[LINK_ID_MAX * 4 + 16] = "";
        bool fits = count >= 1 && count <= LINK_ID_MAX;
        ControlMessage m;

        for (size_t i = 0; i < count; i++)
                strcat(text, unit);
        strcat(text, "\",\"linkId\":\"");
        for (size_t i = 0; i < count; i++)
                strcat(text, unit);
        strcat(text, "\"}");
        for (size_t i = 0; fits && i < count; i++)
                strcat(id, plain);
        assert_int_equal(decode(text, &m), 0);
        assert_string_equal(m.address, id);
        assert_string_equal(m.link_id, id);
}

static void test_lengths(void **state)
{
        static const struct {
                const char *unit, *plain;
        } units[] = {
                {"a", "a"},
                {"\xc3\xa9", "\xc3\xa9"},
                {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
                {"\\u0041", "A"},
                {"\\ud83d\\ude00", "\xf0\x9f\x98\x80"},
        };
        static const size_t counts[] = {0, 1, 127, 128, 129, 140};

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                for (size_t k = 0; k < ELEMENTSOF(counts); k++)
                        check_length(units[i].unit, counts[k], units[i].plain);
}

/* It is a string of 1..128 characters, so it is no bad request; but it names nothing. */
static void test_id_with_nul(void **state)
{
        static const char text[] = "{\"type\":\"resolve\",\"address\":\"a\\u0000b\"}";
        ControlMessage m;

        (void)state;
        assert_int_equal(control_decode(text, sizeof(text) - 1, &m), 0);
        assert_string_equal(m.address, "a\x1a"
                                       "b");
}

static void test_ids_of_another_kind(void **state)
{
        static const char *const values[] = {"1", "null", "[]", "{}", "true"};

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(values); i++) {
                char text[128];
                ControlMessage m;

                assert_in_range(snprintf(text, sizeof(text),
                                         "{\"type\":\"resolve\",\"address\":%s,\"linkId\":%s}",
                                         values[i], values[i]),
                                1, sizeof(text) - 1);
                assert_int_equal(decode(text, &m), 0);
                assert_string_equal(m.address, "");
                assert_string_equal(m.link_id, "");
        }
}

/* An error text is cut to what fits, at a character. */
static void test_error_is_cut(void **state)
{
        ControlMessage m;
        char text[256] = "{\"type\":\"error\",\"error\":\"";

        (void)state;
        for (int i = 0; i < 63; i++)
                strcat(text, "e");
        strcat(text, "\"}");
        assert_int_equal(decode(text, &m), 0);
        assert_int_equal(strlen(m.error), 63);
        text[strlen(text) - 2] = '\0';
        strcat(text, "xyz\"}");
        assert_int_equal(decode(text, &m), 0);
        assert_int_equal(strlen(m.error), 63);
        assert_int_equal(strspn(m.error, "e"), 63);
        strcpy(text, "{\"type\":\"error\",\"error\":\"");
        for (int i = 0; i < 32; i++)
                strcat(text, "\xe2\x82\xac");
        strcat(text, "\"}");
        assert_int_equal(decode(text, &m), 0);
        assert_int_equal(strlen(m.error), 63); /* 21 of three bytes */
        text[strlen("{\"type\":\"error\",\"error\":\"")] = '\0';
        for (int i = 0; i < 32; i++)
                strcat(text, "\xc3\xa9");
        strcat(text, "\"}");
        assert_int_equal(decode(text, &m), 0);
        assert_int_equal(strlen(m.error), 62); /* 31 of two */
        assert_int_equal(decode("{\"type\":\"error\",\"error\":5}", &m), 0);
        assert_string_equal(m.error, "");
}

static void test_depth(void **state)
{
        static char text[4 * JSON_DEPTH_MAX];
        ControlMessage m;

        (void)state;
        strcpy(text, "{\"type\":\"relay\",\"x\":");
        for (int i = 0; i < JSON_DEPTH_MAX - 1; i++)
                strcat(text, "[");
        for (int i = 0; i < JSON_DEPTH_MAX - 1; i++)
                strcat(text, "]");
        strcat(text, "}");
        assert_int_equal(decode(text, &m), 0);
        strcpy(text, "{\"type\":\"relay\",\"x\":");
        for (int i = 0; i < JSON_DEPTH_MAX; i++)
                strcat(text, "[");
        for (int i = 0; i < JSON_DEPTH_MAX; i++)
                strcat(text, "]");
        strcat(text, "}");
        assert_int_equal(decode(text, &m), -EBADMSG);
}

static void test_encode(void **state)
{
        static const struct {
                ControlType type;
                const char *link_id, *address, *error, *text;
        } cases[] = {
                {CONTROL_GET_USAGE, NULL, NULL, NULL, "{\"type\":\"getUsage\"}"},
                {CONTROL_RELAYING, "u-1", NULL, NULL, "{\"type\":\"relaying\",\"linkId\":\"u-1\"}"},
                {CONTROL_ARRIVED, "u", "a", NULL,
                 "{\"type\":\"arrived\",\"linkId\":\"u\",\"address\":\"a\"}"},
                {CONTROL_ERROR, NULL, NULL, "unknown_address",
                 "{\"type\":\"error\",\"error\":\"unknown_address\"}"},
                {CONTROL_RESOLVE, NULL, "\"\\\n", NULL,
                 "{\"type\":\"resolve\",\"address\":\"\\\"\\\\\\n\"}"},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t len = strlen(cases[i].text);
                char out[128];
                ControlMessage m;

                assert_int_equal(control_encode(cases[i].type, cases[i].link_id, cases[i].address,
                                                cases[i].error, out, len + 1),
                                 (int)len);
                assert_string_equal(out, cases[i].text);
                assert_int_equal(control_encode(cases[i].type, cases[i].link_id, cases[i].address,
                                                cases[i].error, out, len),
                                 -ENOBUFS);
                assert_int_equal(decode(cases[i].text, &m), 0);
                assert_int_equal(m.type, cases[i].type);
                assert_string_equal(m.link_id, cases[i].link_id ?: "");
                assert_string_equal(m.address, cases[i].address ?: "");
                assert_string_equal(m.error, cases[i].error ?: "");
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_types),       cmocka_unit_test(test_unknown_types),
                cmocka_unit_test(test_refused),     cmocka_unit_test(test_members),
                cmocka_unit_test(test_lengths),     cmocka_unit_test(test_ids_of_another_kind),
                cmocka_unit_test(test_id_with_nul), cmocka_unit_test(test_error_is_cut),
                cmocka_unit_test(test_depth),       cmocka_unit_test(test_encode),
        };

        return unit_run(tests);
}
