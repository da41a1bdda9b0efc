#include "link.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "relay-internal.h"
#include "usage.h"

/* ---- addresses ---- */

Address *address_find(Relay *r, const char *text)
{
        HASHMAP_FOREACH(node, &r->addresses, hashmap_hash(&r->addresses, text, strlen(text)))
        {
                Address *a = container_of(node, Address, node);
                if (strcmp(a->text, text) == 0)
                        return a;
        }
        return NULL;
}

static Address *address_new(Relay *r, const char *text)
{
        Address *a = calloc(1, sizeof(*a));

        if (!a || hashmap_add(&r->addresses, &a->node,
                              hashmap_hash(&r->addresses, text, strlen(text))) < 0) {
                free(a);
                return NULL;
        }
        memcpy(a->text, text, sizeof(a->text)); /* a register's address has 43 characters */
        return a;
}

static void address_free_if_unused(Relay *r, Address *a)
{
        if (a->holder || !LIST_EMPTY(&a->links))
                return;
        hashmap_remove(&r->addresses, &a->node);
        free(a);
}

static void address_let_go(Address *a)
{
        Conn *holder = a->holder;

        LIST_REMOVE(a, of_holder);
        holder->n_addresses--;
        holder->relay->stats.n_registrations--;
        a->holder = NULL;
}

int address_claim(Relay *r, const char *text, Conn *c, const uint8_t public[32], int64_t ts_msec)
{
        Address *a = address_find(r, text);
        Conn *before = NULL;

        if (!a)
                a = address_new(r, text);
        if (!a)
                return -ENOMEM;
        memcpy(a->public, public, sizeof(a->public));
        a->ts_msec = ts_msec;
        if (a->holder == c)
                return 0;
        if (a->holder) {
                before = a->holder;
                address_let_go(a);
        }
        a->holder = c;
        c->n_addresses++;
        LIST_INSERT_HEAD(&c->addresses, a, of_holder);
        r->stats.n_registrations++;
        if (before)
                conn_close(before, CLOSE_REPLACED);
        return 0;
}

/* ---- links ---- */

