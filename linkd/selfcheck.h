/* Whether a relay still leads to an address of ours: resolves it, on a socket of its own, as a
 * client would. */
#pragma once

#include "agent.h"

typedef struct SelfCheck SelfCheck;

typedef enum SelfCheckResult {
        SELF_CHECK_KNOWN,
        SELF_CHECK_UNKNOWN, /* the relay says so */
        SELF_CHECK_FAILED,  /* nothing was learned: why says more */
} SelfCheckResult;

/* Called once; the check ends itself after the call, which may not free it. */
typedef void (*SelfCheckFunc)(void *userdata, SelfCheckResult result, const char *why);

/* url, address: copied. 0 or negative errno. */
int self_check_start(SelfCheck **ret, Agent *a, const char *url, const char *address,
                     SelfCheckFunc func, void *userdata) _must_use_;
/* Gives up without a call. NULL is fine. */
SelfCheck *self_check_free(SelfCheck *k);
