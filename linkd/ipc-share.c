#include "ipc-share.h"

#include "limits.h"

bool ipc_share_has_place(const IpcConn *conns, unsigned n, const IpcConn *c)
{
        unsigned of_uid = 0;

        if (caller_is_owner(&c->caller))
                return n <= IPC_CONNECTIONS_MAX;
        for (const IpcConn *i = conns; i; i = i->next)
                of_uid += i->caller.uid == c->caller.uid;
        return n <= IPC_CONNECTIONS_MAX - IPC_CONNECTIONS_RESERVED &&
               of_uid <= IPC_CONNECTIONS_UID_MAX;
}

IpcConn *ipc_share_to_cut(IpcConn *conns, const IpcConn *c)
{
        size_t of_uid = 0;
        IpcConn *most = NULL;

        for (IpcConn *i = conns; i; i = i->next) {
                if (i->caller.uid != c->caller.uid || i->closing)
                        continue;
                of_uid += ipc_conn_waiting(i);
                if (!most || ipc_conn_waiting(i) > ipc_conn_waiting(most))
                        most = i;
        }
        return of_uid > IPC_OUT_UID_BYTES_MAX ? most : NULL;
}

bool ipc_share_has_bytes(const IpcConn *conns, const IpcConn *c, size_t len)
{
        size_t of_uid = len, of_all = len;

        for (const IpcConn *i = conns; i; i = i->next) {
                of_uid += i->caller.uid == c->caller.uid ? i->set_aside : 0;
                of_all += caller_is_owner(&i->caller) ? 0 : i->set_aside;
        }
        return of_uid <= IPC_IN_UID_BYTES_MAX &&
               (caller_is_owner(&c->caller) || of_all <= IPC_IN_BYTES_MAX);
}
