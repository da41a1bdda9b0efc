#include "ipc-call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "host.h"
#include "liblinkproto/b64u.h"
#include "limits.h"
#include "log.h"
#include "peer.h"

/* A call being answered: its parameters are cut out once, by name. */
typedef struct Call {
        IpcConn *conn;
        uint32_t request;
        Agent *agent;
        IpcStr params;
        Buf result;
        bool answered; /* by an error, or later by a pairing */
} Call;

typedef void (*CallFunc)(Call *call);

struct IpcPairing {
        IpcPairing *next;
        IpcConn *conn;
        uint32_t request;
        Pairing *pairing;
};

static void fail(Call *call, const char *word, const char *message)
{
        ipc_conn_send_error(call->conn, 0, call->request, word, message);
        call->answered = true;
}

static void fail_errno(Call *call, int r)
{
        const char *word = r == -EUSERS   ? "tooMany"
                           : r == -EEXIST ? "exists"
                           : r == -ENOMEM ? "internal"
                           : r == -EINVAL ? "badRequest"
                                          : "storage";
        char text[256];

        if (strcmp(word, "storage") == 0)
                (void)snprintf(text, sizeof(text), "the state directory %s cannot be written: %s",
                               store_dir(call->agent->store), strerror(-r)); /* cut is fine */
        else
                (void)snprintf(text, sizeof(text), "%s",
                               r == -EUSERS ? "a limit is reached" : strerror(-r));
        fail(call, word, text);
}

/* ---- parameters ---- */

static JsonSlice param(const Call *call, const char *name)
{
        JsonSlice v = {};

        /* Valid: checked before the method was called. */
        if (call->params.n == 0 ||
            json_scan_object(call->params.p, call->params.n, &name, &v, 1) < 0)
                return (JsonSlice){};
        return json_is_null(v) ? (JsonSlice){} : v;
}

/* A string member. 1: *ret is set (free()); 0: absent; -EINVAL: answered. */
static int param_str(Call *call, const char *name, size_t max, char **ret)
{
        JsonSlice v = param(call, name);
        char text[128];

        if (!v.p)
                return 0;
        if (json_str_dup(v, ret) == 0 && strlen(*ret) <= max)
                return 1;
        (void)snprintf(text, sizeof(text), "`%s` must be a string of at most %zu bytes", name, max);
        fail(call, "badRequest", text);
        return -EINVAL;
}

static int param_bool(Call *call, const char *name, bool *ret)
{
        JsonSlice v = param(call, name);

        if (v.p && v.p[0] != 't' && v.p[0] != 'f') {
                fail(call, "badRequest", "a switch must be true or false");
                return -EINVAL;
        }
        *ret = v.p && json_is_true(v);
        return 0;
}

/* The host that `host` names, or the default one. NULL: answered. */
static Host *param_host(Call *call)
{
        _cleanup_(freep) char *name = NULL;
        Host *h;
        int r = param_str(call, "host", NAME_MAX_BYTES, &name);

        if (r < 0)
                return NULL;
        h = r ? agent_find_host(call->agent, name, strlen(name))
              : agent_find_host(call->agent, "default", strlen("default"));
        if (!h)
                fail(call, "noSuchHost", "there is no host of that name; see `linkctl host list`");
        return h;
}

/* `url`, normalized. NULL: answered. */
static char *param_url(Call *call)
{
        _cleanup_(freep) char *text = NULL;
        const char *fault = "a relay's URL is needed";
        char message[256];
        char *url = NULL;
        int r = param_str(call, "url", RELAY_URL_MAX, &text);

        if (r < 0)
                return NULL;
        r = r ? relay_url_normalize(text, strlen(text), &url, &fault) : -EINVAL;
        if (r == 0)
                return url;
        (void)snprintf(message, sizeof(message),
                       "%s (for example ws://relay.example or wss://relay.example)",
                       r == -ENOMEM ? "out of memory" : fault);
        fail(call, "badRequest", message);
        return NULL;
}

