/* The methods of CALL (docs/IPC.md "Methods of CALL"): parse, check access, call the core, answer.
 */
#pragma once

#include "ipc-server.h"

void ipc_call_dispatch(IpcConn *c, const IpcMessage *m);
/* Answers the pairings under way by that error, and gives them up. */
void ipc_call_end_pairings(IpcConn *c, const char *word, const char *message);
/* The connection ends: pairings it started are given up. */
void ipc_call_drop_all(IpcConn *c);
