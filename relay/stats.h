/* What is counted, and the documents made of it. */
#pragma once

#include "liblinkproto/util.h"
#include "limits.h"

enum { STATS_CLOSE_CODES = 16 };

typedef enum Refusal {
        REFUSED_CONNECTIONS,    /* max_connections */
        REFUSED_IP_CONNECTIONS, /* max_connections_per_ip */
        REFUSED_IP_ACCEPTS,     /* accepts_per_sec_per_ip */
        REFUSED_DESCRIPTORS,    /* none was left */
        REFUSED_MEMORY,         /* out of memory, or a table is full */
        REFUSED_HEADS,          /* HEADS_MAX: the oldest went */
        REFUSED_QUEUES,         /* max_queue_bytes: no introduction */
        REFUSED_BUDGET,         /* ip_rate_per_min */
        REFUSED_AUTH,           /* 4007 */
        REFUSED_ALLOWLIST,      /* 4010 */
        REFUSED_STALE,          /* register_stale */
        REFUSED_ADDRESS,        /* unknown_address */
        REFUSED_LINK,           /* unknown_link */
        N_REFUSALS,
} Refusal;

typedef struct ClosedLink {
        char id[37];
        uint8_t reason;
        int64_t relay_started_msec, closed_msec;
        uint64_t from_client, from_host;
} ClosedLink;

typedef struct Stats {
        uint64_t started_msec;
        uint64_t n_registrations;        /* addresses that are held now */
        uint64_t n_live, n_relaying;     /* links now */
        uint64_t n_links, n_relayed;     /* ever */
        uint64_t from_host, from_client; /* bytes ever */
        uint64_t n_roles[4];             /* open sockets by ConnRole */
        uint64_t n_accepted;
        uint64_t refusals[N_REFUSALS];
        uint64_t lag_max_msec; /* how late the loop ran, at worst, since it was last told */
        uint64_t lag_msec;     /* lately */
        uint64_t queued_bytes; /* in all outputs */
        struct {
                unsigned code;
                uint64_t n;
        } closes[STATS_CLOSE_CODES];
        ClosedLink recent[RECENT_LINKS];
        size_t n_recent, next_recent;
} Stats;

/* Counts a close code that was sent. */
void stats_count_close(Stats *s, unsigned code);
