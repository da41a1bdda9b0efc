/* One poll(2) loop for the verbs that go on until they are ended: the signals that do so, the
 * agent's connection, and whatever descriptors the verb adds in each round. Nothing in it waits
 * elsewhere. */
#pragma once

#include <linkipc.h>
#include "liblinkproto/util.h"

#define LOOP_NEVER UINT64_MAX

typedef struct Loop Loop;

enum {
        LOOP_STOP = 1, /* SIGTERM or SIGINT */
        LOOP_LOST = 2, /* the agent has ended the connection */
};

/* Takes SIGTERM, SIGINT and SIGCHLD (which just ends a round) over for the rest of the process. l
 * is borrowed. 0 or negative errno. */
int loop_new(Loop **ret, linkipc *l);
Loop *loop_free(Loop *loop);
DEFINE_CLEANUP(Loop, loop_free)

/* CLOCK_MONOTONIC, as linkipc has it. */
uint64_t loop_now_usec(void);

/* Leaves the agent's connection alone, so that nothing more arrives, until it is called with false.
 * May be called from a handler. */
void loop_hold(Loop *loop, bool hold);

/* For the next round. *ret_index is for loop_events(). -ENOMEM. */
int loop_watch(Loop *loop, int fd, short events, size_t *ret_index);
/* The next round ends at that time, if not before. */
void loop_until(Loop *loop, uint64_t usec);

/* One round: waits, and lets handlers of the agent's messages run. 0, LOOP_STOP, LOOP_LOST, or
 * negative errno. What was to be watched is forgotten by the next loop_watch(). */
int loop_run(Loop *loop);
/* What poll(2) said about a descriptor in the last round. */
short loop_events(const Loop *loop, size_t index);
