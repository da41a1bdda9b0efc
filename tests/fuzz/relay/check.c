/* What holds between any two events of the relay's core. */
#include "check.h"

#include "tests/fuzz/fuzz.h"

static bool link_is_held(const Link *l)
{
        return l->client->held || (l->host && l->host->held);
}

/* An end that could be read is, and one that cannot go on has somebody to wake it. */
static void check_reading(const Conn *c)
{
        const Conn *to = link_other_end(c);
        bool paused = c->held || c->head_due || c->in.len || conn_has_output(to);

        CHECK(to->phase == CONN_OPEN && to->spliced && to->link == c->link);
        CHECK(paused || (c->watched & UV_READABLE));
        CHECK(c->held || !(c->head_due || c->in.len) || conn_has_output(to));
        CHECK(!c->in.len || c->in_off >= WSFRAME_HEAD_MAX);
        /* At most two reads: what was kept, and one that was under way when it had to wait. */
        CHECK(c->in.len <= READ_BYTES + WSFRAME_HEAD_MAX);
        CHECK(c->out.len - c->out_off <= 2 * READ_BYTES + 4096);
}

static void check_link_end(const Conn *c)
{
        const Link *l = c->link;

        CHECK(l && (c->role == ROLE_CLIENT ? l->client : l->host) == c);
        CHECK(c->spliced == (l->state == LINK_RELAYING));
        if (c->spliced)
                check_reading(c);
}

static void check_control(const Conn *c)
{
        const Address *a;
        const Link *l;
        size_t n = 0;

        LIST_FOREACH(a, &c->addresses, of_holder)
        {
                CHECK(a->holder == c);
                n++;
        }
        CHECK(n == c->n_addresses && n <= ADDRESSES_PER_SOCKET_MAX);
        LIST_FOREACH(l, &c->waiting, of_control)
        {
                CHECK(l->state != LINK_RELAYING && l->address->holder == c);
        }
}

static void check_open(const Conn *c)
{
        switch ((ConnRole)c->role) {
        case ROLE_NEW:
                break;
        case ROLE_CONTROL:
                check_control(c);
                break;
        case ROLE_CLIENT:
        case ROLE_RELAY_END:
                check_link_end(c);
                break;
        }
        CHECK(c->spliced || (c->watched & UV_READABLE));
        CHECK(c->in.len <= READ_BYTES + WSFRAME_HEAD_MAX);
        CHECK(c->role != ROLE_CONTROL || c->out.len - c->out_off <= CONTROL_OUT_MAX + 4096);
}

typedef struct Counts {
        size_t roles[4], open, deadlines, stalled, held, heads;
        uint64_t queued;
} Counts;

static void check_conn(const Conn *c, Counts *n)
{
        CHECK(c->phase != CONN_DEAD);
        CHECK(c->stalled == conn_has_output(c));
        CHECK(conn_has_output(c) == ((c->watched & UV_WRITABLE) != 0));
        CHECK(!c->held || (c->phase == CONN_OPEN && c->spliced));
        CHECK(c->held == (c->hold.at != NULL));
        CHECK(!c->held || c->hold.due_msec + 2 * WHEEL_MSEC > relay_now_msec(c->relay));
        CHECK(c->ip && c->ip->connections);
        CHECK(c->phase != CONN_HEAD || c->deadline == DEADLINE_HEAD);
        /* Whatever closes is bounded by a deadline, or by the rule for stalled ends. */
        CHECK(c->phase != CONN_CLOSING || c->deadline != DEADLINE_NONE || c->stalled);
        if (c->phase == CONN_OPEN) {
                n->roles[c->role]++;
                n->open++;
                check_open(c);
        }
        n->queued += c->out.len - c->out_off + (c->in_off ? c->in.len : 0);
        n->deadlines += c->deadline != DEADLINE_NONE;
        n->stalled += c->stalled;
        n->held += c->held;
        n->heads += c->phase == CONN_HEAD;
}

