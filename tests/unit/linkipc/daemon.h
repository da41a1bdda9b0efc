/* Real daemons for a test: linkd and link-relay, each in a directory of its own. */
#pragma once

#include <sys/types.h>

typedef struct Daemon {
        char dir[32];
        char socket[64]; /* of linkd */
        char url[64];    /* of link-relay */
        pid_t pid;       /* 0: ended */
        int log;
} Daemon;

/* Both wait until it is ready. */
void linkd_start(Daemon *d, const char *program);
void relay_start(Daemon *d, const char *program);
/* Sends a signal that ends it, and waits for that. By SIGTERM it must end with status 0. */
void daemon_signal(Daemon *d, int number);
/* Ends it if it still runs, and removes its directory. */
void daemon_end(Daemon *d);
