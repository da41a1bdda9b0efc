/* A secret of known length: in memory that is locked, guarded and left out of core dumps
 * (sodium_malloc), wiped when freed. Larger objects that hold secrets inside are allocated by
 * secret_object_new(). Needs sodium_init() to have been called. */
#pragma once

#include "util.h"

typedef struct Secret {
        size_t len;
        uint8_t data[]; /* a NUL follows the len bytes */
} Secret;

/* NULL: out of memory. The bytes are zero. */
Secret *secret_new(size_t len);
Secret *secret_copy(const void *p, size_t len);
Secret *secret_free(Secret *s);
DEFINE_CLEANUP(Secret, secret_free)

/* Zeroed memory of the same kind for a struct, and its end. secret_object_free takes NULL, returns
 * NULL. */
void *secret_object_new(size_t size);
void *secret_object_free(void *p);
