/* A host's answer to `relay`: dials a fresh socket, accepts the link, runs the host's handshake.
 *
 *   DIALING ──open──▶ ACCEPTING ──relaying──▶ HANDSHAKE ──▶ a HostSession, or nothing */
#pragma once

#include "uplink.h"

typedef struct Invitation Invitation;

/* Starts one, or lets it wait up to DIALBACK_WAIT_MSEC while DIALBACKS_MAX are in flight; it owns
 * itself and is listed in u. A slot is held until the handshake ends. 0; -EUSERS: too many wait;
 * -ENOMEM; what ws_dial says. */
int dialback_start(Uplink *u, const char *link_id) _must_use_;
/* Ends all that are in flight or wait. */
void dialback_end_all(Uplink *u);
/* Forgets those that wait: the relay has forgotten them too. */
void dialback_drop_waiting(Uplink *u);
/* Of u->waiting_timer, whose userdata is u. */
void dialback_on_waiting_timer(void *userdata);
Dialback *dialback_free(Dialback *d);
/* Ends the attempts that use an invitation, except one (NULL: all). */
void dialback_end_for(Host *h, const Invitation *i, const Dialback *except);
/* Ends the attempts with the recovery key. */
void dialback_end_recovery(Host *h);
