#include "host.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "liblinkproto/b64u.h"
#include "limits.h"
#include "log.h"
#include "watch.h"

/* ---- identity ---- */

const char *host_address(const Host *h)
{
        return h->keys->reg.address;
}

static void on_expiry_timer(void *userdata)
{
        host_check_expiry(userdata);
}

static Host *host_alloc(Agent *a)
{
        Host *h = calloc(1, sizeof(*h));

        if (!h)
                return NULL;
        h->agent = a;
        h->keys = secret_object_new(sizeof(*h->keys));
        h->expiry_timer = timer_new(a->loop, on_expiry_timer, h);
        if (!h->keys || !h->expiry_timer)
                return host_free(h);
        return h;
}

static int derive(Host *h)
{
        if (crypto_scalarmult_base(h->keys->static_public, h->keys->static_private) != 0)
                return -EBADMSG;
        register_key_derive(&h->keys->reg, h->keys->static_private);
        return 0;
}

/* The record: {"name","staticPrivate","createdAt","recovery":key?,"uplinks":[url]}. */
int host_save(Host *h)
{
        char key[B64U_LEN(STATIC_KEY_BYTES) + 1];
        Buf b = {};
        int r = buf_reserve(&b, 8192); /* so that it does not grow and leave copies behind */

        if (r < 0)
                return r;
        b64u_encode(h->keys->static_private, STATIC_KEY_BYTES, key);
        buf_add_str(&b, "{");
        buf_json_member_str(&b, "name", h->name);
        buf_json_member_str(&b, "staticPrivate", key);
        buf_json_member_int(&b, "createdAt", h->created_at);
        if (h->recovery_key)
                buf_json_member_str(&b, "recovery", (const char *)h->recovery_key->data);
        buf_json_name(&b, "uplinks");
        buf_add_str(&b, "[");
        for (const Uplink *u = h->uplinks; u; u = u->next) {
                buf_json_comma(&b);
                buf_json_str(&b, u->url, strlen(u->url));
        }
        buf_add_str(&b, "]}");
        r = buf_ok(&b);
        if (r == 0)
                r = store_write(h->agent->store, RECORD_HOST, &h->record, (const char *)b.data,
                                b.len);
        buf_done_wipe(&b);
        sodium_memzero(key, sizeof(key));
        return r;
}

static void link_host(Host *h)
{
        Host **at = &h->agent->hosts;

        while (*at)
                at = &(*at)->next;
        *at = h;
}

int host_create(Host **ret, Agent *a, const char *name)
{
        unsigned n = 0;
        Host *h;
        int r;

        if (agent_find_host(a, name, strlen(name)))
                return -EEXIST;
        for (h = a->hosts; h; h = h->next)
                n++;
        if (n >= HOSTS_MAX)
                return -EUSERS;
        h = host_alloc(a);
        if (!h)
                return -ENOMEM;
        h->record = store_new_id();
        h->created_at = time(NULL);
        (void)snprintf(h->name, sizeof(h->name), "%s", name); /* checked by the caller */
        do { /* an address that does not look like an option */
                randombytes_buf(h->keys->static_private, STATIC_KEY_BYTES);
                r = derive(h);
        } while (r == 0 && host_address(h)[0] == '-');
        if (r == 0)
                r = host_save(h);
        if (r < 0) {
                host_free(h);
                return r;
        }
        link_host(h);
        watch_tell_host(h, "added");
        *ret = h;
        return 0;
}

static int load_uplinks(Host *h, JsonSlice list)
{
        Uplink **at = &h->uplinks;
        unsigned n = 0;
        JsonSlice url;

        if (!json_is_array(list))
                return -EBADMSG;
        while (json_array_next(&list, &url)) {
                _cleanup_(freep) char *text = NULL;
                int r = n++ < UPLINKS_MAX ? json_str_dup(url, &text) : -EINVAL;
                if (r == 0)
                        r = uplink_new(at, h, text);
                if (r < 0)
                        return r == -EINVAL ? -EBADMSG : r;
                at = &(*at)->next;
        }
        return 0;
}

/* Absent: recovery is disabled. */
static int load_recovery(Host *h, JsonSlice v)
{
        char text[64];
        size_t n;

        if (!v.p)
                return 0;
        if (json_str_copy(v, text, sizeof(text), &n) < 0 || n == 0)
                return -EBADMSG;
        h->recovery_key = secret_copy(text, n);
        sodium_memzero(text, sizeof(text));
        return h->recovery_key ? 0 : -ENOMEM;
}

