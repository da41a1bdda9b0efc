/* What linkctl reads: stdin and files, bounded. */
#pragma once

#include "bytes.h"
#include "verb.h"

/* All of a file; path "-" is stdin. what names it in errors. EXIT_OK; EXIT_FAILED after telling. */
int input_read(const Cli *cli, const char *path, size_t max, const char *what, Bytes *ret);

/* A secret: text itself, or, if that is "-", the first line of stdin, for which a terminal is
 * asked. *ret: NUL-terminated UTF-8, wiped by bytes_done(). */
int input_read_secret(const Cli *cli, const char *text, const char *what, Bytes *ret);

/* A secret that must not be on the command line: what file holds, or the first line of stdin (NULL
 * or
 * "-"); a terminal is asked, and does not show it. The same result. */
int input_read_key(const Cli *cli, const char *file, const char *what, Bytes *ret);

/* A JSON value: text itself or, if that is "-", stdin. *ret: NUL-terminated, without white space at
 * the ends, otherwise unchanged. EXIT_OK, EXIT_USAGE or EXIT_FAILED after telling. */
int input_read_json(const Cli *cli, const char *text, Bytes *ret);
