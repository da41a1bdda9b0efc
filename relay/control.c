/* What control messages mean: PROTOCOL.md "Control messages".
 *
 *   host                     relay                    client
 *    register        -->
 *            <--  registered
 *                                  <--  resolve
 *            <--  arrived          found  -->
 *                                  <--  relay
 *            <--  relay
 *    accept (a new socket) -->
 *            <--  relaying      relaying  -->            from here on: payload */
#include "relay-internal.h"
#include "usage.h"

static void send_message(Conn *c, ControlType t, const char *link_id, const char *address,
                         const char *error)
{
        char text[CONTROL_RELAY_MAX];
        int n = control_encode(t, link_id, address, error, text, sizeof(text));

        if (n < 0)
                conn_drop(c);
        else
                conn_send_text(c, text, (size_t)n);
}

/* The first control message that makes sense. */
static void set_role(Conn *c, ConnRole role)
{
        Stats *s = &c->relay->stats;

        s->n_roles[c->role]--;
        s->n_roles[role]++;
        c->role = (uint8_t)role;
        if (role != ROLE_CONTROL) { /* no register will be checked */
                free(c->host);
                c->host = NULL;
        }
}

static bool has_budget(Conn *c)
{
        if (iptable_spend(c->ip, (uint32_t)c->relay->config.ip_rate_per_min,
                          relay_now_msec(c->relay)))
                return true;
        relay_count_refusal(c->relay, REFUSED_BUDGET);
        conn_close(c, CLOSE_RATE_LIMITED);
        return false;
}

static const char *origin_of(const Conn *c)
{
        return c->relay->config.origin ? c->relay->config.origin : c->host;
}

/* NULL, or the word of a claim that comes too late or belongs to another key. */
static const char *refusal(Relay *r, const char *address, const RegisterClaim *claim)
{
        const Address *a = address_find(r, address);
        bool held = a && a->holder;

        if (held && memcmp(a->public, claim->public, sizeof(a->public)) != 0)
                return "address_pinned"; /* would need two keys of one hash */
        if (replay_seen(&r->replay, claim) || (held && claim->ts_msec <= a->ts_msec))
                return "register_stale";
        return NULL;
}

/* Whether one more address would be more than a socket may hold. */
static bool has_too_many(const Conn *c, const char *address)
{
        const Address *a;

        if (c->role != ROLE_CONTROL || c->n_addresses < ADDRESSES_PER_SOCKET_MAX)
                return false;
        a = address_find(c->relay, address);
        return !a || a->holder != c;
}

static void do_register(Conn *c, const ControlMessage *m)
{
        Relay *r = c->relay;
        int64_t now = relay_wall_msec();
        RegisterClaim claim;
        const char *error;

        if ((c->role != ROLE_NEW && c->role != ROLE_CONTROL) || !m->address[0] ||
            has_too_many(c, m->address)) {
                conn_close(c, CLOSE_BAD_REQUEST);
                return;
        }
        if (!has_budget(c))
                return;
        if (register_verify(m->auth, m->address, origin_of(c), now, &claim) != REGISTER_VALID) {
                relay_count_refusal(r, REFUSED_AUTH);
                conn_close(c, CLOSE_REGISTER_AUTH);
                return;
        }
        if (!relay_config_allows(&r->config, claim.public)) {
                relay_count_refusal(r, REFUSED_ALLOWLIST);
                conn_close(c, CLOSE_REGISTER_UNAUTHORIZED);
                return;
        }
        conn_set_deadline(c, DEADLINE_NONE);
        error = refusal(r, m->address, &claim);
        if (error) {
                relay_count_refusal(r, REFUSED_STALE);
                send_message(c, CONTROL_ERROR, NULL, NULL, error);
                return;
        }
        if (c->role == ROLE_NEW) {
                set_role(c, ROLE_CONTROL);
                LIST_INIT(&c->addresses);
                LIST_INIT(&c->waiting);
        }
        if (replay_add(&r->replay, &claim, now) < 0 ||
            address_claim(r, m->address, c, claim.public, claim.ts_msec) < 0) {
                conn_drop(c);
                return;
        }
        relay_log(r, RELAY_LOG_DEBUG, "registered", "%s is registered", m->address);
        send_message(c, CONTROL_REGISTERED, NULL, m->address, NULL);
}

