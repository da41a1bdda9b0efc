/* Pairing as a client: proves a code to a host and keeps the credential as a peer. */
#pragma once

#include "agent.h"
#include "liblinkproto/inviteuri.h"

typedef struct Pairing Pairing;

/* Called once; the pairing ends itself after the call. peer: the result, or NULL with an error word
 * of docs/IPC.md and a message. */
typedef void (*PairingFunc)(void *userdata, Peer *peer, const char *word, const char *message);

/* invitation: address, code, code id, relays (at least one), copied. name: that of a peer of this
 * address replaces its credential, a new one makes another peer; "" replaces the first peer of this
 * address, else makes a name. 0; -EEXIST: the peer of another address has that name; -EUSERS: too
 * many peers; -ENOMEM. */
int pairing_start(Pairing **ret, Agent *a, const InviteUri *invitation, const char *name,
                  PairingFunc func, void *userdata) _must_use_;
/* During the call of func: the key id that this pairing has replaced, NULL if none. */
const uint8_t *pairing_replaced(const Pairing *p);
/* Gives up without a call. NULL is fine. */
Pairing *pairing_free(Pairing *p);

/* Whether text can be the name of a peer or host, or a label: 1 to NAME_MAX_BYTES bytes of UTF-8,
 * no control characters, no '-' or '@' in front. */
bool name_is_valid(const char *text);
