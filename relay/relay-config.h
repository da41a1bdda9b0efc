/* What a relay is told: the knobs of PROTOCOL.md "Relay limits". */
#pragma once

#include <stdio.h>

#include "limits.h"
#include "shape.h"

typedef enum RelayLogLevel {
        RELAY_LOG_ERROR,
        RELAY_LOG_WARNING,
        RELAY_LOG_INFO,
        RELAY_LOG_DEBUG,
} RelayLogLevel;

typedef void (*RelayLog)(RelayLogLevel level, const char *text, void *userdata);

/* Ed25519 keys that may register, sorted. */
typedef struct Allowlist {
        uint8_t (*keys)[32]; /* owned */
        size_t n;
} Allowlist;

typedef struct RelayConfig {
        unsigned port;            /* LINK_PORT */
        ShapeLimits shape;        /* LINK_RELAY_MAX_BPS, _HOURLY_BYTES, _TRICKLE_BPS */
        uint32_t idle_sec;        /* LINK_RELAY_IDLE_SEC */
        uint32_t ip_rate_per_min; /* LINK_IP_RATE_PER_MIN */
        bool trust_proxy;         /* LINK_TRUST_PROXY */
        bool closed;              /* only keys of the allowlist may register */
        Allowlist allowlist;      /* LINK_ALLOWED_REGISTER_KEYS and _FILE */
        char *origin;             /* LINK_ORIGIN; owned; NULL: from Host */
        RelayLog log;             /* NULL: none */
        void *log_data;
} RelayConfig;

/* The defaults. */
void relay_config_init(RelayConfig *c);
void relay_config_done(RelayConfig *c);
/* Reads the environment (PROTOCOL.md "Relay limits") into a config that has been initialised. 0;
 * -EINVAL: *ret_fault is a new string that names variable and value; -ENOMEM. */
int relay_config_from_environment(RelayConfig *c, char **ret_fault) _must_use_;
/* Whether a key may register. */
bool relay_config_allows(const RelayConfig *c, const uint8_t key[32]);

/* Sets *ret_fault (may be NULL) to a new string; returns r. */
int relay_fault(char **ret_fault, int r, const char *format, ...) _printf_(3, 4);
