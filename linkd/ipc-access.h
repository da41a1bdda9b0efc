/* The policy, applied to applications: when they ask, and when it changes while they are connected.
 */
#pragma once

#include "ipc-server.h"

/* Sets what the connection may do with anything at all. */
void ipc_access_judge(IpcConn *c);
bool ipc_access_may_use(const IpcConn *c, const char *peer);
bool ipc_access_may_serve(const IpcConn *c, const char *host);
/* The same for one that is connected: what it may not do any more ends now, by the word forbidden,
 * and everything else lives on (docs/IPC.md "Access that changes"). */
void ipc_access_apply(IpcConn *c);
