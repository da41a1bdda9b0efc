#include "relay-config.h"

#include <errno.h>
#include <stdarg.h>

#include "liblinkproto/b64u.h"

enum { KEY_BYTES = 32, KEYS_FILE_LINE_MAX = 4096 };

int relay_fault(char **ret_fault, int r, const char *format, ...)
{
        va_list ap;

        if (!ret_fault)
                return r;
        va_start(ap, format);
        if (vasprintf(ret_fault, format, ap) < 0)
                *ret_fault = NULL;
        va_end(ap);
        return r;
}

void relay_config_init(RelayConfig *c)
{
        *c = (RelayConfig){
                .port = 80,
                .shape = {.max_bps = 1024 * 1024, .trickle_bps = 16 * 1024},
                .idle_sec = 300,
                .ip_rate_per_min = 60,
        };
}

void relay_config_done(RelayConfig *c)
{
        free(c->allowlist.keys);
        free(c->origin);
        *c = (RelayConfig){};
}

/* ---- numbers ---- */

/* Plain decimal digits. */
static int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
        uint64_t v = 0;

        if (!*text)
                return -EINVAL;
        for (; *text; text++) {
                if (*text < '0' || *text > '9' || __builtin_mul_overflow(v, 10, &v) ||
                    __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
                        return -EINVAL;
        }
        if (v < min || v > max)
                return -ERANGE;
        *ret = v;
        return 0;
}

/* 2^53: what the other implementations' numbers hold. */
#define NUMBER_MAX (UINT64_C(1) << 53)

static int take_number(const char *name, uint64_t min, uint64_t max, uint64_t *ret,
                       char **ret_fault)
{
        const char *value = getenv(name);
        int r;

        if (!value || !*value)
                return 0;
        r = parse_number(value, min, max, ret);
        if (r < 0)
                return relay_fault(ret_fault, -EINVAL,
                                   "%s=%s: must be a whole number from %llu to %llu", name, value,
                                   (unsigned long long)min, (unsigned long long)max);
        return 0;
}

static int take_numbers(RelayConfig *c, char **ret_fault)
{
        uint64_t port = c->port, idle = c->idle_sec, rate = c->ip_rate_per_min;
        uint64_t proxy = c->trust_proxy;
        const struct {
                const char *name;
                uint64_t min, max, *to;
        } knobs[] = {
                {"LINK_PORT", 1, 65535, &port},
                {"LINK_RELAY_MAX_BPS", 0, NUMBER_MAX, &c->shape.max_bps},
                {"LINK_RELAY_HOURLY_BYTES", 0, NUMBER_MAX, &c->shape.hourly_bytes},
                {"LINK_RELAY_TRICKLE_BPS", 1, NUMBER_MAX, &c->shape.trickle_bps},
                {"LINK_RELAY_IDLE_SEC", 1, UINT32_MAX, &idle},
                {"LINK_IP_RATE_PER_MIN", 0, UINT32_MAX, &rate},
                {"LINK_TRUST_PROXY", 0, 1, &proxy},
        };
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(knobs) && r == 0; i++)
                r = take_number(knobs[i].name, knobs[i].min, knobs[i].max, knobs[i].to, ret_fault);
        c->port = (unsigned)port;
        c->idle_sec = (uint32_t)idle;
        c->ip_rate_per_min = (uint32_t)rate;
        c->trust_proxy = proxy;
        return r;
}

/* ---- keys ---- */

static int add_key(Allowlist *a, const uint8_t key[KEY_BYTES])
{
        uint8_t(*keys)[KEY_BYTES];

        if ((a->n & (a->n - 1)) == 0) { /* full at each power of two */
                keys = reallocarray(a->keys, a->n ? a->n * 2 : 1, KEY_BYTES);
                if (!keys)
                        return -ENOMEM;
                a->keys = keys;
        }
        memcpy(a->keys[a->n++], key, KEY_BYTES);
        return 0;
}

