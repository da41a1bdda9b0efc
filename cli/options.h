/* The command line: global options before or after the verb, the verb's options, its arguments. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "verb.h"

enum {
        OPTIONS_RUN = 0,
        OPTIONS_HELP = 1, /* was printed */
};

/* OPTIONS_RUN; OPTIONS_HELP; -EINVAL: wrong usage, told. Strings stay argv's. */
int options_parse(Cli *cli, int argc, char **argv);

/* Tells that there is no verb of that name, and which one may have been meant. -EINVAL. */
int options_no_such_verb(const Cli *cli, const char *name);

bool options_has(const Cli *cli, const char *name);
/* The value of an option, or NULL: not given. */
const char *options_get(const Cli *cli, const char *name);

/* The values of an option that repeats, an array of strings. NULL: out of memory. */
json_t *options_get_all(const Cli *cli, const char *name);

/* "90s", "15m", "2h", "1.5d", "30": seconds. 0; -EINVAL: not of that form; -ERANGE: nothing, or
 * above DURATION_MAX_SEC. */
int options_parse_duration(const char *text, uint64_t *ret_msec);
/* The value of an option as a time up to max_sec. *ret_msec is left alone if it is not given.
 * 0, or EXIT_USAGE after telling. */
int options_get_duration(const Cli *cli, const char *name, uint64_t max_sec, uint64_t *ret_msec);
/* The value of an option as a number from 1 to max; the same. */
int options_get_number(const Cli *cli, const char *name, unsigned max, unsigned *ret);
