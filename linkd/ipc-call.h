/* The methods of CALL (docs/IPC.md "Methods of CALL"): parse, check access, call the core, answer.
 */
#pragma once

#include "ipc-server.h"

void ipc_call_dispatch(IpcConn *c, const IpcMessage *m);
/* The connection ends: pairings it started are given up. */
void ipc_call_drop_all(IpcConn *c);
