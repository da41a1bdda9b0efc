#include "conftext.h"

#include <ctype.h>
#include <errno.h>

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

int conftext_from_bytes(const void *p, size_t len, char **ret)
{
        _cleanup_(freep) char *raw = NULL;
        Buf marked = {};
        char *text;

        if (len && memchr(p, '\0', len))
                return -EILSEQ;
        raw = strndup(len ? p : "", len);
        if (!raw)
                return -ENOMEM;
        conftext_mark(raw, &marked);
        buf_add_str(&marked, "\n"); /* libconfig wants one behind a comment */
        text = buf_take_str(&marked);
        buf_done(&marked);
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}
