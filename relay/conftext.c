#include "conftext.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#include "limits.h"

static bool is_word_char(char c)
{
        return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '-' || c == '*';
}

static size_t block_comment_len(const char *p)
{
        const char *end = strstr(p + 2, "*/");

        return end ? (size_t)(end + 2 - p) : strlen(p);
}

static size_t string_len(const char *p)
{
        size_t n = 1;

        while (p[n] && p[n] != '"')
                n += p[n] == '\\' && p[n + 1] ? 2 : 1;
        return p[n] ? n + 1 : n;
}

/* A comment, a string, a word (with what a number may hold), or one character. */
static size_t token_len(const char *p)
{
        size_t n = 1;

        if (*p == '#' || (p[0] == '/' && p[1] == '/'))
                return strcspn(p, "\n");
        if (p[0] == '/' && p[1] == '*')
                return block_comment_len(p);
        if (*p == '"')
                return string_len(p);
        if (*p == '-' || !is_word_char(*p)) /* a sign is no part of what follows */
                return 1;
        while (is_word_char(p[n]))
                n++;
        return n;
}

/* A number, decimal or hexadecimal, without a mark of its own. */
static bool needs_mark(const char *p, size_t n)
{
        bool hex = n > 2 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
        const char *digits = hex ? "0123456789abcdef" : "0123456789";
        uint64_t v = 0;

        for (size_t i = hex ? 2 : 0; i < n; i++) {
                const char *digit = strchr(digits, tolower((unsigned char)p[i]));

                if (!digit)
                        return false;
                if (v <= INT32_MAX)
                        v = v * (hex ? 16 : 10) + (uint64_t)(digit - digits);
        }
        return v > INT32_MAX;
}

void conftext_mark(const char *text, Buf *b)
{
        size_t n;

        for (; *text; text += n) {
                n = token_len(text);
                buf_add(b, text, n);
                if (needs_mark(text, n))
                        buf_add_str(b, "L");
        }
}

/* Appends a NUL. */
static int read_all(FILE *f, Buf *b)
{
        char chunk[4096];
        size_t n;

        errno = 0;
        while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0) {
                buf_add(b, chunk, n);
                if (b->len > CONFIG_BYTES_MAX)
                        return -EFBIG;
        }
        if (ferror(f))
                return errno ? -errno : -EIO;
        if (b->len && memchr(b->data, '\0', b->len))
                return -EILSEQ;
        buf_add_u8(b, 0);
        return buf_ok(b);
}

int conftext_read(const char *file, char **ret)
{
        FILE *f = fopen(file, "re");
        Buf raw = {}, marked = {};
        char *text = NULL;
        int r;

        if (!f)
                return -errno;
        r = read_all(f, &raw);
        (void)fclose(f); /* only read */
        if (r == 0) {
                conftext_mark((const char *)raw.data, &marked);
                buf_add_str(&marked, "\n"); /* libconfig wants one behind a comment */
                text = buf_take_str(&marked);
                r = text ? 0 : -ENOMEM;
        }
        if (r == 0)
                *ret = text;
        buf_done(&raw);
        buf_done(&marked);
        return r;
}
