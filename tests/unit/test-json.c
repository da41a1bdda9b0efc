#include <errno.h>

#include "liblinkproto/json.h"
#include "tests/fuzz/json-oracle.h"
#include "unit.h"

/* A text and whether it is one valid value; held against jansson as well. */
static const struct {
        const char *text;
        bool valid;
} values[] = {
        {"null", true},
        {"true", true},
        {"false", true},
        {"0", true},
        {"-0", true},
        {"1.0", true},
        {"-1.5e+3", true},
        {"1E-3", true},
        {"1e400", true},
        {"-1e400", true},
        {"123456789012345678901234567890", true},
        {"0.123456789012345678901234567890", true},
        {"\"\"", true},
        {" \t\r\n[ ] \t\r\n", true},
        {"[1,2,[3,{\"a\":[]}],{}]", true},
        {"{\"a\":1,\"a\":2}", true},
        {"{\"\":0}", true},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\"", true},
        {"\"\\u0000\"", true},
        {"{\"\\u0000\":1}", true},
        {"\"\\ud83d\\ude00\"", true},
        {"\"\\ud83d\"", true},
        {"\"\\ude00\"", true},
        {"\"\\ude00\\ud83d\"", true},
        {"\"\\uD83Dx\"", true},
        {"\"\x7f\"", true},
        {"\"\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf\"", true},
        {"\"\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf\"", true},
        {"\"12345678\"", true},
        {"\"1234567\\n12345678\"", true},

        {"", false},
        {" ", false},
        {"nul", false},
        {"nulL", false},
        {"nulll", false},
        {"True", false},
        {"NaN", false},
        {"Infinity", false},
        {"-", false},
        {"+1", false},
        {"01", false},
        {"-01", false},
        {"1.", false},
        {".5", false},
        {"1.e3", false},
        {"1e", false},
        {"1e+", false},
        {"1e1.5", false},
        {"0x10", false},
        {"1 2", false},
        {"[", false},
        {"]", false},
        {"[1", false},
        {"[1,", false},
        {"[1,]", false},
        {"[,1]", false},
        {"[1 2]", false},
        {"[1}", false},
        {"[]]", false},
        {"{", false},
        {"{]", false},
        {"{\"a\"", false},
        {"{\"a\":", false},
        {"{\"a\":1", false},
        {"{\"a\":1,", false},
        {"{\"a\":1,}", false},
        {"{,\"a\":1}", false},
        {"{\"a\" 1}", false},
        {"{\"a\":1 \"b\":2}", false},
        {"{a:1}", false},
        {"{1:1}", false},
        {"{'a':1}", false},
        {"{\"a\":1]", false},
        {"{\"a\":}", false},
        {"{\"a\":1}}", false},
        {"{\"a\":1}x", false},
        {"{\"a\":1},", false},
        {"[1] // no", false},
        {"\"", false},
        {"\"a", false},
        {"\"\\\"", false},
        {"\"\\x41\"", false},
        {"\"\\'\"", false},
        {"\"\\u\"", false},
        {"\"\\u004\"", false},
        {"\"\\u004g\"", false},
        {"\"\\U0041\"", false},
        {"\"a\nb\"", false},
        {"\"a\tb\"", false},
        {"\"12345678\x1f\"", false},
        {"\"1234567\x01\"", false},
        {"\x0b[]", false},
        {"\xc2\xa0[]", false},
        {"\xef\xbb\xbf[]", false},
        {"\"\x80\"", false},
        {"\"\xc0\x80\"", false},
        {"\"\xc1\xbf\"", false},
        {"\"\xc3\"", false},
        {"\"\xc3(\"", false},
        {"\"\xe0\x9f\xbf\"", false},
        {"\"\xed\xa0\x80\"", false},
        {"\"\xe2\x82\"", false},
        {"\"\xf0\x8f\xbf\xbf\"", false},
        {"\"\xf4\x90\x80\x80\"", false},
        {"\"\xf5\x80\x80\x80\"", false},
        {"\"\xff\"", false},
        {"\"12345678\xff\"", false},
};

/* An exact copy on the heap, so that a sanitizer sees any read past the end. */
static char *exact(const char *text, size_t len)
{
        char *p = malloc(MAX(len, (size_t)1));

        assert_non_null(p);
        memcpy(p, text, len);
        return p;
}

static void check_oracle(const char *text, size_t len)
{
        const char *fault = oracle_compare(text, len);

        if (fault)
                fail_msg("%s: %.*s", fault, (int)len, text);
}

