/* The little JSON that the library must read itself: the text of a remote error, and the names in
 * what the agent tells about an incoming session. */
#include "linkipc-internal.h"

typedef struct Cursor {
        const char *p, *end;
} Cursor;

static bool at(const Cursor *c, char ch)
{
        return c->p < c->end && *c->p == ch;
}

static void skip_space(Cursor *c)
{
        while (at(c, ' ') || at(c, '\t') || at(c, '\n') || at(c, '\r'))
                c->p++;
}

/* Behind the string that begins here. False: it does not end. */
static bool skip_string(Cursor *c)
{
        for (c->p++; c->p < c->end; c->p++) {
                if (*c->p == '"') {
                        c->p++;
                        return true;
                }
                if (*c->p == '\\' && ++c->p == c->end)
                        break;
        }
        return false;
}

/* Behind the value that begins here. Takes the agent's word for it that it is valid: only brackets
 * and strings are counted. */
static bool skip_value(Cursor *c)
{
        size_t depth = 0;

        while (c->p < c->end) {
                if (*c->p == '"') {
                        if (!skip_string(c))
                                return false;
                        continue;
                }
                if (depth == 0 && (*c->p == ',' || *c->p == '}' || *c->p == ']'))
                        return true;
                if (*c->p == '{' || *c->p == '[')
                        depth++;
                else if (*c->p == '}' || *c->p == ']')
                        depth--;
                c->p++;
        }
        return depth == 0;
}

static int hex4(const char *p, const char *end, uint32_t *ret)
{
        uint32_t v = 0;

        if (end - p < 4)
                return -EINVAL;
        for (int i = 0; i < 4; i++) {
                char ch = p[i];
                uint32_t digit;
                if (ch >= '0' && ch <= '9')
                        digit = (uint32_t)(ch - '0');
                else if (ch >= 'a' && ch <= 'f')
                        digit = (uint32_t)(ch - 'a' + 10);
                else if (ch >= 'A' && ch <= 'F')
                        digit = (uint32_t)(ch - 'A' + 10);
                else
                        return -EINVAL;
                v = v << 4 | digit;
        }
        *ret = v;
        return 0;
}

static void add_utf8(Buf *b, uint32_t v)
{
        if (v < 0x80) {
                buf_add_u8(b, (uint8_t)v);
        } else if (v < 0x800) {
                buf_add_u8(b, (uint8_t)(0xc0 | v >> 6));
                buf_add_u8(b, (uint8_t)(0x80 | (v & 0x3f)));
        } else if (v < 0x10000) {
                buf_add_u8(b, (uint8_t)(0xe0 | v >> 12));
                buf_add_u8(b, (uint8_t)(0x80 | (v >> 6 & 0x3f)));
                buf_add_u8(b, (uint8_t)(0x80 | (v & 0x3f)));
        } else {
                buf_add_u8(b, (uint8_t)(0xf0 | v >> 18));
                buf_add_u8(b, (uint8_t)(0x80 | (v >> 12 & 0x3f)));
                buf_add_u8(b, (uint8_t)(0x80 | (v >> 6 & 0x3f)));
                buf_add_u8(b, (uint8_t)(0x80 | (v & 0x3f)));
        }
}

/* \uXXXX, and the other half of a surrogate pair. p is behind the u; returns behind the escape. */
static const char *add_unicode(Buf *b, const char *p, const char *end)
{
        const uint32_t replacement = 0xfffd;
        uint32_t v, low;

        if (hex4(p, end, &v) < 0) {
                add_utf8(b, replacement);
                return p;
        }
        p += 4;
        if (v >= 0xd800 && v <= 0xdbff && end - p >= 6 && p[0] == '\\' && p[1] == 'u' &&
            hex4(p + 2, end, &low) == 0 && low >= 0xdc00 && low <= 0xdfff) {
                v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
                p += 6;
        } else if (v == 0 || (v >= 0xd800 && v <= 0xdfff)) {
                v = replacement;
        }
        add_utf8(b, v);
        return p;
}

static const char *add_escape(Buf *b, const char *p, const char *end)
{
        static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";

        if (*p == 'u')
                return add_unicode(b, p + 1, end);
        const char *found = memchr(from, *p, sizeof from - 1);
        buf_add_u8(b, (uint8_t)(found ? to[found - from] : *p));
        return p + 1;
}

char *json_unquote(const char *text, size_t n)
{
        Cursor c = {.p = text, .end = text + n};
        Buf b = {0};

        skip_space(&c);
        if (!at(&c, '"'))
                return strndup(text, n);
        const char *p = c.p + 1;
        while (p < c.end && *p != '"') {
                if (*p == '\\' && p + 1 < c.end) {
                        p = add_escape(&b, p + 1, c.end);
                } else {
                        buf_add_u8(&b, (uint8_t)*p);
                        p++;
                }
        }
        char *s = buf_take_str(&b);
        if (!s)
                buf_done(&b);
        return s;
}

/* One member: name and value. False: there is none any more. */
static bool next_member(Cursor *c, Cursor *ret_name, Cursor *ret_value)
{
        skip_space(c);
        if (at(c, ',')) {
                c->p++;
                skip_space(c);
        }
        ret_name->p = c->p;
        if (!at(c, '"') || !skip_string(c))
                return false;
        ret_name->end = c->p;
        skip_space(c);
        if (!at(c, ':'))
                return false;
        c->p++;
        skip_space(c);
        ret_value->p = c->p;
        if (!skip_value(c))
                return false;
        ret_value->end = c->p;
        return true;
}

int json_get_string(const char *object, size_t n, const char *name, char **ret)
{
        Cursor c = {.p = object, .end = object + n}, key, value;

        *ret = NULL;
        skip_space(&c);
        if (!at(&c, '{'))
                return 0;
        c.p++;
        while (next_member(&c, &key, &value)) {
                char *text = json_unquote(key.p, (size_t)(key.end - key.p));
                if (!text)
                        return -ENOMEM;
                bool same = strcmp(text, name) == 0;
                free(text);
                if (!same)
                        continue;
                if (value.p == value.end || *value.p != '"')
                        return 0;
                *ret = json_unquote(value.p, (size_t)(value.end - value.p));
                return *ret ? 0 : -ENOMEM;
        }
        return 0;
}