/* ---- status ---- */

static void add_uplinks(Buf *out, const Host *h)
{
        buf_json_name(out, "uplinks");
        buf_add_str(out, "[");
        for (const Uplink *u = h->uplinks; u; u = u->next)
                uplink_describe(u, out);
        buf_add_str(out, "]");
}

static void add_hosts(Buf *out, const Agent *a)
{
        buf_json_name(out, "hosts");
        buf_add_str(out, "[");
        for (const Host *h = a->hosts; h; h = h->next) {
                unsigned invitations = 0;
                for (const Invitation *i = h->invitations; i; i = i->next)
                        invitations++;
                buf_json_comma(out);
                buf_add_str(out, "{");
                buf_json_member_str(out, "name", h->name);
                buf_json_member_str(out, "address", host_address(h));
                add_uplinks(out, h);
                buf_json_member_int(out, "devices", h->n_devices);
                buf_json_member_int(out, "invitations", invitations);
                buf_json_member_int(out, "sessions", h->n_sessions);
                buf_json_member_bool(out, "served", h->servers != NULL);
                buf_add_str(out, "}");
        }
        buf_add_str(out, "]");
}

static void add_time(Buf *out, const char *name, time_t t)
{
        char text[TIME_TEXT_BYTES];

        agent_format_time(t, text);
        buf_json_member_str(out, name, text);
}

static void add_peers(Buf *out, const Agent *a)
{
        buf_json_name(out, "peers");
        buf_add_str(out, "[");
        for (const Peer *p = a->peers; p; p = p->next) {
                char id[KEY_ID_TEXT_BYTES];
                host_key_id_text(p->credential->key_id, id);
                buf_json_comma(out);
                buf_add_str(out, "{");
                buf_json_member_str(out, "name", p->name);
                buf_json_member_str(out, "address", p->credential->address);
                buf_json_member_str(out, "state", peer_state_name(p->state));
                add_time(out, "since", p->since);
                buf_json_member_str(out, "cause", p->cause[0] ? p->cause : NULL);
                buf_json_member_str(out, "uplink", p->uplinks[p->last_uplink]);
                buf_json_name(out, "uplinks");
                buf_add_str(out, "[");
                for (size_t i = 0; i < p->n_uplinks; i++) {
                        buf_json_comma(out);
                        buf_json_str(out, p->uplinks[i], strlen(p->uplinks[i]));
                }
                buf_add_str(out, "]");
                buf_json_member_str(out, "keyId", id);
                add_time(out, "createdAt", p->created_at);
                buf_json_member_int(out, "sessions", peer_n_links(p));
                buf_add_str(out, "}");
        }
        buf_add_str(out, "]");
}

static void add_session(Buf *out, const char *side, const char *name, const char *state,
                        time_t since, const Conduit *conduit)
{
        buf_json_comma(out);
        buf_add_str(out, "{");
        buf_json_member_str(out, "side", side);
        buf_json_member_str(out, "name", name);
        buf_json_member_str(out, "state", state);
        add_time(out, "since", since);
        buf_json_member_int(out, "requests", conduit ? conduit_n_pending(conduit) : 0);
        buf_add_str(out, "}");
}

static void add_sessions(Buf *out, Agent *a)
{
        static const char *const link_states[] = {"", "connecting", "connected", "reconnecting",
                                                  "closed"};

        buf_json_name(out, "sessions");
        buf_add_str(out, "[");
        for (Peer *p = a->peers; p; p = p->next)
                for (const PeerLink *l = p->links; l; l = l->next)
                        add_session(out, "peer", p->name, link_states[l->state], l->since,
                                    l->conduit);
        for (Host *h = a->hosts; h; h = h->next)
                for (const HostSession *s = h->sessions; s; s = s->next) {
                        const Device *d = host_find_device(h, s->key_id);
                        add_session(out, "device", d ? d->label : "", "connected", s->since,
                                    s->conduit);
                }
        buf_add_str(out, "]");
}

