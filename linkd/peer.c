#include "peer.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "liblinkproto/b64u.h"
#include "log.h"
#include "watch.h"

const char *peer_state_name(PeerState s)
{
        static const char *const names[] = {
                [PEER_IDLE] = "idle",
                [PEER_CONNECTING] = "connecting",
                [PEER_CONNECTED] = "connected",
                [PEER_RECONNECTING] = "reconnecting",
                [PEER_UNREACHABLE] = "unreachable",
                [PEER_REVOKED] = "revoked",
        };
        return names[s];
}

unsigned peer_n_links(const Peer *p)
{
        unsigned n = 0;

        for (const PeerLink *l = p->links; l; l = l->next)
                n++;
        return n;
}

/* The record: {"name","credential","createdAt","uplinks":[url]}. */
static int save(Peer *p)
{
        _cleanup_(secret_freep) Secret *credential = credential_export(p->credential);
        Buf b = {};
        int r;

        if (!credential)
                return -ENOMEM;
        r = buf_reserve(&b, 8192); /* so that it does not grow and leave copies behind */
        if (r < 0)
                return r;
        buf_add_str(&b, "{");
        buf_json_member_str(&b, "name", p->name);
        buf_json_member_str(&b, "credential", (const char *)credential->data);
        buf_json_member_int(&b, "createdAt", p->created_at);
        buf_json_name(&b, "uplinks");
        buf_add_str(&b, "[");
        for (size_t i = 0; i < p->n_uplinks; i++) {
                buf_json_comma(&b);
                buf_json_str(&b, p->uplinks[i], strlen(p->uplinks[i]));
        }
        buf_add_str(&b, "]}");
        r = buf_ok(&b);
        if (r == 0)
                r = store_write(p->agent->store, RECORD_PEER, &p->record, (const char *)b.data,
                                b.len);
        buf_done_wipe(&b);
        return r;
}

static Peer *peer_alloc(Agent *a)
{
        Peer *p = calloc(1, sizeof(*p));

        if (!p)
                return NULL;
        p->agent = a;
        p->credential = secret_object_new(sizeof(*p->credential));
        if (!p->credential) {
                free(p);
                return NULL;
        }
        return p;
}

static void link_peer(Peer *p)
{
        Peer **at = &p->agent->peers;

        while (*at)
                at = &(*at)->next;
        *at = p;
}

static int set_uplinks(Peer *p, char *const *uplinks, size_t n_uplinks)
{
        for (size_t i = 0; i < n_uplinks; i++) {
                p->uplinks[i] = strdup(uplinks[i]);
                if (!p->uplinks[i])
                        return -ENOMEM;
                p->n_uplinks++;
        }
        return 0;
}

int peer_create(Peer **ret, Agent *a, const char *name, const Credential *c, char *const *uplinks,
                size_t n_uplinks)
{
        Peer *p = peer_alloc(a);
        int r;

        if (!p)
                return -ENOMEM;
        p->record = store_new_id();
        *p->credential = *c;
        p->created_at = p->since = time(NULL);
        (void)snprintf(p->name, sizeof(p->name), "%s", name); /* checked by the caller */
        r = set_uplinks(p, uplinks, n_uplinks);
        if (r == 0)
                r = save(p);
        if (r < 0) {
                peer_free(p);
                return r;
        }
        link_peer(p);
        watch_tell_peer(p, "added");
        *ret = p;
        return 0;
}

static void update_peer(Peer *p, const char *cause);
static void restart_links(Peer *p);

int peer_replace(Peer *p, const Credential *c, char *const *uplinks, size_t n_uplinks)
{
        Peer *fresh = peer_alloc(p->agent);
        int r;

        if (!fresh)
                return -ENOMEM;
        fresh->record = p->record;
        fresh->created_at = time(NULL);
        *fresh->credential = *c;
        memcpy(fresh->name, p->name, sizeof(fresh->name));
        r = set_uplinks(fresh, uplinks, n_uplinks);
        if (r == 0)
                r = save(fresh);
        if (r == 0) { /* the running links' connectors point at the credential's place */
                *p->credential = *fresh->credential;
                p->created_at = fresh->created_at;
                p->last_uplink = 0;
                for (size_t i = 0; i < UPLINKS_MAX; i++) {
                        char *old = p->uplinks[i];
                        p->uplinks[i] = fresh->uplinks[i];
                        fresh->uplinks[i] = old;
                }
                size_t n = p->n_uplinks;
                p->n_uplinks = fresh->n_uplinks;
                fresh->n_uplinks = n;
                p->revoked = false;
                p->cause[0] = '\0';
                update_peer(p, NULL);
                restart_links(p);
                watch_tell_peer(p, "replaced");
        }
        peer_free(fresh);
        return r;
}

