/* The agent: owns the loop's objects, the store, the hosts and the peers. */
#pragma once

#include <time.h>
#include <uv.h>

#include "log.h"
#include "pace.h"
#include "settings.h"
#include "store.h"
#include "timer.h"
#include "ws.h"

typedef struct Host Host;
typedef struct Peer Peer;
typedef struct IpcServer IpcServer;
typedef struct Hoard Hoard;
typedef struct Watcher Watcher;
typedef struct Usage Usage;
typedef struct Doctor Doctor;
typedef struct NetWatch NetWatch;

/* A record that could not be read: reported, left in place. */
typedef struct Unreadable {
        struct Unreadable *next;
        RecordKind kind;
        char text[]; /* file and fault */
} Unreadable;

typedef struct Agent {
        uv_loop_t *loop;
        WsLoop *ws;
        Hoard *hoard;
        PaceBook *pace;
        const Settings *settings;
        NetWatch *watch;
        Store *store;
        IpcServer *ipc;
        Host *hosts;
        Peer *peers;
        Unreadable *unreadable;
        unsigned n_unreadable;
        unsigned n_unreadable_devices; /* while there are any, an unknown key id is not told
                                          "revoked" */
        time_t started_at;
        Timer *last_seen_timer;
        bool last_seen_failed; /* the last time; it has been logged */
        LogLimit relay_log;    /* of what relays do to this machine as a client */
        Watcher *watchers;
        Usage *usages;  /* questions under way */
        Doctor *doctor; /* at work; NULL: none */
} Agent;

/* Loads all records; makes the host `default` in an empty directory. Does not touch the network
 * yet. settings must stay. 0, or negative errno with *ret_fault in words (free()). */
int agent_new(Agent **ret, uv_loop_t *loop, const char *state_dir, const Settings *settings,
              char **ret_fault) _must_use_;
/* The same to look only: reads all records, and makes nothing. What could not be read is counted in
 * n_unreadable and logged. Only for agent_stop and agent_free. */
int agent_new_to_check(Agent **ret, uv_loop_t *loop, const char *state_dir,
                       char **ret_fault) _must_use_;
/* What settings points at has other content now: it counts from here on. Connections and sessions
 * that it does not forbid live on. */
void agent_settings_changed(Agent *a);
/* Starts the uplinks. */
int agent_start(Agent *a) _must_use_;
/* Ends everything; what is queued for the network may still leave. The loop then runs out by
 * itself.
 */
void agent_stop(Agent *a);
/* After agent_stop, when the loop has run out. NULL is fine. */
Agent *agent_free(Agent *a);

/* Sessions whose path is dead are ended. changed: after a wake-up or a change of the network, so
 * that every control socket and session is tried and what waits dials at once. */
void agent_probe(Agent *a, bool changed);

Host *agent_find_host(Agent *a, const char *name, size_t len);
Peer *agent_find_peer(Agent *a, const char *name, size_t len);
/* A device's last-seen time, or the relay that last worked for a peer, has changed: it is written
 * to disk some time later (lastseen.h). */
void agent_note_last_seen(Agent *a);
/* Wall-clock time, milliseconds since the epoch. */
int64_t agent_clock_msec(void);
/* ISO 8601 UTC with seconds. */
enum { TIME_TEXT_BYTES = 32 };
void agent_format_time(time_t t, char out[TIME_TEXT_BYTES]);