static void test_values(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(values); i++) {
                size_t len = strlen(values[i].text);
                _cleanup_(freep) char *text = exact(values[i].text, len);
                JsonSlice v = {};

                if (json_scan_value(text, len, &v) != (values[i].valid ? 0 : -EBADMSG))
                        fail_msg("%s", values[i].text);
                assert_int_equal(v.p != NULL, values[i].valid);
                check_oracle(text, len);
        }
        assert_int_equal(json_scan_value(NULL, 0, NULL), -EBADMSG);
        assert_int_equal(json_scan_object(NULL, 0, NULL, NULL, 0), -EBADMSG);
        assert_int_equal(json_scan_value("1\0", 2, NULL), -EBADMSG);
        assert_int_equal(json_scan_value("\"a\0b\"", 5, NULL), -EBADMSG);
}

/* Every beginning of every text, and every text with each of its bytes replaced by each of some. */
static void test_cut_and_changed(void **state)
{
        static const char other[] = "\"\\{}[]:,0-e.tu \n\x00\x1f\x7f\x80\xc3\xff";

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(values); i++) {
                size_t len = strlen(values[i].text);
                _cleanup_(freep) char *text = exact(values[i].text, len);

                for (size_t cut = 0; cut < len; cut++) {
                        _cleanup_(freep) char *part = exact(text, cut);
                        check_oracle(part, cut);
                }
                for (size_t at = 0; at < len; at++)
                        for (size_t k = 0; k < sizeof(other) - 1; k++) {
                                char before = text[at];

                                text[at] = other[k];
                                check_oracle(text, len);
                                text[at] = before;
                        }
        }
}

static void test_slice_has_no_space(void **state)
{
        JsonSlice v;

        (void)state;
        assert_int_equal(json_scan_value(" \t[ 1 , 2 ]\r\n", 13, &v), 0);
        assert_int_equal(v.n, 9);
        assert_memory_equal(v.p, "[ 1 , 2 ]", 9);
        assert_int_equal(json_scan_value(" -1.50e3 ", 9, &v), 0);
        assert_int_equal(v.n, 7);
        assert_memory_equal(v.p, "-1.50e3", 7);
}

/* ---- objects ---- */

static void test_members(void **state)
{
        static const struct {
                const char *text, *a, *b; /* raw values of "a" and "b", NULL: absent */
        } cases[] = {
                {"{}", NULL, NULL},
                {"{\"a\":1}", "1", NULL},
                {" { \"b\" : [ 1 , 2 ] , \"a\" : { \"b\" : 3 } } ", "{ \"b\" : 3 }", "[ 1 , 2 ]"},
                {"{\"a\":1,\"a\":2}", "2", NULL},
                {"{\"a\":1,\"b\":2,\"a\":\"3\"}", "\"3\"", "2"},
                {"{\"\\u0061\":1}", "1", NULL},
                {"{\"a\\u0000\":1,\"A\":2,\"aa\":3,\"\":4}", NULL, NULL},
                {"{\"c\":{\"a\":1},\"b\":null}", NULL, "null"},
                {"{\"a\":123456789012345678901234567890,\"b\":1e400}",
                 "123456789012345678901234567890", "1e400"},
        };
        static const char *const names[] = {"a", "b"};

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                JsonSlice v[2];

                assert_int_equal(
                        json_scan_object(cases[i].text, strlen(cases[i].text), names, v, 2), 0);
                for (int k = 0; k < 2; k++) {
                        const char *expect = k ? cases[i].b : cases[i].a;

                        assert_int_equal(v[k].p != NULL, expect != NULL);
                        assert_int_equal(v[k].n, expect ? strlen(expect) : 0);
                        if (expect)
                                assert_memory_equal(v[k].p, expect, v[k].n);
                }
        }
}

static void test_object_refused(void **state)
{
        static const char *const bad[] = {"",        "[]",           "null",        "1",
                                          "\"a\"",   "{\"a\":1}{}",  "{\"a\":1} x", "{\"a\":1",
                                          "{\"a\":", "{\"a\":[1,}]", "{\"a\":tru}", "{\"a\":1;}"};
        static const char *const names[] = {"a"};

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                JsonSlice v = {.p = "untouched", .n = 7};

                assert_int_equal(json_scan_object(bad[i], strlen(bad[i]), names, &v, 1), -EBADMSG);
                assert_int_equal(v.n, 7);
        }
}

