/* Sessions of an application: CONNECT, SERVE, ASK and the messages on them, with their flow
 * control. */
#pragma once

#include "ipc-server.h"

/* Each handles one frame of that kind (decoded, direction checked). */
void ipc_session_on_connect(IpcConn *c, const IpcMessage *m);
void ipc_session_on_serve(IpcConn *c, const IpcMessage *m);
void ipc_session_on_close(IpcConn *c, const IpcMessage *m);
void ipc_session_on_data(IpcConn *c, const IpcMessage *m); /* REQUEST, RESPONSE, EVENT */
void ipc_session_on_cancel(IpcConn *c, const IpcMessage *m);
void ipc_session_on_credit(IpcConn *c, const IpcMessage *m);
void ipc_session_on_ask(IpcConn *c, const IpcMessage *m);

/* The connection's output has drained: sessions that waited go on. */
void ipc_session_resume_all(IpcConn *c);
/* What the policy does not allow any more ends: sessions with peers, asks, servings. */
void ipc_session_end_forbidden(IpcConn *c);
/* The connection ends: so do its sessions, asks and servings. */
void ipc_session_drop_all(IpcConn *c);
