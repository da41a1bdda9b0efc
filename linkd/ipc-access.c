#include "ipc-access.h"

#include "ipc-call.h"
#include "ipc-session.h"

static const AccessRules *rules_of(const IpcConn *c)
{
        return &c->agent->settings->access;
}

void ipc_access_judge(IpcConn *c)
{
        c->access = policy_levels(rules_of(c), ipc_server_group(c->server), &c->caller);
}

bool ipc_access_may_use(const IpcConn *c, const char *peer)
{
        return policy_may_use(rules_of(c), ipc_server_group(c->server), &c->caller, peer);
}

bool ipc_access_may_serve(const IpcConn *c, const char *host)
{
        return policy_may_serve(rules_of(c), &c->caller, host);
}

static void end_administering(IpcConn *c)
{
        ipc_call_end_pairings(c, "forbidden", IPC_NO_MORE);
        c->watcher.topics &= ~(1U << WATCH_INVITATION);
        if (!c->watcher.topics)
                watch_remove(c->agent, &c->watcher);
}

void ipc_access_apply(IpcConn *c)
{
        unsigned old = c->access;

        ipc_access_judge(c);
        if (!(c->access & ACCESS_READ)) {
                ipc_conn_fail(c, "forbidden", IPC_NO_MORE);
                return;
        }
        if (old & ~c->access & ACCESS_ADMINISTER)
                end_administering(c);
        ipc_session_end_forbidden(c);
}
