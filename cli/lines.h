/* Lines on stdout for a verb that goes on: while stdout takes no more, nothing is read from the
 * agent, and nothing here waits. */
#pragma once

#include "bytes.h"
#include "loop.h"
#include "verb.h"

typedef struct Lines {
        const Cli *cli;
        Loop *loop;
        Bytes text; /* not written yet, from `written` on */
        size_t written;
        size_t index; /* of stdout in the loop's round */
} Lines;

/* After text was added to it. */
void lines_added(Lines *l);
/* Before a round: watches stdout, also for its end. -ENOMEM. */
int lines_watch(Lines *l);
/* After it: writes what stdout takes. EXIT_OK, or EXIT_FAILED after telling. */
int lines_write(Lines *l);
void lines_done(Lines *l);
