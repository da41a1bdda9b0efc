#include "text.h"

#include <errno.h>
#include <stdio.h>

#include "limits.h"

/* Length of the UTF-8 character at p: 1 to 4, or 0 if it is none (overlong forms and surrogates are
 * none). *ret: the character. */
static size_t decode(const unsigned char *p, size_t n, uint32_t *ret)
{
        static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
        size_t len = n == 0                  ? 0
                     : p[0] < 0x80           ? 1
                     : (p[0] & 0xe0) == 0xc0 ? 2
                     : (p[0] & 0xf0) == 0xe0 ? 3
                     : (p[0] & 0xf8) == 0xf0 ? 4
                                             : 0;
        uint32_t c;

        if (len == 0 || len > n)
                return 0;
        c = len == 1 ? p[0] : p[0] & (0x7fU >> len);
        for (size_t i = 1; i < len; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (p[i] & 0x3f);
        }
        if (c < smallest[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
                return 0;
        *ret = c;
        return len;
}

bool text_is_utf8(const char *text, size_t n)
{
        uint32_t c;

        for (size_t len; n > 0; text += len, n -= len) {
                len = decode((const unsigned char *)text, n, &c);
                if (len == 0)
                        return false;
        }
        return true;
}

/* C0, DEL and C1. */
static bool is_control(uint32_t c)
{
        return c < 0x20 || (c >= 0x7f && c <= 0x9f);
}

char *text_clean(const char *text, size_t n)
{
        char *copy = malloc(n * 4 + 1), *to = copy;
        uint32_t c = 0;

        if (!copy)
                return NULL;
        while (n > 0) {
                size_t len = decode((const unsigned char *)text, n, &c);
                if (len > 0 && !is_control(c)) {
                        memcpy(to, text, len);
                        to += len;
                } else {
                        len = MAX(len, (size_t)1);
                        for (size_t i = 0; i < len; i++)
                                to += sprintf(to, "\\x%02x", (unsigned char)text[i]);
                }
                text += len;
                n -= len;
        }
        *to = '\0';
        return copy;
}

/* ---- JSON ---- */

typedef struct Reader {
        const unsigned char *p, *end;
        size_t depth;
        bool is_object[JSON_DEPTH_MAX]; /* of the containers that are open */
} Reader;

static void skip_space(Reader *r)
{
        while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
                r->p++;
}

static bool skip(Reader *r, char c)
{
        if (r->p == r->end || *r->p != (unsigned char)c)
                return false;
        r->p++;
        return true;
}

static bool skip_digits(Reader *r)
{
        const unsigned char *start = r->p;

        while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
                r->p++;
        return r->p > start;
}

static bool read_number(Reader *r)
{
        (void)skip(r, '-'); /* may be there */
        if (!skip(r, '0') && !skip_digits(r))
                return false;
        if (skip(r, '.') && !skip_digits(r))
                return false;
        if (!skip(r, 'e') && !skip(r, 'E'))
                return true;
        if (!skip(r, '+'))
                (void)skip(r, '-'); /* may be there */
        return skip_digits(r);
}

static bool read_escape(Reader *r)
{
        if (r->p == r->end || *r->p == '\0')
                return false;
        if (!skip(r, 'u'))
                return strchr("\"\\/bfnrt", *r->p++) != NULL;
        for (int i = 0; i < 4; i++, r->p++)
                if (r->p == r->end || *r->p == '\0' || !strchr("0123456789abcdefABCDEF", *r->p))
                        return false;
        return true;
}

static bool read_string(Reader *r)
{
        uint32_t c;

        if (!skip(r, '"'))
                return false;
        while (r->p < r->end && *r->p >= 0x20) {
                if (skip(r, '"'))
                        return true;
                if (skip(r, '\\')) {
                        if (!read_escape(r))
                                return false;
                        continue;
                }
                size_t len = decode(r->p, (size_t)(r->end - r->p), &c);
                if (len == 0)
                        return false;
                r->p += len;
        }
        return false;
}

static bool read_word(Reader *r, const char *word)
{
        size_t n = strlen(word);

        if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
                return false;
        r->p += n;
        return true;
}

/* `"name":` of a member. */
static bool read_name(Reader *r)
{
        skip_space(r);
        if (!read_string(r))
                return false;
        skip_space(r);
        return skip(r, ':');
}

/* The start of a value: a whole scalar or empty container (1), or the opening of one that holds
 * something (0). */
static int read_start(Reader *r)
{
        bool object;

        skip_space(r);
        if (r->p == r->end)
                return -EBADMSG;
        if (*r->p == '"')
                return read_string(r) ? 1 : -EBADMSG;
        if (*r->p != '{' && *r->p != '[')
                return read_word(r, "true") || read_word(r, "false") || read_word(r, "null") ||
                                       read_number(r)
                               ? 1
                               : -EBADMSG;
        if (r->depth == JSON_DEPTH_MAX)
                return -E2BIG;
        object = *r->p++ == '{';
        skip_space(r);
        if (skip(r, object ? '}' : ']'))
                return 1;
        r->is_object[r->depth++] = object;
        return object && !read_name(r) ? -EBADMSG : 0;
}

/* Behind a whole value: closes what ends here. 0: another value follows; 1: that was all. */
static int read_end(Reader *r)
{
        while (r->depth > 0) {
                bool object = r->is_object[r->depth - 1];

                skip_space(r);
                if (skip(r, ','))
                        return object && !read_name(r) ? -EBADMSG : 0;
                if (!skip(r, object ? '}' : ']'))
                        return -EBADMSG;
                r->depth--;
        }
        return 1;
}

int text_check_json(const char *text, size_t n, const char **ret_start, size_t *ret_n)
{
        Reader r = {.p = (const unsigned char *)text, .end = (const unsigned char *)text + n};
        const unsigned char *start;
        int k = 0;

        skip_space(&r);
        start = r.p;
        while (k == 0) {
                k = read_start(&r);
                if (k > 0)
                        k = read_end(&r);
        }
        if (k < 0)
                return k;
        *ret_n = (size_t)(r.p - start);
        skip_space(&r);
        if (r.p != r.end)
                return -EBADMSG;
        *ret_start = (const char *)start;
        return 0;
}

char *text_base64(const void *data, size_t n)
{
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const unsigned char *p = data;
        char *text = malloc((n + 2) / 3 * 4 + 1), *to = text;

        if (!text)
                return NULL;
        for (size_t i = 0; i < n; i += 3) {
                uint32_t v = (uint32_t)p[i] << 16;
                if (i + 1 < n)
                        v |= (uint32_t)p[i + 1] << 8;
                if (i + 2 < n)
                        v |= p[i + 2];
                *to++ = digits[v >> 18];
                *to++ = digits[v >> 12 & 63];
                *to++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
                *to++ = i + 2 < n ? digits[v & 63] : '=';
        }
        *to = '\0';
        return text;
}
