/* An open pairing code of a host, in memory only (PROTOCOL.md "Pairing rules"). A guess slot is
 * taken at entry, before any work; a wrong confirmation makes it a failure, everything else gives
 * it back. */
#pragma once

#include "limits.h"
#include "liblinkproto/header.h"
#include "liblinkproto/secret.h"
#include "timer.h"

typedef struct Host Host;
typedef struct Invitation Invitation;
typedef struct Dialback Dialback;

struct Invitation {
        Invitation *next;
        Host *host;
        bool has_code_id;
        uint8_t code_id[CODE_ID_BYTES];
        Secret *code;
        char label[NAME_MAX_BYTES + 1];
        uint64_t device_ttl_sec; /* of the device that it admits; 0: for good */
        time_t expires_at;       /* as told to people */
        int64_t closes_msec;     /* CLOCK_BOOTTIME: the timer alone would sleep with the machine */
        Timer *timer;
        unsigned failures, in_flight;
};

/* Opens a code. code NULL: a generated one. label may be "". has_code_id false: the unnamed slot; a
 * code that is open there is replaced. 0; -EUSERS: too many; -ENOMEM. */
int invitation_open(Invitation **ret, Host *h, const char *code, bool has_code_id,
                    const char *label, uint64_t ttl_sec) _must_use_;
/* Closes it: ends the attempts in flight. reason, for who watches: used, withdrawn, expired,
 * burned, replaced, closed. */
void invitation_close(Invitation *i, const char *reason);
/* code_id NULL: the unnamed one. NULL: none. */
Invitation *invitation_find(Host *h, const uint8_t *code_id);
/* A guess slot: false if all are taken or failed, or the time is over. */
bool invitation_reserve(Invitation *i);
void invitation_refund(Invitation *i);
/* A wrong confirmation: may close it. */
void invitation_fail(Invitation *i);
