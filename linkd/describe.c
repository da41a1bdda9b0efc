#include "describe.h"

#include "liblinkproto/b64u.h"

void describe_time(Buf *out, const char *name, time_t t)
{
        char text[TIME_TEXT_BYTES];

        agent_format_time(t, text);
        buf_json_member_str(out, name, text);
}

/* 0: null. */
static void add_time_or_null(Buf *out, const char *name, time_t t)
{
        if (t)
                describe_time(out, name, t);
        else
                buf_json_member_str(out, name, NULL);
}

void describe_uplinks(Buf *out, const Host *h)
{
        buf_json_name(out, "uplinks");
        buf_add_str(out, "[");
        for (const Uplink *u = h->uplinks; u; u = u->next)
                uplink_describe(u, out);
        buf_add_str(out, "]");
}

void describe_host(Buf *out, const Host *h)
{
        unsigned invitations = 0;

        for (const Invitation *i = h->invitations; i; i = i->next)
                invitations++;
        buf_json_member_str(out, "name", h->name);
        buf_json_member_str(out, "address", host_address(h));
        describe_time(out, "createdAt", h->created_at);
        describe_uplinks(out, h);
        buf_json_member_int(out, "devices", h->n_devices);
        buf_json_member_int(out, "invitations", invitations);
        buf_json_member_int(out, "sessions", h->n_sessions);
        buf_json_member_bool(out, "served", h->servers != NULL);
        buf_json_member_bool(out, "recovery", h->recovery_key != NULL);
}

void describe_invitation(Buf *out, const Invitation *i)
{
        char id[B64U_LEN(CODE_ID_BYTES) + 1];

        b64u_encode(i->code_id, CODE_ID_BYTES, id);
        buf_json_member_str(out, "host", i->host->name);
        buf_json_member_str(out, "codeId", i->has_code_id ? id : NULL);
        buf_json_member_str(out, "label", i->label[0] ? i->label : NULL);
        describe_time(out, "expiresAt", i->expires_at);
        buf_json_member_int(out, "failures", i->failures);
        buf_json_member_int(out, "inFlight", i->in_flight);
        if (i->device_ttl_sec)
                buf_json_member_int(out, "deviceTtlSec", (int64_t)i->device_ttl_sec);
        else
                buf_json_member_str(out, "deviceTtlSec", NULL);
}

void describe_device(Buf *out, const Host *h, const Device *d)
{
        char id[KEY_ID_TEXT_BYTES];

        host_key_id_text(d->key_id, id);
        buf_json_member_str(out, "keyId", id);
        buf_json_member_str(out, "host", h->name);
        buf_json_member_str(out, "label", d->label);
        describe_time(out, "createdAt", d->created_at);
        add_time_or_null(out, "lastSeenAt", d->last_seen_at);
        buf_json_member_str(out, "codeId", d->admitted_by[0] ? d->admitted_by : NULL);
        add_time_or_null(out, "expiresAt", d->expires_at);
        buf_json_member_bool(out, "expired", host_device_is_expired(d));
        buf_json_member_bool(out, "connected", host_device_sessions(h, d->key_id) > 0);
}

void describe_peer(Buf *out, const Peer *p)
{
        char id[KEY_ID_TEXT_BYTES];

        host_key_id_text(p->credential->key_id, id);
        buf_json_member_str(out, "name", p->name);
        buf_json_member_str(out, "address", p->credential->address);
        buf_json_member_str(out, "state", peer_state_name(p->state));
        describe_time(out, "since", p->since);
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
        describe_time(out, "createdAt", p->created_at);
        buf_json_member_int(out, "sessions", peer_n_links(p));
}

static void add_session(Buf *out, const char *side, const char *name, const char *host,
                        const char *state, time_t since, const Conduit *conduit)
{
        buf_json_member_str(out, "side", side);
        buf_json_member_str(out, "name", name);
        buf_json_member_str(out, "host", host);
        buf_json_member_str(out, "state", state);
        describe_time(out, "since", since);
        buf_json_member_int(out, "requests", conduit ? conduit_n_pending(conduit) : 0);
}

void describe_peer_session(Buf *out, const PeerLink *l)
{
        static const char *const states[] = {"", "connecting", "connected", "reconnecting",
                                             "closed"};

        add_session(out, "peer", l->peer->name, NULL, states[l->state], l->since, l->conduit);
}

void describe_host_session(Buf *out, const HostSession *s)
{
        const Device *d = host_find_device(s->host, s->key_id);

        add_session(out, "device", d ? d->label : "", s->host->name,
                    s->conduit ? "connected" : "closed", s->since, s->conduit);
}
