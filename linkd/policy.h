/* Who may do what: the one policy of the socket (and of every other way in). docs/SECURITY.md. */
#pragma once

#include <sys/types.h>

#include "liblinkproto/util.h"

/* Bits; whoever administers has all. */
typedef enum Access {
        ACCESS_NONE = 0,
        ACCESS_READ = 1,       /* status */
        ACCESS_USE = 2,        /* sessions to peers */
        ACCESS_SERVE = 4,      /* serve a host */
        ACCESS_ADMINISTER = 8, /* pair, invite, revoke, uplinks */
} Access;

/* Access of the process at the other end of a connected Unix socket, from what the kernel vouches
 * for: root and linkd's own user all, members of the socket's group read and use. *ret_uid: its
 * user. 0 or negative errno. */
int policy_of_socket(int fd, const char *socket_path, unsigned *ret_access,
                     uid_t *ret_uid) _must_use_;
