/* The applications of `scripts/bench agent`: programs on liblinkipc, and what they are compared
 * with. Each prints one JSON object on a line; what does not come as it must is fatal. */
#pragma once

#include "linkipc.h"
#include "tests/bench/measure.h"

typedef struct AppPlan {
        const char *socket; /* of the agent; NULL: none is needed */
        const char *peer;
        size_t size;        /* bytes of a message */
        unsigned count;     /* sessions */
        unsigned in_flight; /* at a time */
        unsigned msec, warm_msec;
} AppPlan;

enum {
        APP_WAIT_MSEC = 30 * 1000, /* for anything that must happen: above a busy machine's worst */
        APP_SIZE_MAX = 1024 * 1024,
        APP_IN_FLIGHT_MAX = 1000,          /* liblinkipc admits 1024 unanswered requests */
        APP_SESSIONS_MAX = 56,             /* that an agent holds with one peer */
        APP_SAMPLES_MAX = 4 * 1000 * 1000, /* round trips of one run */
};

/* Serves the default host: echoes requests, counts events, and answers "report" with the count.
 * Runs until it is killed; says {"serving":true} when it can be reached. */
void app_serve(const AppPlan *p);

/* One request of `size` to and fro for msec. */
void app_rtt(const AppPlan *p);
/* The same with `in_flight` on the way. */
void app_pipeline(const AppPlan *p);
/* Events with payloads of `size`, as fast as the session takes them. */
void app_events(const AppPlan *p);
/* `count` sessions, each answered by the host; says {"up":n}; when all have lost their connection,
 * the times at which each was answered again. */
void app_sessions(const AppPlan *p);
/* One session after the other, `in_flight` being opened, for msec. */
void app_handshakes(const AppPlan *p);

/* The references: two processes and a Unix socket; libsodium on one core. */
void bare_rtt(const AppPlan *p);
void bare_pipeline(const AppPlan *p);
void bare_seal(const AppPlan *p);

/* ---- app.c ---- */

linkipc *app_open(const AppPlan *p);
/* Waits for something and does it. */
void app_step(linkipc *l);
/* A session that is connected and takes payloads. */
linkipc_session *app_connect(linkipc *l, const AppPlan *p);
/* A JSON string of n bytes, quotes included (free()). */
char *app_command(size_t n);
/* Fills an event's payload: its number at both ends, a pattern between. */
void app_fill(uint8_t *payload, size_t size);
void app_number(uint8_t *payload, size_t size, uint64_t number);
