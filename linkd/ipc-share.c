#include "ipc-share.h"

#include "limits.h"

static bool is_privileged(const IpcConn *c)
{
        return c->access & ACCESS_ADMINISTER;
}

bool ipc_share_has_place(const IpcConn *conns, unsigned n, const IpcConn *c)
{
        unsigned of_uid = 0;

        if (is_privileged(c))
                return n <= IPC_CONNECTIONS_MAX;
        for (const IpcConn *i = conns; i; i = i->next)
                of_uid += i->uid == c->uid;
        return n <= IPC_CONNECTIONS_MAX - IPC_CONNECTIONS_RESERVED &&
               of_uid <= IPC_CONNECTIONS_UID_MAX;
}

bool ipc_share_has_bytes(const IpcConn *conns, const IpcConn *c, size_t len)
{
        size_t of_uid = len, of_all = len;

        for (const IpcConn *i = conns; i; i = i->next) {
                of_uid += i->uid == c->uid ? i->set_aside : 0;
                of_all += is_privileged(i) ? 0 : i->set_aside;
        }
        return of_uid <= IPC_IN_UID_BYTES_MAX && (is_privileged(c) || of_all <= IPC_IN_BYTES_MAX);
}
