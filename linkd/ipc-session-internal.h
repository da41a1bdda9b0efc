/* What the files of an application's sessions share: ipc-session.c (CONNECT, messages, flow
 * control), ipc-serve.c and ipc-ask.c. */
#pragma once

#include "host.h"
#include "ipc-session.h"
#include "peer.h"

typedef struct HeldFrame HeldFrame;

/* An application's end of a session: with a peer (link) or of a device (host_session). */
struct IpcSession {
        IpcSession *next;
        IpcConn *conn;
        uint32_t id;
        ConduitUser user;
        PeerLink *link;
        HostSession *host_session;
        const HostServer *server; /* that it came by */
        int64_t out_balance;      /* what the application will still take; below zero: wait */
        int64_t in_balance;       /* what it may still send */
        size_t in_owed;           /* credit not told yet */
        HeldFrame *held, **held_end;
        Timer *stall;
        uint64_t taken; /* ipc_conn_taken() when the stall timer was started */
};

/* A new session of c in its list. server NULL: the application opens it. NULL: no memory, or no
 * number is left. */
IpcSession *ipc_session_new(IpcConn *c, const HostServer *server, uint32_t window);
/* Answers what waits, tells the end, frees. */
void ipc_session_end(IpcSession *s, const char *word, const char *message);

/* false: the connection has been ended, for that is a fault of the frame. */
bool ipc_session_json_is_valid(IpcConn *c, IpcStr json);
bool ipc_session_window_is_valid(IpcConn *c, uint32_t window);
/* A frame's timeoutMsec within bounds; 0 is the default. */
uint64_t ipc_session_timeout_msec(uint32_t timeout_msec);

void ipc_ask_cancel(IpcConn *c, uint32_t request);
void ipc_ask_end_forbidden(IpcConn *c);
void ipc_ask_drop_all(IpcConn *c);
void ipc_serve_end_forbidden(IpcConn *c);
void ipc_serve_drop_all(IpcConn *c);
/* Answers that a user may not have what is named; what as in "use peer". */
void ipc_session_send_forbidden(IpcConn *c, uint32_t request, const char *what, const char *name);
