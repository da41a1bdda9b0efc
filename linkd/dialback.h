/* A host's answer to `relay`: dials a fresh socket, accepts the link, runs the host's handshake.
 *
 *   DIALING ──open──▶ ACCEPTING ──relaying──▶ HANDSHAKE ──▶ a HostSession, or nothing */
#pragma once

#include "uplink.h"

typedef struct Invitation Invitation;

/* Starts one; it owns itself and is listed in u. 0; -EUSERS: too many in flight; -ENOMEM. */
int dialback_start(Uplink *u, const char *link_id) _must_use_;
Dialback *dialback_free(Dialback *d);
/* Ends the attempts that use an invitation, except one (NULL: all). */
void dialback_end_for(Host *h, const Invitation *i, const Dialback *except);
/* Ends the attempts with the recovery key. */
void dialback_end_recovery(Host *h);
