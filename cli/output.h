/* What linkctl prints: errors to stderr, documents and tables to stdout. */
#pragma once

#include <jansson.h>
#include <stdio.h>

#include "verb.h"

/* One failure: "linkctl: TEXT", or with --json {"error":word,"message":text}. Returns EXIT_FAILED.
 */
int output_error(const Cli *cli, const char *word, const char *format, ...) _printf_(3, 4);
/* The command line makes no sense: names the help as well. Returns EXIT_USAGE. */
int output_usage(const Cli *cli, const char *format, ...) _printf_(2, 3);
int output_no_memory(const Cli *cli);
/* What goes on, for people and for scripts that wait for it: a line on stderr, in any mode. */
void output_progress(const char *format, ...) _printf_(1, 2);
/* What was printed to stdout has arrived there: 0, or EXIT_FAILED after telling (people are not
 * told that the reader of a pipe has left). */
int output_finish(const Cli *cli);

/* A document on a line. */
int output_json(const Cli *cli, const json_t *document);

/* A column of a table or a line of a record: its title, and the member that it shows. */
typedef struct Field {
        const char *title, *member;
} Field;

/* A table of an array of objects; nothing if that is empty. 0, or EXIT_FAILED after telling. */
int output_table(const Cli *cli, const json_t *rows, const Field *fields, size_t n_fields,
                 const char *indent);
/* An object, a line a member; members that are null or absent are left out. */
int output_record(const Cli *cli, const json_t *object, const Field *fields, size_t n_fields,
                  const char *indent);