static void add_problem(Buf *out, const char *format, ...) _printf_(2, 3);
static void add_problem(Buf *out, const char *format, ...)
{
        char text[512];
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(text, sizeof(text), format, ap); /* cut is fine */
        va_end(ap);
        buf_json_comma(out);
        buf_json_str(out, text, strlen(text));
}

static void add_problems(Buf *out, const Agent *a)
{
        buf_json_name(out, "problems");
        buf_add_str(out, "[");
        for (const Unreadable *u = a->unreadable; u; u = u->next)
                add_problem(out, "%s; it is left in place", u->text);
        for (const Host *h = a->hosts; h; h = h->next) {
                if (!h->uplinks && h->n_devices)
                        add_problem(out, "host %s has no relay: run `linkctl uplink add URL`",
                                    h->name);
                for (const Uplink *u = h->uplinks; u; u = u->next)
                        if (u->state != UPLINK_REGISTERED && u->cause[0])
                                add_problem(out, "relay %s: %s", u->url, u->cause);
        }
        for (const Peer *p = a->peers; p; p = p->next)
                if (p->state == PEER_REVOKED || p->state == PEER_UNREACHABLE)
                        add_problem(out, "peer %s is %s%s%s", p->name, peer_state_name(p->state),
                                    p->cause[0] ? ": " : "", p->cause);
        buf_add_str(out, "]");
}

static void call_status(Call *call)
{
        Buf *out = &call->result;

        buf_json_member_str(out, "version", LINK_VERSION);
        buf_json_member_int(out, "pid", getpid());
        add_time(out, "startedAt", call->agent->started_at);
        buf_json_member_str(out, "stateDir", store_dir(call->agent->store));
        add_hosts(out, call->agent);
        add_peers(out, call->agent);
        add_sessions(out, call->agent);
        add_problems(out, call->agent);
}

static void call_host_list(Call *call)
{
        add_hosts(&call->result, call->agent);
}

static void call_peers(Call *call)
{
        add_peers(&call->result, call->agent);
}

/* ---- uplinks ---- */

static void call_uplink_list(Call *call)
{
        Host *h = param_host(call);

        if (h)
                add_uplinks(&call->result, h);
}

static void call_uplink_add(Call *call)
{
        Host *h = param_host(call);
        _cleanup_(freep) char *url = h ? param_url(call) : NULL;
        int r;

        if (!url)
                return;
        r = host_add_uplink(h, url);
        if (r == -EEXIST) {
                fail(call, "exists", "this relay is there already");
                return;
        }
        if (r < 0) {
                fail_errno(call, r);
                return;
        }
        buf_json_member_str(&call->result, "url", url);
        buf_json_member_str(&call->result, "host", h->name);
        buf_json_member_str(&call->result, "state", uplink_state_name(UPLINK_CONNECTING));
}

static void call_uplink_remove(Call *call)
{
        Host *h = param_host(call);
        _cleanup_(freep) char *url = h ? param_url(call) : NULL;
        int r;

        if (!url)
                return;
        r = host_remove_uplink(h, url);
        if (r == -ENOENT) {
                fail(call, "noSuchUplink", "the host has no such relay; see `linkctl uplink list`");
                return;
        }
        if (r < 0) {
                fail_errno(call, r);
                return;
        }
        buf_json_member_str(&call->result, "url", url);
        buf_json_member_str(&call->result, "host", h->name);
}

/* ---- invitations ---- */

