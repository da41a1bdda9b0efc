/* What the library reads of JSON, and its errors. */
#include <stdarg.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "liblinkipc/linkipc-internal.h"

static void test_unquote(void **state)
{
        static const struct {
                const char *json, *text;
        } cases[] = {
                {"\"\"", ""},
                {"\"abc\"", "abc"},
                {" \t\r\n\"abc\" ", "abc"},
                {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
                {"\"\\u0041\\u00e9\\u20AC\"", "Aé€"},
                {"\"\\ud83d\\ude00\"", "😀"},
                {"\"\\ud83d\"", "\xef\xbf\xbd"},
                {"\"\\ud83d\\u0041\"", "\xef\xbf\xbd"
                                       "A"},
                {"\"\\ude00x\"", "\xef\xbf\xbdx"},
                {"\"a\\u0000b\"", "a\xef\xbf\xbd"
                                  "b"},
                {"\"ü😀\"", "ü😀"},
                {"12", "12"},
                {"{\"a\":1}", "{\"a\":1}"},
                {"", ""},
                /* Not JSON, but nothing worse happens. */
                {"\"abc", "abc"},
                {"\"abc\\", "abc\\"},
                {"\"\\u12", "\xef\xbf\xbd"
                            "12"},
                {"\"\\ud83d\\u", "\xef\xbf\xbd\xef\xbf\xbd"},
                {"\"\\x\"", "x"},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t n = strlen(cases[i].json);
                char *copy = malloc(n ? n : 1); /* of exactly that size: reads beyond are seen */
                assert_non_null(copy);
                memcpy(copy, cases[i].json, n);
                char *text = json_unquote(copy, n);
                assert_non_null(text);
                assert_string_equal(text, cases[i].text);
                free(text);
                free(copy);
        }
}

static void test_get_string(void **state)
{
        static const struct {
                const char *object, *name, *text;
        } cases[] = {
                {"{\"a\":\"x\"}", "a", "x"},
                {" { \"a\" : \"x\" , \"b\" : \"\\u0079\" } ", "b", "y"},
                {"{\"\\u0061\":\"x\"}", "a", "x"},
                {"{\"b\":{\"a\":\"no\"},\"c\":[\"a\",{\"a\":\"}\"}],\"a\":\"x\"}", "a", "x"},
                {"{\"b\":\"\\\"a\\\":\\\"no\\\"\",\"a\":\"x\"}", "a", "x"},
                {"{\"b\":-1.0e9,\"c\":true,\"a\":\"\"}", "a", ""},
                {"{\"a\":null}", "a", NULL},
                {"{\"a\":1}", "a", NULL},
                {"{\"a\":{\"a\":\"x\"}}", "a", NULL},
                {"{\"ab\":\"x\"}", "a", NULL},
                {"{}", "a", NULL},
                {"[\"a\",\"x\"]", "a", NULL},
                {"\"a\"", "a", NULL},
                {"", "a", NULL},
                {"{", "a", NULL},
                {"{\"a", "a", NULL},
                {"{\"a\\", "a", NULL},
                {"{\"a\"", "a", NULL},
                {"{\"a\":", "a", NULL},
                {"{\"a\":\"x", "a", NULL},
                {"{\"b\":[[", "a", NULL},
                {"{\"b\":]\"a\":\"x\"}", "a", NULL},
                {"{,,,", "a", NULL},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t n = strlen(cases[i].object);
                char *copy = malloc(n ? n : 1), *text = (char *)1;
                assert_non_null(copy);
                memcpy(copy, cases[i].object, n);
                assert_int_equal(json_get_string(copy, n, cases[i].name, &text), 0);
                if (cases[i].text)
                        assert_string_equal(text, cases[i].text);
                else
                        assert_null(text);
                free(text);
                free(copy);
        }
}

static void test_errors(void **state)
{
        Err e = {0}, f = {0};

        (void)state;
        err_set(&e, -ECONNRESET, NULL, NULL);
        assert_string_equal(e.word, "disconnected");
        err_set(&e, -ENOBUFS, NULL, NULL);
        assert_string_equal(e.word, "tooMany");
        err_set(&e, -ENOTTY, NULL, NULL);
        assert_string_equal(e.word, "internal");
        assert_true(strlen(e.message) > 0);
        err_set(&e, -4711, NULL, NULL); /* no such errno */
        assert_true(strlen(e.message) > 0);
        err_set(&e, -EINVAL, NULL, "why");
        assert_string_equal(e.word, "badRequest");
        err_set(&e, -EIO, e.message, e.word); /* of itself */
        assert_string_equal(e.word, "why");
        assert_string_equal(e.message, "badRequest");
        err_copy(&e, &e);
        err_copy(&f, &e);
        assert_int_equal(f.error, -EIO);
        assert_string_equal(f.word, "why");
        err_set_remote(&e, (IpcStr){"", 0}, (IpcStr){"", 0}, 0);
        assert_int_equal(e.error, 0);
        assert_null(e.word);
        linkipc_result r = err_result(&e);
        assert_string_equal(r.word, "");
        assert_string_equal(r.message, "");
        err_set_remote(&e, (IpcStr){"tooManyX", 7}, (IpcStr){"abc", 2}, 0);
        assert_int_equal(e.error, -EUSERS);
        assert_string_equal(e.word, "tooMany");
        assert_string_equal(e.message, "ab");
        assert_int_equal(link_error(NULL, -EIO, NULL), -EIO);
        err_done(&e);
        err_done(&f);
}

/* The words of docs/IPC.md, as "word errno-name" lines. */
static void test_words_of_document(void **state)
{
        static const struct {
                const char *name;
                int error;
        } names[] = {
                {"EPROTO", EPROTO},
                {"EPROTONOSUPPORT", EPROTONOSUPPORT},
                {"ENOBUFS", ENOBUFS},
                {"EUSERS", EUSERS},
                {"EACCES", EACCES},
                {"EOPNOTSUPP", EOPNOTSUPP},
                {"EINVAL", EINVAL},
                {"ENOENT", ENOENT},
                {"EEXIST", EEXIST},
                {"ENOTUNIQ", ENOTUNIQ},
                {"EBUSY", EBUSY},
                {"EDESTADDRREQ", EDESTADDRREQ},
                {"EKEYREJECTED", EKEYREJECTED},
                {"EKEYREVOKED", EKEYREVOKED},
                {"EHOSTUNREACH", EHOSTUNREACH},
                {"ETIMEDOUT", ETIMEDOUT},
                {"ECONNRESET", ECONNRESET},
                {"EBADMSG", EBADMSG},
                {"ENOTSUP", ENOTSUP},
                {"EMSGSIZE", EMSGSIZE},
                {"EIO", EIO},
                {"ENOMEM", ENOMEM},
        };
        FILE *f = fopen(*state, "re");
        char line[1024], text[1024];
        bool in_table = false;
        int words = 0;

        assert_non_null(f);
        while (fgets(line, sizeof line, f)) {
                if (strncmp(line, "## ", 3) == 0)
                        in_table = strcmp(line, "## Error words\n") == 0;
                if (!in_table || strncmp(line, "| `", 3) != 0)
                        continue;
                int error = 0;
                char *save = NULL;
                strcpy(text, line);
                (void)strtok_r(text, "|", &save);
                const char *name = strtok_r(NULL, "| …", &save);
                for (size_t i = 0; name && i < ELEMENTSOF(names); i++)
                        if (strcmp(name, names[i].name) == 0)
                                error = names[i].error;
                if (!error)
                        fail_msg("no errno in: %s", line);
                for (char *p = strtok_r(line, "|", &save), *q; (q = strchr(p, '`')); words++) {
                        Err e = {0};
                        char *end = strchr(q + 1, '`');
                        assert_non_null(end);
                        err_set_remote(&e, (IpcStr){q + 1, (size_t)(end - q - 1)}, ipc_str(""), 0);
                        assert_int_equal(e.error, -error);
                        err_done(&e);
                        p = end + 1;
                }
        }
        assert_int_equal(fclose(f), 0);
        assert_int_equal(words, 26);
}

int main(int argc, char **argv)
{
        assert_int_equal(argc, 2);
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_unquote),
                cmocka_unit_test(test_get_string),
                cmocka_unit_test(test_errors),
                cmocka_unit_test_prestate(test_words_of_document, argv[1]),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
