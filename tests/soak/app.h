/* The application of scripts/soak agent: one that asks and one that serves, on liblinkipc. Both say
 * on standard output what happens, a line each, for tests/soak/soak_agent.py to judge; times are
 * CLOCK_MONOTONIC microseconds:
 *
 *      serving T                       the host's requests come here from now on
 *      disconnected T                  the own agent is gone
 *      unserved PEER FROM TO           asked at FROM, "no request handler" came at TO
 *      wrong TEXT                      something that must never happen
 *      lost TEXT                       a request without an answer within its deadline
 *      count NAME=NUMBER …             every second, and at the end
 *      done                            SIGTERM: all that was asked is answered, all sessions are
 * closed */
#pragma once

#include <linkipc.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limits.h"

typedef struct Options {
        const char *name;   /* who asks, unique; what those who ask call who serves */
        const char *socket; /* of the own agent */
        const char *host;   /* that is served */
        const char *peers[PEERS_MAX];
        size_t n_peers;
        unsigned sessions, slots; /* with a peer; in flight of a session */
        unsigned think_msec;      /* between two requests of a slot, on average */
        unsigned deadline_msec;
} Options;

/* Runs until SIGTERM. The exit status. */
int ask_run(const Options *o);
int serve_run(const Options *o);

/* ---- what both use (app.c) ---- */

extern volatile sig_atomic_t app_stopping; /* SIGTERM has come */

uint64_t now_usec(void);
/* One line on standard output, at once. */
void say(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));
/* The same on standard error, and the end. */
void fatal(const char *format, ...) __attribute__((__noreturn__, __format__(__printf__, 1, 2)));

/* Connects to the own agent. NULL: it does not run just now. */
linkipc *app_open(const char *path);
/* Waits until the agent says something, `due_usec` or SIGTERM, and processes it all. false: the
 * agent is gone. */
bool app_turn(linkipc *l, uint64_t due_usec);
/* Waits without an agent. */
void app_nap(unsigned msec);

/* ---- what is said (numbers.c) ---- */

/* Every command and payload follows from who asks and its number, so that nothing needs to be kept
 * to know what must come back. They write at most MESSAGE_MAX_BYTES with the NUL,
 * PAYLOAD_MAX_BYTES. */
void command_make(char *out, const char *name, uint64_t number);
/* Whether it is the answer of `host` to that command. */
bool answer_is_right(const char *json, size_t len, const char *host, const char *command);
/* The answer that is right (free()). */
char *answer_make(const char *host, const char *command);

void event_make(char *out, const char *name, uint64_t number);
size_t payload_make(uint8_t *out, uint64_t number);
/* Whether an event is what some event_make and payload_make have made. Its number. */
bool event_is_right(const char *data, size_t len, const void *payload, size_t payload_len,
                    uint64_t *ret_number);