static void make_id(char id[LINK_ID_CHARS + 1])
{
        uint8_t b[16];

        randombytes_buf(b, sizeof(b));
        b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* RFC 9562: version 4 */
        b[8] = (uint8_t)((b[8] & 0x3f) | 0x80); /* variant */
        (void)snprintf(id, LINK_ID_CHARS + 1,
                       "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                       b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                       b[13], b[14], b[15]);
}

Link *link_introduce(Conn *client, Address *a)
{
        Relay *r = client->relay;
        Link *l = calloc(1, sizeof(*l));

        if (!l)
                return NULL;
        make_id(l->id);
        if (hashmap_add(&r->links, &l->node, hashmap_hash(&r->links, l->id, LINK_ID_CHARS)) < 0) {
                free(l);
                return NULL;
        }
        l->state = LINK_INTRODUCED;
        l->address = a;
        l->client = client;
        l->active_msec = l->listed_msec = relay_now_msec(r);
        l->started_msec = relay_wall_msec();
        LIST_INSERT_HEAD(&a->links, l, of_address);
        LIST_INSERT_HEAD(&a->holder->waiting, l, of_control);
        TAILQ_INSERT_TAIL(&r->idle, l, in_idle);
        r->stats.n_live++;
        r->stats.n_links++;
        client->link = l;
        return l;
}

Link *link_find_pending(Relay *r, const char *id)
{
        HASHMAP_FOREACH(node, &r->links, hashmap_hash(&r->links, id, strlen(id)))
        {
                Link *l = container_of(node, Link, node);
                if (strcmp(l->id, id) == 0)
                        return l->state == LINK_PENDING ? l : NULL;
        }
        return NULL;
}

void link_request(Link *l)
{
        l->state = LINK_PENDING;
        link_active(l);
}

void link_splice(Link *l, Conn *host)
{
        Relay *r = host->relay;

        LIST_REMOVE(l, of_control);
        l->state = LINK_RELAYING;
        l->host = host;
        host->link = l;
        host->spliced = l->client->spliced = true;
        l->relay_started_msec = relay_wall_msec();
        shape_init(&l->shape, &r->config.shape, relay_now_msec(r));
        link_active(l);
        r->stats.n_relaying++;
        r->stats.n_relayed++;
}

static void remember(Stats *s, const Link *l, LinkReason reason)
{
        ClosedLink *c = &s->recent[s->next_recent];

        s->next_recent = (s->next_recent + 1) % RECENT_LINKS;
        s->n_recent = MIN(s->n_recent + 1, (size_t)RECENT_LINKS);
        *c = (ClosedLink){.reason = (uint8_t)reason,
                          .relay_started_msec = l->relay_started_msec,
                          .closed_msec = relay_wall_msec(),
                          .from_client = l->from_client,
                          .from_host = l->from_host};
        memcpy(c->id, l->id, sizeof(l->id));
}

void link_end(Link *l, LinkReason reason, unsigned client_code, unsigned host_code)
{
        Conn *client = l->client, *host = l->host;
        Relay *r = client->relay;

        if (l->state == LINK_RELAYING) {
                r->stats.n_relaying--;
                remember(&r->stats, l, reason);
        } else {
                LIST_REMOVE(l, of_control);
        }
        r->stats.n_live--;
        hashmap_remove(&r->links, &l->node);
        TAILQ_REMOVE(&r->idle, l, in_idle);
        usage_forget(l);
        LIST_REMOVE(l, of_address);
        address_free_if_unused(r, l->address);
        free(l);
        client->link = NULL;
        if (host)
                host->link = NULL;
        if (client_code)
                conn_close(client, client_code);
        if (host && host_code)
                conn_close(host, host_code);
}

void link_left(Conn *c)
{
        /* In a shutdown everybody is told of the shutdown. */
        unsigned code = c->relay->stopping ? WS_CLOSE_GOING_AWAY : CLOSE_PEER_GONE;
        Link *l;
        Address *a;

        switch ((ConnRole)c->role) {
        case ROLE_NEW:
                return;
        case ROLE_CLIENT:
        case ROLE_RELAY_END:
                l = c->link;
                if (l)
                        link_end(l, REASON_PEER_GONE, l->client == c ? 0 : code,
                                 l->client == c ? code : 0);
                return;
        case ROLE_CONTROL:
                while ((a = LIST_FIRST(&c->addresses))) {
                        address_let_go(a);
                        address_free_if_unused(c->relay, a);
                }
                while ((l = LIST_FIRST(&c->waiting)))
                        link_end(l, REASON_PEER_GONE, code, 0);
                return;
        }
}

/* The idle list is sorted by listed_msec. An active link moves in it at most once a sweep's time,
 * so that this costs a busy link nothing. */
void link_active(Link *l)
{
        Relay *r = l->client->relay;
        uint64_t now = relay_now_msec(r);

        l->active_msec = now;
        if (now - l->listed_msec < SWEEP_MSEC)
                return;
        l->listed_msec = now;
        TAILQ_REMOVE(&r->idle, l, in_idle);
        TAILQ_INSERT_TAIL(&r->idle, l, in_idle);
}

uint64_t link_charge(Link *l, uint64_t n)
{
        Relay *r = l->client->relay;
        uint64_t hold = shape_charge(&l->shape, &r->config.shape, n, relay_now_msec(r));

        usage_charged(l);
        return hold;
}

/* A frame that is held counts as activity until it is due. */
static bool is_held(const Link *l)
{
        return l->client->held || (l->host && l->host->held);
}

static void sweep_idle(Relay *r, uint64_t now_msec)
{
        uint64_t idle_msec = (uint64_t)r->config.idle_sec * 1000;
        Link *l;

        while ((l = TAILQ_FIRST(&r->idle)) && now_msec - l->listed_msec >= idle_msec) {
                if (is_held(l))
                        link_active(l); /* goes to the end of the list */
                else if (now_msec - l->active_msec >= idle_msec)
                        link_end(l, REASON_IDLE, CLOSE_IDLE, CLOSE_IDLE);
                else
                        break; /* active after it was listed, by less than a sweep: the next one's
                                */
        }
}

void link_sweep(Relay *r, uint64_t now_msec)
{
        sweep_idle(r, now_msec);
        usage_sweep(r, now_msec);
}