static void test_names_limit(void **state)
{
        static const char *const names[17] = {"a", "b", "c", "d", "e", "f", "g", "h", "i",
                                              "j", "k", "l", "m", "n", "o", "p", "q"};
        JsonSlice v[17];

        (void)state;
        assert_int_equal(json_scan_object("{\"p\":1}", 7, names, v, 16), 0);
        assert_int_equal(v[15].n, 1);
        assert_int_equal(json_scan_object("{\"p\":1}", 7, names, v, 17), -EINVAL);
}

/* depth containers of one kind; with value inside. */
static char *nested(size_t depth, bool object, size_t *ret_len)
{
        const char *open = object ? "{\"a\":" : "[", *close = object ? "}" : "]";
        size_t n = strlen(open), len = 0;
        char *text = malloc(depth * (n + 1) + 1);

        assert_non_null(text);
        for (size_t i = 0; i < depth; i++, len += n)
                memcpy(text + len, open, n);
        text[len++] = '1';
        for (size_t i = 0; i < depth; i++)
                text[len++] = *close;
        *ret_len = len;
        return text;
}

static void test_depth(void **state)
{
        (void)state;
        for (int object = 0; object < 2; object++) {
                size_t len;
                _cleanup_(freep) char *fits = nested(JSON_DEPTH_MAX, object, &len);

                assert_int_equal(json_scan_value(fits, len, NULL), 0);
                if (object)
                        assert_int_equal(json_scan_object(fits, len, NULL, NULL, 0), 0);
                check_oracle(fits, len);
                assert_int_equal(json_scan_member_value(fits, len, NULL), -E2BIG);
                _cleanup_(freep) char *less = nested(JSON_DEPTH_MAX - 1, object, &len);
                assert_int_equal(json_scan_member_value(less, len, NULL), 0);
                _cleanup_(freep) char *over = nested(JSON_DEPTH_MAX + 1, object, &len);
                assert_int_equal(json_scan_value(over, len, NULL), -E2BIG);
                if (object)
                        assert_int_equal(json_scan_object(over, len, NULL, NULL, 0), -E2BIG);
        }
}

/* ---- values ---- */

static JsonSlice slice(const char *text)
{
        return (JsonSlice){.p = text, .n = text ? strlen(text) : 0};
}

static void test_kinds(void **state)
{
        static const char *const texts[] = {"null", "\"s\"", "{}",   "[]",
                                            "-1",   "9",     "true", "false"};

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                JsonSlice v = slice(texts[i]);

                assert_int_equal(json_is_null(v), i == 0);
                assert_int_equal(json_is_string(v), i == 1);
                assert_int_equal(json_is_object(v), i == 2);
                assert_int_equal(json_is_array(v), i == 3);
                assert_int_equal(json_is_number(v), i == 4 || i == 5);
                assert_int_equal(json_is_true(v), i == 6);
        }
        assert_false(json_is_null(slice(NULL)) || json_is_string(slice(NULL)) ||
                     json_is_object(slice(NULL)) || json_is_array(slice(NULL)) ||
                     json_is_number(slice(NULL)) || json_is_true(slice(NULL)));
}

static const struct {
        const char *json, *text;
        size_t len;
} strings[] = {
        {"\"\"", "", 0},
        {"\"abc\"", "abc", 3},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 8},
        {"\"\\u0041\\u00e9\\u20ac\"", "A\xc3\xa9\xe2\x82\xac", 6},
        {"\"\\uD83D\\ude00\"", "\xf0\x9f\x98\x80", 4},
        {"\"\\udbff\\udfff\"", "\xf4\x8f\xbf\xbf", 4},
        {"\"\\ud83d\"", "\xef\xbf\xbd", 3},
        {"\"\\ude00\"", "\xef\xbf\xbd", 3},
        {"\"\\ud83d\\ud83d\\ude00\"", "\xef\xbf\xbd\xf0\x9f\x98\x80", 7},
        {"\"\\ud83dx\\u0041\"", "\xef\xbf\xbdxA", 5},
        {"\"\\ud83d\\n\"", "\xef\xbf\xbd\n", 4},
        {"\"a\\u0000b\"", "a\0b", 3},
        {"\"\xc3\xa9\"", "\xc3\xa9", 2},
        {"\"\\u07ff\\u0800\\uffff\"", "\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf", 8},
};

