/* The command line. Errors go to stderr; here only what is returned and understood counts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/options.h"

enum { WORDS_MAX = 80 };

/* Parses words, separated by single spaces. They are cut in buf, which must live as long as cli. */
static int parse(Cli *cli, char *buf, const char *words)
{
        char *argv[WORDS_MAX] = {(char[]){"linkctl"}};
        int argc = 1;

        *cli = (Cli){};
        strcpy(buf, words);
        for (char *p = strtok(buf, " "); p; p = strtok(NULL, " ")) {
                assert_true(argc < WORDS_MAX - 1);
                argv[argc++] = p;
        }
        return options_parse(cli, argc, argv);
}

static void test_understands(void **state)
{
        char buf[1024];
        Cli cli;

        (void)state;
        assert_int_equal(parse(&cli, buf, "--json invite --ttl=15m work --socket /s --no-id"),
                         OPTIONS_RUN);
        assert_string_equal(cli.verb->name, "invite");
        assert_true(cli.json);
        assert_string_equal(cli.socket, "/s");
        assert_string_equal(cli.args[0], "work");
        assert_string_equal(options_get(&cli, "ttl"), "15m");
        assert_true(options_has(&cli, "no-id"));
        assert_null(options_get(&cli, "no-id"));
        assert_false(options_has(&cli, "label"));

        assert_int_equal(parse(&cli, buf, "uplink --user add ws://r --json"), OPTIONS_RUN);
        assert_string_equal(cli.verb->name, "uplink add");
        assert_true(cli.user && cli.json);
        assert_string_equal(cli.args[0], "ws://r");

        assert_int_equal(parse(&cli, buf, "call home -5"), OPTIONS_RUN); /* a number */
        assert_string_equal(cli.args[1], "-5");
        assert_int_equal(parse(&cli, buf, "call home -"), OPTIONS_RUN); /* stdin */
        assert_string_equal(cli.args[1], "-");
        assert_int_equal(parse(&cli, buf, "call -- --json -x"), OPTIONS_RUN);
        assert_false(cli.json);
        assert_string_equal(cli.args[0], "--json");
        assert_string_equal(cli.args[1], "-x");
        /* A value may look like anything. */
        assert_int_equal(parse(&cli, buf, "invite --label --ttl"), OPTIONS_RUN);
        assert_string_equal(options_get(&cli, "label"), "--ttl");
}

static void test_refuses(void **state)
{
        static const char *const bad[] = {
                "nothing",
                "uplink",
                "uplink nothing",
                "uplink add",
                "--nothing",
                "status --nothing",
                "status -x",
                "status extra",
                "call home",
                "call a 1 2",
                "invite --ttl",
                "invite --label a --label b",
                "invite --no-id=yes",
                "--json=1 status",
                "status --user --system",
                "status --socket /s --user",
                "--ttl 5m invite",
                "--socket",
                "peer show",
                "call \xff 1",
                "invite --label \xff",
        };
        char buf[1024];
        Cli cli;

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (parse(&cli, buf, bad[i]) != -EINVAL)
                        fail_msg("taken: %s", bad[i]);
}

static void test_repeats(void **state)
{
        char buf[1024] = "", words[1024] = "pair";
        Cli cli;

        (void)state;
        for (int i = 0; i < OPTIONS_GIVEN_MAX; i++)
                strcat(words, " --uplink ws://r");
        assert_int_equal(parse(&cli, buf, words), OPTIONS_RUN);
        assert_int_equal(cli.n_given, OPTIONS_GIVEN_MAX);
        strcat(words, " --uplink ws://r");
        assert_int_equal(parse(&cli, buf, words), -EINVAL);
}

