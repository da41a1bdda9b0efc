/* Who may do what: the one policy of the socket (and of every other way in). docs/SECURITY.md
 * "Local users". */
#pragma once

#include <sys/types.h>

#include "access.h"

/* Bits; whoever administers has all. */
typedef enum Access {
        ACCESS_NONE = 0,
        ACCESS_READ = 1,       /* status */
        ACCESS_USE = 2,        /* sessions to peers */
        ACCESS_SERVE = 4,      /* serve a host */
        ACCESS_ADMINISTER = 8, /* pair, invite, revoke, uplinks */
} Access;

/* Somebody who asks, by what the kernel vouches for. */
typedef struct Caller {
        uid_t uid;
        size_t n_groups;
        gid_t *groups; /* its own and the others, when it connected; owned */
} Caller;

/* The process at the other end of a connected Unix socket (SO_PEERCRED, SO_PEERGROUPS). 0 or
 * negative errno. */
int caller_of_socket(Caller *ret, int fd) _must_use_;
void caller_done(Caller *c);
/* root or linkd's own user: may do all, whatever the lists say. */
bool caller_is_owner(const Caller *c);

/* What somebody may do with anything at all. socket_group: who is in it may read and use where no
 * list says otherwise. */
unsigned policy_levels(const AccessRules *rules, gid_t socket_group, const Caller *c);
/* Whether it may have sessions with that peer, or serve that host. */
bool policy_may_use(const AccessRules *rules, gid_t socket_group, const Caller *c,
                    const char *peer);
bool policy_may_serve(const AccessRules *rules, const Caller *c, const char *host);