static void add_invitation(Buf *out, Host *h, const Invitation *i)
{
        const char *relays[UPLINKS_MAX];
        char id[B64U_LEN(CODE_ID_BYTES) + 1];
        size_t n = 0;

        b64u_encode(i->code_id, CODE_ID_BYTES, id);
        for (const Uplink *u = h->uplinks; u && n < UPLINKS_MAX; u = u->next)
                relays[n++] = u->url;
        _cleanup_(secret_freep) Secret *uri =
                invite_uri_format(host_address(h), (const char *)i->code->data,
                                  i->has_code_id ? i->code_id : NULL, relays, n);
        buf_json_member_str(out, "host", h->name);
        buf_json_member_str(out, "address", host_address(h));
        buf_json_member_str(out, "code", (const char *)i->code->data);
        buf_json_member_str(out, "codeId", i->has_code_id ? id : NULL);
        buf_json_member_str(out, "uri", uri ? (const char *)uri->data : NULL);
        buf_json_member_str(out, "label", i->label[0] ? i->label : NULL);
        add_time(out, "expiresAt", i->expires_at);
}

static int param_ttl(Call *call, int64_t *ret)
{
        JsonSlice v = param(call, "ttlSec");

        *ret = INVITE_TTL_SEC;
        if (!v.p || (json_int64(v, ret) == 0 && *ret >= 1 && *ret <= INVITE_TTL_MAX_SEC))
                return 0;
        fail(call, "badRequest", "an invitation lives 1 second to 7 days");
        return -EINVAL;
}

static void wipe_strp(char **s)
{
        if (*s)
                explicit_bzero(*s, strlen(*s));
        free(*s);
}

static void call_invite(Call *call)
{
        _cleanup_(freep) char *label = NULL;
        _cleanup_(wipe_strp) char *code = NULL;
        Host *h = param_host(call);
        Invitation *i;
        int64_t ttl;
        bool no_id;
        int r;

        if (!h || param_ttl(call, &ttl) < 0 || param_bool(call, "noId", &no_id) < 0 ||
            param_str(call, "label", NAME_MAX_BYTES, &label) < 0 ||
            param_str(call, "code", INVITE_CODE_MAX, &code) < 0)
                return;
        if (label && label[0] && !name_is_valid(label)) {
                fail(call, "badRequest", "a label is at most 64 bytes of printable text");
        } else if (code && strlen(code) < CODE_MIN_BYTES) {
                fail(call, "badRequest", "a code has at least 6 characters");
        } else if (!h->uplinks) {
                fail(call, "noUplink",
                     "the host has no relay to be reached by: run `linkctl uplink add URL` first");
        } else if ((r = invitation_open(&i, h, code, !no_id, label ? label : "", (uint64_t)ttl)) <
                   0) {
                fail_errno(call, r);
        } else {
                /* So that the code is not left behind when the buffer grows. */
                if (buf_reserve(&call->result, 8192) < 0)
                        log_error("out of memory");
                add_invitation(&call->result, h, i);
        }
}

static void call_invitations(Call *call)
{
        Host *h = param_host(call);
        Buf *out = &call->result;

        if (!h)
                return;
        buf_json_name(out, "invitations");
        buf_add_str(out, "[");
        for (const Invitation *i = h->invitations; i; i = i->next) {
                char id[B64U_LEN(CODE_ID_BYTES) + 1];
                b64u_encode(i->code_id, CODE_ID_BYTES, id);
                buf_json_comma(out);
                buf_add_str(out, "{");
                buf_json_member_str(out, "host", h->name);
                buf_json_member_str(out, "codeId", i->has_code_id ? id : NULL);
                buf_json_member_str(out, "label", i->label[0] ? i->label : NULL);
                add_time(out, "expiresAt", i->expires_at);
                buf_json_member_int(out, "failures", i->failures);
                buf_json_member_int(out, "inFlight", i->in_flight);
                buf_add_str(out, "}");
        }
        buf_add_str(out, "]");
}

static void call_uninvite(Call *call)
{
        _cleanup_(freep) char *id = NULL;
        Host *h = param_host(call);
        uint8_t code_id[CODE_ID_BYTES];
        Invitation *i = NULL;
        int r;

        if (!h || (r = param_str(call, "codeId", 64, &id)) < 0)
                return;
        if (r == 0) {
                fail(call, "badRequest", "`codeId` is needed");
                return;
        }
        if (!id[0])
                i = invitation_find(h, NULL);
        else if (b64u_decode_exact(id, strlen(id), code_id, sizeof(code_id)) == 0)
                i = invitation_find(h, code_id);
        if (!i) {
                fail(call, "noSuchInvitation", "there is no such open invitation");
                return;
        }
        invitation_close(i);
        buf_json_member_str(&call->result, "codeId", id);
}

