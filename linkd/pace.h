/* How often this agent asks a relay. A relay counts `register` and `resolve` of an IP address in
 * fixed minutes (PROTOCOL.md "Relay limits") and closes whoever asks more; here they are counted in
 * a sliding minute, which fits into any fixed one. A part of the budget is left to registers: being
 * reachable comes first. */
#pragma once

#include "liblinkproto/util.h"

typedef struct PaceBook PaceBook;

typedef enum PaceKind { PACE_REGISTER, PACE_RESOLVE } PaceKind;

/* budget: of each relay, a minute; 0: relays do not count. 0; -ENOMEM. */
int pace_new(PaceBook **ret, unsigned budget) _must_use_;
PaceBook *pace_free(PaceBook *b);

/* Another budget, which holds for the minute that has passed, too. */
void pace_set_budget(PaceBook *b, unsigned budget);

/* Milliseconds until one more may be sent there; 0: now. */
uint64_t pace_delay_msec(const PaceBook *b, const char *url, PaceKind kind, uint64_t now_msec);
/* One is sent. */
void pace_spend(PaceBook *b, const char *url, uint64_t now_msec);

/* A relay that has said for PACE_UNKNOWN_FREE_MSEC that it does not know an address is asked for it
 * once a minute. Milliseconds until then; 0: now. */
uint64_t pace_unknown_delay_msec(const PaceBook *b, const char *url, const char *address,
                                 uint64_t now_msec);
/* It has said so once more, or it does know it. */
void pace_unknown(PaceBook *b, const char *url, const char *address, uint64_t now_msec);
void pace_known(PaceBook *b, const char *url, const char *address);

/* A relay at which a handshake came to nothing is not raced for a while: it might win every race
 * and lead nowhere. */
void pace_suspect(PaceBook *b, const char *url, uint64_t now_msec);
bool pace_is_suspect(const PaceBook *b, const char *url, uint64_t now_msec);
