#include "relay-config.h"

#include <errno.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "limits.h"
#include "liblinkproto/b64u.h"
#include "liblinkproto/conftext.h"
#include "listener.h"

enum { KEY_BYTES = 32, KEYS_FILE_PATH_MAX = 1024 };

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

/* ---- numbers ---- */

/* 2^53: what the other implementations' numbers hold. */
#define NUMBER_MAX (UINT64_C(1) << 53)

typedef struct Knob {
        const char *variable, *name;
        size_t offset; /* of a uint64_t in RelayConfig */
        uint64_t min, max, standard;
} Knob;

#define KNOB(variable, name, member, min, max, standard)                                           \
        {                                                                                          \
                variable, name, offsetof(RelayConfig, member), min, max, standard                  \
        }

/* clang-format off */
static const Knob knobs[] = {
        KNOB("LINK_PORT", "port", port, 1, 65535, 80),
        KNOB("LINK_RELAY_MAX_BPS", "max_bps", shape.max_bps, 0, NUMBER_MAX, 1024 * 1024),
        KNOB("LINK_RELAY_HOURLY_BYTES", "hourly_bytes", shape.hourly_bytes, 0, NUMBER_MAX, 0),
        KNOB("LINK_RELAY_TRICKLE_BPS", "trickle_bps", shape.trickle_bps, 1, NUMBER_MAX, 16 * 1024),
        KNOB("LINK_RELAY_IDLE_SEC", "idle_sec", idle_sec, 1, UINT32_MAX, 300),
        KNOB("LINK_IP_RATE_PER_MIN", "ip_rate_per_min", ip_rate_per_min, 0, UINT32_MAX, 60),
        KNOB("LINK_TRUST_PROXY", "trust_proxy", trust_proxy, 0, 1, 0),
        KNOB("LINK_MAX_CONNECTIONS", "max_connections", max_connections, 0, UINT32_MAX, 0),
        /* Above the 4,500 links that one busy host may have. */
        KNOB("LINK_MAX_CONNECTIONS_PER_IP", "max_connections_per_ip", max_connections_per_ip, 0,
             UINT32_MAX, 8192),
        /* A host with a thousand devices comes back within seconds of a restart. */
        KNOB("LINK_ACCEPTS_PER_SEC_PER_IP", "accepts_per_sec_per_ip", accepts_per_sec_per_ip, 0,
             UINT32_MAX, 200),
        KNOB("LINK_MAX_QUEUE_BYTES", "max_queue_bytes", max_queue_bytes, 1024 * 1024, NUMBER_MAX,
             1024ull * 1024 * 1024),
        KNOB("LINK_DRAIN_SEC", "drain_sec", drain_sec, 0, 3600, 0),
};
/* clang-format on */

static uint64_t *knob_place(RelayConfig *c, const Knob *k)
{
        return (uint64_t *)(void *)((char *)c + k->offset);
}

void relay_config_init(RelayConfig *c)
{
        *c = (RelayConfig){};
        for (size_t i = 0; i < ELEMENTSOF(knobs); i++)
                *knob_place(c, &knobs[i]) = knobs[i].standard;
}

void relay_config_done(RelayConfig *c)
{
        for (size_t i = 0; i < c->n_listen; i++)
                free(c->listen[i]);
        free(c->allowlist.keys);
        free(c->origin);
        *c = (RelayConfig){};
}