/* ---- devices ---- */

static void call_devices(Call *call)
{
        Host *h = param_host(call);
        Buf *out = &call->result;

        if (!h)
                return;
        buf_json_name(out, "devices");
        buf_add_str(out, "[");
        for (const Device *d = h->devices; d; d = d->next) {
                char id[KEY_ID_TEXT_BYTES];
                host_key_id_text(d->key_id, id);
                buf_json_comma(out);
                buf_add_str(out, "{");
                buf_json_member_str(out, "keyId", id);
                buf_json_member_str(out, "host", h->name);
                buf_json_member_str(out, "label", d->label);
                add_time(out, "createdAt", d->created_at);
                if (d->last_seen_at)
                        add_time(out, "lastSeenAt", d->last_seen_at);
                else
                        buf_json_member_str(out, "lastSeenAt", NULL);
                buf_json_member_str(out, "codeId", d->admitted_by[0] ? d->admitted_by : NULL);
                buf_json_member_bool(out, "connected", host_device_sessions(h, d->key_id) > 0);
                buf_add_str(out, "}");
        }
        buf_add_str(out, "]");
}

/* By key id, else by a label that only one has. NULL: answered. */
static Device *param_device(Call *call, Host *h)
{
        _cleanup_(freep) char *text = NULL;
        uint8_t key_id[KEY_ID_BYTES];
        Device *found = NULL;
        int r = param_str(call, "device", 128, &text);

        if (r <= 0) {
                if (r == 0)
                        fail(call, "badRequest", "`device` is needed: a key id or a label");
                return NULL;
        }
        if (b64u_decode_exact(text, strlen(text), key_id, sizeof(key_id)) == 0)
                found = host_find_device(h, key_id);
        for (Device *d = found ? NULL : h->devices; d; d = d->next) {
                if (strcmp(d->label, text) != 0)
                        continue;
                if (found) {
                        fail(call, "ambiguous",
                             "several devices have this label: use the key id of `linkctl "
                             "devices`");
                        return NULL;
                }
                found = d;
        }
        if (!found)
                fail(call, "noSuchDevice", "there is no such device; see `linkctl devices`");
        return found;
}

static void call_revoke(Call *call)
{
        char id[KEY_ID_TEXT_BYTES], label[NAME_MAX_BYTES + 1];
        Host *h = param_host(call);
        Device *d = h ? param_device(call, h) : NULL;
        unsigned ended = 0;
        int r;

        if (!d)
                return;
        host_key_id_text(d->key_id, id);
        memcpy(label, d->label, sizeof(label));
        r = host_revoke(h, d, &ended);
        if (r < 0) {
                fail_errno(call, r);
                return;
        }
        buf_json_member_str(&call->result, "keyId", id);
        buf_json_member_str(&call->result, "label", label);
        buf_json_member_int(&call->result, "sessionsEnded", ended);
}

/* ---- pairing and peers ---- */

