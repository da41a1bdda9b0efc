/* A client's way to a host: relays in order, introduction, handshake (PROTOCOL.md "Endpoints").
 *
 *   at each relay: DIALING ──open──▶ RESOLVING ──found──▶ RELAYING ──relaying──▶ HANDSHAKE
 *
 * When a relay fails, or has not introduced us in RACE_STEP_MSEC, the next one is started too. Only
 * introductions are raced: the first to come ends the others, and one handshake runs at a time; if
 * it fails, what was ended is started again. A pairing is not raced at all, and in one nothing is
 * tried any more once cA was sent. A refusal counts only if every relay that leads to the host says
 * it. Relays that would be asked too often (pace.h) are passed over. */
#pragma once

#include "agent.h"
#include "liblinkproto/credential.h"
#include "liblinkproto/seal.h"

typedef struct Connector Connector;

typedef enum ConnectorResult {
        CONNECTOR_CONNECTED,
        CONNECTOR_REVOKED, /* all that answered refuse */
        CONNECTOR_WRONG_CODE,
        CONNECTOR_UNREACHABLE, /* no relay led there; cause says what the last one did */
        CONNECTOR_ABSENT,      /* the same, but one does answer: the host is not registered there */
} ConnectorResult;

/* Called once, never from inside connector_*_start; the connector ends itself after the call. On
 * CONNECTED ws, keys (and for a pairing *credential, valid during the call) are handed over; uplink
 * is the relay's place in the list. Otherwise they are NULL. */
typedef void (*ConnectorFunc)(void *userdata, ConnectorResult result, Ws *ws, SealPair *keys,
                              const Credential *credential, size_t uplink, const char *cause);

/* Pairing. code: copied. code_id NULL: none. recover: code is the host's recovery key. urls:
 * normalized, copied. 0; -EINVAL; -ENOMEM. */
int connector_pair(Connector **ret, Agent *a, const char *address, const Secret *code,
                   const uint8_t *code_id, bool recover, char *const *urls, size_t n_urls,
                   ConnectorFunc func, void *userdata) _must_use_;
/* Reconnecting; begins with the relay at place first. fresh: an application asks for it now, so
 * that relays are asked again that did not know the address. credential must stay until the end. */
int connector_reconnect(Connector **ret, Agent *a, const Credential *credential, char *const *urls,
                        size_t n_urls, size_t first, bool fresh, ConnectorFunc func,
                        void *userdata) _must_use_;
/* The network has changed: dials that hang are begun anew beside what runs. */
void connector_hurry(Connector *c);
/* Gives up without a call. NULL is fine. */
Connector *connector_free(Connector *c);
