/* From a host name to a connected TCP socket.
 *
 *   names are resolved off the loop; IPv6 and IPv4 take turns, the next address is started
 *   DIAL_STEP_MSEC after the last (RFC 8305); all of them anew after DIAL_AGAIN_MSEC, beside those
 *   that hang; the first that connects wins.
 *
 *   With a proxy: to it, and CONNECT. If that fails, or takes DIAL_PROXY_MSEC, also without it. */
#pragma once

#include <uv.h>

#include "proxy.h"

typedef struct Dial Dial;

/* Called once, never from inside dial_start; the dial ends itself after the call. fd: connected,
 * not blocking, the receiver's; or -1, and why says what the last address or name did. */
typedef void (*DialFunc)(void *userdata, int fd, const char *why);

/* proxy: NULL for none; copied. It goes on until it is freed or has failed: deadlines are the
 * caller's. 0 or negative errno. */
int dial_start(Dial **ret, uv_loop_t *loop, const char *host, uint16_t port, const Proxy *proxy,
               DialFunc func, void *userdata) _must_use_;
/* Begins anew at once, beside what hangs: the network has changed. */
void dial_again(Dial *d);
/* Gives up without a call. NULL is fine. */
Dial *dial_free(Dial *d);
