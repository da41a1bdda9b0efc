/* The verbs of linkctl: one struct each. Parsing, help and completion all follow from it.
 *
 * A verb's function prints its result to stdout and returns the exit status of the process. Who
 * fails says so on stderr, once, by output_error() or output_usage(), and forwards what that
 * returned. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "liblinkproto/util.h"
#include "limits.h"

enum {
        EXIT_OK = 0,
        EXIT_FAILED = 1,
        EXIT_USAGE = 2,

        VERB_ARGS_MAX = 2,
        VERB_OPTIONS_MAX = 8,
};

/* What a word of the command line names: how it is completed, and whether it must be UTF-8. */
typedef enum Kind {
        KIND_TEXT,
        KIND_FILE,
        KIND_COMMAND,
        KIND_PEER,
        KIND_HOST,
        KIND_DEVICE,
        KIND_UPLINK,
        KIND_INVITATION,
        KIND_SHELL,
        KIND_SWITCH,
        KIND_END,
} Kind;

typedef struct VerbArg {
        const char *name;
        Kind kind;
        bool optional;
} VerbArg;

typedef struct VerbOption {
        const char *name;  /* without the dashes */
        const char *value; /* what its value is called; NULL: it has none */
        const char *help;
        Kind kind;
        bool repeats;
} VerbOption;

typedef struct Cli Cli;

typedef struct Verb {
        const char *name;    /* one word, or two: "uplink add" */
        const char *summary; /* one line */
        const char *help;    /* more lines, or NULL */
        const char *usage;   /* what follows the name in a usage line, where arguments and options
                                exclude each other; NULL: made from the table */
        VerbArg args[VERB_ARGS_MAX + 1];
        VerbOption options[VERB_OPTIONS_MAX + 1];
        int (*run)(Cli *cli);
        bool hidden; /* for the completions alone */
} Verb;

/* A command line, understood. */
struct Cli {
        bool json;
        bool user, system;
        const char *socket;
        const Verb *verb;
        const char *args[VERB_ARGS_MAX]; /* NULL: not given */
        struct {
                const VerbOption *option;
                const char *value;
        } given[OPTIONS_GIVEN_MAX];
        size_t n_given;
};

/* All verbs in the order of the help, and NULL. */
extern const Verb *const verbs[];
/* The options that every verb has, and one without a name. */
extern const VerbOption verb_global_options[];

/* NULL: there is none of that name. */
const Verb *verb_find(const char *name);
/* A verb, or the first word of verbs with two, that may have been meant: *ret_n bytes. NULL: none
 * is like it. */
const char *verb_suggest(const char *name, int *ret_n);
/* Whether it is the first word of verbs with two. */
bool verb_is_group(const char *word);
/* How long the first of a verb's two words is; 0: it has one. */
int verb_group_length(const Verb *v);
/* Whether it has two, and no verb ahead of it in the table begins with the same. */
bool verb_is_first_of_group(const Verb *const *at);
/* The word in which a completion script names a kind. */
const char *verb_kind_name(Kind kind);

/* Help: of a verb to stdout, of a group, of all. */
void verb_print_help(const Verb *v);
void verb_print_group_help(FILE *f, const char *group);
void verb_print_overview(FILE *f);
