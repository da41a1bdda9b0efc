/* What the harnesses of the daemons share: a directory of their own in memory, and what the daemon
 * prints meanwhile. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The directory (0700); made at the first call, removed with its files when the process ends. */
const char *workdir(void);
/* workdir() "/" name, in a buffer that the next call uses again. */
const char *workdir_path(const char *name);
void workdir_write(const char *name, const void *data, size_t len);
/* Removes all files. */
void workdir_clear(void);

/* Between the two, what is printed to stderr goes to memory (the reports of sanitizers do not). */
void capture_begin(void);
/* Returns the text, until the next capture_begin(). */
const char *capture_end(void);
