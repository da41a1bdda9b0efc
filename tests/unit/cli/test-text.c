/* JSON, UTF-8 and what terminals are shown. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/bytes.h"
#include "cli/limits.h"
#include "cli/text.h"

static int check(const char *text, size_t n)
{
        const char *start;
        size_t len;

        return text_check_json(text, n, &start, &len);
}

static void test_json_accepts(void **state)
{
        static const char *const good[] = {
                "0",
                "-0",
                "1.0",
                "1e400",
                "-1E+2",
                "123456789012345678901234567890",
                "\"\"",
                "null",
                "true",
                "false",
                "[]",
                "{}",
                " [ ] ",
                "\t{\r\n}\n",
                "[1,[2,[3]],{}]",
                "{\"a\":1,\"a\":2}",
                "{\"a\":{\"b\":[{}]},\"c\":\"\\u0000\\ud800\"}",
                "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
                "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"",
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                if (check(good[i], strlen(good[i])) != 0)
                        fail_msg("refused: %s", good[i]);
}

static void test_json_refuses(void **state)
{
        static const char *const bad[] = {
                "",
                " ",
                "01",
                "+1",
                ".5",
                "1.",
                "1e",
                "1e+",
                "-",
                "nul",
                "nulll",
                "True",
                "'a'",
                "\"",
                "\"\\x\"",
                "\"\\u12g4\"",
                "\"\\u123",
                "\"\n\"",
                "\"\t\"",
                "[",
                "]",
                "[1",
                "[1,",
                "[1,]",
                "[,1]",
                "[1 2]",
                "{",
                "}",
                "{\"a\"}",
                "{\"a\":}",
                "{\"a\":1,}",
                "{a:1}",
                "{1:1}",
                "{\"a\":1 \"b\":2}",
                "[}",
                "{]",
                "[1}",
                "{\"a\":1]",
                "1 2",
                "{} {}",
                "\"\xff\"",
                "\"\xc0\x80\"",
                "\"\xed\xa0\x80\"",
                "\"\xf4\x90\x80\x80\"",
                "\"\xe2\x82\"",
                "\xef\xbb\xbf[]",
                "NaN",
                "[1]x",
                "/**/1",
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (check(bad[i], strlen(bad[i])) != -EBADMSG)
                        fail_msg("taken: %s", bad[i]);
        assert_int_equal(check("1\0", 2), -EBADMSG);
        assert_int_equal(check("\"\\\0\"", 4), -EBADMSG);
}

/* A text that ends at any place is refused, and nothing behind it is read. */
static void test_json_truncated(void **state)
{
        static const char text[] =
                "{\"a\\u00e9\":[1.5e3,true,null,\"\xe2\x82\xac\"],\"b\":{\"c\":\"d\"}}";

        (void)state;
        for (size_t n = 0; n < sizeof(text) - 1; n++) {
                char *copy = malloc(n ? n : 1); /* so that a sanitizer sees its end */
                assert_non_null(copy);
                memcpy(copy, text, n);
                assert_int_equal(check(copy, n), -EBADMSG);
                free(copy);
        }
        assert_int_equal(check(text, sizeof(text) - 1), 0);
}

static void test_json_depth(void **state)
{
        char text[2 * (JSON_DEPTH_MAX + 1)];

        (void)state;
        memset(text, '[', JSON_DEPTH_MAX);
        memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
        assert_int_equal(check(text, 2UL * JSON_DEPTH_MAX), 0);
        memset(text, '[', JSON_DEPTH_MAX + 1);
        memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
        assert_int_equal(check(text, sizeof(text)), -E2BIG);
}

static void test_json_trims(void **state)
{
        static const char text[] = " \n {\"a\" : 1 }\t ";
        const char *start = NULL;
        size_t n = 0;

        (void)state;
        assert_int_equal(text_check_json(text, strlen(text), &start, &n), 0);
        assert_int_equal(n, strlen("{\"a\" : 1 }"));
        assert_memory_equal(start, "{\"a\" : 1 }", n);
}

static void test_clean(void **state)
{
        static const struct {
                const char *text, *clean;
        } cases[] = {
                {"", ""},
                {"plain \xc3\xa9 \xe2\x82\xac", "plain \xc3\xa9 \xe2\x82\xac"},
                {"\033[31m", "\\x1b[31m"},
                {"a\nb\r\t\x7f", "a\\x0ab\\x0d\\x09\\x7f"},
                {"\xc2\x9b"
                 "1m",
                 "\\xc2\\x9b1m"}, /* a C1 control */
                {"\xff\xc3", "\\xff\\xc3"},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char *clean = text_clean(cases[i].text, strlen(cases[i].text));
                assert_string_equal(clean, cases[i].clean);
                free(clean);
        }
}

/* RFC 4648, section 10. */
static void test_base64(void **state)
{
        static const struct {
                const char *data, *text;
        } cases[] = {{"", ""},
                     {"f", "Zg=="},
                     {"fo", "Zm8="},
                     {"foo", "Zm9v"},
                     {"foob", "Zm9vYg=="},
                     {"fooba", "Zm9vYmE="},
                     {"foobar", "Zm9vYmFy"},
                     {"\xff\xfe\xfb", "//77"}};

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char *text = text_base64(cases[i].data, strlen(cases[i].data));
                assert_string_equal(text, cases[i].text);
                free(text);
        }
}

static void test_bytes(void **state)
{
        Bytes b = {};

        (void)state;
        assert_int_equal(bytes_add(&b, "abc", 3, 5), 0);
        assert_int_equal(bytes_add(&b, "def", 3, 5), -EMSGSIZE);
        assert_int_equal(bytes_add(&b, "de", 2, 5), 0);
        assert_string_equal(b.p, "abcde");
        assert_int_equal(bytes_add(&b, "f", 1, 5), -EMSGSIZE);
        bytes_drop(&b, 2);
        assert_string_equal(b.p, "cde");
        assert_int_equal(b.n, 3);
        bytes_done(&b);
        assert_null(b.p);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_json_accepts),   cmocka_unit_test(test_json_refuses),
                cmocka_unit_test(test_json_truncated), cmocka_unit_test(test_json_depth),
                cmocka_unit_test(test_json_trims),     cmocka_unit_test(test_clean),
                cmocka_unit_test(test_base64),         cmocka_unit_test(test_bytes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
