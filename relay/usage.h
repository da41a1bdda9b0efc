/* `usage` messages: how much of its quota each of a host's links has used (PROTOCOL.md "Usage"). */
#pragma once

#include "link.h"

/* Writes `used` rounded to four decimals. */
void usage_format(double used, char out[16]);
/* Tells a control socket of all its relaying links. */
void usage_send(Conn *control);
/* The link's buckets have been charged: pushes a usage if `used` has crossed a threshold or
 * `throttled` has flipped, at most once in USAGE_MSEC a link. */
void usage_charged(Link *l);
/* Pushes that are due. */
void usage_sweep(Relay *r, uint64_t now_msec);
/* The link is going. */
void usage_forget(Link *l);
