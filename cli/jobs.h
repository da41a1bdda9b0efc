/* Requests that children answer: some run, the others wait in order. Bounded in number, size and
 * time. */
#pragma once

#include "loop.h"
#include "outbox.h"

typedef struct Job Job;

typedef struct Jobs {
        const char *command;
        unsigned parallel;
        uint64_t timeout_msec; /* of each child */
        Outbox *outbox;
        Job *first, **end;
        unsigned n_running;
        size_t n_waiting, waiting_bytes;
} Jobs;

void jobs_init(Jobs *js, const char *command, unsigned parallel, uint64_t timeout_msec, Outbox *o);

/* Takes a request on; it is answered in any case, sooner or later. */
void jobs_add(Jobs *js, linkipc_reply *reply, const char *command, size_t n);
/* Before a round: starts what may run, watches what runs. -ENOMEM. */
int jobs_prepare(Jobs *js, Loop *loop);
/* After it: moves bytes, answers what has ended, ends what takes too long. */
void jobs_run(Jobs *js, const Loop *loop);
/* Ends all; jobs_is_idle() when they have. Answers are errors. */
void jobs_stop(Jobs *js);
bool jobs_is_idle(const Jobs *js);
/* Kills what is still there. */
void jobs_done(Jobs *js);
