/* What a relay is told: the knobs of PROTOCOL.md "Relay limits", and those of operation, from a
 * file (libconfig) and from the environment, which wins. */
#pragma once

#include <stddef.h>

#include "limits.h"
#include "shape.h"

typedef enum RelayLogLevel {
        RELAY_LOG_ERROR,
        RELAY_LOG_WARNING,
        RELAY_LOG_INFO,
        RELAY_LOG_DEBUG,
} RelayLogLevel;

/* event: a short word that stays the same; text: for people. */
typedef void (*RelayLog)(RelayLogLevel level, const char *event, const char *text, void *userdata);

/* Ed25519 keys that may register, sorted. */
typedef struct Allowlist {
        uint8_t (*keys)[32]; /* owned */
        size_t n;
} Allowlist;

/* All numbers are 64 bits wide, so that one table reads them. The names are those in the file; in
 * the environment they are LINK_ (of the first six LINK_RELAY_, see the table) and upper case. */
typedef struct RelayConfig {
        uint64_t port;
        ShapeLimits shape;        /* max_bps, hourly_bytes, trickle_bps */
        uint64_t idle_sec;        /* a quiet link is closed after this */
        uint64_t ip_rate_per_min; /* registers and resolves of one address; 0: any */
        uint64_t trust_proxy;     /* 1: the client is the first X-Forwarded-For hop */

        uint64_t max_connections;        /* 0: as many as there are descriptors */
        uint64_t max_connections_per_ip; /* not of loopback or a trusted proxy; 0: any */
        uint64_t accepts_per_sec_per_ip; /* with a burst of ten seconds' worth; as above */
        uint64_t max_queue_bytes;        /* in all queues; above it nobody is introduced */
        uint64_t drain_sec;              /* a stop is spread over this */

        bool closed;                 /* only keys of the allowlist may register */
        Allowlist allowlist;         /* allowed_register_keys, allowed_register_keys_file */
        char *origin;                /* owned; NULL: from Host */
        char *listen[LISTENERS_MAX]; /* owned; from the file only */
        size_t n_listen;
        bool log_json; /* log_format = "json" */

        RelayLog log; /* NULL: none */
        void *log_data;
} RelayConfig;

/* The defaults. */
void relay_config_init(RelayConfig *c);
void relay_config_done(RelayConfig *c);
/* Reads a file and the environment into a config that has been initialised. file NULL: none.
 * must_exist false: an absent file is none. 0; negative errno: *ret_fault is a new string (free())
 * that names file and line, or variable, and value. */
int relay_config_load(RelayConfig *c, const char *file, bool must_exist,
                      char **ret_fault) _must_use_;
/* Whether a key may register. */
bool relay_config_allows(const RelayConfig *c, const uint8_t key[32]);

/* Sets *ret_fault (may be NULL) to a new string; returns r. */
int relay_fault(char **ret_fault, int r, const char *format, ...) _printf_(3, 4);