int peer_rename(Peer *p, const char *name)
{
        char old[sizeof(p->name)];
        int r;

        memcpy(old, p->name, sizeof(old));
        (void)snprintf(p->name, sizeof(p->name), "%s", name); /* checked by the caller */
        r = save(p);
        if (r < 0) {
                memcpy(p->name, old, sizeof(old));
                return r;
        }
        log_info("peer %s: is called %s now", old, p->name);
        watch_tell_peer(p, "renamed");
        return 0;
}

void peer_note_uplink(Peer *p, size_t uplink)
{
        if (uplink == p->last_uplink ||
            uplink >= p->n_uplinks) /* the list may have been replaced meanwhile */
                return;
        p->last_uplink = uplink;
        agent_note_last_seen(p->agent);
}

static int load_uplinks(Peer *p, JsonSlice list)
{
        JsonSlice url;

        if (!json_is_array(list))
                return -EBADMSG;
        while (json_array_next(&list, &url)) {
                if (p->n_uplinks >= UPLINKS_MAX || json_str_dup(url, &p->uplinks[p->n_uplinks]) < 0)
                        return -EBADMSG;
                p->n_uplinks++;
        }
        return p->n_uplinks ? 0 : -EBADMSG;
}

int peer_load(Peer **ret, Agent *a, const RecordId *id, const Secret *text)
{
        static const char *const names[] = {"name", "credential", "createdAt", "uplinks"};
        JsonSlice v[ELEMENTSOF(names)];
        int64_t created = 0;
        size_t n;
        Peer *p = peer_alloc(a);
        int r;

        if (!p)
                return -ENOMEM;
        p->record = *id;
        r = json_scan_object((const char *)text->data, text->len, names, v, ELEMENTSOF(names));
        /* A credential is base64url: nothing in it is escaped. */
        if (r == 0 &&
            (json_str_copy(v[0], p->name, sizeof(p->name), &n) < 0 || !json_is_string(v[1]) ||
             credential_import(v[1].p + 1, v[1].n - 2, p->credential) < 0 ||
             json_int64(v[2], &created) < 0))
                r = -EBADMSG;
        if (r == 0)
                r = load_uplinks(p, v[3]);
        if (r == 0 && agent_find_peer(a, p->name, strlen(p->name)))
                r = -EBADMSG; /* a copy of a record */
        if (r < 0) {
                peer_free(p);
                return r;
        }
        p->created_at = created;
        p->since = time(NULL);
        link_peer(p);
        *ret = p;
        return 0;
}

static void close_links(Peer *p, const char *word, const char *cause);

Peer *peer_free(Peer *p)
{
        if (!p)
                return NULL;
        close_links(p, "closed", "the peer was removed or the agent is stopping");
        while (p->asks)
                peer_ask_free(p->asks);
        while (p->links) /* users that did not let go on IPC_STATE_CLOSED do it now */
                peerlink_free(p->links);
        for (size_t i = 0; i < p->n_uplinks; i++)
                free(p->uplinks[i]);
        secret_object_free(p->credential);
        free(p);
        return NULL;
}

int peer_remove(Peer *p)
{
        int r = store_remove(p->agent->store, RECORD_PEER, &p->record);

        if (r < 0)
                return r;
        for (Peer **at = &p->agent->peers; *at; at = &(*at)->next)
                if (*at == p) {
                        *at = p->next;
                        break;
                }
        watch_tell_peer(p, "removed");
        peer_free(p);
        return r;
}

/* ---- managed connections ---- */

static PeerState state_of_link(const PeerLink *l)
{
        switch (l->state) {
        case IPC_STATE_CONNECTED:
                return PEER_CONNECTED;
        case IPC_STATE_CONNECTING:
        case IPC_STATE_RECONNECTING:
                return l->round_failed                      ? PEER_UNREACHABLE
                       : l->state == IPC_STATE_RECONNECTING ? PEER_RECONNECTING
                                                            : PEER_CONNECTING;
        case IPC_STATE_CLOSED:
                break;
        }
        return PEER_IDLE;
}

/* The peer's state is that of its best link. */
static void update_peer(Peer *p, const char *cause)
{
        static const uint8_t rank[] = {
                [PEER_IDLE] = 0,         [PEER_REVOKED] = 1,    [PEER_UNREACHABLE] = 2,
                [PEER_RECONNECTING] = 3, [PEER_CONNECTING] = 4, [PEER_CONNECTED] = 5,
        };
        PeerState state = p->revoked ? PEER_REVOKED : PEER_IDLE;

        for (const PeerLink *l = p->links; l; l = l->next)
                if (rank[state_of_link(l)] > rank[state])
                        state = state_of_link(l);
        if (state == PEER_CONNECTED)
                p->cause[0] = '\0';
        else if (cause)
                (void)snprintf(p->cause, sizeof(p->cause), "%s", cause); /* cut is fine */
        if (state == p->state)
                return;
        log_limited(&p->log, uv_now(p->agent->loop), LOG_LEVEL_INFO, "peer %s: %s -> %s%s%s",
                    p->name, peer_state_name(p->state), peer_state_name(state),
                    p->cause[0] ? ": " : "", p->cause);
        p->state = state;
        p->since = time(NULL);
        watch_tell_peer(p, "changed");
}

