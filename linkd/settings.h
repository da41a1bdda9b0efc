/* How the agent meets the network: from the configuration and the environment. */
#pragma once

#include "liblinkproto/util.h"
#include "proxy.h"

enum { PIN_BYTES = 32 };

/* A relay whose TLS key is known: then that key, and no CA, decides. */
typedef struct RelayPin {
        struct RelayPin *next;
        char *url;               /* normalized */
        uint8_t hash[PIN_BYTES]; /* SHA-256 of the certificate's SubjectPublicKeyInfo */
} RelayPin;

typedef struct Settings {
        uint64_t self_check_msec;
        unsigned relay_budget;
        ProxySettings proxy;
        char *ca_file; /* PEM; NULL: the system's CAs */
        RelayPin *pins;
} Settings;

/* The defaults, and the environment's proxies. 0; -EINVAL (told on stderr); -ENOMEM. */
int settings_init(Settings *s) _must_use_;
void settings_done(Settings *s);
/* The key that a relay must have; NULL: it needs a certificate. */
const uint8_t *settings_pin(const Settings *s, const char *url);

struct config_setting_t;
/* Takes a setting of linkd.conf. 1: not one of these; 0; -EINVAL, told on stderr; -ENOMEM. */
int settings_take(Settings *s, const char *file, const struct config_setting_t *from) _must_use_;
