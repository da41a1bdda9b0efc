#include "settings.h"

#include <errno.h>
#include <openssl/x509_vfy.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "liblinkproto/inviteuri.h"
#include "limits.h"

int settings_init(Settings *s, char **ret_fault)
{
        const char *name = NULL, *fault = NULL;
        int r;

        *s = (Settings){.log_level = LOG_LEVEL_INFO,
                        .self_check_msec = SELF_CHECK_SEC * 1000,
                        .relay_budget = RELAY_BUDGET};
        r = proxy_from_environment(&s->proxy, &name, &fault);
        if (r == -EINVAL) /* the value may hold a password */
                return conf_fail(ret_fault, r, "$%s is no proxy that can be used: %s", name, fault);
        return r;
}

void settings_done(Settings *s)
{
        free(s->state_dir);
        free(s->socket);
        proxy_settings_done(&s->proxy);
        free(s->ca_file);
        while (s->pins) {
                RelayPin *p = s->pins;
                s->pins = p->next;
                free(p->url);
                free(p);
        }
        access_done(&s->access);
        *s = (Settings){};
}

const uint8_t *settings_pin(const Settings *s, const char *url)
{
        for (const RelayPin *p = s->pins; p; p = p->next)
                if (strcmp(p->url, url) == 0)
                        return p->hash;
        return NULL;
}

/* ---- the agent itself ---- */

static int take_path(const ConfSource *src, const config_setting_t *s, size_t max, char **to)
{
        const char *value = NULL;
        int r = conf_string(src, s, &value);

        if (r < 0)
                return r;
        if (value[0] != '/')
                return conf_fault(src, s, NULL, "a path that begins with /");
        if (strlen(value) > max)
                return conf_fault(src, s, NULL, "shorter: a Unix socket's path is");
        return conf_string_dup(src, s, to);
}

static int take_state_dir(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        return take_path(src, s, SIZE_MAX, &((Settings *)userdata)->state_dir);
}

static int take_socket(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        return take_path(src, s, sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1,
                         &((Settings *)userdata)->socket);
}

static int take_socket_group(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        Settings *to = userdata;
        const char *value = NULL;
        int r = conf_string(src, s, &value);

        if (r == 0 && access_parse_gid(value, &to->socket_group) < 0)
                r = conf_fault(src, s, NULL, "a group that exists");
        to->has_socket_group = r == 0;
        return r;
}

static int take_log_level(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        const char *value = NULL;
        int r = conf_string(src, s, &value);

        if (r == 0 && log_level_parse(value, &((Settings *)userdata)->log_level) < 0)
                r = conf_fault(src, s, NULL, "one of error, warning, info, debug");
        return r;
}

static int take_access(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        return access_take(&((Settings *)userdata)->access, src, s);
}

/* ---- the way to relays ---- */

static int take_self_check(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        int64_t sec = 0;
        int r = conf_number(src, s, 1, SELF_CHECK_MAX_SEC, &sec);

        if (r == 0)
                ((Settings *)userdata)->self_check_msec = (uint64_t)sec * 1000;
        return r;
}

static int take_relay_budget(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        int64_t n = 0;
        int r = conf_number(src, s, 0, RELAY_BUDGET_MAX, &n);

        if (r == 0)
                ((Settings *)userdata)->relay_budget = (unsigned)n;
        return r;
}

/* All of it must be readable: else TLS would not start at the first dial. */
static int take_ca_file(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        Settings *to = userdata;
        X509_STORE *store;
        struct stat st;
        int r = conf_string_dup(src, s, &to->ca_file);

        if (r < 0)
                return r;
        /* A device might never end, and a FIFO never begin. */
        if (access(to->ca_file, R_OK) < 0 || stat(to->ca_file, &st) < 0 || !S_ISREG(st.st_mode))
                return conf_fault(src, s, NULL, "a file that can be read");
        store = X509_STORE_new();
        if (!store)
                return conf_fail(src->ret_fault, -ENOMEM, "out of memory");
        if (X509_STORE_load_file(store, to->ca_file) != 1)
                r = conf_fault(src, s, NULL, "a file of PEM certificates");
        X509_STORE_free(store);
        return r;
}