static void check_conns(const Relay *r)
{
        Counts n = {};
        const Conn *c;
        size_t all = 0;

        TAILQ_FOREACH(c, &r->all, in_all)
        {
                check_conn(c, &n);
                all++;
        }
        CHECK(all <= r->n_conns && n.heads == r->n_heads);
        for (size_t i = 0; i < 4; i++)
                CHECK(n.roles[i] == r->stats.n_roles[i]);
        CHECK(n.queued == r->stats.queued_bytes);
        CHECK(n.held == r->wheel.n);
        TAILQ_FOREACH(c, &r->pings, in_ping)
        {
                CHECK(c->phase == CONN_OPEN);
                n.open--;
        }
        TAILQ_FOREACH(c, &r->stalls, in_stall)
        n.stalled--;
        for (size_t i = 0; i < N_DEADLINES; i++)
                TAILQ_FOREACH(c, &r->deadlines[i], in_deadline)
                {
                        CHECK(c->deadline == i);
                        n.deadlines--;
                }
        CHECK(n.open == 0 && n.stalled == 0 && n.deadlines == 0);
}

/* The lists are sorted by time, and nothing in them is overdue by more than a sweep. */
static void check_times(const Relay *r)
{
        static const unsigned msec[N_DEADLINES] = {
                [DEADLINE_HEAD] = HEAD_MSEC,
                [DEADLINE_ROLE] = ROLE_MSEC,
                [DEADLINE_HTTP] = HTTP_MSEC,
                [DEADLINE_LINGER] = LINGER_MSEC,
        };
        uint64_t now = relay_now_msec(r), last = 0, idle_msec = r->config.idle_sec * 1000;
        const Conn *c;
        const Link *l;

        for (size_t i = 0; i < N_DEADLINES; i++, last = 0)
                TAILQ_FOREACH(c, &r->deadlines[i], in_deadline)
                {
                        CHECK(c->deadline_msec >= last &&
                              now - c->deadline_msec <= msec[i] + SWEEP_MSEC);
                        last = c->deadline_msec;
                }
        TAILQ_FOREACH(c, &r->pings, in_ping)
        {
                CHECK(c->ping_msec >= last && now - c->ping_msec <= PING_MSEC + SWEEP_MSEC);
                last = c->ping_msec;
        }
        last = 0;
        TAILQ_FOREACH(c, &r->stalls, in_stall)
        {
                CHECK(c->look_msec >= last && now - c->look_msec <= STALL_LOOK_MSEC + SWEEP_MSEC);
                CHECK(c->phase != CONN_OPEN ||
                      now - c->stall_msec <= STALL_MSEC + STALL_LOOK_MSEC + SWEEP_MSEC);
                last = c->look_msec;
        }
        last = 0;
        TAILQ_FOREACH(l, &r->idle, in_idle)
        {
                CHECK(l->listed_msec >= last && l->active_msec >= l->listed_msec);
                CHECK(link_is_held(l) || now - l->active_msec <= idle_msec + 2 * SWEEP_MSEC);
                last = l->listed_msec;
        }
}

static void check_links(const Relay *r)
{
        size_t live = 0, relaying = 0, watched = 0, held = 0;
        const Link *l;

        TAILQ_FOREACH(l, &r->idle, in_idle)
        {
                live++;
                relaying += l->state == LINK_RELAYING;
                watched += l->watched_usage;
                CHECK((l->state == LINK_RELAYING) == (l->host != NULL));
                CHECK(l->client->link == l && l->client->role == ROLE_CLIENT);
                CHECK(l->client->phase == CONN_OPEN);
        }
        CHECK(live == r->links.n && live == r->stats.n_live && relaying == r->stats.n_relaying);
        TAILQ_FOREACH(l, &r->usage, in_usage)
        watched--;
        CHECK(watched == 0);
        for (size_t i = 0; i < r->addresses.n_buckets; i++)
                for (HashNode *node = r->addresses.buckets[i]; node; node = node->next) {
                        const Address *a = container_of(node, Address, node);

                        CHECK(a->holder || !LIST_EMPTY(&a->links));
                        held += a->holder != NULL;
                        LIST_FOREACH(l, &a->links, of_address)
                        {
                                CHECK(l->address == a);
                                live--;
                        }
                }
        CHECK(held == r->stats.n_registrations && live == 0);
}

static void check_ips(const Relay *r)
{
        size_t n = 0;

        for (size_t i = 0; i < r->ips.map.n_buckets; i++)
                for (HashNode *node = r->ips.map.buckets[i]; node; node = node->next)
                        n += container_of(node, IpEntry, node)->connections;
        for (const Conn *c = TAILQ_FIRST(&r->all); c; c = TAILQ_NEXT(c, in_all))
                n--;
        CHECK(n == 0);
}

void check_relay(const Relay *r, bool times)
{
        check_conns(r);
        check_links(r);
        check_ips(r);
        if (times)
                check_times(r);
}