static void test_durations(void **state)
{
        static const struct {
                const char *text;
                int r;
                uint64_t msec;
        } cases[] = {
                {"30", 0, 30000},
                {"30s", 0, 30000},
                {"15m", 0, 900000},
                {"2h", 0, 7200000},
                {"1d", 0, 86400000},
                {"0.5", 0, 500},
                {"1.5m", 0, 90000},
                {"0.001s", 0, 1},
                {"366d", 0, 31622400000},
                {"367d", -ERANGE, 0},
                {"366.001d", -ERANGE, 0},
                {"0", -ERANGE, 0},
                {"0.0s", -ERANGE, 0},
                {"0.0001", -ERANGE, 0},
                {"99999999999999999999999s", -ERANGE, 0},
                {"", -EINVAL, 0},
                {"s", -EINVAL, 0},
                {"m5", -EINVAL, 0},
                {"5x", -EINVAL, 0},
                {"5ms", -EINVAL, 0},
                {"5 m", -EINVAL, 0},
                {"-5", -EINVAL, 0},
                {"+5", -EINVAL, 0},
                {".5", -EINVAL, 0},
                {"5.", -EINVAL, 0},
                {"1e3", -EINVAL, 0},
                {"5mm", -EINVAL, 0},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint64_t msec = 0;
                int r = options_parse_duration(cases[i].text, &msec);
                if (r != cases[i].r || msec != cases[i].msec)
                        fail_msg("%s: %d, %llu ms", cases[i].text, r, (unsigned long long)msec);
        }
}

static void test_numbers(void **state)
{
        static const struct {
                const char *words;
                unsigned n; /* 0: refused */
        } cases[] = {{"1", 1},  {"256", 256}, {"257", 0},        {"0", 0},
                     {"-1", 0}, {"1x", 0},    {"99999999999", 0}};
        char buf[1024], words[64];
        Cli cli;

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                unsigned n = 0;
                (void)snprintf(words, sizeof(words), "serve --parallel=%s",
                               cases[i].words); /* fits */
                assert_int_equal(parse(&cli, buf, words), OPTIONS_RUN);
                assert_int_equal(options_get_number(&cli, "parallel", SERVE_PARALLEL_MAX, &n),
                                 cases[i].n ? EXIT_OK : EXIT_USAGE);
                assert_int_equal(n, cases[i].n);
        }
}

/* The first of two may be left out. */
static void test_first_left_out(void **state)
{
        char buf[1024];
        Cli cli;

        (void)state;
        assert_int_equal(parse(&cli, buf, "recovery enable"), OPTIONS_RUN);
        assert_null(cli.args[0]);
        assert_string_equal(cli.args[1], "enable");
        assert_int_equal(parse(&cli, buf, "recovery work enable"), OPTIONS_RUN);
        assert_string_equal(cli.args[0], "work");
        assert_string_equal(cli.args[1], "enable");
        assert_int_equal(parse(&cli, buf, "recovery"), -EINVAL);
        assert_int_equal(parse(&cli, buf, "recovery work enable it"), -EINVAL);
}

/* The table itself is sound. */
static void test_table(void **state)
{
        (void)state;
        for (const Verb *const *v = verbs; *v; v++) {
                bool optional = false;
                const VerbArg *args = (*v)->args;
                assert_ptr_equal(verb_find((*v)->name), *v);
                assert_false(verb_is_group((*v)->name));
                assert_non_null((*v)->run);
                assert_non_null((*v)->summary);
                /* None behind an optional one, but for the first of two. */
                for (const VerbArg *a = args; a->name; a++) {
                        assert_true(a->optional || !optional || (a == args + 1 && !a[1].name));
                        optional = a->optional;
                }
                for (const VerbOption *o = (*v)->options; o->name; o++) {
                        char word[64];
                        assert_non_null(o->help);
                        (void)snprintf(word, sizeof(word), "--%s", o->name); /* fits */
                        if ((*v)->usage)
                                assert_non_null(strstr((*v)->usage, word));
                        for (const VerbOption *g = verb_global_options; g->name; g++)
                                assert_string_not_equal(o->name, g->name);
                        for (const VerbOption *p = (*v)->options; p < o; p++)
                                assert_string_not_equal(o->name, p->name);
                }
        }
        for (Kind k = 0; k < KIND_END; k++)
                assert_non_null(verb_kind_name(k));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_understands),    cmocka_unit_test(test_refuses),
                cmocka_unit_test(test_repeats),        cmocka_unit_test(test_durations),
                cmocka_unit_test(test_numbers),        cmocka_unit_test(test_table),
                cmocka_unit_test(test_first_left_out),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
