/* What the files of CALL share: ipc-call.c (parameters, dispatch), ipc-call-status.c,
 * ipc-call-identity.c (hosts), ipc-call-host.c (uplinks, invitations, devices) and ipc-call-peer.c
 * (pairing, peers). */
#pragma once

#include "host.h"
#include "ipc-server.h"

/* A call being answered: its parameters are cut out once, by name. */
typedef struct Call {
        IpcConn *conn;
        uint32_t request;
        Agent *agent;
        IpcStr params;
        Buf result;
        bool answered; /* by an error, or later by a pairing */
} Call;

typedef void (*CallFunc)(Call *call);

/* Answer by an error. */
void call_fail(Call *call, const char *word, const char *message);
/* The same with a message made of pieces; each %s is at most a URL or a name. */
void call_fail_f(Call *call, const char *word, const char *format, ...) _printf_(3, 4);
void call_fail_errno(Call *call, int r);
/* STORE_UNSYNCED: `name` has been what says ("is revoked"), and may be back. */
void call_fail_unsynced(Call *call, const char *what, const char *name);

/* A member of the parameters; p NULL: absent or null. */
JsonSlice call_param(const Call *call, const char *name);
/* A string member. 1: *ret is set (free()); 0: absent; negative errno: answered. */
int call_param_str(Call *call, const char *name, size_t max, char **ret) _must_use_;
/* 0, absent is false; -EINVAL: answered. */
int call_param_bool(Call *call, const char *name, bool *ret) _must_use_;
/* The host that `host` names, or the default one. NULL: answered. */
Host *call_param_host(Call *call);
/* `url`, normalized (free()). NULL: answered. */
char *call_param_url(Call *call);
/* Answers that text is no relay's URL, which relay_url_normalize has found fault with. */
void call_fail_url(Call *call, const char *text, const char *fault);
/* For _cleanup_: wipes and frees a string. */
void call_wipe_strp(char **s);

/* A call whose answer comes later. */
struct IpcOp {
        IpcOp *next;
        IpcConn *conn;
        uint32_t request;
        void *work;               /* what is under way */
        void (*drop)(void *work); /* gives it up: the connection ends */
};

/* NULL: answered. */
IpcOp *call_defer(Call *call);
/* Answers by RESULT with the object in out, or, if that has failed, by ERROR. op is gone then. */
void call_op_result(IpcOp *op, const Buf *out);
/* Without an answer: the call goes on. */
IpcOp *call_op_free(IpcOp *op);

/* One a method. */
void call_subscribe(Call *call);
void call_status(Call *call);
void call_host_list(Call *call);
void call_host_add(Call *call);
void call_host_remove(Call *call);
void call_recovery_enable(Call *call);
void call_recovery_disable(Call *call);
void call_usage(Call *call);
void call_doctor(Call *call);
void call_peers(Call *call);
void call_uplink_list(Call *call);
void call_uplink_add(Call *call);
void call_uplink_remove(Call *call);
void call_invite(Call *call);
void call_invitations(Call *call);
void call_uninvite(Call *call);
void call_devices(Call *call);
void call_revoke(Call *call);
void call_pair(Call *call);
void call_peer_remove(Call *call);
void call_peer_rename(Call *call);
void call_peer_export(Call *call);
void call_peer_import(Call *call);