int host_load(Host **ret, Agent *a, const RecordId *id, const Secret *text)
{
        static const char *const names[] = {"name", "staticPrivate", "createdAt", "uplinks",
                                            "recovery"};
        JsonSlice v[ELEMENTSOF(names)];
        char key[B64U_LEN(STATIC_KEY_BYTES) + 1];
        int64_t created;
        size_t n;
        Host *h = host_alloc(a);
        int r;

        if (!h)
                return -ENOMEM;
        h->record = *id;
        r = json_scan_object((const char *)text->data, text->len, names, v, ELEMENTSOF(names));
        if (r == 0 && (json_str_copy(v[0], h->name, sizeof(h->name), &n) < 0 ||
                       json_str_copy(v[1], key, sizeof(key), &n) < 0 ||
                       b64u_decode_exact(key, n, h->keys->static_private, STATIC_KEY_BYTES) < 0 ||
                       json_int64(v[2], &created) < 0))
                r = -EBADMSG;
        sodium_memzero(key, sizeof(key));
        if (r == 0) {
                h->created_at = created;
                r = derive(h);
        }
        if (r == 0)
                r = load_uplinks(h, v[3]);
        if (r == 0)
                r = load_recovery(h, v[4]);
        if (r == 0 && agent_find_host(a, h->name, strlen(h->name)))
                r = -EBADMSG; /* a copy of a record: two hosts of a name cannot be told apart */
        if (r < 0) {
                host_free(h);
                return r;
        }
        link_host(h);
        *ret = h;
        return 0;
}

void host_stop_sessions(Host *h)
{
        while (h->sessions || h->unproven)
                host_end_session(h->sessions ? h->sessions : h->unproven, "closed",
                                 "the agent is stopping");
}

Host *host_free(Host *h)
{
        if (!h)
                return NULL;
        host_stop_sessions(h);
        while (h->servers)
                host_unserve(h->servers);
        while (h->invitations)
                invitation_close(h->invitations, "closed");
        while (h->uplinks) {
                Uplink *u = h->uplinks;
                h->uplinks = u->next;
                uplink_free(u);
        }
        while (h->devices) {
                Device *d = h->devices;
                h->devices = d->next;
                secret_object_free(d);
        }
        timer_free(h->expiry_timer);
        secret_free(h->recovery_key);
        secret_object_free(h->keys);
        free(h);
        return NULL;
}

/* A device whose record is gone is forgotten before anything else can fail: no error brings it
 * back. */
static int remove_devices(Host *h, unsigned *ret_devices, unsigned *ret_sessions)
{
        int r = 0, q;

        while (h->devices) {
                r = store_unlink(h->agent->store, RECORD_DEVICE, &h->devices->record);
                if (r < 0)
                        break;
                *ret_sessions +=
                        host_forget_device(h, h->devices, "closed", "the host was removed");
                ++*ret_devices;
        }
        q = *ret_devices ? store_sync(h->agent->store) : 0;
        return r < 0 ? r : q;
}

static int remove_records(Host *h, unsigned *ret_devices, unsigned *ret_sessions)
{
        int r = remove_devices(h, ret_devices, ret_sessions), q;

        if (r < 0)
                return r;
        q = store_remove(h->agent->store, RECORD_HOST, &h->record);
        return q < 0 ? q : MAX(q, r);
}

int host_remove(Host *h, unsigned *ret_devices, unsigned *ret_sessions)
{
        Agent *a = h->agent;
        HostServer *next;
        int r;

        *ret_devices = *ret_sessions = 0;
        r = remove_records(h, ret_devices, ret_sessions);
        if (r < 0)
                return r;
        log_info("host %s: removed, with %u devices", h->name, *ret_devices);
        for (Host **at = &a->hosts; *at; at = &(*at)->next)
                if (*at == h) {
                        *at = h->next;
                        break;
                }
        while (h->sessions || h->unproven) {
                HostSession *s = h->sessions ? h->sessions : h->unproven;

                conduit_kill_session(s->conduit);
                host_end_session(s, "closed", "the host was removed");
        }
        for (HostServer *server = h->servers; server; server = next) {
                next = server->next;
                server->ops->on_host_removed(server);
        }
        watch_tell_host(h, "removed");
        host_free(h);
        agent_note_last_seen(a);
        return r;
}

/* ---- uplinks ---- */

