#include "bytes.h"

#include <errno.h>

/* Not realloc(): what it leaves behind could be a secret. */
static int grow(Bytes *b, size_t need)
{
        size_t size = MAX(need, b->size * 2);
        char *p = malloc(size);

        if (!p)
                return -ENOMEM;
        if (b->p) {
                memcpy(p, b->p, b->n);
                explicit_bzero(b->p, b->size);
                free(b->p);
        }
        b->p = p;
        b->size = size;
        return 0;
}

int bytes_add(Bytes *b, const void *data, size_t n, size_t max)
{
        if (n > max || b->n > max - n)
                return -EMSGSIZE;
        if (b->n + n + 1 > b->size) {
                int r = grow(b, MAX(b->n + n + 1, (size_t)256));
                if (r < 0)
                        return r;
        }
        if (n > 0)
                memcpy(b->p + b->n, data, n);
        b->n += n;
        b->p[b->n] = '\0';
        return 0;
}

void bytes_drop(Bytes *b, size_t n)
{
        memmove(b->p, b->p + n, b->n - n + 1); /* with the NUL */
        b->n -= n;
}

void bytes_done(Bytes *b)
{
        if (b->p)
                explicit_bzero(b->p, b->size);
        free(b->p);
        *b = (Bytes){};
}
