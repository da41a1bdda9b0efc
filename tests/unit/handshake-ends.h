/* Two ends of a handshake in one program, for test-handshake*.c: every frame that passes can be
 * seen, changed, cut or made longer. */
#pragma once

#include "liblinkproto/handshake-internal.h"
#include "unit.h"

enum { FRAMES_MAX = 6 };

#define ADDRESS "nG_UeYRFdRWcw5PaKp__GJ5WZEJfaZ_lxp6Czvxcc28"
#define CODE    "482 915"

typedef struct Ends {
        bool reconnect;
        const char *host_code;    /* pairing: what the host has; default CODE */
        const char *host_address; /* default ADDRESS */
        bool hold;                /* the host's owner answers only after F1 */
        bool refuse;              /* reconnect: the host does not know the key id */
        int changed;              /* frame that is changed, -1: none */
        void (*change)(Bytes *frame, size_t arg);
        size_t arg;

        Handshake *client, *host;
        int client_result, host_result; /* the last results */
        Bytes frames[FRAMES_MAX];       /* as they were sent: F0, F1 … */
        size_t n_frames;
} Ends;

extern const uint8_t host_private[STATIC_KEY_BYTES];
extern const Credential credential; /* the reconnect's */

/* Makes both machines. */
void ends_make(Ends *e);
/* Lets all frames pass until both ends are silent. */
void ends_run(Ends *e);
void ends_done(Ends *e);

/* Result of feeding a frame; drops what the machine then wants to send. */
int feed(Handshake *h, Bytes frame);
/* Drops what h wants to send. */
void drain(Handshake *h);
/* Neither keys nor secrets are left in h. */
void assert_wiped(const Handshake *h, bool done);
/* Both ends have the same keys, crosswise. */
void assert_keys(Ends *e);
