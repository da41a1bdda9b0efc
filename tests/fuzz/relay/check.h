/* The invariants of the relay's core. */
#pragma once

#include "relay/relay-internal.h"

/* Fails if one does not hold. times: also those of deadlines, which hold when timers were run. */
void check_relay(const Relay *r, bool times);
