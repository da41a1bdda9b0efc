/* A child process that is given bytes on stdin, and whose stdout and end of stderr are collected.
 * Nothing here waits: its pipes are watched by a Loop. */
#pragma once

#include "bytes.h"
#include "loop.h"

typedef struct Child Child;

typedef struct ChildSpec {
        const char *command;            /* for /bin/sh -c */
        const char *const *environment; /* NAME=VALUE more than ours, NULL at the end */
        const char *input;
        size_t input_n;
        size_t output_max; /* bytes */
} ChildSpec;

/* Starts it in a process group of its own. 0 or negative errno. */
int child_start(Child **ret, const ChildSpec *spec);
/* Kills (SIGKILL) and reaps it if it still runs. */
Child *child_free(Child *c);

/* Before a round (-ENOMEM), and after it. A child that is new since the round began has nothing to
 * pump. */
int child_watch(Child *c, Loop *loop);
void child_pump(Child *c, const Loop *loop);
/* Looks whether it has ended. True: it has, and what it left is read. kill_rest: what is left of
 * its group is killed then. */
bool child_reap(Child *c, bool kill_rest);
/* To its whole group, if it has not ended. */
void child_signal(Child *c, int signo);

/* What it has written so far. */
const Bytes *child_output(const Child *c);
/* 0; -EMSGSIZE: that was more than output_max; -ENOMEM: there was no room for it. */
int child_error(const Child *c);
/* Of one that has ended: 0, or its exit status, or 128 + signal. */
int child_exit_status(const Child *c);
/* The last line of its stderr in clean text, a new string; "" if it has none. NULL: out of memory.
 */
char *child_last_words(const Child *c);