static void set_state(PeerLink *l, IpcState state, const char *word, const char *cause)
{
        static const char *const names[] = {"", "connecting", "connected", "reconnecting",
                                            "closed"};

        if (l->state == IPC_STATE_CLOSED || state == IPC_STATE_CONNECTING) {
                log_error("peer %s: impossible step from %s to %s", l->peer->name, names[l->state],
                          names[state]);
                return;
        }
        log_debug("peer %s: link %s -> %s", l->peer->name, names[l->state], names[state]);
        const bool differs = state != l->state;
        if (differs)
                l->since = time(NULL);
        l->state = state;
        if (l->conduit)
                conduit_note_cause(l->conduit, cause);
        update_peer(l->peer, cause);
        if (differs)
                watch_tell_peer_session(l, state == IPC_STATE_CLOSED ? "closed" : "changed", word,
                                        cause);
        l->func(l->userdata, state, word, cause);
}

void peerlink_close(PeerLink *l, const char *word, const char *cause)
{
        if (l->state == IPC_STATE_CLOSED)
                return;
        timer_stop(l->timer);
        l->connector = connector_free(l->connector);
        l->conduit = conduit_free(l->conduit, word, cause);
        set_state(l, IPC_STATE_CLOSED, word, cause);
}

static void close_links(Peer *p, const char *word, const char *cause)
{
        PeerLink *next;

        for (PeerLink *l = p->links; l; l = next) {
                next = l->next; /* l's user frees only l */
                peerlink_close(l, word, cause);
        }
}

static void close_revoked(PeerLink *l)
{
        char text[128 + NAME_MAX_BYTES];

        (void)snprintf(text, sizeof(text),
                       "the host has revoked this machine's credential; remove the peer (linkctl "
                       "peer remove %s) or pair again",
                       l->peer->name); /* fits */
        peerlink_close(l, "revoked", text);
}

static void back_off(PeerLink *l)
{
        timer_start(l->timer,
                    backoff_draw_msec(l->failures, PEER_BACKOFF_MIN_MSEC, PEER_BACKOFF_MAX_MSEC));
        if (l->failures < 16)
                l->failures++;
}

/* The first is back: the way is open for those that wait out a back-off. Not all at once: fifty
 * handshakes of each of many machines would meet at the host. */
static void call_others(const PeerLink *first)
{
        for (const PeerLink *l = first->peer->links; l; l = l->next)
                if (l != first && l->state == IPC_STATE_CONNECTED)
                        return; /* it has done so */
        for (PeerLink *l = first->peer->links; l; l = l->next) {
                uint64_t wait = 1 + randombytes_uniform(PEER_FOLLOW_MSEC);

                if (l != first && l->state != IPC_STATE_CLOSED && !l->connector &&
                    timer_active(l->timer) && timer_left_msec(l->timer) > wait)
                        timer_start(l->timer, wait);
        }
}

static void on_connected(void *userdata, ConnectorResult result, Ws *ws, SealPair *keys,
                         const Credential *credential, size_t uplink, const char *cause)
{
        PeerLink *l = userdata;
        Peer *p = l->peer;
        int r;

        (void)credential;
        l->connector = NULL; /* it ends itself */
        switch (result) {
        case CONNECTOR_CONNECTED:
                peer_note_uplink(p, uplink);
                l->connected_msec = uv_now(p->agent->loop);
                l->round_failed = false;
                p->revoked = false;
                call_others(l);
                r = conduit_attach(l->conduit, ws, keys);
                if (r == 0)
                        set_state(l, IPC_STATE_CONNECTED,
                                  conduit_is_framed(l->conduit) ? "framed" : "", "");
                else
                        timer_start(l->timer, PEER_BACKOFF_MAX_MSEC);
                return;
        case CONNECTOR_REVOKED:
                p->revoked = true;
                log_limited(&p->log, uv_now(p->agent->loop), LOG_LEVEL_WARNING,
                            "peer %s: the host has revoked this machine's credential", p->name);
                close_revoked(l);
                return;
        case CONNECTOR_WRONG_CODE: /* only in pairings */
        case CONNECTOR_UNREACHABLE:
        case CONNECTOR_ABSENT:
                if (result == CONNECTOR_ABSENT)
                        l->failures = MIN(l->failures, (unsigned)PEER_ABSENT_STEP);
                l->round_failed = true;
                back_off(l);
                set_state(l, l->state == IPC_STATE_CONNECTING ? IPC_STATE_RECONNECTING : l->state,
                          "unreachable", cause);
                return;
        }
}

