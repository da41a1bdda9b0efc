/* How much of a relay's quota the links of a host have used (PROTOCOL.md "usage"): asked of all
 * relays that have it registered, and merged.
 *
 * A relay's own pushes have the same form and tell of all links: whichever message comes first is
 * the answer. */
#pragma once

#include "host.h"

typedef struct Usage Usage;

/* Called once, never from inside usage_ask; the question ends itself after the call. links and
 * silent: elements of the lists `usage` and `silent` of docs/IPC.md. */
typedef void (*UsageFunc)(void *userdata, const Buf *links, const Buf *silent);

/* 0; -ENOMEM. */
int usage_ask(Usage **ret, Host *h, UsageFunc func, void *userdata) _must_use_;
/* Gives up without a call. NULL is fine. */
Usage *usage_free(Usage *q);

/* For uplink.c: the relay has said this (an array); the relay is lost or removed. */
void usage_on_message(Uplink *u, JsonSlice connections);
void usage_on_lost(Uplink *u);
