#include "buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

enum { BUF_MIN_BYTES = 256 };

void buf_done(Buf *b)
{
        free(b->data);
        *b = (Buf){};
}

void buf_done_wipe(Buf *b)
{
        if (b->data)
                explicit_bzero(b->data, b->cap);
        buf_done(b);
}

void buf_done_wipe_content(Buf *b)
{
        if (b->data)
                explicit_bzero(b->data, b->len);
        buf_done(b);
}

int buf_reserve(Buf *b, size_t n)
{
        size_t cap = b->cap;
        uint8_t *data;

        if (b->failed)
                return -ENOMEM;
        if (n <= b->cap - b->len)
                return 0;
        if (n > SIZE_MAX / 2 - b->len) {
                b->failed = true;
                return -ENOMEM;
        }
        if (cap == 0) /* as much as is asked for at first: many buffers need no more */
                cap = MAX(n, (size_t)BUF_MIN_BYTES);
        while (cap < b->len + n)
                cap *= 2;
        data = realloc(b->data, cap);
        if (!data) {
                b->failed = true;
                return -ENOMEM;
        }
        b->data = data;
        b->cap = cap;
        return 0;
}

void buf_add(Buf *b, const void *p, size_t n)
{
        if (n == 0 || buf_reserve(b, n) < 0)
                return;
        memcpy(b->data + b->len, p, n);
        b->len += n;
}

void buf_add_str(Buf *b, const char *s)
{
        buf_add(b, s, strlen(s));
}

void buf_add_u8(Buf *b, uint8_t v)
{
        buf_add(b, &v, 1);
}

void buf_add_u16be(Buf *b, uint16_t v)
{
        uint8_t p[2];

        write_u16be(p, v);
        buf_add(b, p, sizeof(p));
}

void buf_add_u32be(Buf *b, uint32_t v)
{
        uint8_t p[4];

        write_u32be(p, v);
        buf_add(b, p, sizeof(p));
}

void buf_printf(Buf *b, const char *format, ...)
{
        va_list ap;
        int n;

        va_start(ap, format);
        n = vsnprintf(NULL, 0, format, ap);
        va_end(ap);
        if (n < 0 || buf_reserve(b, (size_t)n + 1) < 0) {
                b->failed = true;
                return;
        }
        va_start(ap, format);
        (void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, format, ap); /* measured above */
        va_end(ap);
        b->len += (size_t)n;
}

int buf_ok(const Buf *b)
{
        return b->failed ? -ENOMEM : 0;
}

char *buf_take_str(Buf *b)
{
        char *s;

        buf_add_u8(b, 0);
        if (b->failed) {
                buf_done(b);
                return NULL;
        }
        s = (char *)b->data;
        *b = (Buf){};
        return s;
}

void buf_drop(Buf *b, size_t n)
{
        if (n == 0)
                return;
        b->len -= n;
        memmove(b->data, b->data + n, b->len);
}

/* ---- JSON ---- */

void buf_json_str(Buf *b, const char *s, size_t n)
{
        static const char short_names[] = {
                ['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't',
        };
        size_t plain = 0;

        buf_add_u8(b, '"');
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)s[i];

                if (c >= 0x20 && c != '"' && c != '\\')
                        continue;
                if (i > plain)
                        buf_add(b, s + plain, i - plain);
                plain = i + 1;
                if (c < sizeof(short_names) && short_names[c])
                        buf_printf(b, "\\%c", short_names[c]);
                else
                        buf_printf(b, "\\u%04x", c);
        }
        if (n > plain)
                buf_add(b, s + plain, n - plain);
        buf_add_u8(b, '"');
}

void buf_json_comma(Buf *b)
{
        if (b->len && b->data[b->len - 1] != '{' && b->data[b->len - 1] != '[' &&
            b->data[b->len - 1] != ':')
                buf_add_u8(b, ',');
}

void buf_json_name(Buf *b, const char *name)
{
        buf_json_comma(b);
        buf_json_str(b, name, strlen(name));
        buf_add_u8(b, ':');
}

void buf_json_member_str(Buf *b, const char *name, const char *value)
{
        buf_json_name(b, name);
        if (value)
                buf_json_str(b, value, strlen(value));
        else
                buf_add_str(b, "null");
}

void buf_json_member_int(Buf *b, const char *name, int64_t value)
{
        buf_json_name(b, name);
        buf_printf(b, "%lld", (long long)value);
}

void buf_json_member_bool(Buf *b, const char *name, bool value)
{
        buf_json_name(b, name);
        buf_add_str(b, value ? "true" : "false");
}
