/* The methods that tell how things are. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "ipc-call-internal.h"
#include "peer.h"

void call_add_uplinks(Buf *out, const Host *h)
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
                call_add_uplinks(out, h);
                buf_json_member_int(out, "devices", h->n_devices);
                buf_json_member_int(out, "invitations", invitations);
                buf_json_member_int(out, "sessions", h->n_sessions);
                buf_json_member_bool(out, "served", h->servers != NULL);
                buf_add_str(out, "}");
        }
        buf_add_str(out, "]");
}

void call_add_time(Buf *out, const char *name, time_t t)
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
                call_add_time(out, "since", p->since);
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
                call_add_time(out, "createdAt", p->created_at);
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
        call_add_time(out, "since", since);
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
                if (!h->uplinks && (h->n_devices || h->invitations))
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

void call_status(Call *call)
{
        Buf *out = &call->result;

        buf_json_member_str(out, "version", LINK_VERSION);
        buf_json_member_int(out, "pid", getpid());
        call_add_time(out, "startedAt", call->agent->started_at);
        buf_json_member_str(out, "stateDir", store_dir(call->agent->store));
        add_hosts(out, call->agent);
        add_peers(out, call->agent);
        add_sessions(out, call->agent);
        add_problems(out, call->agent);
}

void call_host_list(Call *call)
{
        add_hosts(&call->result, call->agent);
}

void call_peers(Call *call)
{
        add_peers(&call->result, call->agent);
}
