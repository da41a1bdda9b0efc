/* The agent's Unix socket (docs/IPC.md): listening, connections, framing, output. */
#pragma once

#include <sys/queue.h>

#include "agent.h"
#include "liblinkproto/ipcmsg.h"
#include "pairing.h"
#include "log.h"
#include "policy.h"
#include "watch.h"

typedef struct IpcConn IpcConn;
typedef struct IpcSession IpcSession;
typedef struct IpcServe IpcServe;
typedef struct IpcAsk IpcAsk;
typedef struct IpcPairing IpcPairing;
typedef struct IpcOp IpcOp;

/* Why something ends that the policy allowed once. */
#define IPC_NO_MORE "the configuration does not let this user do that any more"

/* One application. */
struct IpcConn {
        IpcConn *next;
        IpcServer *server;
        Agent *agent;
        uv_pipe_t pipe;
        Caller caller;
        unsigned access; /* Access bits, of anything at all: ipc-access.h */
        bool hello_done, closing, reading;
        bool starved; /* a large frame waits until others have ended: see IPC_IN_UID_BYTES_MAX */
        uint32_t frame_max; /* largest length that the application takes */
        Timer *timer;       /* waits for HELLO; goes on reading; while closing: ends it */
        Timer *frame_timer; /* until a large frame must be whole */
        size_t set_aside;   /* for that frame; 0: none */
        Buf in;             /* what was read and is not a whole frame yet */
        Buf out;            /* queued in this turn of the loop, or behind what is in flight */
        LIST_ENTRY(IpcConn) in_dirty;
        bool dirty;         /* in the server's list: out is written before the loop waits */
        Buf writing;        /* what the socket did not take at once: in flight */
        size_t writing_off; /* of it: had been taken */
        uv_write_t write_req;
        uint64_t written;        /* bytes that have left, up to now */
        size_t unanswered_bytes; /* of CALL and ASK: ipc_conn_wake() when it falls */
        unsigned n_opened;       /* sessions by CONNECT; incoming ones count for the host */
        unsigned n_requests;
        uint32_t last_session;
        IpcSession *sessions;
        IpcServe *serves;
        IpcAsk *asks;
        IpcPairing *pairings;
        IpcOp *ops;
        Watcher watcher; /* topics 0: has not subscribed */
};

/* Listens at path, with the group of the agent's settings; a stale socket there is replaced, one
 * that answers is not. 0, or negative errno with *ret_fault in words (free()). */
int ipc_server_new(IpcServer **ret, Agent *a, const char *path, char **ret_fault) _must_use_;
IpcServer *ipc_server_free(IpcServer *s);
/* Gives the socket the group of other settings. 0, or negative errno with *ret_fault in words, and
 * it has the old one. */
int ipc_server_set_group(IpcServer *s, const Settings *settings, char **ret_fault) _must_use_;
/* Who may do what has changed: judges every connection anew. Not from inside a session's callback.
 */
void ipc_server_judge(IpcServer *s);
/* The group of the socket's file. */
gid_t ipc_server_group(const IpcServer *s);

/* Queues a frame. What cannot be queued ends the connection, so there is nothing to look at. Never
 * calls back. */
void ipc_conn_send(IpcConn *c, const IpcMessage *m);
/* The answer to a name that names nothing: word as in noSuchPeer, what as in "peer", list the verb
 * that shows those there are. */
void ipc_conn_send_unknown(IpcConn *c, uint32_t request, const char *word, const char *what,
                           IpcStr name, const char *list);
void ipc_conn_send_error(IpcConn *c, uint32_t session, uint32_t request, const char *word,
                         const char *message);
/* A fault of the whole connection: tells it, then closes. */
void ipc_conn_fail(IpcConn *c, const char *word, const char *message);
/* For the log, bounded for all connections together: devices and applications can cause these lines
 * without end. */
#define ipc_conn_log(c, level, ...)                                                                \
        log_limited(ipc_server_log((c)->server), uv_now((c)->agent->loop), (level), __VA_ARGS__)
LogLimit *ipc_server_log(IpcServer *s);
/* Queues NOTIFY. */
void ipc_conn_notify(IpcConn *c, const char *topic, const Buf *json);
/* Whether a frame with a body of so many bytes is not too large for the application. */
bool ipc_conn_takes(const IpcConn *c, size_t body_len);
/* Goes on reading, from the loop and not on this stack, if that had stopped and can. */
void ipc_conn_wake(IpcConn *c);
/* Bytes that the application has taken from the socket, or the kernel for it, up to now. */
uint64_t ipc_conn_taken(const IpcConn *c);
/* Bytes that wait for the application to read them. */
size_t ipc_conn_waiting(const IpcConn *c);
/* Whether so much waits for the application to read that its sessions must not be read. */
bool ipc_conn_is_full(const IpcConn *c);