unsigned host_n_uplinks(const Host *h)
{
        unsigned n = 0;

        for (const Uplink *u = h->uplinks; u; u = u->next)
                n++;
        return n;
}

int host_add_uplink(Host *h, const char *url)
{
        Uplink **at = &h->uplinks;
        int r;

        for (; *at; at = &(*at)->next)
                if (strcmp((*at)->url, url) == 0)
                        return -EEXIST;
        if (host_n_uplinks(h) >= UPLINKS_MAX)
                return -EUSERS;
        r = uplink_new(at, h, url);
        if (r < 0)
                return r;
        r = host_save(h);
        if (r < 0) {
                *at = uplink_free(*at);
                return r;
        }
        watch_tell_uplink(*at, "added");
        uplink_start(*at);
        return 0;
}

int host_remove_uplink(Host *h, const char *url)
{
        for (Uplink **at = &h->uplinks; *at; at = &(*at)->next) {
                Uplink *u = *at;
                int r;

                if (strcmp(u->url, url) != 0)
                        continue;
                *at = u->next;
                r = host_save(h);
                if (r < 0) {
                        *at = u;
                        return r;
                }
                watch_tell_uplink(u, "removed");
                uplink_free(u);
                return 0;
        }
        return -ENOENT;
}

void host_probe(Host *h, bool changed)
{
        HostSession *next;

        for (Uplink *u = changed ? h->uplinks : NULL; u; u = u->next)
                uplink_probe(u);
        for (HostSession *s = h->sessions; s; s = next) {
                next = s->next; /* only s can end */
                conduit_probe(s->conduit, changed);
        }
}

/* ---- sessions ---- */

static void link_session(HostSession *s)
{
        HostSession **list = s->proven ? &s->host->sessions : &s->host->unproven;

        s->next = *list;
        *list = s;
        *(s->proven ? &s->host->n_sessions : &s->host->n_unproven) += 1;
}

static void unlink_session(HostSession *s)
{
        HostSession **at = s->proven ? &s->host->sessions : &s->host->unproven;

        while (*at != s)
                at = &(*at)->next;
        *at = s->next;
        *(s->proven ? &s->host->n_sessions : &s->host->n_unproven) -= 1;
}

void host_end_session(HostSession *s, const char *word, const char *message)
{
        HostServer *next;

        unlink_session(s);
        /* First every request that waits is answered, then the users hear of the end. */
        s->conduit = conduit_free(s->conduit, word, message);
        for (HostServer *server = s->proven ? s->host->servers : NULL; server; server = next) {
                next = server->next;
                server->ops->on_session_ended(server, s, word, message);
        }
        if (s->proven)
                watch_tell_host_session(s, "closed", word, message);
        free(s);
}

static void touch(Host *h, const uint8_t key_id[KEY_ID_BYTES])
{
        Device *d = host_find_device(h, key_id);

        if (!d)
                return;
        d->last_seen_at = time(NULL);
        agent_note_last_seen(h->agent);
}

static void on_session_ended(void *userdata, const char *word, const char *reason)
{
        HostSession *s = userdata;

        log_limited(s->proven ? &s->host->session_log : &s->host->stranger_log,
                    uv_now(s->host->agent->loop), LOG_LEVEL_INFO, "host %s: session %u ended: %s",
                    s->host->name, (unsigned)s->number, reason);
        if (s->proven)
                touch(s->host, s->key_id);
        host_end_session(s, word, reason);
}

static void on_framed(void *userdata)
{
        HostSession *s = userdata;

        for (HostServer *server = s->host->servers; server; server = server->next)
                server->ops->on_session_framed(server, s);
}

static HostSession *oldest(HostSession *list, const uint8_t *key_id)
{
        HostSession *found = NULL;

        for (HostSession *s = list; s; s = s->next)
                if (!key_id || memcmp(s->key_id, key_id, KEY_ID_BYTES) == 0)
                        found = s;
        return found;
}

/* It counts, and everybody hears of it. */
static void announce(HostSession *s)
{
        Host *h = s->host;
        const Device *d = host_find_device(h, s->key_id);

        touch(h, s->key_id);
        watch_tell_host_session(s, "opened", NULL, NULL);
        log_limited(&h->session_log, uv_now(h->agent->loop), LOG_LEVEL_INFO,
                    "host %s: session %u with device %s", h->name, (unsigned)s->number,
                    d ? d->label : "?");
        for (HostServer *server = h->servers; server; server = server->next)
                server->ops->on_session(server, s);
}

