/* What linkd.conf and the environment say. Most of it can change while the agent runs: whoever
 * needs a part of it for longer than a call has a copy. */
#pragma once

#include "access.h"
#include "log.h"
#include "proxy.h"

enum { PIN_BYTES = 32 };

/* A relay whose TLS key is known: then that key, and no CA, decides. */
typedef struct RelayPin {
        struct RelayPin *next;
        char *url;               /* normalized */
        uint8_t hash[PIN_BYTES]; /* SHA-256 of the certificate's SubjectPublicKeyInfo */
} RelayPin;

typedef struct Settings {
        char *state_dir, *socket; /* NULL: not set; fixed once the agent runs */
        bool has_socket_group;    /* else the socket's file has the group that it gets by itself */
        gid_t socket_group;
        LogLevel log_level;
        uint64_t self_check_msec;
        unsigned relay_budget;
        ProxySettings proxy;
        char *ca_file; /* PEM; NULL: the system's CAs */
        RelayPin *pins;
        AccessRules access;
} Settings;

/* The defaults, and the environment's proxies. 0; -EINVAL with the fault told; -ENOMEM. */
int settings_init(Settings *s, char **ret_fault) _must_use_;
void settings_done(Settings *s);
/* Takes what a file says. 0 or negative errno with the fault told (free()). */
int settings_read(Settings *s, const char *file, char **ret_fault) _must_use_;
/* The key that a relay must have; NULL: it needs a certificate. */
const uint8_t *settings_pin(const Settings *s, const char *url);
