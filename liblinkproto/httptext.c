#include "httptext.h"

#include <strings.h>

bool http_text_is(HttpText t, const char *s)
{
        return t.n == strlen(s) && strncasecmp(t.p, s, t.n) == 0;
}

HttpText http_text_trim(HttpText t)
{
        while (t.n && (t.p[0] == ' ' || t.p[0] == '\t'))
                t = (HttpText){t.p + 1, t.n - 1};
        while (t.n && (t.p[t.n - 1] == ' ' || t.p[t.n - 1] == '\t'))
                t.n--;
        return t;
}

bool http_list_holds(HttpText list, const char *token)
{
        while (list.n) {
                const char *comma = memchr(list.p, ',', list.n);
                size_t n = comma ? (size_t)(comma - list.p) : list.n;

                if (http_text_is(http_text_trim((HttpText){list.p, n}), token))
                        return true;
                n += comma != NULL;
                list = (HttpText){list.p + n, list.n - n};
        }
        return false;
}

bool http_is_token_char(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               (c && strchr("!#$%&'*+-.^_`|~", c));
}

bool http_field_cut(HttpText line, HttpText *ret_name, HttpText *ret_value)
{
        const char *colon = memchr(line.p, ':', line.n);
        HttpText name, value;

        if (!colon || colon == line.p)
                return false;
        name = (HttpText){line.p, (size_t)(colon - line.p)};
        value = http_text_trim((HttpText){colon + 1, line.n - name.n - 1});
        for (size_t i = 0; i < name.n; i++)
                if (!http_is_token_char(name.p[i]))
                        return false;
        for (size_t i = 0; i < value.n; i++)
                if (((unsigned char)value.p[i] < 0x20 && value.p[i] != '\t') || value.p[i] == 0x7f)
                        return false;
        *ret_name = name;
        *ret_value = value;
        return true;
}
