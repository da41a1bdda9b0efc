/* Looks for what is wrong on the way to a relay, step by step, with sockets of its own:
 *
 *   name ──▶ connection ──▶ GET /health (ws:// only) ──▶ TLS and upgrade of a WebSocket
 *
 * A step that fails does not keep the last one from being tried: a proxy may lead there all the
 * same. */
#pragma once

#include "agent.h"

typedef struct Probe Probe;

typedef enum ProbeStepName {
        PROBE_NAME,
        PROBE_CONNECT,
        PROBE_HEALTH,
        PROBE_UPGRADE,
        PROBE_END,
} ProbeStepName;

typedef struct ProbeStep {
        bool done, ok;
        unsigned msec;
        char detail[160]; /* the address that answered, or what went wrong */
} ProbeStep;

typedef struct ProbeResult {
        ProbeStep steps[PROBE_END];
        bool has_date;
        int64_t clock_offset_msec; /* of this machine's clock against the relay's: positive is fast
                                    */
} ProbeResult;

/* Called once, never from inside probe_start; the probe ends itself after the call. */
typedef void (*ProbeFunc)(void *userdata, const ProbeResult *result);

/* url: normalized. 0; -EINVAL; -ENOMEM. */
int probe_start(Probe **ret, Agent *a, const char *url, ProbeFunc func, void *userdata) _must_use_;
/* Gives up without a call. NULL is fine. */
Probe *probe_free(Probe *p);
const char *probe_step_name(ProbeStepName step);
