/* What ipc-server.c (listening) and ipc-conn.c (one connection) share. */
#pragma once

#include "ipc-listen.h"
#include "ipc-server.h"
#include "limits.h"
#include "log.h"

struct IpcServer {
        Agent *agent;
        IpcListener *listener;
        uv_prepare_t flush; /* once a turn of the loop: writes what was queued in it */
        char *path;
        IpcConn *conns;
        LIST_HEAD(, IpcConn) dirty;
        unsigned n_conns;
        gid_t own_group;               /* of the socket's file when it was made */
        gid_t group;                   /* as it was looked at last */
        Timer *again;                  /* accepts what could not be accepted */
        bool short_of_files;           /* it has been logged */
        LogLimit log;                  /* of connections that were refused or ended */
        uint8_t chunk[IPC_READ_BYTES]; /* one read buffer for all connections */
};

/* Takes the connection that waits; it is in the list then. 0; -EAGAIN: none waits; or negative
 * errno: it may still wait. */
int ipc_conn_accept(IpcServer *s) _must_use_;
/* Writes what was queued for any connection. */
void ipc_conn_flush_all(IpcServer *s);
/* Lets go of everything at once; the memory goes when libuv has closed the handle. Never called
 * from inside a callback of a session (see ipc_conn_send). */
void ipc_conn_close(IpcConn *c);
