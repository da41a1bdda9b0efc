#include <errno.h>

#include "liblinkproto/buf.h"
#include "liblinkproto/json.h"
#include "unit.h"

static void assert_text(const Buf *b, const char *expect)
{
        assert_int_equal(buf_ok(b), 0);
        assert_int_equal(b->len, strlen(expect));
        if (b->len)
                assert_memory_equal(b->data, expect, b->len);
}

static void test_appends(void **state)
{
        Buf b = {};

        (void)state;
        assert_text(&b, "");
        buf_add(&b, NULL, 0);
        buf_add_str(&b, "");
        assert_text(&b, "");
        buf_add(&b, "ab", 2);
        buf_add_str(&b, "cd");
        buf_add_u8(&b, 'e');
        buf_add_u16be(&b, 0x6667);
        buf_add_u32be(&b, 0x68696a6b);
        buf_printf(&b, "%s-%d", "l", 5);
        assert_text(&b, "abcdefghijkl-5");
        buf_drop(&b, 0);
        buf_drop(&b, 3);
        assert_text(&b, "defghijkl-5");
        buf_drop(&b, b.len);
        assert_text(&b, "");
        buf_add_str(&b, "again");
        assert_text(&b, "again");
        buf_done(&b);
        assert_null(b.data);
        buf_done(&b);
}

/* Grows through every length around the powers of two, and keeps what it has. */
static void test_growth(void **state)
{
        Buf b = {};

        (void)state;
        for (unsigned i = 0; i < 70000; i++)
                buf_add_u8(&b, (uint8_t)(i * 7));
        assert_int_equal(buf_ok(&b), 0);
        assert_int_equal(b.len, 70000);
        for (unsigned i = 0; i < 70000; i++)
                if (b.data[i] != (uint8_t)(i * 7))
                        fail_msg("byte %u", i);
        buf_done_wipe(&b);
        assert_int_equal(b.cap, 0);
        buf_done_wipe(&b);
}

/* printf whose text ends exactly at the capacity, one short of it and one past it. */
static void test_printf_at_capacity(void **state)
{
        (void)state;
        for (int len = 250; len < 260; len++) {
                Buf b = {};

                buf_printf(&b, "%*d", len, 7);
                assert_int_equal(b.len, len);
                assert_int_equal(b.data[len - 1], '7');
                buf_done(&b);
        }
}

/* After a failure nothing is appended, also when it would fit. */
static void test_failure_sticks(void **state)
{
        Buf b = {};

        (void)state;
        buf_add_str(&b, "kept");
        assert_int_equal(buf_reserve(&b, SIZE_MAX), -ENOMEM);
        assert_int_equal(buf_ok(&b), -ENOMEM);
        buf_add_str(&b, "lost");
        buf_add_u8(&b, 1);
        buf_printf(&b, "lost");
        assert_int_equal(b.len, 4);
        assert_int_equal(buf_reserve(&b, 1), -ENOMEM);
        assert_null(buf_take_str(&b));
        assert_null(b.data); /* taken or not, the buffer is empty after it */
        assert_int_equal(b.cap, 0);
        assert_int_equal(buf_ok(&b), 0);
        buf_done(&b);
}

static void test_take_str(void **state)
{
        Buf b = {};
        char *s;

        (void)state;
        buf_add_str(&b, "text");
        s = buf_take_str(&b);
        assert_string_equal(s, "text");
        assert_null(b.data);
        free(s);
        s = buf_take_str(&b);
        assert_string_equal(s, "");
        free(s);
}

/* ---- JSON ---- */

static void test_json_strings(void **state)
{
        static const struct {
                const char *text;
                size_t len;
                const char *json;
        } cases[] = {
                {NULL, 0, "\"\""},
                {"", 0, "\"\""},
                {"abc", 3, "\"abc\""},
                {"\"\\/", 3, "\"\\\"\\\\/\""},
                {"\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\""},
                {"\0\x01\x1f\x7f", 4, "\"\\u0000\\u0001\\u001f\x7f\""},
                {"\xc3\xa9\xf0\x9f\x98\x80", 6, "\"\xc3\xa9\xf0\x9f\x98\x80\""},
                {"a\nb\nc", 5, "\"a\\nb\\nc\""},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Buf b = {};

                buf_json_str(&b, cases[i].text, cases[i].len);
                assert_text(&b, cases[i].json);
                buf_done(&b);
        }
}

/* All bytes below 0x80 come back through the scanner. */
static void test_json_round_trip(void **state)
{
        char text[128], back[129];
        size_t len;
        Buf b = {};

        (void)state;
        for (int i = 0; i < 128; i++)
                text[i] = (char)i;
        buf_json_str(&b, text, sizeof(text));
        assert_int_equal(json_scan_value((char *)b.data, b.len, NULL), 0);
        assert_int_equal(
                json_str_copy((JsonSlice){(char *)b.data, b.len}, back, sizeof(back), &len), 0);
        assert_int_equal(len, sizeof(text));
        assert_memory_equal(back, text, len);
        buf_done(&b);
}

static void test_json_members(void **state)
{
        Buf b = {};

        (void)state;
        buf_add_str(&b, "{");
        buf_json_member_str(&b, "s", "a\"{");
        buf_json_member_str(&b, "null", NULL);
        buf_json_member_int(&b, "min", INT64_MIN);
        buf_json_member_bool(&b, "t", true);
        buf_json_member_bool(&b, "f", false);
        buf_json_name(&b, "list");
        buf_add_str(&b, "[");
        for (int i = 0; i < 3; i++) {
                buf_json_comma(&b);
                buf_printf(&b, "%d", i);
        }
        buf_json_comma(&b);
        buf_add_str(&b, "{");
        buf_json_member_int(&b, "n", 0);
        buf_add_str(&b, "}]}");
        assert_text(&b, "{\"s\":\"a\\\"{\",\"null\":null,\"min\":-9223372036854775808,\"t\":true,"
                        "\"f\":false,\"list\":[0,1,2,{\"n\":0}]}");
        buf_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_appends),
                cmocka_unit_test(test_growth),
                cmocka_unit_test(test_printf_at_capacity),
                cmocka_unit_test(test_failure_sticks),
                cmocka_unit_test(test_take_str),
                cmocka_unit_test(test_json_strings),
                cmocka_unit_test(test_json_round_trip),
                cmocka_unit_test(test_json_members),
        };

        return unit_run(tests);
}
