#include "json.h"

#include <errno.h>

typedef struct Scan {
        const unsigned char *p, *end;
} Scan;

/* text may be NULL when len is 0. */
static Scan begin_scan(const char *text, size_t len)
{
        const unsigned char *p = (const unsigned char *)text;

        return (Scan){.p = p, .end = len ? p + len : p};
}

static void skip_space(Scan *s)
{
        while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
                s->p++;
}

/* One code point of two bytes or more. 0 or -EBADMSG. */
static int scan_utf8(Scan *s)
{
        unsigned char c = *s->p;
        unsigned n = c < 0xc2 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : 0;

        if (n == 0 || (size_t)(s->end - s->p) <= n)
                return -EBADMSG;
        for (unsigned i = 1; i <= n; i++)
                if ((s->p[i] & 0xc0) != 0x80)
                        return -EBADMSG;
        if ((c == 0xe0 && s->p[1] < 0xa0) || (c == 0xed && s->p[1] > 0x9f) ||
            (c == 0xf0 && s->p[1] < 0x90) || (c == 0xf4 && s->p[1] > 0x8f))
                return -EBADMSG; /* overlong, surrogate, beyond U+10FFFF */
        s->p += n + 1;
        return 0;
}

static int hex_value(unsigned char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int scan_escape(Scan *s)
{
        if (s->end - s->p < 2)
                return -EBADMSG;
        if (s->p[1] != 'u') {
                if (!s->p[1] || !strchr("\"\\/bfnrt", s->p[1]))
                        return -EBADMSG;
                s->p += 2;
                return 0;
        }
        if (s->end - s->p < 6)
                return -EBADMSG;
        for (int i = 2; i < 6; i++)
                if (hex_value(s->p[i]) < 0)
                        return -EBADMSG;
        s->p += 6;
        return 0;
}

/* Whether any of eight bytes needs a look: a control character, quote, backslash or non-ASCII. */
static bool word_is_plain(const unsigned char *p)
{
        const uint64_t ones = 0x0101010101010101ULL, highs = 0x8080808080808080ULL;
        uint64_t w, quote, slash;

        memcpy(&w, p, sizeof(w));
        quote = w ^ ones * '"';
        slash = w ^ ones * '\\';
        return (((w - ones * 0x20) | (quote - ones) | (slash - ones) | w) & highs) == 0;
}

static int scan_string(Scan *s)
{
        s->p++;
        for (;;) {
                while (s->end - s->p >= 8 && word_is_plain(s->p))
                        s->p += 8;
                if (s->p >= s->end || *s->p < 0x20)
                        return -EBADMSG;
                if (*s->p == '"') {
                        s->p++;
                        return 0;
                }
                int r = 0;
                if (*s->p == '\\')
                        r = scan_escape(s);
                else if (*s->p >= 0x80)
                        r = scan_utf8(s);
                else
                        s->p++;
                if (r < 0)
                        return r;
        }
}

static size_t scan_digits(Scan *s)
{
        const unsigned char *start = s->p;

        while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
                s->p++;
        return (size_t)(s->p - start);
}

static int scan_number(Scan *s)
{
        if (*s->p == '-')
                s->p++;
        if (s->p < s->end && *s->p == '0')
                s->p++;
        else if (!scan_digits(s))
                return -EBADMSG;
        if (s->p < s->end && *s->p == '.') {
                s->p++;
                if (!scan_digits(s))
                        return -EBADMSG;
        }
        if (s->p < s->end && (*s->p | 0x20) == 'e') {
                s->p++;
                if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
                        s->p++;
                if (!scan_digits(s))
                        return -EBADMSG;
        }
        return 0;
}

static int scan_word(Scan *s, const char *word)
{
        size_t n = strlen(word);

        if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
                return -EBADMSG;
        s->p += n;
        return 0;
}

/* A string, number or word. */
static int scan_scalar(Scan *s)
{
        if (s->p >= s->end)
                return -EBADMSG;
        switch (*s->p) {
        case '"':
                return scan_string(s);
        case 't':
                return scan_word(s, "true");
        case 'f':
                return scan_word(s, "false");
        case 'n':
                return scan_word(s, "null");
        default:
                return *s->p == '-' || (*s->p >= '0' && *s->p <= '9') ? scan_number(s) : -EBADMSG;
        }
}

/* `"name" :` up to where the value begins. */
static int scan_name(Scan *s, JsonSlice *ret)
{
        const unsigned char *start = s->p;
        int r;

        if (s->p >= s->end || *s->p != '"')
                return -EBADMSG;
        r = scan_string(s);
        if (r < 0)
                return r;
        if (ret)
                *ret = (JsonSlice){.p = (const char *)start, .n = (size_t)(s->p - start)};
        skip_space(s);
        if (s->p >= s->end || *s->p != ':')
                return -EBADMSG;
        s->p++;
        skip_space(s);
        return 0;
}

/* The open containers: a bit each, set for an object. */
typedef struct Nesting {
        unsigned depth;
        uint8_t objects[JSON_DEPTH_MAX / 8];
} Nesting;

static int nest(Nesting *n, bool object)
{
        if (n->depth >= JSON_DEPTH_MAX)
                return -E2BIG;
        if (object)
                n->objects[n->depth / 8] |= (uint8_t)(1 << n->depth % 8);
        else
                n->objects[n->depth / 8] &= (uint8_t) ~(1 << n->depth % 8);
        n->depth++;
        return 0;
}

static bool in_object(const Nesting *n)
{
        return n->objects[(n->depth - 1) / 8] >> (n->depth - 1) % 8 & 1;
}

/* At the start of a value: opens containers until a scalar or an empty container was passed.
 * 0 or an errno. */
static int descend(Scan *s, Nesting *n)
{
        for (;;) {
                int r;

                if (s->p >= s->end)
                        return -EBADMSG;
                if (*s->p != '{' && *s->p != '[')
                        return scan_scalar(s);
                r = nest(n, *s->p == '{');
                s->p++;
                skip_space(s);
                if (r < 0)
                        return r;
                if (s->p < s->end && *s->p == (in_object(n) ? '}' : ']')) {
                        s->p++;
                        n->depth--;
                        return 0;
                }
                if (in_object(n)) {
                        r = scan_name(s, NULL);
                        if (r < 0)
                                return r;
                }
        }
}

/* After a value inside a container: closes what closes. 1: another value follows; 0: outermost
 * closed. */
static int ascend(Scan *s, Nesting *n, unsigned base)
{
        while (n->depth > base) {
                skip_space(s);
                if (s->p >= s->end)
                        return -EBADMSG;
                if (*s->p == ',') {
                        s->p++;
                        skip_space(s);
                        int r = in_object(n) ? scan_name(s, NULL) : 0;
                        return r < 0 ? r : 1;
                }
                if (*s->p != (in_object(n) ? '}' : ']'))
                        return -EBADMSG;
                s->p++;
                n->depth--;
        }
        return 0;
}

/* Any value; containers that are open already count towards the depth. */
static int scan_any(Scan *s, Nesting *n, JsonSlice *ret)
{
        const unsigned char *start = s->p;
        unsigned base = n->depth;
        int r;

        do {
                r = descend(s, n);
                if (r == 0)
                        r = ascend(s, n, base);
        } while (r == 1);
        if (r == 0 && ret)
                *ret = (JsonSlice){.p = (const char *)start, .n = (size_t)(s->p - start)};
        return r;
}

/* Member of the outermost object: keeps the value if it is asked for. */
static int scan_member(Scan *s, Nesting *n, const char *const *names, JsonSlice *values,
                       size_t n_names)
{
        JsonSlice name, value;
        int r = scan_name(s, &name);

        if (r == 0)
                r = scan_any(s, n, &value);
        for (size_t i = 0; r == 0 && i < n_names; i++)
                if (json_str_eq(name, names[i]))
                        values[i] = value;
        return r;
}

enum { NAMES_MAX = 16 };

int json_scan_object(const char *text, size_t len, const char *const *names, JsonSlice *values,
                     size_t n_names)
{
        Scan s = begin_scan(text, len);
        JsonSlice found[NAMES_MAX] = {};
        Nesting n = {};
        bool more;
        int r;

        if (n_names > NAMES_MAX)
                return -EINVAL;
        skip_space(&s);
        if (s.p >= s.end || *s.p != '{')
                return -EBADMSG;
        (void)nest(&n, true); /* the first always fits */
        s.p++;
        skip_space(&s);
        more = s.p >= s.end || *s.p != '}';
        while (more) {
                r = scan_member(&s, &n, names, found, n_names);
                if (r < 0)
                        return r;
                skip_space(&s);
                if (s.p >= s.end || (*s.p != ',' && *s.p != '}'))
                        return -EBADMSG;
                more = *s.p == ',';
                if (more) {
                        s.p++;
                        skip_space(&s);
                }
        }
        s.p++;
        skip_space(&s);
        if (s.p != s.end)
                return -EBADMSG;
        if (n_names)
                memcpy(values, found, n_names * sizeof(*values));
        return 0;
}

/* open: containers that will stand around the value. */
static int scan_whole(const char *text, size_t len, unsigned open, JsonSlice *ret)
{
        Scan s = begin_scan(text, len);
        Nesting n = {.depth = open};
        JsonSlice value;
        int r;

        skip_space(&s);
        r = scan_any(&s, &n, &value);
        if (r < 0)
                return r;
        skip_space(&s);
        if (s.p != s.end)
                return -EBADMSG;
        if (ret)
                *ret = value;
        return 0;
}

int json_scan_value(const char *text, size_t len, JsonSlice *ret)
{
        return scan_whole(text, len, 0, ret);
}

int json_scan_member_value(const char *text, size_t len, JsonSlice *ret)
{
        return scan_whole(text, len, 1, ret);
}

/* ---- valid values ---- */

bool json_is_null(JsonSlice v)
{
        return v.p && v.p[0] == 'n';
}

bool json_is_string(JsonSlice v)
{
        return v.p && v.p[0] == '"';
}

bool json_is_object(JsonSlice v)
{
        return v.p && v.p[0] == '{';
}

bool json_is_array(JsonSlice v)
{
        return v.p && v.p[0] == '[';
}

bool json_is_number(JsonSlice v)
{
        return v.p && (v.p[0] == '-' || (v.p[0] >= '0' && v.p[0] <= '9'));
}

bool json_is_true(JsonSlice v)
{
        return v.p && v.p[0] == 't';
}

static unsigned hex4(const unsigned char *p)
{
        return (unsigned)(hex_value(p[0]) << 12 | hex_value(p[1]) << 8 | hex_value(p[2]) << 4 |
                          hex_value(p[3]));
}

/* Code point of a \u escape at p (a pair counts as one); *p moves behind it. */
static uint32_t escape_code_point(const unsigned char **p, const unsigned char *end)
{
        uint32_t c = hex4(*p + 2);

        *p += 6;
        if (c < 0xd800 || c > 0xdfff)
                return c;
        if (c < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
                uint32_t low = hex4(*p + 2);
                if (low >= 0xdc00 && low <= 0xdfff) {
                        *p += 6;
                        return 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
                }
        }
        return 0xfffd;
}

static size_t encode_utf8(uint32_t c, char out[4])
{
        if (c < 0x80) {
                out[0] = (char)c;
                return 1;
        }
        if (c < 0x800) {
                out[0] = (char)(0xc0 | c >> 6);
                out[1] = (char)(0x80 | (c & 63));
                return 2;
        }
        if (c < 0x10000) {
                out[0] = (char)(0xe0 | c >> 12);
                out[1] = (char)(0x80 | (c >> 6 & 63));
                out[2] = (char)(0x80 | (c & 63));
                return 3;
        }
        out[0] = (char)(0xf0 | c >> 18);
        out[1] = (char)(0x80 | (c >> 12 & 63));
        out[2] = (char)(0x80 | (c >> 6 & 63));
        out[3] = (char)(0x80 | (c & 63));
        return 4;
}

/* The next character of a string's inside as UTF-8; its length in out. */
static size_t next_char(const unsigned char **p, const unsigned char *end, char out[4])
{
        static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
        const char *at;

        if (**p != '\\') {
                out[0] = (char)*(*p)++;
                return 1;
        }
        if ((*p)[1] == 'u')
                return encode_utf8(escape_code_point(p, end), out);
        at = strchr(from, (*p)[1]);
        out[0] = at ? to[at - from] : (char)(*p)[1];
        *p += 2;
        return 1;
}

bool json_str_eq(JsonSlice v, const char *s)
{
        const unsigned char *p, *end;
        size_t left = strlen(s);

        if (!json_is_string(v))
                return false;
        p = (const unsigned char *)v.p + 1;
        end = (const unsigned char *)v.p + v.n - 1;
        while (p < end) {
                char c[4];
                size_t n = next_char(&p, end, c);
                if (n > left || memcmp(c, s, n) != 0)
                        return false;
                s += n;
                left -= n;
        }
        return left == 0;
}

int json_str_copy(JsonSlice v, char *buf, size_t size, size_t *ret_len)
{
        const unsigned char *p, *end;
        size_t len = 0;

        if (!json_is_string(v))
                return -EINVAL;
        p = (const unsigned char *)v.p + 1;
        end = (const unsigned char *)v.p + v.n - 1;
        while (p < end) {
                char c[4];
                size_t n = next_char(&p, end, c);
                if (len + n >= size)
                        return -ENOBUFS;
                memcpy(buf + len, c, n);
                len += n;
        }
        if (size == 0)
                return -ENOBUFS;
        buf[len] = '\0';
        *ret_len = len;
        return 0;
}

int json_str_dup(JsonSlice v, char **ret)
{
        size_t len;
        char *s;
        int r;

        if (!json_is_string(v))
                return -EINVAL;
        s = malloc(v.n); /* an escape is never shorter than what it stands for; quotes make room for
                            NUL */
        if (!s)
                return -ENOMEM;
        r = json_str_copy(v, s, v.n, &len);
        if (r == 0 && strlen(s) != len)
                r = -EINVAL;
        if (r < 0) {
                free(s);
                return r;
        }
        *ret = s;
        return 0;
}

/* Forms like 1.0 and 1e3: whole and below 2^53, as a JavaScript peer might mean them. */
static int int_of_double(JsonSlice v, int64_t *ret)
{
        char text[40];
        double d;

        if (v.n >= sizeof(text))
                return -EINVAL;
        memcpy(text, v.p, v.n);
        text[v.n] = '\0';
        d = strtod(text, NULL); /* the C locale: nothing here ever sets another */
        if (!(d > -9007199254740992.0 && d < 9007199254740992.0))
                return -ERANGE;
        if (d != (double)(int64_t)d)
                return -EINVAL;
        *ret = (int64_t)d;
        return 0;
}

int json_int64(JsonSlice v, int64_t *ret)
{
        bool negative;
        int64_t value = 0;

        if (!json_is_number(v))
                return -EINVAL;
        if (memchr(v.p, '.', v.n) || memchr(v.p, 'e', v.n) || memchr(v.p, 'E', v.n))
                return int_of_double(v, ret);
        negative = v.p[0] == '-';
        for (size_t i = negative; i < v.n; i++) {
                if (__builtin_mul_overflow(value, 10, &value) ||
                    __builtin_sub_overflow(value, v.p[i] - '0', &value))
                        return -ERANGE; /* counted below zero, where there is one more */
        }
        if (!negative && value == INT64_MIN)
                return -ERANGE;
        *ret = negative ? value : -value;
        return 0;
}

bool json_array_next(JsonSlice *iter, JsonSlice *elem)
{
        Scan s = begin_scan(iter->p, iter->n);
        Nesting n = {};

        if (s.p >= s.end)
                return false;
        s.p++; /* '[', or the ',' behind the last element */
        skip_space(&s);
        if (s.p >= s.end || *s.p == ']' || scan_any(&s, &n, elem) < 0)
                return false;
        skip_space(&s);
        *iter = (JsonSlice){.p = (const char *)s.p, .n = (size_t)(s.end - s.p)};
        return true;
}
