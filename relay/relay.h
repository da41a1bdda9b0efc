/* link-relay as a library: a relay on a caller's libuv loop (docs/PROTOCOL.md).
 *
 *      RelayConfig config;
 *      Relay *relay = NULL;
 *
 *      relay_config_init(&config);
 *      if (relay_new(&relay, &loop, &config, &fault) < 0 || relay_listen(relay, "[::]:80", &fault)
 * < 0) … uv_run(&loop, UV_RUN_DEFAULT);
 *
 * One thread: every function is called from the loop's. The library prints nothing; it tells what
 * happens through config.log. It needs sodium_init() to have been called; it raises no SIGPIPE. */
#pragma once

#include <uv.h>

#include "liblinkproto/buf.h"
#include "relay-config.h"

typedef struct Relay Relay;

/* Makes a relay that listens nowhere yet. The config is taken over: its content moves (the caller's
 * is left empty) and is freed with the relay. *ret_fault (may be NULL) gets a new string (free())
 * that says what went wrong. 0 or negative errno. */
int relay_new(Relay **ret, uv_loop_t *loop, RelayConfig *config, char **ret_fault) _must_use_;

/* Listens on "ADDRESS:PORT" ("[::1]:8080"; port 0: any), "PORT" (all addresses), or a Unix socket's
 * path that begins with '/'. 0 or negative errno; faults as above. */
int relay_listen(Relay *r, const char *where, char **ret_fault) _must_use_;
/* Takes a listening stream socket over (from systemd). 0 or negative errno: it stays the caller's.
 */
int relay_listen_fd(Relay *r, int fd) _must_use_;
/* TCP port of the n-th listener; 0: there is none, or it is a Unix socket. */
unsigned relay_port(const Relay *r, size_t n);
/* "ADDRESS:PORT" or the path of the n-th listener, NULL behind the last. */
const char *relay_listener_name(const Relay *r, size_t n);

/* The config in force; borrowed, until the next relay_reconfigure. */
const RelayConfig *relay_config(const Relay *r);
/* Takes a new config over for everything but what is open: allowlist, limits and shaping are in
 * force from now on, also for the links that live. */
void relay_reconfigure(Relay *r, RelayConfig *config);

/* The document of /v1/stats, and that of /metrics (Prometheus text). Appended to b; check buf_ok().
 */
void relay_stats_json(Relay *r, Buf *b);
void relay_metrics(Relay *r, Buf *b);

typedef void (*RelayStopped)(Relay *r, void *userdata);
/* Ends: closes the listeners at once and every connection with 1001, spread over drain_msec. When
 * the last is gone (peers that do not answer the close are given a second) func is called, once,
 * from the loop; then relay_free() may be called, also from within. A second call shortens the
 * drain to 0. */
void relay_stop(Relay *r, uint64_t drain_msec, RelayStopped func, void *userdata);
/* Frees a relay that has stopped (one that never listened has to be stopped too: it has timers on
 * the loop). NULL is fine. NULL. */
Relay *relay_free(Relay *r);