/* "": no proxy, whatever the environment says. */
static int take_proxy(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        Settings *to = userdata;
        const char *value = NULL, *fault;
        Proxy *p = NULL;
        int r = conf_string(src, s, &value);

        if (r < 0)
                return r;
        if (value[0] && !(p = calloc(1, sizeof(*p))))
                return conf_fail(src->ret_fault, -ENOMEM, "out of memory");
        if (p && proxy_parse(value, p, &fault) < 0) {
                proxy_free(p);
                return conf_fault_hidden(src, s, fault);
        }
        proxy_free(to->proxy.proxy);
        to->proxy.proxy = p;
        return 0;
}

static int take_no_proxy(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        return conf_string_dup(src, s, &((Settings *)userdata)->proxy.except);
}

static int take_pin_url(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        RelayPin *p = userdata;
        const char *url = NULL, *fault = "out of memory";
        int r = conf_string(src, s, &url);

        if (r < 0)
                return r;
        if (relay_url_normalize(url, strlen(url), &p->url, &fault) < 0)
                return conf_fault_hidden(src, s, fault);
        if (strncmp(p->url, "wss://", 6) != 0)
                return conf_fault(src, s, NULL, "a wss:// relay's: only that has a key to pin");
        return 0;
}

static int take_pin_hash(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        static const char prefix[] = "sha256//"; /* curl's notation */
        RelayPin *p = userdata;
        const char *pin = NULL, *end;
        size_t n, skip = sizeof(prefix) - 1;
        int r = conf_string(src, s, &pin);

        if (r < 0)
                return r;
        if (strncmp(pin, prefix, skip) != 0 ||
            sodium_base642bin(p->hash, sizeof(p->hash), pin + skip, strlen(pin) - skip, NULL, &n,
                              &end, sodium_base64_VARIANT_ORIGINAL) != 0 ||
            n != PIN_BYTES || *end)
                return conf_fault(src, s, NULL,
                                  "\"sha256//\" and the base64 of the SHA-256 of the key");
        return 0;
}

static int take_relay(Settings *to, const ConfSource *src, const config_setting_t *s)
{
        static const ConfKey keys[] = {{"url", take_pin_url}, {"pin", take_pin_hash}, {}};
        static const char must[] = "made of { url = \"wss://...\"; pin = \"sha256//...\"; }";
        RelayPin *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return conf_fail(src->ret_fault, -ENOMEM, "out of memory");
        r = config_setting_is_group(s) && config_setting_get_member(s, "url") &&
                            config_setting_get_member(s, "pin")
                    ? conf_take_group(src, s, keys, p)
                    : conf_fault(src, s, NULL, must);
        if (r == 0 && settings_pin(to, p->url))
                r = conf_fault(src, s, p->url, "there once: a relay has one pin");
        if (r < 0) {
                free(p->url);
                free(p);
                return r;
        }
        p->next = to->pins;
        to->pins = p;
        return 0;
}

static int take_relays(void *userdata, const ConfSource *src, const config_setting_t *s)
{
        int r = config_setting_is_list(s)
                        ? 0
                        : conf_fault(src, s, NULL, "a list ( { url = ...; pin = ...; }, ... )");

        if (r == 0 && config_setting_length(s) > PINS_MAX)
                r = conf_fault(src, s, NULL, "shorter: 1024 relays at most");
        for (int i = 0; r == 0 && i < config_setting_length(s); i++)
                r = take_relay(userdata, src, config_setting_get_elem(s, (unsigned)i));
        return r;
}

/* ---- the file ---- */

int settings_read(Settings *s, const char *file, char **ret_fault)
{
        static const ConfKey keys[] = {
                {"state_dir", take_state_dir},
                {"socket", take_socket},
                {"socket_group", take_socket_group},
                {"log_level", take_log_level},
                {"access", take_access},
                {"proxy", take_proxy},
                {"no_proxy", take_no_proxy},
                {"ca_file", take_ca_file},
                {"relays", take_relays},
                {"self_check_sec", take_self_check},
                {"relay_budget_per_min", take_relay_budget},
                {},
        };
        const ConfSource src = {.file = file, .ret_fault = ret_fault};
        config_t config;
        int r;

        config_init(&config);
        r = conf_read(&config, &src);
        if (r == 0)
                r = conf_take_group(&src, config_root_setting(&config), keys, s);
        config_destroy(&config);
        return r;
}