/* Plain decimal digits. */
static bool parse_number(const char *text, uint64_t *ret)
{
        uint64_t v = 0;

        if (!*text)
                return false;
        for (; *text; text++)
                if (*text < '0' || *text > '9' || __builtin_mul_overflow(v, 10, &v) ||
                    __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
                        return false;
        *ret = v;
        return true;
}

static int take_variable(RelayConfig *c, const Knob *k, char **ret_fault)
{
        const char *text = getenv(k->variable);
        uint64_t v;

        if (!text || !*text)
                return 0;
        if (!parse_number(text, &v) || v < k->min || v > k->max)
                return relay_fault(ret_fault, -EINVAL,
                                   "%s=%s: must be a whole number from %llu to %llu", k->variable,
                                   text, (unsigned long long)k->min, (unsigned long long)k->max);
        *knob_place(c, k) = v;
        return 0;
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

/* One line into a buffer of KEYS_LINE_MAX. 1; 0 at the end; -EFBIG; -EILSEQ for a NUL; -EIO. */
static int read_line(FILE *f, char *line)
{
        size_t n;

        errno = 0;
        if (!fgets(line, KEYS_LINE_MAX, f))
                return feof(f) ? 0 : errno ? -errno : -EIO;
        n = strlen(line);
        if (n == KEYS_LINE_MAX - 1 && line[n - 1] != '\n')
                return -EFBIG;
        return (n == 0 || line[n - 1] != '\n') && !feof(f) ? -EILSEQ : 1;
}

/* name: the setting, for faults. */
static int add_keys_file(Allowlist *a, const char *path, const char *name, char **ret_fault)
{
        _cleanup_(freep) char *line = malloc(KEYS_LINE_MAX);
        char where[KEYS_FILE_PATH_MAX + 64];
        FILE *f = line ? fopen(path, "re") : NULL;
        int r = 1;

        if (!f)
                return relay_fault(ret_fault, -errno, "%s=%s: %s", name, path, strerror(errno));
        for (unsigned n = 1; r > 0; n++) {
                (void)snprintf(where, sizeof(where), "%s=%s, line %u", name, path,
                               n); /* cut is fine */
                r = read_line(f, line);
                if (r < 0)
                        (void)relay_fault(ret_fault, r, "%s: %s", where, strerror(-r));
                if (r <= 0)
                        break;
                line[strcspn(line, "#")] = '\0';
                r = add_keys(a, line, where, ret_fault);
                r = r < 0 ? r : 1;
        }
        (void)fclose(f); /* only read */
        return r;
}

static int compare_keys(const void *a, const void *b)
{
        return memcmp(a, b, KEY_BYTES);
}

static void sort_keys(Allowlist *a)
{
        if (a->n)
                qsort(a->keys, a->n, KEY_BYTES, compare_keys);
}

static int take_key_variables(RelayConfig *c, char **ret_fault)
{
        static const char list_name[] = "LINK_ALLOWED_REGISTER_KEYS";
        static const char file_name[] = "LINK_ALLOWED_REGISTER_KEYS_FILE";
        const char *list = getenv(list_name), *file = getenv(file_name);
        int r = 0;

        if ((list && *list) || (file && *file)) { /* they win over the file's */
                c->allowlist.n = 0;
                c->closed = false;
        }
        if (list && *list)
                r = add_keys(&c->allowlist, list, list_name, ret_fault);
        if (r == 0 && file && *file)
                r = add_keys_file(&c->allowlist, file, file_name, ret_fault);
        if ((list && *list) || (file && *file))
                c->closed = true; /* also when they name no key at all */
        sort_keys(&c->allowlist);
        return r;
}

bool relay_config_allows(const RelayConfig *c, const uint8_t key[32])
{
        return !c->closed || (c->allowlist.n && bsearch(key, c->allowlist.keys, c->allowlist.n,
                                                        KEY_BYTES, compare_keys));
}

static bool is_origin(const char *value)
{
        for (const char *p = value; *p; p++)
                if (*p <= ' ' || *p == 0x7f || *p == '/')
                        return false;
        return true;
}

/* host[:port], lower-cased. */
static int set_origin(RelayConfig *c, const char *value, char **ret_fault)
{
        char *origin = strdup(value);

        if (!origin)
                return relay_fault(ret_fault, -ENOMEM, "out of memory");
        for (char *p = origin; *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char)(*p - 'A' + 'a');
        free(c->origin);
        c->origin = origin;
        return 0;
}

static int take_environment(RelayConfig *c, char **ret_fault)
{
        const char *origin = getenv("LINK_ORIGIN");
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(knobs) && r == 0; i++)
                r = take_variable(c, &knobs[i], ret_fault);
        if (r == 0)
                r = take_key_variables(c, ret_fault);
        if (r == 0 && origin && !is_origin(origin))
                return relay_fault(ret_fault, -EINVAL, "LINK_ORIGIN=%s: must be host[:port]",
                                   origin);
        if (r == 0 && origin && *origin)
                r = set_origin(c, origin, ret_fault);
        return r;
}

/* ---- the file ---- */

typedef struct Source {
        const char *file;
        char **ret_fault;
} Source;

/* As it stands in the file. */
static void format_value(const config_setting_t *s, char *ret, size_t size)
{
        int type = config_setting_type(s);

        if (type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64) /* cut is fine, also below */
                (void)snprintf(ret, size, "%lld", config_setting_get_int64(s));
        else if (type == CONFIG_TYPE_FLOAT)
                (void)snprintf(ret, size, "%g", config_setting_get_float(s));
        else if (type == CONFIG_TYPE_BOOL)
                (void)snprintf(ret, size, "%s", config_setting_get_bool(s) ? "true" : "false");
        else if (type == CONFIG_TYPE_STRING)
                (void)snprintf(ret, size, "\"%s\"", config_setting_get_string(s));
        else
                (void)snprintf(ret, size, "%s", type == CONFIG_TYPE_GROUP ? "{...}" : "[...]");
}

/* value: the string that is wrong, of a list; NULL: all of the setting. */
static int bad_setting(const Source *src, const config_setting_t *s, const char *value,
                       const char *must)
{
        char text[256];

        if (value)
                (void)snprintf(text, sizeof(text), "\"%s\"", value); /* cut is fine */
        else
                format_value(s, text, sizeof(text));
        return relay_fault(src->ret_fault, -EINVAL, "%s:%u: %s = %s: must be %s", src->file,
                           config_setting_source_line(s), config_setting_name(s), text, must);
}

static int take_number(RelayConfig *c, const Source *src, const config_setting_t *s, const Knob *k)
{
        int type = config_setting_type(s);
        long long v =
                type == CONFIG_TYPE_BOOL ? config_setting_get_bool(s) : config_setting_get_int64(s);
        char must[96];

        (void)snprintf(must, sizeof(must), "a whole number from %llu to %llu",
                       (unsigned long long)k->min, (unsigned long long)k->max); /* fits */
        if ((type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64 &&
             !(type == CONFIG_TYPE_BOOL && k->max == 1)) ||
            v < 0 || (uint64_t)v < k->min || (uint64_t)v > k->max)
                return bad_setting(src, s, NULL, must);
        *knob_place(c, k) = (uint64_t)v;
        return 0;
}

/* A string, or a list of them: calls func for each. */
typedef int (*TakeString)(RelayConfig *c, const Source *src, const config_setting_t *s,
                          const char *value);

static int take_strings(RelayConfig *c, const Source *src, const config_setting_t *s,
                        TakeString func)
{
        static const char must[] = "a string or a list of strings";
        int n = config_setting_is_aggregate(s) ? config_setting_length(s) : 1, r = 0;

        if (config_setting_is_group(s))
                return bad_setting(src, s, NULL, must);
        for (int i = 0; i < n && r == 0; i++) {
                const char *value = config_setting_is_aggregate(s)
                                            ? config_setting_get_string_elem(s, i)
                                            : config_setting_get_string(s);
                r = value ? func(c, src, s, value) : bad_setting(src, s, NULL, must);
        }
        return r;
}

static int take_listen(RelayConfig *c, const Source *src, const config_setting_t *s,
                       const char *value)
{
        if (c->n_listen == LISTENERS_MAX)
                return bad_setting(src, s, NULL, "a shorter list");
        if (!listener_is_valid(value))
                return bad_setting(src, s, value, "PORT, ADDRESS:PORT or /PATH, in quotes");
        c->listen[c->n_listen] = strdup(value);
        if (!c->listen[c->n_listen])
                return relay_fault(src->ret_fault, -ENOMEM, "out of memory");
        c->n_listen++;
        return 0;
}

static int take_key_list(RelayConfig *c, const Source *src, const config_setting_t *s,
                         const char *value)
{
        char where[KEYS_FILE_PATH_MAX + 32];

        (void)snprintf(where, sizeof(where), "%s:%u", src->file,
                       config_setting_source_line(s)); /* cut is fine */
        c->closed = c->closed || *value;
        return add_keys(&c->allowlist, value, where, src->ret_fault);
}

static int take_key_file(RelayConfig *c, const Source *src, const config_setting_t *s,
                         const char *value)
{
        char where[KEYS_FILE_PATH_MAX + 64];

        (void)snprintf(where, sizeof(where), "%s:%u: %s", src->file, config_setting_source_line(s),
                       config_setting_name(s)); /* cut is fine */
        c->closed = true;
        return add_keys_file(&c->allowlist, value, where, src->ret_fault);
}

static int take_origin(RelayConfig *c, const Source *src, const config_setting_t *s,
                       const char *value)
{
        if (!*value || !is_origin(value))
                return bad_setting(src, s, NULL, "host[:port]");
        return set_origin(c, value, src->ret_fault);
}

static int take_log_format(RelayConfig *c, const Source *src, const config_setting_t *s,
                           const char *value)
{
        c->log_json = strcmp(value, "json") == 0;
        return c->log_json || strcmp(value, "text") == 0
                       ? 0
                       : bad_setting(src, s, value, "\"text\" or \"json\"");
}

static int take_setting(RelayConfig *c, const Source *src, const config_setting_t *s)
{
        static const struct {
                const char *name;
                TakeString func;
        } strings[] = {
                {"listen", take_listen},
                {"allowed_register_keys", take_key_list},
                {"allowed_register_keys_file", take_key_file},
                {"origin", take_origin},
                {"log_format", take_log_format},
        };
        const char *name = config_setting_name(s);

        for (size_t i = 0; i < ELEMENTSOF(knobs); i++)
                if (strcmp(name, knobs[i].name) == 0)
                        return take_number(c, src, s, &knobs[i]);
        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                if (strcmp(name, strings[i].name) == 0)
                        return take_strings(c, src, s, strings[i].func);
        return relay_fault(src->ret_fault, -EINVAL, "%s:%u: unknown setting \"%s\"", src->file,
                           config_setting_source_line(s), name);
}

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
        return buf_ok(b);
}

