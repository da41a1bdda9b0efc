/* What one user's connections may take of what the agent has for all: so that no user shuts out
 * root, the agent's own user, or the others. */
#pragma once

#include "ipc-server.h"

/* Whether there is a place for c, which is in the list of all n connections already. */
bool ipc_share_has_place(const IpcConn *conns, unsigned n, const IpcConn *c);
/* Whether len bytes may be set aside for a large frame of c while the others keep what they have.
 */
bool ipc_share_has_bytes(const IpcConn *conns, const IpcConn *c, size_t len);
/* Of the connections of c's user: the one for which the most waits, if too much waits for all of
 * them; else NULL. */
IpcConn *ipc_share_to_cut(IpcConn *conns, const IpcConn *c);
