#include "inviteuri.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "b64u.h"
#include "buf.h"
#include "credential.h"

/* ---- relay URLs ---- */

static bool host_char_is_valid(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '.' || c == '_';
}

static bool v6_char_is_valid(char c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') ||
               c == ':' || c == '.';
}

/* Length of the host at p, brackets counted; 0: none. */
static size_t host_length(const char *p, size_t len)
{
        size_t n = 0;

        if (len && p[0] == '[') {
                for (n = 1; n < len && v6_char_is_valid(p[n]); n++)
                        ;
                return n >= 3 && n < len && p[n] == ']' ? n + 1 : 0;
        }
        while (n < len && host_char_is_valid(p[n]))
                n++;
        return n;
}

/* A name or an IPv4 address, or an IPv6 address in brackets. */
static bool host_is_valid(const char *host, size_t len)
{
        char text[INET6_ADDRSTRLEN];
        struct in6_addr address;

        if (len == 0 || len > 253)
                return false;
        if (host[0] != '[')
                return true;
        if (len - 2 >= sizeof(text))
                return false;
        memcpy(text, host + 1, len - 2);
        text[len - 2] = '\0';
        return inet_pton(AF_INET6, text, &address) == 1;
}

/* ":port" at p, maybe empty. Its length, or -EINVAL. */
static ssize_t take_port(const char *p, size_t len, unsigned *port)
{
        unsigned value = 0;
        size_t n = 1;

        if (len == 0 || p[0] != ':')
                return 0;
        for (; n < len && p[n] >= '0' && p[n] <= '9'; n++) {
                value = value * 10 + (unsigned)(p[n] - '0');
                if (value > 65535)
                        return -EINVAL;
        }
        if (n == 1 || value == 0)
                return -EINVAL;
        *port = value;
        return (ssize_t)n;
}

static bool path_is_allowed(const char *p, size_t len)
{
        return len == 0 || (len == 1 && p[0] == '/') || (len == 8 && memcmp(p, "/v1/link", 8) == 0);
}

static const char *normalize(const char *text, size_t len, char **ret)
{
        bool tls = len >= 6 && strncasecmp(text, "wss://", 6) == 0;
        size_t at = tls ? 6 : 5, host;
        unsigned port, standard = tls ? 443 : 80;
        ssize_t n;

        if (!tls && (len < 5 || strncasecmp(text, "ws://", 5) != 0))
                return "a relay URL begins with ws:// or wss://";
        if (len > RELAY_URL_MAX)
                return "the relay URL is too long";
        if (memchr(text + at, '@', len - at))
                return "a relay URL has no path, query or user: ws://HOST[:PORT]";
        host = host_length(text + at, len - at);
        if (!host_is_valid(text + at, host))
                return "the relay URL names no valid host";
        port = standard;
        n = take_port(text + at + host, len - at - host, &port);
        if (n < 0)
                return "the relay URL has no valid port";
        if (!path_is_allowed(text + at + host + n, len - at - host - (size_t)n))
                return "a relay URL has no path, query or user: ws://HOST[:PORT]";
        if (asprintf(ret, port == standard ? "%s%.*s" : "%s%.*s:%u", tls ? "wss://" : "ws://",
                     (int)host, text + at, port) < 0) {
                *ret = NULL;
                return NULL;
        }
        for (char *c = *ret; *c; c++)
                if (*c >= 'A' && *c <= 'Z')
                        *c = (char)(*c - 'A' + 'a');
        return NULL;
}

int relay_url_normalize(const char *text, size_t len, char **ret, const char **ret_fault)
{
        char *url = NULL;
        const char *fault = normalize(text, len, &url);

        if (fault) {
                *ret_fault = fault;
                return -EINVAL;
        }
        if (!url)
                return -ENOMEM;
        *ret = url;
        return 0;
}

int relay_url_split(const char *url, RelayUrl *ret)
{
        RelayUrl u = {.tls = strncmp(url, "wss://", 6) == 0};
        const char *origin;
        unsigned port = u.tls ? 443 : 80;
        size_t len, host;
        bool brackets;

        if (!u.tls && strncmp(url, "ws://", 5) != 0)
                return -EINVAL;
        origin = url + (u.tls ? 6 : 5);
        len = strlen(origin);
        host = host_length(origin, len);
        brackets = host && origin[0] == '[';
        if (host == 0 || len >= sizeof(u.origin) || host >= sizeof(u.host) ||
            take_port(origin + host, len - host, &port) != (ssize_t)(len - host))
                return -EINVAL;
        memcpy(u.origin, origin, len + 1);
        memcpy(u.host, origin + brackets, host - 2 * (size_t)brackets);
        u.port = (uint16_t)port;
        *ret = u;
        return 0;
}

