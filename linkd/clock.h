/* Clocks: what a relay says of its own, and one that nobody sets. */
#pragma once

#include "liblinkproto/util.h"

/* An HTTP date (RFC 9110 section 5.6.7, the fixed form: "Sun, 06 Nov 1994 08:49:37 GMT") as
 * milliseconds since the epoch. 0 or -EINVAL. */
int clock_parse_http_date(const char *text, int64_t *ret_msec) _must_use_;

/* Milliseconds since the machine has started, its sleep included. */
int64_t clock_boot_msec(void);
