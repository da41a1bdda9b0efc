/* Pairing as a client: proves a code to a host and keeps the credential as a peer. */
#pragma once

#include "agent.h"
#include "liblinkproto/credential.h"
#include "liblinkproto/inviteuri.h"

typedef struct Pairing Pairing;

/* Called once; the pairing ends itself after the call. peer: the result, or NULL with an error word
 * of docs/IPC.md and a message. */
typedef void (*PairingFunc)(void *userdata, Peer *peer, const char *word, const char *message);

/* invitation: address, code, code id, relays (at least one), copied. name: that of a peer of this
 * address replaces its credential, a new one makes another peer; "" replaces the first peer of this
 * address, else makes a name. recover: the code is the host's recovery key. 0; -EEXIST: the peer of
 * another address has that name; -EUSERS: too many peers; -ENOMEM. */
int pairing_start(Pairing **ret, Agent *a, const InviteUri *invitation, bool recover,
                  const char *name, PairingFunc func, void *userdata) _must_use_;
/* During the call of func: the key id that this pairing has replaced, NULL if none. */
const uint8_t *pairing_replaced(const Pairing *p);
/* Keeps a credential that came in another way, under the same rules. 0; -EEXIST; -EUSERS; or what
 * the store says. */
int pairing_import(Peer **ret, Agent *a, const Credential *c, char *const *uplinks,
                   size_t n_uplinks, const char *name) _must_use_;

/* Gives up without a call. NULL is fine. */
Pairing *pairing_free(Pairing *p);

/* Whether text can be the name of a peer or host, or a label: 1 to NAME_MAX_BYTES bytes of UTF-8,
 * no control characters, no '-' or '@' in front. */
bool name_is_valid(const char *text);