static void test_strings(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(strings); i++) {
                JsonSlice v = slice(strings[i].json);
                bool has_nul = strlen(strings[i].text) != strings[i].len;
                char buf[16], *dup = NULL;
                size_t len = 99;

                for (size_t size = 0; size <= strings[i].len; size++)
                        assert_int_equal(json_str_copy(v, buf, size, &len), -ENOBUFS);
                assert_int_equal(len, 99);
                assert_int_equal(json_str_copy(v, buf, strings[i].len + 1, &len), 0);
                assert_int_equal(len, strings[i].len);
                assert_memory_equal(buf, strings[i].text, len + 1);
                assert_int_equal(json_str_eq(v, strings[i].text), !has_nul);
                assert_false(json_str_eq(v, "another"));
                assert_int_equal(json_str_dup(v, &dup), has_nul ? -EINVAL : 0);
                if (!has_nul)
                        assert_string_equal(dup, strings[i].text);
                free(dup);
        }
        assert_false(json_str_eq(slice("\"abc\""), "ab"));
        assert_false(json_str_eq(slice("\"ab\""), "abc"));
}

/* An absent member and a value of another kind are no string: nothing is read. */
static void test_no_string(void **state)
{
        static const char *const texts[] = {NULL, "null", "1", "[]", "{}", "true"};

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                JsonSlice v = slice(texts[i]);
                char buf[8], *dup;
                size_t len;

                assert_false(json_str_eq(v, ""));
                assert_int_equal(json_str_copy(v, buf, sizeof(buf), &len), -EINVAL);
                assert_int_equal(json_str_dup(v, &dup), -EINVAL);
        }
}

static void test_integers(void **state)
{
        static const struct {
                const char *text;
                int result;
                int64_t value;
        } cases[] = {
                {"0", 0, 0},
                {"-0", 0, 0},
                {"-0.0", 0, 0},
                {"42", 0, 42},
                {"-42", 0, -42},
                {"9223372036854775807", 0, INT64_MAX},
                {"-9223372036854775808", 0, INT64_MIN},
                {"9223372036854775808", -ERANGE, 0},
                {"-9223372036854775809", -ERANGE, 0},
                {"123456789012345678901234567890", -ERANGE, 0},
                {"1.0", 0, 1},
                {"1e3", 0, 1000},
                {"-1.5E1", 0, -15},
                {"100e-2", 0, 1},
                {"1000000000000000000000000000000e-30", 0, 1},
                {"1700000000000.000", 0, 1700000000000},
                {"9007199254740991.0", 0, 9007199254740991},
                {"9007199254740992.0", -ERANGE, 0},
                {"1.5", -EINVAL, 0},
                {"1e-1", -EINVAL, 0},
                {"1e400", -ERANGE, 0},
                {"-1e400", -ERANGE, 0},
                {"\"1\"", -EINVAL, 0},
                {"null", -EINVAL, 0},
                {NULL, -EINVAL, 0},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                int64_t v = 77;

                if (json_int64(slice(cases[i].text), &v) != cases[i].result)
                        fail_msg("%s", cases[i].text ?: "(absent)");
                assert_true(v == (cases[i].result ? 77 : cases[i].value));
        }
}

static void test_arrays(void **state)
{
        static const struct {
                const char *array;
                const char *elements[5];
        } cases[] = {
                {"[]", {NULL}},
                {"[ ]", {NULL}},
                {"[1]", {"1", NULL}},
                {"[ 1 , [2,3] , {\"a\":[4]},\"]\" ]", {"1", "[2,3]", "{\"a\":[4]}", "\"]\"", NULL}},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                JsonSlice iter = slice(cases[i].array), e;

                for (const char *const *expect = cases[i].elements; *expect; expect++) {
                        assert_true(json_array_next(&iter, &e));
                        assert_int_equal(e.n, strlen(*expect));
                        assert_memory_equal(e.p, *expect, e.n);
                }
                assert_false(json_array_next(&iter, &e));
                assert_false(json_array_next(&iter, &e)); /* the end stays the end */
        }
        JsonSlice none = {}, e;
        assert_false(json_array_next(&none, &e));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_cut_and_changed),
                cmocka_unit_test(test_slice_has_no_space),
                cmocka_unit_test(test_members),
                cmocka_unit_test(test_object_refused),
                cmocka_unit_test(test_names_limit),
                cmocka_unit_test(test_depth),
                cmocka_unit_test(test_kinds),
                cmocka_unit_test(test_strings),
                cmocka_unit_test(test_no_string),
                cmocka_unit_test(test_integers),
                cmocka_unit_test(test_arrays),
        };

        return unit_run(tests);
}