static void on_paired(void *userdata, Peer *peer, const char *word, const char *message)
{
        IpcPairing *op = userdata;
        IpcConn *c = op->conn;
        Buf out = {};
        char id[KEY_ID_TEXT_BYTES];

        for (IpcPairing **at = &c->pairings; *at; at = &(*at)->next)
                if (*at == op) {
                        *at = op->next;
                        break;
                }
        c->n_requests--;
        if (!peer) {
                ipc_conn_send_error(c, 0, op->request, word, message);
                free(op);
                return;
        }
        host_key_id_text(peer->credential->key_id, id);
        buf_add_str(&out, "{");
        buf_json_member_str(&out, "name", peer->name);
        buf_json_member_str(&out, "address", peer->credential->address);
        buf_json_member_str(&out, "keyId", id);
        buf_json_name(&out, "uplinks");
        buf_add_str(&out, "[");
        for (size_t i = 0; i < peer->n_uplinks; i++) {
                buf_json_comma(&out);
                buf_json_str(&out, peer->uplinks[i], strlen(peer->uplinks[i]));
        }
        buf_add_str(&out, "]}");
        if (buf_ok(&out) == 0)
                ipc_conn_send(c, &(IpcMessage){.type = IPC_RESULT,
                                               .request = op->request,
                                               .json = {.p = (char *)out.data, .n = out.len}});
        else
                ipc_conn_send_error(c, 0, op->request, "internal", "out of memory");
        buf_done(&out);
        free(op);
}

/* The pieces of an invitation, given one by one. 0, or answered. */
static int invitation_of_params(Call *call, InviteUri *u)
{
        _cleanup_(freep) char *address = NULL, *id = NULL;
        _cleanup_(wipe_strp) char *code = NULL;
        JsonSlice list = param(call, "uplinks"), item;
        const char *fault = "it is too long";

        if (param_str(call, "address", 64, &address) < 0 ||
            param_str(call, "codeId", 64, &id) < 0 ||
            param_str(call, "code", INVITE_CODE_MAX, &code) < 0)
                return -EINVAL;
        if (!address || !address_is_valid(address, strlen(address))) {
                fail(call, "badRequest",
                     "an invitation URI, or an address of 43 characters, is needed");
                return -EINVAL;
        }
        memcpy(u->address, address, ADDRESS_CHARS + 1);
        if (id && b64u_decode_exact(id, strlen(id), u->code_id, CODE_ID_BYTES) < 0) {
                fail(call, "badRequest", "the code id is not one: it has 11 characters");
                return -EINVAL;
        }
        u->has_code_id = id != NULL;
        if (code && code[0] && !(u->code = secret_copy(code, strlen(code)))) {
                fail(call, "internal", "out of memory");
                return -ENOMEM;
        }
        while (list.p && json_is_array(list) && json_array_next(&list, &item)) {
                _cleanup_(freep) char *text = NULL;
                if (u->n_relays >= INVITE_RELAYS_MAX || json_str_dup(item, &text) < 0 ||
                    relay_url_normalize(text, strlen(text), &u->relays[u->n_relays], &fault) < 0) {
                        fail(call, "badRequest", fault);
                        return -EINVAL;
                }
                u->n_relays++;
        }
        return 0;
}

static int param_invitation(Call *call, InviteUri *u)
{
        _cleanup_(wipe_strp) char *uri = NULL;
        const char *fault = "out of memory";
        int r = param_str(call, "uri", INVITE_URI_MAX, &uri);

        if (r < 0)
                return r;
        if (r == 0) {
                r = invitation_of_params(call, u);
        } else {
                r = invite_uri_parse(uri, strlen(uri), u, &fault);
                if (r < 0)
                        fail(call, "badRequest", fault);
        }
        if (r < 0)
                return r;
        if (!u->code)
                fault = "the pairing code is missing";
        else if (!u->n_relays)
                fault = "no relay is named: a relay's URL is needed";
        else
                return 0;
        fail(call, "badRequest", fault);
        return -EINVAL;
}

