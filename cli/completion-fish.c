/* The script for fish, which wants a `complete` command for each verb, option and argument; their
 * conditions ask a function that walks the words up to the cursor as options.c would. */
#include <stdio.h>

#include "completion.h"

/* In single quotes. */
static void print_quoted(const char *text)
{
        putchar('\'');
        for (; *text; text++) {
                if (*text == '\'' || *text == '\\')
                        putchar('\\');
                putchar(*text);
        }
        putchar('\'');
}

static void print_walk(void)
{
        fputs("# What stands before the cursor: the verb (with a space behind it if its second "
              "word is\n"
              "# due), a colon, and the option whose value is due or the number of arguments.\n"
              "function __linkctl_at\n"
              "    set -l verb ''\n"
              "    set -l option ''\n"
              "    set -l arg 0\n"
              "    for word in (commandline -opc)[2..-1]\n"
              "        if test -n \"$option\"\n"
              "            set option ''\n"
              "            continue\n"
              "        end\n"
              "        switch \"$verb:$word\"\n"
              "            case '*:--socket'",
              stdout);
        for (const Verb *const *v = verbs; *v; v++)
                for (const VerbOption *o = (*v)->options; o->name; o++)
                        if (o->value)
                                printf(" '%s:--%s'", (*v)->name, o->name);
        fputs("\n                set option $word\n"
              "            case '*:-*'\n"
              "            case",
              stdout);
        for (const Verb *const *v = verbs; *v; v++)
                if (verb_is_first_of_group(v))
                        printf(" ':%.*s'", verb_group_length(*v), (*v)->name);
        fputs("\n                set verb \"$word \"\n"
              "            case ':*'\n"
              "                set verb $word\n"
              "            case '* :*'\n"
              "                set verb \"$verb$word\"\n"
              "            case '*'\n"
              "                set arg (math $arg + 1)\n"
              "        end\n"
              "    end\n"
              "    test -n \"$option\"; and set arg $option\n"
              "    echo \"$verb:$arg\"\n"
              "end\n\n",
              stdout);
}

static const char functions[] = "function __linkctl_is\n"
                                "    test (__linkctl_at) = \"$argv[1]\"\n"
                                "end\n\n"
                                "function __linkctl_verb\n"
                                "    string match -q -- \"$argv[1]:*\" (__linkctl_at)\n"
                                "end\n\n"
                                "function __linkctl_names\n"
                                "    set -l agent\n"
                                "    set -l words (commandline -opc)\n"
                                "    contains -- --user $words; and set agent --user\n"
                                "    contains -- --system $words; and set agent --system\n"
                                "    if set -l at (contains -i -- --socket $words)\n"
                                "        set agent --socket $words[(math $at + 1)]\n"
                                "    end\n"
                                "    linkctl $agent __names $argv[1] 2>/dev/null\n"
                                "end\n\n"
                                "complete -c linkctl -f\n";

/* The candidates of a kind. */
static void print_kind(Kind kind)
{
        if (kind == KIND_FILE)
                fputs(" -F", stdout);
        else if (kind == KIND_COMMAND)
                fputs(" -a '(__fish_complete_command)'", stdout);
        else if (kind != KIND_TEXT)
                printf(" -a '(__linkctl_names %s)'", verb_kind_name(kind));
}

static void print_option(const char *condition, const VerbOption *o)
{
        printf("complete -c linkctl%s -l %s", condition, o->name);
        if (o->value) {
                fputs(" -r", stdout);
                print_kind(o->kind);
        }
        fputs(" -d ", stdout);
        print_quoted(o->help);
        putchar('\n');
}

static void print_verb(const Verb *v)
{
        char condition[96];
        int n = verb_group_length(v);

        printf("complete -c linkctl -n '__linkctl_is \"%.*s%s:0\"' -a %s -d ", n, v->name,
               n ? " " : "", n ? v->name + n + 1 : v->name);
        print_quoted(v->summary);
        putchar('\n');
        (void)snprintf(condition, sizeof(condition), " -n '__linkctl_verb \"%s\"'",
                       v->name); /* the table's own: it fits */
        for (const VerbOption *o = v->options; o->name; o++)
                print_option(condition, o);
        for (const VerbArg *a = v->args; a->name; a++) {
                if (a->kind == KIND_TEXT)
                        continue;
                printf("complete -c linkctl -n '__linkctl_is \"%s:%zu\"'", v->name,
                       (size_t)(a - v->args));
                print_kind(a->kind);
                putchar('\n');
        }
}

void completion_print_fish(void)
{
        fputs("# fish completion of linkctl, made by `linkctl completion fish`\n", stdout);
        print_walk();
        fputs(functions, stdout);
        for (const VerbOption *o = verb_global_options; o->name; o++)
                print_option("", o);
        for (const Verb *const *v = verbs; *v; v++) {
                if (verb_is_first_of_group(v))
                        printf("complete -c linkctl -n '__linkctl_is \":0\"' -a %.*s\n",
                               verb_group_length(*v), (*v)->name);
                if (!(*v)->hidden)
                        print_verb(*v);
        }
}
