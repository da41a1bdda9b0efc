/* Remote hosts this machine has paired with, and the managed connections to them.
 *
 *   PeerLink:  CONNECTING ──▶ CONNECTED ⇄ RECONNECTING        CLOSED: revoked, or by its user
 *
 * Each application's session is a PeerLink of its own; one-shot calls share one a user. */
#pragma once

#include "agent.h"
#include "conduit.h"
#include "connector.h"
#include "limits.h"
#include "log.h"

typedef struct PeerLink PeerLink;
typedef struct AskLink AskLink;

typedef enum PeerState {
        PEER_IDLE,
        PEER_CONNECTING,
        PEER_CONNECTED,
        PEER_RECONNECTING,
        PEER_UNREACHABLE,
        PEER_REVOKED,
} PeerState;

struct Peer {
        Peer *next;
        Agent *agent;
        RecordId record;
        char name[NAME_MAX_BYTES + 1];
        Credential *credential; /* secret_object_new */
        char *uplinks[UPLINKS_MAX];
        size_t n_uplinks;
        size_t last_uplink; /* the one that last worked: peer_note_uplink */
        time_t created_at, since;
        PeerState state;
        bool revoked; /* the last word of the host; until a connect succeeds or it is paired again
                       */
        char cause[200];
        LogLimit log; /* of its states: a host may hang up again and again */
        PeerLink *links;
        AskLink *asks;
};

/* Who uses a link hears of its states; word and cause as in docs/IPC.md. After IPC_STATE_CLOSED the
 * link's conduit has failed all that waited; the user still calls peerlink_free. */
typedef void (*PeerLinkFunc)(void *userdata, IpcState state, const char *word, const char *cause);

struct PeerLink {
        PeerLink *next;
        Peer *peer;
        IpcState state;
        Conduit *conduit;
        Connector *connector;
        Timer *timer;
        unsigned failures;
        uint64_t connected_msec; /* on the loop's clock */
        uint64_t dialed_msec;    /* the last time, on the loop's clock */
        bool fresh;              /* an application waits for the next dial */
        bool round_failed;       /* since it was last connected */
        PeerLinkFunc func;
        void *userdata;
        time_t since;
        uid_t uid; /* whose it is */
        bool ask;  /* for one-shot calls: not among the applications' sessions */
};

/* Stores a new peer. name: checked, not in use. 0 or negative errno. */
int peer_create(Peer **ret, Agent *a, const char *name, const Credential *c, char *const *uplinks,
                size_t n_uplinks) _must_use_;
/* Pairing again with the same host: puts a new credential and uplinks in place of the old, stored;
 * live links reconnect under the new one at once. 0 or negative errno, and nothing has changed. */
int peer_replace(Peer *p, const Credential *c, char *const *uplinks, size_t n_uplinks) _must_use_;
/* Gives it another name (checked, not in use), stored. 0 or negative errno, and it has the old one.
 */
int peer_rename(Peer *p, const char *name) _must_use_;
int peer_load(Peer **ret, Agent *a, const RecordId *id, const Secret *text) _must_use_;
Peer *peer_free(Peer *p);
/* A connection came about by that relay: it is tried first from now on, also after a restart. */
void peer_note_uplink(Peer *p, size_t uplink);
/* Removes it from disk, then from memory; its links are closed. STORE_UNSYNCED: it has gone all the
 * same; negative errno: it has not. */
int peer_remove(Peer *p) _must_use_;
const char *peer_state_name(PeerState s);
unsigned peer_n_links(const Peer *p);

/* Whether a user may open one more session: of PEER_SESSIONS_MAX, a user may have as many as are
 * left for the others, so that each further one gets a share. privileged: all that are left. */
bool peer_has_place(const Peer *p, uid_t uid, bool privileged);
/* Starts a managed connection for a user. func is never called from inside. 0; -ENOMEM. */
int peerlink_new(PeerLink **ret, Peer *p, uid_t uid, PeerLinkFunc func, void *userdata) _must_use_;
/* Closes it: its user hears IPC_STATE_CLOSED with word and cause. */
void peerlink_close(PeerLink *l, const char *word, const char *cause);
/* Ends it, flushed. */
PeerLink *peerlink_free(PeerLink *l);

/* A link that waits for its next try makes it now: the network has changed, or (fresh) an
 * application asks, which is done every PEER_HURRY_MSEC at most. */
void peerlink_hurry(PeerLink *l, bool fresh);
/* As agent_probe. */
void peer_probe(Peer *p, bool changed);

/* The conduit for one-shot calls of a user: shared, kept for a minute after the last. The caller
 * adds its ConduitUser (roles 0) and removes it when answered. 0; -EUSERS: too many other users
 * have calls in flight; -ENOMEM. */
int peer_ask_conduit(Peer *p, uid_t uid, Conduit **ret) _must_use_;
/* For peer_free: ends one. NULL. */
AskLink *peer_ask_free(AskLink *k);