static void call_pair(Call *call)
{
        _cleanup_(invite_uri_done) InviteUri u = {};
        _cleanup_(freep) char *name = NULL;
        IpcConn *c = call->conn;
        IpcPairing *op;
        int r;

        if (param_str(call, "name", NAME_MAX_BYTES, &name) < 0 || param_invitation(call, &u) < 0)
                return;
        if (name && name[0] && !name_is_valid(name)) {
                fail(call, "badRequest",
                     "a name is at most 64 bytes of printable text, "
                     "without - or @ in front");
                return;
        }
        op = calloc(1, sizeof(*op));
        if (!op) {
                fail_errno(call, -ENOMEM);
                return;
        }
        op->conn = c;
        op->request = call->request;
        r = pairing_start(&op->pairing, call->agent, &u, name ? name : "", on_paired, op);
        if (r < 0) {
                free(op);
                if (r == -EEXIST)
                        fail(call, "exists", "another peer has that name: choose one with --name");
                else
                        fail_errno(call, r);
                return;
        }
        op->next = c->pairings;
        c->pairings = op;
        c->n_requests++;
        call->answered = true;
}

static void call_peer_remove(Call *call)
{
        _cleanup_(freep) char *name = NULL;
        Peer *p;
        int r = param_str(call, "name", NAME_MAX_BYTES, &name);

        if (r < 0)
                return;
        p = r ? agent_find_peer(call->agent, name, strlen(name)) : NULL;
        if (!p) {
                fail(call, "noSuchPeer", "there is no peer of that name; see `linkctl peers`");
                return;
        }
        r = peer_remove(p);
        if (r < 0)
                fail_errno(call, r);
        else
                buf_json_member_str(&call->result, "name", name);
}

/* ---- dispatch ---- */

static const struct {
        const char *name;
        Access access;
        CallFunc func;
} methods[] = {
        {"status", ACCESS_READ, call_status},
        {"host.list", ACCESS_READ, call_host_list},
        {"uplink.add", ACCESS_ADMINISTER, call_uplink_add},
        {"uplink.remove", ACCESS_ADMINISTER, call_uplink_remove},
        {"uplink.list", ACCESS_READ, call_uplink_list},
        {"invite", ACCESS_ADMINISTER, call_invite},
        {"invitations", ACCESS_ADMINISTER, call_invitations},
        {"uninvite", ACCESS_ADMINISTER, call_uninvite},
        {"pair", ACCESS_ADMINISTER, call_pair},
        {"devices", ACCESS_READ, call_devices},
        {"revoke", ACCESS_ADMINISTER, call_revoke},
        {"peers", ACCESS_READ, call_peers},
        {"peer.remove", ACCESS_ADMINISTER, call_peer_remove},
};

static void run(Call *call, CallFunc func)
{
        buf_add_str(&call->result, "{");
        func(call);
        if (call->answered)
                return;
        buf_add_str(&call->result, "}");
        if (buf_ok(&call->result) < 0)
                fail(call, "internal", "out of memory");
        else
                ipc_conn_send(call->conn, &(IpcMessage){.type = IPC_RESULT,
                                                        .request = call->request,
                                                        .json = {.p = (char *)call->result.data,
                                                                 .n = call->result.len}});
}

void ipc_call_dispatch(IpcConn *c, const IpcMessage *m)
{
        Call call = {.conn = c, .request = m->request, .agent = c->agent, .params = m->json};
        JsonSlice params;

        if (m->json.n && json_scan_value(m->json.p, m->json.n, &params) < 0) {
                ipc_conn_fail(c, "protocol", "text that should be JSON is not");
                return;
        }
        if (m->json.n && !json_is_object(params)) {
                fail(&call, "badRequest", "the params are not a JSON object");
                return;
        }
        if (c->n_requests >= IPC_REQUESTS_MAX) {
                fail(&call, "tooMany", "too many unanswered requests");
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(methods); i++) {
                if (!ipc_str_eq(m->name, methods[i].name))
                        continue;
                if (c->access & methods[i].access)
                        run(&call, methods[i].func);
                else
                        fail(&call, "forbidden", "this user may not do that");
                buf_done_wipe(&call.result);
                return;
        }
        fail(&call, "noSuchMethod", "this agent has no such method");
}

void ipc_call_drop_all(IpcConn *c)
{
        while (c->pairings) {
                IpcPairing *op = c->pairings;
                c->pairings = op->next;
                pairing_free(op->pairing);
                free(op);
        }
}