static void make_room(Host *h, const uint8_t key_id[KEY_ID_BYTES])
{
        if (host_device_sessions(h, key_id) >= DEVICE_SESSIONS_MAX)
                host_end_session(oldest(h->sessions, key_id), "closed",
                                 "this device has opened too many newer sessions");
}

static void on_heard(void *userdata)
{
        HostSession *s = userdata;
        const Device *d = host_find_device(s->host, s->key_id);

        if (s->proven)
                return;
        if (!d || host_device_is_expired(d)) { /* nobody hears of it; it ends from the loop */
                timer_start(s->host->expiry_timer, 0);
                return;
        }
        make_room(s->host, s->key_id);
        unlink_session(s);
        s->proven = true;
        link_session(s);
        announce(s);
}

static const ConduitHandler conduit_handler = {
        .on_heard = on_heard,
        .on_framed = on_framed,
        .on_session_ended = on_session_ended,
};

bool host_device_is_here(const Host *h, const uint8_t key_id[KEY_ID_BYTES])
{
        for (const HostSession *s = h->unproven; s; s = s->next)
                if (memcmp(s->key_id, key_id, KEY_ID_BYTES) == 0)
                        return true;
        return host_device_sessions(h, key_id) > 0;
}

unsigned host_device_sessions(const Host *h, const uint8_t key_id[KEY_ID_BYTES])
{
        unsigned n = 0;

        for (const HostSession *s = h->sessions; s; s = s->next)
                n += memcmp(s->key_id, key_id, KEY_ID_BYTES) == 0;
        return n;
}

int host_add_session(Host *h, Device *d, Ws *w, SealPair *keys, bool proven)
{
        HostSession *s = NULL;
        int r = 0;

        if (!proven && h->n_unproven >= HOST_UNPROVEN_MAX)
                host_end_session(oldest(h->unproven, NULL), "closed",
                                 "its client said nothing, and others came");
        if (h->n_sessions + h->n_unproven >= HOST_SESSIONS_MAX)
                r = -EUSERS;
        else if (!(s = calloc(1, sizeof(*s))))
                r = -ENOMEM;
        else
                r = conduit_new(&s->conduit, h->agent->loop, false, &conduit_handler, s);
        if (r < 0) {
                ws_kill(w, 1000);
                secret_object_free(keys);
                free(s);
                return r;
        }
        s->host = h;
        s->proven = proven;
        memcpy(s->key_id, d->key_id, KEY_ID_BYTES);
        s->number = ++h->last_session_number;
        s->since = time(NULL);
        r = conduit_attach(s->conduit, w, keys);
        if (r < 0) {
                conduit_free(s->conduit, "internal", strerror(-r));
                free(s);
                return r;
        }
        link_session(s);
        if (d->expires_at) /* not on this stack: it may end s */
                timer_start(h->expiry_timer, 0);
        if (proven)
                announce(s);
        return 0;
}

static unsigned end_device_sessions(HostSession *list, const uint8_t key_id[KEY_ID_BYTES],
                                    const char *word, const char *message)
{
        unsigned n = 0;
        HostSession *next;

        for (HostSession *s = list; s; s = next) {
                next = s->next;
                if (memcmp(s->key_id, key_id, KEY_ID_BYTES) != 0)
                        continue;
                conduit_kill_session(s->conduit);
                host_end_session(s, word, message);
                n++;
        }
        return n;
}

unsigned host_end_device_sessions(Host *h, const uint8_t key_id[KEY_ID_BYTES], const char *word,
                                  const char *message)
{
        (void)end_device_sessions(h->unproven, key_id, word, message); /* nobody knew of them */
        return end_device_sessions(h->sessions, key_id, word, message);
}

int host_serve(Host *h, HostServer *server)
{
        for (const HostServer *s = h->servers; s; s = s->next)
                if (s->roles & server->roles)
                        return -EBUSY;
        server->host = h;
        server->next = h->servers;
        h->servers = server;
        watch_tell_host(h, "changed");
        for (HostSession *s = h->sessions; s; s = s->next)
                server->ops->on_session(server, s);
        return 0;
}

void host_unserve(HostServer *server)
{
        if (!server->host)
                return;
        for (HostServer **at = &server->host->servers; *at; at = &(*at)->next)
                if (*at == server) {
                        *at = server->next;
                        break;
                }
        watch_tell_host(server->host, "changed");
        server->host = NULL;
}