/* ---- invitation URIs ---- */

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c = (char)(c | 0x20);
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of "%XX" at p, which has left bytes; -1: none. */
static int percent_byte(const char *p, size_t left)
{
        int high = left >= 3 ? hex_value(p[1]) : -1, low = left >= 3 ? hex_value(p[2]) : -1;

        return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Resolves %XX into a secret. Spaces and control characters must be encoded; NUL may not be there
 * at all. 0, -EINVAL, -ENOMEM. */
static int percent_decode(const char *p, size_t len, Secret **ret)
{
        _cleanup_(secret_freep) Secret *s = secret_new(len);
        size_t n = 0;

        if (!s)
                return -ENOMEM;
        for (size_t i = 0; i < len; i++) {
                int c = (unsigned char)p[i];

                if (c <= 0x20 || c == 0x7f)
                        return -EINVAL;
                if (c == '%') {
                        c = percent_byte(p + i, len - i);
                        if (c <= 0)
                                return -EINVAL;
                        i += 2;
                }
                s->data[n++] = (uint8_t)c;
        }
        s->data[n] = 0;
        s->len = n;
        *ret = TAKE_PTR(s);
        return 0;
}

static const char out_of_memory[] = "out of memory"; /* known by its address */

static const char *take_value(InviteUri *u, const char *name, size_t name_len, Secret *value)
{
        const char *text = (const char *)value->data, *fault = NULL;

        if (name_len == 4 && memcmp(name, "code", 4) == 0) {
                if (u->code || value->len == 0 || value->len > INVITE_CODE_MAX)
                        return "the invitation's code is empty, too long or there twice";
                u->code = secret_copy(value->data, value->len);
                return u->code ? NULL : out_of_memory;
        }
        if (name_len == 2 && memcmp(name, "id", 2) == 0) {
                if (u->has_code_id ||
                    b64u_decode_exact(text, value->len, u->code_id, CODE_ID_BYTES) < 0)
                        return "the invitation's code id is not valid";
                u->has_code_id = true;
                return NULL;
        }
        if (name_len == 5 && memcmp(name, "relay", 5) == 0) {
                if (u->n_relays >= INVITE_RELAYS_MAX)
                        return "the invitation names too many relays";
                int r = relay_url_normalize(text, value->len, &u->relays[u->n_relays], &fault);
                if (r < 0)
                        return r == -ENOMEM ? out_of_memory : fault;
                u->n_relays++;
        }
        return NULL; /* an unknown one is for somebody else */
}

static const char *parse(const char *text, size_t len, InviteUri *u)
{
        static const char scheme[] = "link:";
        size_t at = sizeof(scheme) - 1;

        if (len > INVITE_URI_MAX)
                return "the invitation is too long";
        if (len < at || strncasecmp(text, scheme, at) != 0)
                return "an invitation begins with link:";
        if (len < at + ADDRESS_CHARS || !address_is_valid(text + at, ADDRESS_CHARS))
                return "the invitation's address is not valid";
        memcpy(u->address, text + at, ADDRESS_CHARS);
        at += ADDRESS_CHARS;
        if (at < len && text[at] != '?')
                return "the invitation's address is not valid";
        while (at < len) {
                const char *part = text + at + 1, *equals;
                const char *end = memchr(part, '&', len - at - 1), *fault;

                if (!end)
                        end = text + len;
                equals = memchr(part, '=', (size_t)(end - part));
                if (equals) {
                        _cleanup_(secret_freep) Secret *value = NULL;
                        int r = percent_decode(equals + 1, (size_t)(end - equals) - 1, &value);

                        if (r < 0)
                                return r == -ENOMEM
                                               ? out_of_memory
                                               : "the invitation is not percent-encoded correctly";
                        fault = take_value(u, part, (size_t)(equals - part), value);
                        if (fault)
                                return fault;
                }
                at = (size_t)(end - text);
        }
        return NULL;
}

int invite_uri_parse(const char *text, size_t len, InviteUri *ret, const char **ret_fault)
{
        InviteUri u = {};
        const char *fault = parse(text, len, &u);

        if (fault) {
                invite_uri_done(&u);
                *ret_fault = fault;
                return fault == out_of_memory ? -ENOMEM : -EINVAL;
        }
        *ret = u;
        return 0;
}

void invite_uri_done(InviteUri *u)
{
        secret_free(u->code);
        for (size_t i = 0; i < u->n_relays; i++)
                free(u->relays[i]);
        *u = (InviteUri){};
}

/* RFC 3986 unreserved characters stay; ':' and '/' too, which a query allows. */
static void percent_encode(Buf *b, const char *s)
{
        for (; *s; s++) {
                unsigned char c = (unsigned char)*s;

                if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    strchr("-._~:/", c))
                        buf_add_u8(b, c);
                else
                        buf_printf(b, "%%%02X", c);
        }
}

Secret *invite_uri_format(const char *address, const char *code, const uint8_t *code_id,
                          const char *const *relays, size_t n_relays)
{
        char id[B64U_LEN(CODE_ID_BYTES) + 1];
        Secret *s = NULL;
        Buf b = {};

        /* So that it does not grow and leave the code behind. */
        if (buf_reserve(&b, INVITE_URI_MAX + INVITE_RELAYS_MAX * RELAY_URL_MAX * 3) < 0)
                return NULL;
        buf_printf(&b, "link:%s?code=", address);
        percent_encode(&b, code);
        if (code_id) {
                b64u_encode(code_id, CODE_ID_BYTES, id);
                buf_printf(&b, "&id=%s", id);
        }
        for (size_t i = 0; i < n_relays; i++) {
                buf_add_str(&b, "&relay=");
                percent_encode(&b, relays[i]);
        }
        if (buf_ok(&b) == 0)
                s = secret_copy(b.data, b.len);
        buf_done_wipe(&b);
        return s;
}
