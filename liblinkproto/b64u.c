#include "b64u.h"

#include <errno.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void b64u_encode(const uint8_t *data, size_t n, char *out)
{
        uint32_t bits = 0;
        unsigned have = 0;

        for (size_t i = 0; i < n; i++) {
                bits = bits << 8 | data[i];
                for (have += 8; have >= 6; have -= 6)
                        *out++ = alphabet[bits >> (have - 6) & 63];
        }
        if (have)
                *out++ = alphabet[bits << (6 - have) & 63];
        *out = '\0';
}

/* 0..63, or -1. */
static int value_of(char c)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == '-' ? 62 : c == '_' ? 63 : -1;
}

int b64u_decode(const char *text, size_t len, uint8_t *out, size_t size, size_t *ret_n)
{
        size_t n = len / 4 * 3 + (len % 4 ? len % 4 - 1 : 0), at = 0;
        uint32_t bits = 0;
        unsigned have = 0;

        if (len % 4 == 1)
                return -EINVAL;
        if (n > size)
                return -ENOBUFS;
        /* Two passes, so that out is untouched when the text is bad. */
        for (size_t i = 0; i < len; i++)
                if (value_of(text[i]) < 0)
                        return -EINVAL;
        if (len % 4 && value_of(text[len - 1]) & (len % 4 == 2 ? 15 : 3))
                return -EINVAL; /* stray bits */
        for (size_t i = 0; i < len; i++) {
                bits = bits << 6 | (uint32_t)value_of(text[i]);
                have += 6;
                if (have >= 8) {
                        have -= 8;
                        out[at++] = (uint8_t)(bits >> have);
                }
        }
        *ret_n = n;
        return 0;
}

int b64u_decode_exact(const char *text, size_t len, uint8_t *out, size_t n)
{
        size_t got;

        if (len != B64U_LEN(n))
                return -EINVAL;
        return b64u_decode(text, len, out, n, &got) < 0 ? -EINVAL : 0;
}
