#include "proxy.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <strings.h>

/* One character of a percent-encoded text; -1: not encoded correctly. */
static int percent_char(const char **at, const char *end)
{
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *p = *at, *high, *low;

        if (*p != '%') {
                *at = p + 1;
                return (unsigned char)*p;
        }
        if (end - p < 3 || !p[1] || !p[2] || !(high = strchr(digits, p[1])) ||
            !(low = strchr(digits, p[2])))
                return -1;
        *at = p + 3;
        return (int)((high - digits) % 16 * 16 + (low - digits) % 16);
}

static int set_authorization(Proxy *p, const char *user, size_t len)
{
        char plain[256], *out = p->authorization;
        const char *end = user + len;
        size_t n = 0;
        int c;

        while (user < end) {
                c = percent_char(&user, end);
                if (c < 0 || n >= sizeof(plain))
                        return -EINVAL;
                plain[n++] = (char)c;
        }
        if (sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_ORIGINAL) + 6 >
            sizeof(p->authorization))
                return -EINVAL;
        memcpy(out, "Basic ", 6);
        sodium_bin2base64(out + 6, sizeof(p->authorization) - 6, (const uint8_t *)plain, n,
                          sodium_base64_VARIANT_ORIGINAL);
        sodium_memzero(plain, sizeof(plain));
        return 0;
}

/* "host", "[v6]", each with ":port" or without. false: neither. */
static bool split_host(const char *text, size_t len, char host[256], uint16_t *port)
{
        const char *end = text + len, *stop, *colon;
        size_t n;
        char *rest = NULL;
        unsigned long number;

        if (len && text[0] == '[') {
                stop = memchr(text, ']', len);
                if (!stop)
                        return false;
                text++;
                n = (size_t)(stop - text);
                colon = stop + 1;
        } else {
                colon = memchr(text, ':', len);
                if (!colon)
                        colon = end;
                n = (size_t)(colon - text);
        }
        if (n == 0 || n > 255)
                return false;
        for (size_t i = 0; i < n; i++) {
                if ((unsigned char)text[i] <= 0x20 || text[i] == 0x7f || strchr("/@\\", text[i]))
                        return false;
                host[i] = text[i];
        }
        host[n] = '\0';
        if (colon == end)
                return true;
        if (*colon != ':' || end - colon > 6 || colon[1] < '0' || colon[1] > '9')
                return false;
        number = strtoul(colon + 1, &rest, 10);
        if (rest != end || number == 0 || number > 65535)
                return false;
        *port = (uint16_t)number;
        return true;
}

int proxy_parse(const char *text, Proxy *ret, const char **ret_fault)
{
        const char *scheme = strstr(text, "://"), *at;
        Proxy p = {.port = 1080};
        size_t len;

        if (scheme && strncasecmp(text, "http://", 7) != 0) {
                *ret_fault = strncasecmp(text, "socks", 5) == 0
                                     ? "SOCKS proxies are not supported: name an http:// proxy"
                             : strncasecmp(text, "https://", 8) == 0
                                     ? "proxies spoken to in TLS are not supported: name an "
                                       "http:// proxy"
                                     : "only http:// proxies are supported";
                return -EINVAL;
        }
        if (scheme)
                text = scheme + 3;
        len = strcspn(text, "/?#");
        if (text[len] && (text[len] != '/' || text[len + 1])) {
                *ret_fault = "a proxy's URL has no path";
                return -EINVAL;
        }
        at = memrchr(text, '@', len);
        if (at && set_authorization(&p, text, (size_t)(at - text)) < 0) {
                *ret_fault = "its user and password are too long or not percent-encoded correctly";
                return -EINVAL;
        }
        if (at) {
                len -= (size_t)(at + 1 - text);
                text = at + 1;
        }
        if (!split_host(text, len, p.host, &p.port)) {
                *ret_fault = "it is not http://[user:password@]host[:port]";
                return -EINVAL;
        }
        *ret = p;
        return 0;
}

static bool entry_matches(const char *entry, size_t len, const char *host, uint16_t port)
{
        char name[256];
        uint16_t only_port = 0;
        size_t n, host_len = strlen(host);
        const char *bare = name;

        if (len == 1 && entry[0] == '*')
                return true;
        if (memchr(entry, ':', len) != memrchr(entry, ':', len) && entry[0] != '[') {
                if (len >= sizeof(name)) /* an IPv6 address without brackets */
                        return false;
                memcpy(name, entry, len);
                name[len] = '\0';
        } else if (!split_host(entry, len, name, &only_port)) {
                return false;
        }
        if (only_port && only_port != port)
                return false;
        while (*bare == '.' || (bare[0] == '*' && bare[1] == '.'))
                bare++;
        n = strlen(bare);
        return n && n <= host_len && strcasecmp(host + host_len - n, bare) == 0 &&
               (n == host_len || host[host_len - n - 1] == '.');
}

bool proxy_excepts(const char *except, const char *host, uint16_t port)
{
        while (*except) {
                size_t n;

                except += strspn(except, ", \t");
                n = strcspn(except, ", \t");
                if (n && entry_matches(except, n, host, port))
                        return true;
                except += n;
        }
        return false;
}

const Proxy *proxy_for(const ProxySettings *s, const char *host, uint16_t port)
{
        if (!s->proxy || (s->except && proxy_excepts(s->except, host, port)))
                return NULL;
        return s->proxy;
}

static const char *first_set(const char *const *names, const char **ret_name)
{
        for (; *names; names++) {
                const char *value = getenv(*names);
                if (value && value[0]) {
                        *ret_name = *names;
                        return value;
                }
        }
        return NULL;
}

int proxy_from_environment(ProxySettings *ret, const char **ret_name, const char **ret_fault)
{
        static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
                                            NULL};
        static const char *const except_names[] = {"no_proxy", "NO_PROXY", NULL};
        const char *unused, *value = first_set(names, ret_name);
        const char *except = first_set(except_names, &unused);
        ProxySettings s = {};
        int r = 0;

        if (value) {
                s.proxy = malloc(sizeof(*s.proxy));
                r = s.proxy ? proxy_parse(value, s.proxy, ret_fault) : -ENOMEM;
        }
        if (r == 0 && except) {
                s.except = strdup(except);
                if (!s.except)
                        r = -ENOMEM;
        }
        if (r < 0) {
                proxy_settings_done(&s);
                return r;
        }
        *ret = s;
        return 0;
}

Proxy *proxy_copy(const Proxy *p)
{
        Proxy *copy = p ? malloc(sizeof(*copy)) : NULL;

        if (copy)
                *copy = *p;
        return copy;
}

Proxy *proxy_free(Proxy *p)
{
        if (p)
                sodium_memzero(p, sizeof(*p)); /* it may hold a password */
        free(p);
        return NULL;
}

void proxy_settings_done(ProxySettings *s)
{
        proxy_free(s->proxy);
        free(s->except);
        *s = (ProxySettings){};
}
