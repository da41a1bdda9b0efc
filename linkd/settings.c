#include "settings.h"

#include <errno.h>
#include <libconfig.h>
#include <openssl/pem.h>
#include <sodium.h>
#include <stdio.h>

#include "liblinkproto/inviteuri.h"
#include "limits.h"

static int say(const char *file, const config_setting_t *s, const char *fault)
{
        fprintf(stderr, "linkd: %s:%u: %s: %s\n", file, config_setting_source_line(s),
                config_setting_name(s) ? config_setting_name(s) : "relay", fault);
        return -EINVAL;
}

int settings_init(Settings *s)
{
        const char *name = NULL, *fault = NULL;
        int r;

        *s = (Settings){.self_check_msec = SELF_CHECK_SEC * 1000, .relay_budget = RELAY_BUDGET};
        r = proxy_from_environment(&s->proxy, &name, &fault);
        if (r == -EINVAL) /* the value may hold a password */
                fprintf(stderr, "linkd: $%s is no proxy that can be used: %s\n", name, fault);
        return r;
}

void settings_done(Settings *s)
{
        proxy_settings_done(&s->proxy);
        free(s->ca_file);
        while (s->pins) {
                RelayPin *p = s->pins;
                s->pins = p->next;
                free(p->url);
                free(p);
        }
        *s = (Settings){};
}

const uint8_t *settings_pin(const Settings *s, const char *url)
{
        for (const RelayPin *p = s->pins; p; p = p->next)
                if (strcmp(p->url, url) == 0)
                        return p->hash;
        return NULL;
}

static int take_number(const char *file, const config_setting_t *from, int min, int max, int *ret)
{
        char fault[64];
        int value = config_setting_get_int(from);

        if (config_setting_type(from) == CONFIG_TYPE_INT && value >= min && value <= max) {
                *ret = value;
                return 0;
        }
        (void)snprintf(fault, sizeof(fault), "must be a number from %d to %d", min, max); /* fits */
        return say(file, from, fault);
}

static int take_string(const char *file, const config_setting_t *from, char **to)
{
        const char *value = config_setting_get_string(from);
        char *copy;

        if (!value)
                return say(file, from, "must be a string");
        copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        free(*to);
        *to = copy;
        return 0;
}

static int take_ca_file(Settings *s, const char *file, const config_setting_t *from)
{
        int r = take_string(file, from, &s->ca_file);
        FILE *f = r < 0 ? NULL : fopen(s->ca_file, "re");
        X509 *certificate = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;

        if (r == 0 && !f)
                r = say(file, from, strerror(errno));
        else if (r == 0 && !certificate)
                r = say(file, from, "there is no PEM certificate in it");
        X509_free(certificate);
        if (f)
                (void)fclose(f); /* only read */
        return r;
}

/* "": no proxy, whatever the environment says. */
static int take_proxy(Settings *s, const char *file, const config_setting_t *from)
{
        const char *value = config_setting_get_string(from), *fault;
        Proxy *p;

        if (!value)
                return say(file, from, "must be a string");
        p = value[0] ? calloc(1, sizeof(*p)) : NULL;
        if (value[0] && !p)
                return -ENOMEM;
        if (p && proxy_parse(value, p, &fault) < 0) {
                free(p);
                return say(file, from, fault);
        }
        if (s->proxy.proxy)
                sodium_memzero(s->proxy.proxy, sizeof(*s->proxy.proxy));
        free(s->proxy.proxy);
        s->proxy.proxy = p;
        return 0;
}

static int take_pin(Settings *s, const char *file, const config_setting_t *group)
{
        static const char prefix[] = "sha256//"; /* curl's notation */
        const char *url, *pin, *fault = "out of memory", *end;
        size_t n;
        RelayPin *p;

        if (!config_setting_is_group(group) ||
            config_setting_lookup_string(group, "url", &url) != CONFIG_TRUE ||
            config_setting_lookup_string(group, "pin", &pin) != CONFIG_TRUE ||
            config_setting_length(group) != 2)
                return say(file, group,
                           "each relay is { url = \"wss://...\"; pin = \"sha256//...\"; }");
        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->next = s->pins;
        s->pins = p;
        if (relay_url_normalize(url, strlen(url), &p->url, &fault) < 0) {
                s->pins = p->next;
                free(p);
                return say(file, group, fault);
        }
        if (strncmp(p->url, "wss://", 6) != 0)
                return say(file, group, "only a wss:// relay has a key to pin");
        if (strncmp(pin, prefix, sizeof(prefix) - 1) != 0 ||
            sodium_base642bin(p->hash, sizeof(p->hash), pin + sizeof(prefix) - 1,
                              strlen(pin) - (sizeof(prefix) - 1), NULL, &n, &end,
                              sodium_base64_VARIANT_ORIGINAL) != 0 ||
            n != PIN_BYTES || *end)
                return say(file, group,
                           "a pin is \"sha256//\" and the base64 of the SHA-256 of the key");
        return 0;
}

static int take_relays(Settings *s, const char *file, const config_setting_t *list)
{
        int r = 0;

        if (!config_setting_is_list(list))
                return say(file, list, "must be a list: ( { url = ...; pin = ...; }, ... )");
        if (config_setting_length(list) > PINS_MAX)
                return say(file, list, "too many relays");
        for (int i = 0; r == 0 && i < config_setting_length(list); i++)
                r = take_pin(s, file, config_setting_get_elem(list, (unsigned)i));
        return r;
}

int settings_take(Settings *s, const char *file, const struct config_setting_t *from)
{
        const char *name = config_setting_name(from);
        int value, r;

        if (strcmp(name, "proxy") == 0)
                return take_proxy(s, file, from);
        if (strcmp(name, "no_proxy") == 0)
                return take_string(file, from, &s->proxy.except);
        if (strcmp(name, "ca_file") == 0)
                return take_ca_file(s, file, from);
        if (strcmp(name, "relays") == 0)
                return take_relays(s, file, from);
        if (strcmp(name, "self_check_sec") == 0) {
                r = take_number(file, from, 1, SELF_CHECK_MAX_SEC, &value);
                if (r == 0)
                        s->self_check_msec = (uint64_t)value * 1000;
                return r;
        }
        if (strcmp(name, "relay_budget_per_min") == 0) {
                r = take_number(file, from, 0, RELAY_BUDGET_MAX, &value);
                if (r == 0)
                        s->relay_budget = (unsigned)value;
                return r;
        }
        return 1;
}
