#include "secret.h"

#include <sodium.h>

Secret *secret_new(size_t len)
{
        Secret *s =
                len > SIZE_MAX - sizeof(*s) - 1 ? NULL : secret_object_new(sizeof(*s) + len + 1);

        if (s)
                s->len = len;
        return s;
}

Secret *secret_copy(const void *p, size_t len)
{
        Secret *s = secret_new(len);

        if (s && len)
                memcpy(s->data, p, len);
        return s;
}

Secret *secret_free(Secret *s)
{
        return secret_object_free(s);
}

void *secret_object_new(size_t size)
{
        /* sodium_malloc puts the object against the guard page behind it, so that its start is only
         * aligned if its size is a multiple of the alignment. */
        size_t rounded = (size + 15) & ~(size_t)15;
        void *p = rounded < size ? NULL : sodium_malloc(rounded);

        if (p)
                memset(p, 0, rounded);
        return p;
}

void *secret_object_free(void *p)
{
        sodium_free(p); /* wipes; takes NULL */
        return NULL;
}