static void do_resolve(Conn *c, const ControlMessage *m)
{
        Address *a;
        Link *l;
        Conn *holder;
        char id[LINK_ID_CHARS + 1];

        if (c->role != ROLE_NEW || !m->address[0]) {
                conn_close(c, CLOSE_BAD_REQUEST);
                return;
        }
        if (!has_budget(c))
                return;
        if (c->relay->stats.queued_bytes > c->relay->config.max_queue_bytes) {
                /* The living go on. The client tries its other relays. */
                relay_count_refusal(c->relay, REFUSED_QUEUES);
                conn_close(c, CLOSE_RATE_LIMITED);
                return;
        }
        conn_set_deadline(c, DEADLINE_NONE);
        a = address_find(c->relay, m->address);
        if (!a || !a->holder) {
                relay_count_refusal(c->relay, REFUSED_ADDRESS);
                send_message(c, CONTROL_ERROR, NULL, NULL, "unknown_address");
                return;
        }
        holder = a->holder;
        l = link_introduce(c, a);
        if (!l) {
                conn_drop(c);
                return;
        }
        set_role(c, ROLE_CLIENT);
        memcpy(id, l->id, sizeof(id)); /* the link may go with either socket */
        send_message(c, CONTROL_FOUND, id, NULL, NULL);
        send_message(holder, CONTROL_ARRIVED, id, m->address, NULL);
}

static void do_relay(Conn *c, const ControlMessage *m)
{
        Link *l = c->role == ROLE_CLIENT ? c->link : NULL;

        if (!l || l->state != LINK_INTRODUCED || strcmp(l->id, m->link_id) != 0) {
                conn_close(c, CLOSE_BAD_REQUEST);
                return;
        }
        link_request(l);
        send_message(l->address->holder, CONTROL_RELAY, m->link_id, NULL, NULL);
}

static void do_accept(Conn *c, const ControlMessage *m)
{
        Link *l;
        Conn *client;

        if (c->role != ROLE_NEW || !m->link_id[0]) {
                conn_close(c, CLOSE_BAD_REQUEST);
                return;
        }
        conn_set_deadline(c, DEADLINE_NONE);
        l = link_find_pending(c->relay, m->link_id);
        if (!l) {
                relay_count_refusal(c->relay, REFUSED_LINK);
                send_message(c, CONTROL_ERROR, NULL, NULL, "unknown_link");
                return;
        }
        client = l->client;
        set_role(c, ROLE_RELAY_END);
        link_splice(l, c);
        if (client->rx.in_message || client->in.len) {
                conn_close(client, CLOSE_BAD_REQUEST); /* half a control message is no payload */
                return;
        }
        send_message(client, CONTROL_RELAYING, m->link_id, NULL, NULL);
        send_message(c, CONTROL_RELAYING, m->link_id, NULL, NULL);
        /* An end whose output is not empty is not read: that was not so before the splice. */
        conn_update_watch(client);
}

void control_message(Conn *c, const uint8_t *text, size_t n)
{
        ControlMessage m;

        if (!ws_utf8_valid(text, n)) {
                conn_close(c, WS_CLOSE_BAD_DATA);
                return;
        }
        if (control_decode((const char *)text, n, &m) < 0) {
                conn_close(c, CLOSE_BAD_REQUEST);
                return;
        }
        switch (m.type) {
        case CONTROL_REGISTER:
                do_register(c, &m);
                return;
        case CONTROL_RESOLVE:
                do_resolve(c, &m);
                return;
        case CONTROL_RELAY:
                do_relay(c, &m);
                return;
        case CONTROL_ACCEPT:
                do_accept(c, &m);
                return;
        case CONTROL_GET_USAGE:
                if (c->role != ROLE_CONTROL)
                        break;
                usage_send(c);
                return;
        case CONTROL_UNKNOWN:
        case CONTROL_REGISTERED: /* the relay's own */
        case CONTROL_FOUND:
        case CONTROL_ARRIVED:
        case CONTROL_RELAYING:
        case CONTROL_USAGE:
        case CONTROL_ERROR:
                break;
        }
        conn_close(c, CLOSE_BAD_REQUEST);
}
