#include "conf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "liblinkproto/buf.h"
#include "liblinkproto/conftext.h"
#include "limits.h"

int conf_fail(char **ret_fault, int error, const char *format, ...)
{
        va_list ap;

        free(*ret_fault);
        va_start(ap, format);
        if (vasprintf(ret_fault, format, ap) < 0)
                *ret_fault = NULL;
        va_end(ap);
        return error;
}

/* ---- the file ---- */

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
        buf_done_wipe(&raw); /* a proxy's password may be in it */
        return r;
}

/* The large numbers of an included file would be cut. */
static int refuse_included(const ConfSource *src, const config_setting_t *s)
{
        int r = 0;

        if (config_setting_source_file(s))
                return conf_fail(src->ret_fault, -EINVAL,
                                 "%s: @include \"%s\" is not supported: put its settings here",
                                 src->file, config_setting_source_file(s));
        for (int i = 0; r == 0 && config_setting_is_aggregate(s) && i < config_setting_length(s);
             i++)
                r = refuse_included(src, config_setting_get_elem(s, (unsigned)i));
        return r;
}

int conf_read(config_t *config, const ConfSource *src)
{
        char *text = NULL;
        int r = read_text(src->file, &text);

        if (r < 0)
                return conf_fail(src->ret_fault, r, "cannot read the configuration %s: %s",
                                 src->file, strerror(-r));
        if (config_read_string(config, text) == CONFIG_TRUE)
                r = refuse_included(src, config_root_setting(config));
        else if (config_error_file(config))
                r = conf_fail(src->ret_fault, -EINVAL, "%s: @include is not supported", src->file);
        else
                r = conf_fail(src->ret_fault, -EINVAL, "%s:%d: %s", src->file,
                              config_error_line(config), config_error_text(config));
        explicit_bzero(text, strlen(text));
        free(text);
        return r;
}

/* ---- faults ---- */

/* As it stands in the file. */
static void format_value(const config_setting_t *s, char *ret, size_t size)
{
        switch (config_setting_type(s)) { /* cut is fine, everywhere */
        case CONFIG_TYPE_INT:
        case CONFIG_TYPE_INT64:
                (void)snprintf(ret, size, "%lld", config_setting_get_int64(s));
                return;
        case CONFIG_TYPE_FLOAT:
                (void)snprintf(ret, size, "%g", config_setting_get_float(s));
                return;
        case CONFIG_TYPE_BOOL:
                (void)snprintf(ret, size, "%s", config_setting_get_bool(s) ? "true" : "false");
                return;
        case CONFIG_TYPE_STRING:
                (void)snprintf(ret, size, "\"%s\"", config_setting_get_string(s));
                return;
        case CONFIG_TYPE_ARRAY:
                (void)snprintf(ret, size, "[...]");
                return;
        case CONFIG_TYPE_LIST:
                (void)snprintf(ret, size, "(...)");
                return;
        default:
                (void)snprintf(ret, size, "{...}");
                return;
        }
}

/* Of an element of a list: the list's. */
static const char *name_of(const config_setting_t *s)
{
        while (!config_setting_name(s) && config_setting_parent(s))
                s = config_setting_parent(s);
        return config_setting_name(s) ? config_setting_name(s) : "";
}

int conf_fault(const ConfSource *src, const config_setting_t *s, const char *value,
               const char *must)
{
        char text[256];

        if (value)
                (void)snprintf(text, sizeof(text), "\"%s\"", value); /* cut is fine */
        else
                format_value(s, text, sizeof(text));
        (void)conf_fail(src->ret_fault, -EINVAL, "%s:%u: %s = %s: must be %s", src->file,
                        config_setting_source_line(s), name_of(s), text, must);
        return -EINVAL;
}

int conf_fault_hidden(const ConfSource *src, const config_setting_t *s, const char *fault)
{
        (void)conf_fail(src->ret_fault, -EINVAL, "%s:%u: %s: %s", src->file,
                        config_setting_source_line(s), name_of(s), fault);
        return -EINVAL;
}

static int fault_unknown(const ConfSource *src, const config_setting_t *s, const ConfKey *keys)
{
        _cleanup_(buf_done) Buf known = {};

        for (; keys->name; keys++) {
                buf_add_str(&known, known.len ? ", " : "");
                buf_add_str(&known, keys->name);
        }
        buf_add_u8(&known, 0);
        return conf_fail(src->ret_fault, -EINVAL, "%s:%u: unknown setting \"%s\"; there are %s",
                         src->file, config_setting_source_line(s), config_setting_name(s),
                         buf_ok(&known) == 0 ? (const char *)known.data : "others");
}

/* ---- values ---- */

static int take(const ConfSource *src, const config_setting_t *s, const ConfKey *keys,
                void *userdata)
{
        for (const ConfKey *k = keys; k->name; k++)
                if (strcmp(k->name, config_setting_name(s)) == 0)
                        return k->take(userdata, src, s);
        return fault_unknown(src, s, keys);
}

int conf_take_group(const ConfSource *src, const config_setting_t *group, const ConfKey *keys,
                    void *userdata)
{
        int r = config_setting_is_group(group) ? 0
                                               : conf_fault(src, group, NULL, "a group { ... }");

        for (int i = 0; r == 0 && i < config_setting_length(group); i++)
                r = take(src, config_setting_get_elem(group, (unsigned)i), keys, userdata);
        return r;
}

int conf_number(const ConfSource *src, const config_setting_t *s, int64_t min, int64_t max,
                int64_t *ret)
{
        int type = config_setting_type(s);
        int64_t v = config_setting_get_int64(s);
        char must[96];

        if ((type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64) && v >= min && v <= max) {
                *ret = v;
                return 0;
        }
        (void)snprintf(must, sizeof(must), "a whole number from %lld to %lld", (long long)min,
                       (long long)max); /* fits */
        return conf_fault(src, s, NULL, must);
}

int conf_string(const ConfSource *src, const config_setting_t *s, const char **ret)
{
        const char *value = config_setting_get_string(s);

        if (!value)
                return conf_fault(src, s, NULL, "a string in quotes");
        *ret = value;
        return 0;
}

int conf_string_dup(const ConfSource *src, const config_setting_t *s, char **to)
{
        const char *value = NULL;
        char *copy;
        int r = conf_string(src, s, &value);

        if (r < 0)
                return r;
        copy = strdup(value);
        if (!copy)
                return conf_fail(src->ret_fault, -ENOMEM, "out of memory");
        free(*to);
        *to = copy;
        return 0;
}
