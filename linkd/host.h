/* An identity of this machine that others can reach: keys, uplinks, devices, invitations, sessions.
 */
#pragma once

#include "agent.h"
#include "conduit.h"
#include "invitation.h"
#include "liblinkproto/regauth.h"
#include "log.h"
#include "uplink.h"

typedef struct Device Device;
typedef struct HostSession HostSession;
typedef struct HostServer HostServer;

/* A credential that a host has issued. Holds a secret: a secret_object_new() object. */
struct Device {
        Device *next;
        RecordId record;
        uint8_t key_id[KEY_ID_BYTES];
        uint8_t token[TOKEN_BYTES];
        char label[NAME_MAX_BYTES + 1];
        char admitted_by[16]; /* b64u code id of the invitation, "" for the unnamed one, or
                                 "recovery" */
        time_t created_at, last_seen_at;
        time_t expires_at;         /* 0: never */
        int64_t expires_boot_msec; /* the same on a clock that nobody sets, as far as was known when
                                      it was loaded or made: setting a clock back does not prolong
                                    */
};

/* Keys of a host: a secret_object_new() object. */
typedef struct HostKeys {
        uint8_t static_private[STATIC_KEY_BYTES];
        uint8_t static_public[STATIC_KEY_BYTES];
        RegisterKey reg;
} HostKeys;

/* A session of a device. */
struct HostSession {
        HostSession *next;
        Host *host;
        uint8_t key_id[KEY_ID_BYTES];
        Conduit *conduit;
        uint64_t number; /* unique in this process */
        time_t since;
        /* The client has shown that it holds the keys: in a pairing by its confirmation, else by
         * its first sealed frame. Message 1 of Noise NKpsk0 shows nothing: it can be replayed. */
        bool proven;
};

/* Who serves a role of a host: an IPC connection. */
typedef struct HostServerOps {
        /* A session is there: the server may add a ConduitUser of its roles to its conduit. */
        void (*on_session)(HostServer *server, HostSession *s);
        /* The device can take payloads from now on. */
        void (*on_session_framed)(HostServer *server, HostSession *s);
        /* It ends; its conduit is gone already. */
        void (*on_session_ended)(HostServer *server, HostSession *s, const char *word,
                                 const char *message);
        /* The host itself is being removed: its sessions have ended. The server may be freed. */
        void (*on_host_removed)(HostServer *server);
} HostServerOps;

struct HostServer {
        const HostServerOps *ops;
        Host *host; /* NULL: does not serve */
        uint8_t roles;
        HostServer *next;
};

struct Host {
        Host *next;
        Agent *agent;
        RecordId record;
        char name[NAME_MAX_BYTES + 1];
        HostKeys *keys;
        time_t created_at;
        Uplink *uplinks;
        Device *devices;
        unsigned n_devices;
        Invitation *invitations;
        HostSession *sessions; /* proved, the newest first */
        unsigned n_sessions;
        HostSession *unproven; /* the newest first; nobody is told of them */
        unsigned n_unproven;
        uint64_t last_session_number;
        /* Of sessions that began and ended: devices' own, and those that nobody has proved to be
         * one's, which are not to hide the others. */
        LogLimit session_log, stranger_log;
        HostServer *servers;
        Secret *recovery_key; /* NULL: recovery is disabled */
        unsigned recoveries_in_flight;
        uint64_t last_recovery_number;
        Timer *expiry_timer; /* runs while a device that expires has a session */
};

/* A new identity, stored. name: checked. 0; -EEXIST; -EUSERS: HOSTS_MAX; or what the store says. */
int host_create(Host **ret, Agent *a, const char *name) _must_use_;
/* From its record. -EBADMSG: not a host record. */
int host_load(Host **ret, Agent *a, const RecordId *id, const Secret *text) _must_use_;
Host *host_free(Host *h);
/* Writes the record. */
int host_save(Host *h) _must_use_;
const char *host_address(const Host *h);