static int read_text(const char *file, char **ret)
{
        FILE *f = fopen(file, "re");
        Buf raw = {};
        int r;

        if (!f)
                return -errno;
        r = read_all(f, &raw);
        (void)fclose(f); /* only read */
        if (r == 0)
                r = conftext_from_bytes(raw.data, raw.len, ret);
        buf_done(&raw);
        return r;
}

static int take_file(RelayConfig *c, const char *file, char **ret_fault)
{
        const Source src = {.file = file, .ret_fault = ret_fault};
        _cleanup_(freep) char *text = NULL;
        const config_setting_t *root;
        config_t config;
        int r;

        config_init(&config);
        r = read_text(file, &text);
        if (r < 0)
                (void)relay_fault(ret_fault, r, "%s: %s", file, strerror(-r));
        else if (config_read_string(&config, text) != CONFIG_TRUE)
                r = relay_fault(ret_fault, -EINVAL, "%s:%d: %s", file, config_error_line(&config),
                                config_error_text(&config));
        root = config_root_setting(&config);
        for (int i = 0; r == 0 && i < config_setting_length(root); i++)
                r = take_setting(c, &src, config_setting_get_elem(root, (unsigned)i));
        c->closed = c->closed || c->allowlist.n > 0;
        sort_keys(&c->allowlist);
        config_destroy(&config);
        return r;
}

int relay_config_load(RelayConfig *c, const char *file, bool must_exist, char **ret_fault)
{
        int r = 0;

        if (file && access(file, R_OK) < 0) {
                if (must_exist || errno != ENOENT)
                        return relay_fault(ret_fault, -errno, "%s: %s", file, strerror(errno));
                file = NULL;
        }
        if (file)
                r = take_file(c, file, ret_fault);
        return r == 0 ? take_environment(c, ret_fault) : r;
}
