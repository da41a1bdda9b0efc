#include "verb.h"

#include <stdarg.h>
#include <stdio.h>

extern const Verb verb_status, verb_host_list, verb_host_show, verb_host_add, verb_host_remove,
        verb_uplink_add, verb_uplink_remove, verb_uplink_list, verb_recovery, verb_invite,
        verb_invitations, verb_uninvite, verb_pair, verb_devices, verb_revoke, verb_peers,
        verb_peer_show, verb_peer_remove, verb_peer_rename, verb_peer_export, verb_peer_import,
        verb_call, verb_send, verb_listen, verb_serve, verb_usage, verb_monitor, verb_doctor,
        verb_completion, verb_help, verb_names;

const Verb *const verbs[] = {
        &verb_status,      &verb_host_add,    &verb_host_remove,   &verb_host_list,
        &verb_host_show,   &verb_uplink_add,  &verb_uplink_remove, &verb_uplink_list,
        &verb_recovery,    &verb_invite,      &verb_invitations,   &verb_uninvite,
        &verb_pair,        &verb_devices,     &verb_revoke,        &verb_peers,
        &verb_peer_show,   &verb_peer_remove, &verb_peer_rename,   &verb_peer_export,
        &verb_peer_import, &verb_call,        &verb_send,          &verb_listen,
        &verb_serve,       &verb_usage,       &verb_monitor,       &verb_doctor,
        &verb_completion,  &verb_help,        &verb_names,         NULL,
};

const VerbOption verb_global_options[] = {
        {.name = "json", .help = "print documents for programs, errors too"},
        {.name = "socket",
         .value = "PATH",
         .help = "where the agent is (default: $LINKD_SOCKET, else this user's, else the system's)",
         .kind = KIND_FILE},
        {.name = "user", .help = "this user's agent"},
        {.name = "system", .help = "the system's agent"},
        {.name = "help", .help = "this text; of a verb: linkctl VERB --help"},
        {.name = "version", .help = "the version of linkctl"},
        {},
};

const Verb *verb_find(const char *name)
{
        for (const Verb *const *v = verbs; *v; v++)
                if (strcmp((*v)->name, name) == 0)
                        return *v;
        return NULL;
}

/* How many characters must be put in, left out or replaced to make b of the n bytes at a (Wagner
 * and Fischer); SUGGEST_MAX_BYTES + 1 where one of them is longer than a verb is. */
static size_t distance(const char *a, size_t n, const char *b)
{
        size_t m = strlen(b), row[SUGGEST_MAX_BYTES + 1];

        if (n > SUGGEST_MAX_BYTES || m > SUGGEST_MAX_BYTES)
                return SUGGEST_MAX_BYTES + 1;
        for (size_t j = 0; j <= m; j++)
                row[j] = j;
        for (size_t i = 1; i <= n; i++) {
                size_t diagonal = row[0];

                row[0] = i;
                for (size_t j = 1; j <= m; j++) {
                        size_t other = MIN(row[j], row[j - 1]) + 1, above = row[j];
                        row[j] = MIN(diagonal + (a[i - 1] != b[j - 1]), other);
                        diagonal = above;
                }
        }
        return row[m];
}

const char *verb_suggest(const char *name, int *ret_n)
{
        size_t best = SUGGEST_DISTANCE_MAX + 1;
        const char *found = NULL;

        for (const Verb *const *v = verbs; *v; v++) {
                int whole = (int)strlen((*v)->name), first = verb_group_length(*v);

                /* Of a name with two words the first alone, too. */
                for (int n = first ? first : whole; !(*v)->hidden; n = whole) {
                        size_t d = distance((*v)->name, (size_t)n, name);
                        if (d < best && d < strlen(name)) { /* else nothing of it is left */
                                best = d;
                                found = (*v)->name;
                                *ret_n = n;
                        }
                        if (n == whole)
                                break;
                }
        }
        return found;
}

static bool is_of_group(const Verb *v, const char *group)
{
        size_t n = strlen(group);

        return strncmp(v->name, group, n) == 0 && v->name[n] == ' ';
}

