/* Who wants to know what changes: applications that subscribed, and whoever tells the service
 * manager. A change is described once, when somebody wants it. */
#pragma once

#include "describe.h"

typedef enum WatchTopic {
        WATCH_HOST,
        WATCH_UPLINK,
        WATCH_DEVICE,
        WATCH_INVITATION,
        WATCH_PEER,
        WATCH_SESSION,
        WATCH_USAGE,
        WATCH_END,
} WatchTopic;

typedef struct Watcher Watcher;

/* json: an object (docs/IPC.md "Topics of NOTIFY"), gone after the call. Must not change anything
 * of the agent: what is told about may be half-way. */
typedef void (*WatchFunc)(void *userdata, WatchTopic topic, const Buf *json);

/* Embedded in whoever watches. */
struct Watcher {
        Watcher *next;
        unsigned topics; /* bits: 1 << WatchTopic */
        WatchFunc func;
        void *userdata;
};

void watch_add(Agent *a, Watcher *w);
/* One that is not there is fine. */
void watch_remove(Agent *a, Watcher *w);
const char *watch_topic_name(WatchTopic t);

/* event, reason, word, cause: as in docs/IPC.md; reason, word and cause may be NULL. */
void watch_tell_host(const Host *h, const char *event);
void watch_tell_uplink(const Uplink *u, const char *event);
void watch_tell_device(const Host *h, const Device *d, const char *event);
void watch_tell_invitation(const Invitation *i, const char *event, const char *reason);
void watch_tell_peer(const Peer *p, const char *event);
void watch_tell_peer_session(const PeerLink *l, const char *event, const char *word,
                             const char *cause);
void watch_tell_host_session(const HostSession *s, const char *event, const char *word,
                             const char *cause);
/* A relay's `usage` message: connections is its array. */
void watch_tell_usage(const Uplink *u, JsonSlice connections);
