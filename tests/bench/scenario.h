/* What is measured. Each prints one JSON object on a line. */
#pragma once

#include "links.h"

typedef struct Plan {
        Subject subject;
        size_t size;  /* payload of a message */
        size_t count; /* links, or sockets */
        unsigned msec, warm_msec, window_msec;
} Plan;

/* Messages of `size` through `count` links, one direction, for msec after warm_msec. */
void scenario_flow(const Plan *p);
/* One message of `size` to and fro on one link. */
void scenario_pingpong(const Plan *p);
/* `count` sockets from connect to `registered`. */
void scenario_setup(const Plan *p);
/* `count` registered sockets that idle: memory, a ping-pong beside them, pings for window_msec (0:
 * none); then all are killed at once. */
void scenario_idle(const Plan *p);
/* `count` links whose receivers take nothing and whose senders flood: memory, and a ping-pong
 * beside. */
void scenario_stalled(const Plan *p);

typedef struct PingPong {
        double p50_usec, p99_usec;
        size_t n;
} PingPong;

/* Messages of size bytes (at most 1000) to and fro on a link, spinning, for msec. */
PingPong pingpong_run(const Subject *s, const BenchLink *l, size_t size, unsigned msec);