/* All keys of a list; `where` tells a fault's place. */
static int add_keys(Allowlist *a, const char *list, const char *where, char **ret_fault)
{
        static const char separators[] = ", \t\r\n";
        uint8_t key[KEY_BYTES];

        for (;;) {
                size_t n;
                int r;

                list += strspn(list, separators);
                n = strcspn(list, separators);
                if (n == 0)
                        return 0;
                if (b64u_decode_exact(list, n, key, sizeof(key)) < 0)
                        return relay_fault(ret_fault, -EINVAL,
                                           "%s: \"%.*s\" is not a register key (43 characters of "
                                           "base64url)",
                                           where, (int)MIN(n, (size_t)64), list);
                r = add_key(a, key);
                if (r < 0)
                        return relay_fault(ret_fault, r, "%s: out of memory", where);
                list += n;
        }
}

static int add_keys_file(Allowlist *a, const char *path, char **ret_fault)
{
        static const char name[] = "LINK_ALLOWED_REGISTER_KEYS_FILE";
        char line[KEYS_FILE_LINE_MAX], where[64];
        FILE *f = fopen(path, "re");
        int r = 0;

        if (!f)
                return relay_fault(ret_fault, -errno, "%s=%s: %s", name, path, strerror(errno));
        for (unsigned n = 1; r == 0 && fgets(line, sizeof(line), f); n++) {
                line[strcspn(line, "#")] = '\0';
                (void)snprintf(where, sizeof(where), "%s, line %u", name, n); /* fits */
                r = add_keys(a, line, where, ret_fault);
        }
        if (r == 0 && ferror(f))
                r = relay_fault(ret_fault, -EIO, "%s=%s: cannot be read", name, path);
        (void)fclose(f); /* only read */
        return r;
}

static int compare_keys(const void *a, const void *b)
{
        return memcmp(a, b, KEY_BYTES);
}

static int take_keys(RelayConfig *c, char **ret_fault)
{
        const char *list = getenv("LINK_ALLOWED_REGISTER_KEYS");
        const char *file = getenv("LINK_ALLOWED_REGISTER_KEYS_FILE");
        int r = 0;

        if (list && *list)
                r = add_keys(&c->allowlist, list, "LINK_ALLOWED_REGISTER_KEYS", ret_fault);
        if (r == 0 && file && *file)
                r = add_keys_file(&c->allowlist, file, ret_fault);
        if (r < 0)
                return r;
        c->closed = c->allowlist.n > 0 || (file && *file);
        if (c->allowlist.n)
                qsort(c->allowlist.keys, c->allowlist.n, KEY_BYTES, compare_keys);
        return 0;
}

bool relay_config_allows(const RelayConfig *c, const uint8_t key[32])
{
        return !c->closed || (c->allowlist.n && bsearch(key, c->allowlist.keys, c->allowlist.n,
                                                        KEY_BYTES, compare_keys));
}

static int take_origin(RelayConfig *c, char **ret_fault)
{
        const char *value = getenv("LINK_ORIGIN");
        char *origin;

        if (!value || !*value)
                return 0;
        for (const char *p = value; *p; p++)
                if (*p <= ' ' || *p == 0x7f || *p == '/')
                        return relay_fault(ret_fault, -EINVAL,
                                           "LINK_ORIGIN=%s: must be host[:port]", value);
        origin = strdup(value);
        if (!origin)
                return relay_fault(ret_fault, -ENOMEM, "out of memory");
        for (char *p = origin; *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char)(*p - 'A' + 'a');
        free(c->origin);
        c->origin = origin;
        return 0;
}

int relay_config_from_environment(RelayConfig *c, char **ret_fault)
{
        int r = take_numbers(c, ret_fault);

        if (r == 0)
                r = take_keys(c, ret_fault);
        return r == 0 ? take_origin(c, ret_fault) : r;
}
