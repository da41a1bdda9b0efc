/* A libconfig file as text in which every whole number that needs 64 bits is marked as such.
 * libconfig before 1.7 cuts an unmarked one to 32 bits in silence: 5000000000 would be 705032704.
 */
#pragma once

#include "liblinkproto/buf.h"

/* Reads the file. *ret is a new string (free()). 0; negative errno: -EFBIG: more than
 * CONFIG_BYTES_MAX; -EILSEQ: there is a NUL in it. */
int conftext_read(const char *file, char **ret) _must_use_;
/* The same of a text that is at hand. Appended to b; check buf_ok(). */
void conftext_mark(const char *text, Buf *b);
