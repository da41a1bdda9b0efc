#include "policy.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GROUPS_BYTES_START = 64 * sizeof(gid_t) };

/* Whether the peer's groups (SO_PEERGROUPS) hold gid. 1, 0 or negative errno. */
static int in_group(int fd, gid_t gid)
{
        socklen_t len = GROUPS_BYTES_START;
        _cleanup_(freep) gid_t *groups = NULL;

        for (;;) {
                gid_t *more = realloc(groups, len);
                if (!more)
                        return -ENOMEM;
                groups = more;
                if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) == 0)
                        break;
                if (errno != ERANGE) /* else len says how much there is; the kernel bounds it */
                        return -errno;
        }
        for (size_t i = 0; i < len / sizeof(gid_t); i++)
                if (groups[i] == gid)
                        return 1;
        return 0;
}

int policy_of_socket(int fd, const char *socket_path, unsigned *ret_access, uid_t *ret_uid)
{
        struct ucred peer;
        socklen_t len = sizeof(peer);
        struct stat st;
        int r = 0;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
                return -errno;
        *ret_uid = peer.uid;
        if (peer.uid == 0 || peer.uid == geteuid()) {
                *ret_access = ACCESS_READ | ACCESS_USE | ACCESS_SERVE | ACCESS_ADMINISTER;
                return 0;
        }
        if (stat(socket_path, &st) < 0)
                return -errno;
        r = peer.gid == st.st_gid ? 1 : in_group(fd, st.st_gid);
        if (r < 0)
                return r;
        *ret_access = r ? ACCESS_READ | ACCESS_USE : ACCESS_NONE;
        return 0;
}
