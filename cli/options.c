#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "output.h"
#include "text.h"

typedef struct Parser {
        Cli *cli;
        char **argv;
        int argc, at;
        const char *group; /* the first word of a verb with two */
        bool only_words;   /* after "--" */
        bool help, version;
        size_t n_args;
} Parser;

/* Negative numbers are JSON, not options. */
static bool is_option(const char *word)
{
        return word[0] == '-' && word[1] != '\0' && !isdigit((unsigned char)word[1]);
}

static int usage(const Parser *p, const char *what, const char *word)
{
        (void)output_usage(p->cli, "%s: %s", what, word); /* the status is known */
        return -EINVAL;
}

int options_no_such_verb(const Cli *cli, const char *name)
{
        int n = 0;
        const char *meant = verb_suggest(name, &n);

        (void)output_usage(cli, "there is no such verb: %s%s%.*s%s", name,
                           meant ? "; did you mean " : "", n, meant ? meant : "",
                           meant ? "?" : ""); /* the status is known */
        return -EINVAL;
}

static int take_argument(Parser *p, const char *word)
{
        const VerbArg *a = &p->cli->verb->args[p->n_args];

        if (!a->name)
                return usage(p, "one argument too many", word);
        if (a->kind != KIND_FILE && a->kind != KIND_COMMAND && !text_is_utf8(word, strlen(word)))
                return usage(p, "this argument is not UTF-8", a->name);
        p->cli->args[p->n_args++] = word;
        return 0;
}

static int take_word(Parser *p, const char *word)
{
        char name[64];
        const Verb *v;

        if (p->cli->verb)
                return take_argument(p, word);
        if (!p->group && verb_is_group(word)) {
                p->group = word;
                return 0;
        }
        if (snprintf(name, sizeof(name), "%s%s%s", p->group ? p->group : "", p->group ? " " : "",
                     word) >= (int)sizeof(name))
                return usage(p, "there is no such verb", word);
        v = verb_find(name);
        if (!v)
                return options_no_such_verb(p->cli, name);
        p->cli->verb = v;
        return 0;
}

static const VerbOption *find_option(const VerbOption *options, const char *name, size_t n)
{
        for (const VerbOption *o = options; o->name; o++)
                if (strlen(o->name) == n && memcmp(o->name, name, n) == 0)
                        return o;
        return NULL;
}

static void set_global(Parser *p, const VerbOption *o, const char *value)
{
        if (strcmp(o->name, "json") == 0)
                p->cli->json = true;
        else if (strcmp(o->name, "user") == 0)
                p->cli->user = true;
        else if (strcmp(o->name, "system") == 0)
                p->cli->system = true;
        else if (strcmp(o->name, "socket") == 0)
                p->cli->socket = value;
        else if (strcmp(o->name, "version") == 0)
                p->version = true;
        else
                p->help = true;
}

static int give(Parser *p, const VerbOption *o, const char *value)
{
        Cli *cli = p->cli;

        if (value && o->kind != KIND_FILE && o->kind != KIND_COMMAND &&
            !text_is_utf8(value, strlen(value)))
                return usage(p, "the value of this option is not UTF-8, --", o->name);
        if (!o->repeats && options_has(cli, o->name))
                return usage(p, "this option is given twice", o->name);
        if (cli->n_given == OPTIONS_GIVEN_MAX)
                return usage(p, "too many options", o->name);
        cli->given[cli->n_given].option = o;
        cli->given[cli->n_given++].value = value;
        return 0;
}

/* --name, --name=VALUE or --name VALUE. */
static int take_option(Parser *p, const char *word)
{
        const char *name = strcmp(word, "-h") == 0 ? "help" : word + 2, *value = NULL;
        size_t n = strcspn(name, "=");
        const VerbOption *global, *o;

        if (word[1] != '-' && name == word + 2)
                return usage(p, "unknown option", word);
        global = find_option(verb_global_options, name, n);
        o = global ? global : p->cli->verb ? find_option(p->cli->verb->options, name, n) : NULL;
        if (!o)
                return usage(p,
                             p->cli->verb ? "this verb has no such option"
                                          : "unknown option (a verb's options come after it)",
                             word);
        if (name[n] == '=')
                value = name + n + 1;
        if (value && !o->value)
                return usage(p, "this option takes no value", word);
        if (!value && o->value) {
                if (p->at == p->argc)
                        return usage(p, "this option needs a value", word);
                value = p->argv[p->at++];
        }
        if (!global)
                return give(p, o, value);
        set_global(p, o, value);
        return 0;
}

static int take_all(Parser *p)
{
        int r = 0;

        while (r == 0 && p->at < p->argc) {
                const char *word = p->argv[p->at++];
                if (!p->only_words && strcmp(word, "--") == 0)
                        p->only_words = true;
                else if (!p->only_words && is_option(word))
                        r = take_option(p, word);
                else
                        r = take_word(p, word);
        }
        return r;
}

/* An argument that may be left out and stands ahead of one that may not. */
static void skip_optional(Parser *p)
{
        const VerbArg *a = p->cli->verb ? p->cli->verb->args : NULL;

        if (!a || p->n_args != 1 || !a[0].optional || !a[1].name || a[1].optional)
                return;
        p->cli->args[1] = p->cli->args[0];
        p->cli->args[0] = NULL;
        p->n_args = 2;
}

