/* What the service manager is told (sd_notify(3), Type=notify-reload). Nothing happens where nobody
 * listens.
 *
 *   READY=1 + STATUS=    the socket answers
 *   STATUS=              how many uplinks are registered, peers and sessions: when that changes
 *   RELOADING=1 + MONOTONIC_USEC=, then READY=1    around SIGHUP
 *   WATCHDOG=1           from the loop, every half of $WATCHDOG_USEC
 *   STOPPING=1 */
#pragma once

#include "agent.h"

typedef struct Notify Notify;

/* Watches the agent, and begins to say WATCHDOG=1 if that is wanted. 0; -ENOMEM. */
int notify_new(Notify **ret, Agent *a) _must_use_;
/* Before agent_stop. NULL. */
Notify *notify_free(Notify *n);
/* It is ready, or ready again. */
void notify_ready(Notify *n);
void notify_reloading(void);
void notify_stopping(void);
