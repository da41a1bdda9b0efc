/* A growing run of bytes with a bound, always followed by a NUL. */
#pragma once

#include "liblinkproto/util.h"

typedef struct Bytes {
        char *p; /* NULL: empty */
        size_t n, size;
} Bytes;

/* 0; -EMSGSIZE: it would be longer than max; -ENOMEM. Nothing is added on failure. */
int bytes_add(Bytes *b, const void *data, size_t n, size_t max);
/* Drops the first n. */
void bytes_drop(Bytes *b, size_t n);
/* Wipes and frees. */
void bytes_done(Bytes *b);