static int check(const Parser *p)
{
        const Cli *cli = p->cli;

        if (p->group && !cli->verb && !cli->json) {
                verb_print_group_help(stderr, p->group);
                return -EINVAL;
        }
        if (p->group && !cli->verb)
                return usage(p, "a verb is missing after", p->group);
        if (!cli->verb)
                return usage(p, "a verb is missing", "linkctl VERB");
        if (cli->user + cli->system + (cli->socket != NULL) > 1)
                return usage(p, "only one of these can be", "--socket, --user, --system");
        for (const VerbArg *a = &cli->verb->args[p->n_args]; a->name; a++)
                if (!a->optional)
                        return usage(p, "an argument is missing", a->name);
        return 0;
}

static int print_help(const Parser *p)
{
        if (p->version)
                printf("linkctl %s\n", LINK_VERSION);
        else if (p->cli->verb)
                verb_print_help(p->cli->verb);
        else if (p->group)
                verb_print_group_help(stdout, p->group);
        else
                verb_print_overview(stdout);
        return OPTIONS_HELP;
}

int options_parse(Cli *cli, int argc, char **argv)
{
        Parser p = {.cli = cli, .argc = argc, .argv = argv, .at = 1};
        int r;

        /* Ahead of all else: it decides how the first error is told. */
        for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
                cli->json |= strcmp(argv[i], "--json") == 0;
        r = take_all(&p);
        if (argc <= 1) {
                verb_print_overview(stderr);
                return -EINVAL;
        }
        if (p.help || p.version)
                return print_help(&p);
        skip_optional(&p);
        return r < 0 ? r : check(&p);
}

bool options_has(const Cli *cli, const char *name)
{
        for (size_t i = 0; i < cli->n_given; i++)
                if (strcmp(cli->given[i].option->name, name) == 0)
                        return true;
        return false;
}

const char *options_get(const Cli *cli, const char *name)
{
        for (size_t i = 0; i < cli->n_given; i++)
                if (strcmp(cli->given[i].option->name, name) == 0)
                        return cli->given[i].value;
        return NULL;
}

json_t *options_get_all(const Cli *cli, const char *name)
{
        json_t *list = json_array();

        for (size_t i = 0; list && i < cli->n_given; i++) {
                if (strcmp(cli->given[i].option->name, name) != 0)
                        continue;
                if (json_array_append_new(list, json_string(cli->given[i].value)) < 0) {
                        json_decref(list);
                        return NULL;
                }
        }
        return list;
}

/* "12" or "1.5" in thousandths; *end is where it stops. False: no such number. */
static bool parse_thousandths(const char *text, uint64_t *ret, const char **end)
{
        uint64_t v = 0;
        const char *p = text;

        for (; isdigit((unsigned char)*p); p++)
                v = MIN(v * 10 + (uint64_t)(*p - '0'), (uint64_t)DURATION_MAX_SEC + 1);
        if (p == text)
                return false;
        v *= 1000;
        if (*p == '.') {
                const char *dot = p++;
                for (uint64_t unit = 100; isdigit((unsigned char)*p); p++, unit /= 10)
                        v += (uint64_t)(*p - '0') * unit;
                if (p == dot + 1)
                        return false;
        }
        *ret = v;
        *end = p;
        return true;
}

int options_parse_duration(const char *text, uint64_t *ret_msec)
{
        static const struct {
                const char *name;
                uint64_t sec;
        } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
        const char *unit;
        uint64_t v;

        if (!parse_thousandths(text, &v, &unit))
                return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(units); i++) {
                if (strcmp(unit, units[i].name) != 0)
                        continue;
                v *= units[i].sec;
                if (v == 0 || v > (uint64_t)DURATION_MAX_SEC * 1000)
                        return -ERANGE;
                *ret_msec = v;
                return 0;
        }
        return -EINVAL;
}

int options_get_duration(const Cli *cli, const char *name, uint64_t max_sec, uint64_t *ret_msec)
{
        const char *text = options_get(cli, name);
        uint64_t msec;
        int r;

        if (!text)
                return 0;
        r = options_parse_duration(text, &msec);
        if (r == -EINVAL)
                return output_usage(cli,
                                    "--%s %s is no time: give a number and s, m, h or d, as in 15m",
                                    name, text);
        if (r < 0 && strtod(text, NULL) > 0 && strtod(text, NULL) < 1)
                return output_usage(cli, "--%s %s is too short: 0.001 s is the least", name, text);
        if (r < 0 || msec > max_sec * 1000)
                return output_usage(
                        cli, "--%s %s is out of range: above 0, and at most %llu %s", name, text,
                        (unsigned long long)(max_sec % 86400 ? max_sec : max_sec / 86400),
                        max_sec % 86400 ? "s" : "d");
        *ret_msec = msec;
        return 0;
}

int options_get_number(const Cli *cli, const char *name, unsigned max, unsigned *ret)
{
        const char *text = options_get(cli, name);
        unsigned v = 0;

        if (!text)
                return 0;
        for (const char *p = text; *p && v <= max; p++) {
                if (!isdigit((unsigned char)*p)) {
                        v = 0;
                        break;
                }
                v = v * 10 + (unsigned)(*p - '0');
        }
        if (v < 1 || v > max)
                return output_usage(cli, "--%s %s is no number from 1 to %u", name, text, max);
        *ret = v;
        return 0;
}
