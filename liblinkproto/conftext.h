/* A libconfig file's content as text in which every whole number that needs 64 bits is marked as
 * such. libconfig before 1.7 cuts an unmarked one to 32 bits in silence: 5000000000 would be
 * 705032704. What @include brings is not seen here. */
#pragma once

#include "buf.h"

/* *ret is a new string (free()). 0; -EILSEQ: there is a NUL in it; -ENOMEM. */
int conftext_from_bytes(const void *p, size_t len, char **ret) _must_use_;
/* The same of a text. Appended to b; check buf_ok(). */
void conftext_mark(const char *text, Buf *b);