bool verb_is_group(const char *word)
{
        for (const Verb *const *v = verbs; *v; v++)
                if (is_of_group(*v, word))
                        return true;
        return false;
}

int verb_group_length(const Verb *v)
{
        size_t n = strcspn(v->name, " ");

        return v->name[n] ? (int)n : 0;
}

bool verb_is_first_of_group(const Verb *const *at)
{
        size_t n = (size_t)verb_group_length(*at);

        for (const Verb *const *v = verbs; v < at; v++)
                if (strncmp((*v)->name, (*at)->name, n + 1) == 0)
                        return false;
        return n > 0;
}

const char *verb_kind_name(Kind kind)
{
        static const char *const names[] = {
                [KIND_TEXT] = "text",       [KIND_FILE] = "file",
                [KIND_COMMAND] = "command", [KIND_PEER] = "peers",
                [KIND_HOST] = "hosts",      [KIND_DEVICE] = "devices",
                [KIND_UPLINK] = "uplinks",  [KIND_INVITATION] = "invitations",
                [KIND_SHELL] = "shells",    [KIND_SWITCH] = "switches",
        };

        return names[kind];
}

/* One word more, on a new line if the one there is full. */
static void print_part(int *column, const char *format, ...) _printf_(2, 3);
static void print_part(int *column, const char *format, ...)
{
        char text[96];
        va_list ap;
        int n;

        va_start(ap, format);
        n = vsnprintf(text, sizeof(text), format, ap); /* the table's own: it fits */
        va_end(ap);
        if (*column + n + 1 > HELP_COLUMNS) {
                fputs("\n       ", stdout);
                *column = 7;
        }
        *column += printf(" %s", text);
}

static void print_synopsis(const Verb *v)
{
        int column = printf("Usage: linkctl %s", v->name);

        if (v->usage) {
                printf(" %s\n", v->usage);
                return;
        }
        for (const VerbArg *a = v->args; a->name; a++)
                print_part(&column, a->optional ? "[%s]" : "%s", a->name);
        for (const VerbOption *o = v->options; o->name; o++)
                print_part(&column, o->value ? "[--%s %s]" : "[--%s]", o->name,
                           o->value ? o->value : "");
        putchar('\n');
}

static void print_options(FILE *f, const VerbOption *options)
{
        for (const VerbOption *o = options; o->name; o++) {
                char left[64];
                (void)snprintf(left, sizeof(left), o->value ? "--%s %s" : "--%s", o->name,
                               o->value ? o->value : ""); /* the table's own: it fits */
                fprintf(f, "  %-18s %s%s\n", left, o->help, o->repeats ? "; may be repeated" : "");
        }
}

void verb_print_help(const Verb *v)
{
        print_synopsis(v);
        printf("%s.\n", v->summary);
        if (v->help)
                printf("\n%s", v->help);
        if (v->options[0].name)
                putchar('\n');
        print_options(stdout, v->options);
        fputs("\nEvery verb also takes --json, --socket PATH, --user and --system.\n", stdout);
}

static void print_summary(FILE *f, const Verb *v)
{
        if (!v->hidden)
                fprintf(f, "  %-16s %s\n", v->name, v->summary);
}

void verb_print_group_help(FILE *f, const char *group)
{
        fprintf(f, "Usage: linkctl %s VERB\n\n", group);
        for (const Verb *const *v = verbs; *v; v++)
                if (is_of_group(*v, group))
                        print_summary(f, *v);
        fprintf(f, "\nSee: linkctl %s VERB --help\n", group);
}

void verb_print_overview(FILE *f)
{
        fputs("Usage: linkctl [OPTION]... VERB [ARGUMENT]...\n"
              "Controls linkd, the agent of Link, and talks to machines through it.\n\n",
              f);
        for (const Verb *const *v = verbs; *v; v++)
                print_summary(f, *v);
        fputs("\nOptions, before or after the verb:\n", f);
        print_options(f, verb_global_options);
        fputs("\nExit status: 0 done, 1 it failed (stderr says why), 2 wrong usage.\n", f);
}