static void on_timer(void *userdata)
{
        PeerLink *l = userdata;
        Peer *p = l->peer;
        int r = connector_reconnect(&l->connector, p->agent, p->credential, p->uplinks,
                                    p->n_uplinks, p->last_uplink, l->fresh, on_connected, l);

        l->fresh = false;
        l->dialed_msec = uv_now(p->agent->loop);
        if (r < 0)
                timer_start(l->timer, PEER_BACKOFF_MAX_MSEC);
}

void peerlink_hurry(PeerLink *l, bool fresh)
{
        if (l->state == IPC_STATE_CLOSED || l->connector || !timer_active(l->timer))
                return;
        if (fresh && uv_now(l->peer->agent->loop) < l->dialed_msec + PEER_HURRY_MSEC)
                return;
        l->fresh = fresh;
        timer_start(l->timer, 0);
}

void peer_probe(Peer *p, bool changed)
{
        PeerLink *next;

        for (PeerLink *l = p->links; l; l = next) {
                next = l->next; /* l's user frees only l */
                if (l->conduit && conduit_is_connected(l->conduit))
                        conduit_probe(l->conduit, changed);
                else if (changed && l->connector)
                        connector_hurry(l->connector);
                else if (changed)
                        peerlink_hurry(l, false);
        }
}

static void on_session_ended(void *userdata, const char *word, const char *reason)
{
        PeerLink *l = userdata;

        if (uv_now(l->peer->agent->loop) - l->connected_msec >= STOOD_MSEC)
                l->failures = 0; /* else: a host that hangs up at once is not dialed in a circle */
        back_off(l);
        set_state(l, IPC_STATE_RECONNECTING, word, reason);
}

static void on_framed(void *userdata)
{
        PeerLink *l = userdata;

        if (l->state == IPC_STATE_CONNECTED)
                set_state(l, IPC_STATE_CONNECTED, "framed", "");
}

static const ConduitHandler conduit_handler = {
        .on_session_ended = on_session_ended,
        .on_framed = on_framed,
};

/* The credential is another one now: none of the links stays with the old. */
static void restart_links(Peer *p)
{
        PeerLink *next;

        for (PeerLink *l = p->links; l; l = next) {
                next = l->next; /* l's user frees only l */
                if (l->state == IPC_STATE_CLOSED)
                        continue;
                l->connector = connector_free(l->connector);
                conduit_end_session(l->conduit, "closed", "paired again");
                l->failures = 0;
                timer_start(l->timer, 0);
        }
}

bool peer_has_place(const Peer *p, uid_t uid, bool privileged)
{
        unsigned n = 0, of_uid = 0;

        for (const PeerLink *l = p->links; l; l = l->next) {
                n += !l->ask;
                of_uid += !l->ask && l->uid == uid;
        }
        return n < PEER_SESSIONS_MAX && (privileged || of_uid < PEER_SESSIONS_MAX - n);
}

int peerlink_new(PeerLink **ret, Peer *p, uid_t uid, PeerLinkFunc func, void *userdata)
{
        PeerLink *l = calloc(1, sizeof(*l));

        if (!l)
                return -ENOMEM;
        l->timer = timer_new(p->agent->loop, on_timer, l);
        if (!l->timer || conduit_new(&l->conduit, p->agent->loop, true, &conduit_handler, l) < 0) {
                timer_free(l->timer);
                free(l);
                return -ENOMEM;
        }
        l->peer = p;
        l->uid = uid;
        l->state = IPC_STATE_CONNECTING;
        l->func = func;
        l->userdata = userdata;
        l->since = time(NULL);
        l->fresh = true;
        l->next = p->links;
        p->links = l;
        timer_start(l->timer, 0);
        update_peer(p, NULL);
        watch_tell_peer_session(l, "opened", NULL, NULL);
        *ret = l;
        return 0;
}

PeerLink *peerlink_free(PeerLink *l)
{
        Peer *p;

        if (!l)
                return NULL;
        p = l->peer;
        for (PeerLink **at = &p->links; *at; at = &(*at)->next)
                if (*at == l) {
                        *at = l->next;
                        break;
                }
        connector_free(l->connector);
        l->conduit = conduit_free(l->conduit, "closed", "the session was closed");
        if (l->state != IPC_STATE_CLOSED) {
                l->state = IPC_STATE_CLOSED;
                watch_tell_peer_session(l, "closed", "closed", "the session was closed");
        }
        timer_free(l->timer);
        free(l);
        update_peer(p, NULL);
        return NULL;
}
