/* What is remembered of client addresses: the register + resolve budget (a fixed one-minute window)
 * and how many connections are open. IPv6 counts by /64, since one machine has a whole one. */
#pragma once

#include <sys/queue.h>
#include <sys/socket.h>

#include "hashmap.h"

typedef struct IpKey {
        uint8_t bytes[16]; /* IPv4 in its mapped form; IPv6 cut to /64 */
} IpKey;

typedef struct IpEntry {
        HashNode node;
        TAILQ_ENTRY(IpEntry) idle; /* in the table's list while nothing is open */
        IpKey key;
        bool exempt; /* loopback or a Unix socket: no caps */
        bool judged; /* a rate was asked for before: tokens count */
        uint32_t connections;
        double tokens;        /* of accepting */
        uint64_t tokens_msec; /* when there were so many */
        uint32_t spent;       /* of the budget, in the window */
        uint64_t window_msec; /* when the window began */
        uint64_t idle_msec;   /* since when nothing is open */
} IpEntry;

typedef struct IpTable {
        HashMap map;
        TAILQ_HEAD(, IpEntry) idle; /* the longest idle first */
} IpTable;

int iptable_init(IpTable *t) _must_use_;
void iptable_done(IpTable *t);

/* The key of a socket address; one of another family (a Unix socket) has the zero key. */
IpKey ip_key_of_sockaddr(const struct sockaddr *sa);
/* The key of an address as text ("1.2.3.4", "2001:db8::1", also bracketed or with ":port"). 0 or
 * -EINVAL. */
int ip_key_parse(const char *text, IpKey *ret) _must_use_;

/* What one address may have. 0: any. */
typedef struct IpCaps {
        uint64_t connections;
        uint64_t accepts_per_sec; /* with a burst of IP_BURST_SEC times as many */
} IpCaps;

/* Counts a connection. The entry stays until iptable_close. caps NULL: none. 0; -ENOMEM: the table
 * is full; -EUSERS: too many connections; -EBUSY: too many in a short time. */
int iptable_open(IpTable *t, const IpKey *key, const IpCaps *caps, uint64_t now_msec,
                 IpEntry **ret) _must_use_;
void iptable_close(IpTable *t, IpEntry *e, uint64_t now_msec);
/* Spends one of per_min (0: no limit). false: the budget is spent. */
bool iptable_spend(IpEntry *e, uint32_t per_min, uint64_t now_msec);
/* Forgets entries whose window is over. O(1) for each that goes. */
void iptable_sweep(IpTable *t, uint64_t now_msec);