/* Removes an identity from disk and memory with its devices, and ends its sessions at once; h is
 * gone then. Its devices go first: a crash in the middle leaves a host with fewer devices, never
 * devices without a host. 0 or STORE_UNSYNCED; negative errno: it is still there, with the devices
 * that could not be removed. *ret_devices, *ret_sessions: how many have gone, also on failure. */
int host_remove(Host *h, unsigned *ret_devices, unsigned *ret_sessions) _must_use_;

/* Makes a new recovery key (the old one is void then), or none; stored. The key is text. */
int host_enable_recovery(Host *h) _must_use_;
int host_disable_recovery(Host *h) _must_use_;
/* Whether as many attempts with it run as may at a time. */
bool host_recovery_is_full(const Host *h);
/* A place for an attempt with it: false if it is disabled, or too many run. */
bool host_reserve_recovery(Host *h);
void host_refund_recovery(Host *h);

/* Adds or removes an uplink, stored and started. url normalized. 0; -EEXIST; -ENOENT; -EUSERS; or
 * what the store says. */
int host_add_uplink(Host *h, const char *url) _must_use_;
int host_remove_uplink(Host *h, const char *url) _must_use_;
unsigned host_n_uplinks(const Host *h);
/* As agent_probe. */
void host_probe(Host *h, bool changed);

/* From a device record, whose host is found by that one's record id inside. -EBADMSG: not a device;
 * -ENOENT: its host is not there. */
int host_load_device(Agent *a, const RecordId *id, const Secret *text) _must_use_;
/* Stores a new device; it counts from when this returns 0. by: the invitation, NULL: the recovery
 * key. -EUSERS: too many. */
int host_add_device(Host *h, const Credential *c, const Invitation *by) _must_use_;
/* A key id as text; it never begins with '-' when it is ours. */
enum { KEY_ID_TEXT_BYTES = 23 };
void host_key_id_text(const uint8_t key_id[KEY_ID_BYTES], char out[KEY_ID_TEXT_BYTES]);
Device *host_find_device(const Host *h, const uint8_t key_id[KEY_ID_BYTES]);
/* Whether its time is over, by either clock: it is refused then, as a revoked one is. */
bool host_device_is_expired(const Device *d);
/* Ends the sessions of devices whose time is over, and looks again in time. For host.c, from its
 * timer alone: what it ends may be what is at work. */
void host_check_expiry(Host *h);
/* Removes a device from disk and memory and ends its sessions at once. *ret_ended: how many.
 * STORE_UNSYNCED: it is revoked all the same; negative errno: it is not. */
int host_revoke(Host *h, Device *d, unsigned *ret_ended) _must_use_;
/* The half of it in memory. How many sessions there were. For host.c. */
unsigned host_forget_device(Host *h, Device *d, const char *word, const char *message);
/* Ends a session; what was sent goes out first. Not from inside a callback of its conduit. */
void host_end_session(HostSession *s, const char *word, const char *message);
/* Ends all sessions, since the agent stops. What applications have not answered stays unanswered.
 */
void host_stop_sessions(Host *h);
/* Ends all sessions of a device at once; what is queued for it is dropped. How many there were. */
unsigned host_end_device_sessions(Host *h, const uint8_t key_id[KEY_ID_BYTES], const char *word,
                                  const char *message);
/* Whether there is any, also one that has not proved itself. */
bool host_device_is_here(const Host *h, const uint8_t key_id[KEY_ID_BYTES]);
unsigned host_device_sessions(const Host *h, const uint8_t key_id[KEY_ID_BYTES]);

/* A device has connected: makes a session of it. w and keys are taken over, also on failure. */
int host_add_session(Host *h, Device *d, Ws *w, SealPair *keys, bool proven) _must_use_;

/* Makes server the one for its roles; its on_session is called for each session there is.
 * 0; -EBUSY: somebody has one of the roles. */
int host_serve(Host *h, HostServer *server) _must_use_;
void host_unserve(HostServer *server);
