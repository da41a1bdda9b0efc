#include "stats.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#include "relay-internal.h"
#include "usage.h"

static const char *const reason_names[N_REASONS] = {
        [REASON_PEER_GONE] = "peer_gone",
        [REASON_IDLE] = "idle",
        [REASON_SLOW_PEER] = "slow_peer",
};
static const char *const state_names[] = {
        [LINK_INTRODUCED] = "introduced",
        [LINK_PENDING] = "pending",
        [LINK_RELAYING] = "relaying",
};
static const char *const role_names[] = {
        [ROLE_NEW] = "new",
        [ROLE_CONTROL] = "control",
        [ROLE_CLIENT] = "client",
        [ROLE_RELAY_END] = "relay_end",
};

void stats_count_close(Stats *s, unsigned code)
{
        size_t i = 0;

        /* The last place takes what finds none: peers choose the codes that are echoed. */
        while (i < STATS_CLOSE_CODES - 1 && s->closes[i].n && s->closes[i].code != code)
                i++;
        s->closes[i].code = i == STATS_CLOSE_CODES - 1 ? 0 : code;
        s->closes[i].n++;
}

/* ---- JSON ---- */

/* ISO 8601 with milliseconds, UTC. */
static void add_time(Buf *b, const char *name, int64_t msec)
{
        time_t t = (time_t)(msec / 1000);
        char text[32];
        struct tm tm;

        buf_json_name(b, name);
        if (!gmtime_r(&t, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm))
                buf_add_str(b, "null");
        else
                buf_printf(b, "\"%s.%03dZ\"", text, (int)(msec % 1000));
}

static void add_number(Buf *b, const char *name, uint64_t v)
{
        buf_json_member_int(b, name, (int64_t)v);
}

static void add_link(Buf *b, Link *l)
{
        const Relay *r = l->client->relay;
        char used[16];

        buf_json_comma(b);
        buf_add_str(b, "{");
        if (l->state == LINK_RELAYING) /* before, who reads it could accept in the host's place */
                buf_json_member_str(b, "linkId", l->id);
        buf_json_member_str(b, "state", state_names[l->state]);
        add_time(b, "startedAt", l->started_msec);
        if (l->state == LINK_RELAYING)
                add_time(b, "relayStartedAt", l->relay_started_msec);
        add_number(b, "bytesFromHost", l->from_host);
        add_number(b, "bytesFromClient", l->from_client);
        if (r->config.shape.hourly_bytes && l->state == LINK_RELAYING) {
                usage_format(shape_used(&l->shape, &r->config.shape, relay_now_msec(r)), used);
                buf_json_name(b, "usedFraction");
                buf_add_str(b, used);
                buf_json_member_bool(b, "throttled", l->shape.throttled);
        }
        buf_add_str(b, "}");
}

static void add_closed(Buf *b, const ClosedLink *c)
{
        buf_json_comma(b);
        buf_add_str(b, "{");
        buf_json_member_str(b, "linkId", c->id);
        add_time(b, "relayStartedAt", c->relay_started_msec);
        add_time(b, "closedAt", c->closed_msec);
        buf_json_member_str(b, "reason", reason_names[c->reason]);
        add_number(b, "bytesFromHost", c->from_host);
        add_number(b, "bytesFromClient", c->from_client);
        buf_add_str(b, "}");
}

static void add_totals(Buf *b, const Relay *r)
{
        const Stats *s = &r->stats;

        add_number(b, "uptimeSec", (relay_now_msec(r) - s->started_msec) / 1000);
        add_number(b, "addressRegistrations", s->n_registrations);
        buf_json_name(b, "links");
        buf_add_str(b, "{");
        add_number(b, "live", s->n_live);
        add_number(b, "relaying", s->n_relaying);
        add_number(b, "total", s->n_links);
        add_number(b, "totalRelayed", s->n_relayed);
        buf_add_str(b, "}");
        buf_json_name(b, "bytesRelayed");
        buf_add_str(b, "{");
        add_number(b, "fromHost", s->from_host);
        add_number(b, "fromClient", s->from_client);
        buf_add_str(b, "}");
}

void relay_stats_json(Relay *r, Buf *b)
{
        const Stats *s = &r->stats;
        size_t n = 0;
        Link *l;

        buf_add_str(b, "{");
        add_totals(b, r);
        buf_json_name(b, "liveLinks");
        buf_add_str(b, "[");
        TAILQ_FOREACH(l, &r->idle, in_idle)
        {
                if (n++ == STATS_LINKS_MAX)
                        break;
                add_link(b, l);
        }
        buf_add_str(b, "]");
        buf_json_name(b, "recentlyClosed");
        buf_add_str(b, "[");
        for (size_t i = 1; i <= s->n_recent; i++)
                add_closed(b, &s->recent[(s->next_recent + RECENT_LINKS - i) % RECENT_LINKS]);
        buf_add_str(b, "]}");
}

void stats_document(Relay *r, Buf *b)
{
        uint64_t now = relay_now_msec(r);

        if (r->stats.n_live <= STATS_FRESH_LINKS) {
                relay_stats_json(r, b);
                return;
        }
        if (!r->stats_document.len || now - r->stats_document_msec >= STATS_MSEC) {
                buf_done(&r->stats_document);
                relay_stats_json(r, &r->stats_document);
                r->stats_document_msec = now;
        }
        if (buf_ok(&r->stats_document) < 0)
                b->failed = true;
        buf_add(b, r->stats_document.data, r->stats_document.len);
}

/* ---- Prometheus ---- */

static void describe(Buf *b, const char *name, const char *type, const char *help)
{
        buf_printf(b, "# HELP link_relay_%s %s\n# TYPE link_relay_%s %s\n", name, help, name, type);
}

static void sample(Buf *b, const char *name, uint64_t v)
{
        buf_printf(b, "link_relay_%s %llu\n", name, (unsigned long long)v);
}

static const char *const refusal_names[N_REFUSALS] = {
        [REFUSED_CONNECTIONS] = "max_connections",
        [REFUSED_IP_CONNECTIONS] = "max_connections_per_ip",
        [REFUSED_IP_ACCEPTS] = "accepts_per_sec_per_ip",
        [REFUSED_DESCRIPTORS] = "descriptors",
        [REFUSED_MEMORY] = "memory",
        [REFUSED_HEADS] = "heads",
        [REFUSED_QUEUES] = "max_queue_bytes",
        [REFUSED_BUDGET] = "ip_rate_per_min",
        [REFUSED_AUTH] = "register_auth",
        [REFUSED_ALLOWLIST] = "register_unauthorized",
        [REFUSED_STALE] = "register_stale",
        [REFUSED_ADDRESS] = "unknown_address",
        [REFUSED_LINK] = "unknown_link",
};

static void add_refusals(Buf *b, const Stats *s)
{
        describe(b, "refusals_total", "counter", "What was refused, by reason.");
        for (size_t i = 0; i < N_REFUSALS; i++)
                buf_printf(b, "link_relay_refusals_total{reason=\"%s\"} %llu\n", refusal_names[i],
                           (unsigned long long)s->refusals[i]);
}

static void add_lag(Buf *b, Stats *s)
{
        describe(b, "loop_lag_seconds", "gauge", "How late the loop last ran.");
        buf_printf(b, "link_relay_loop_lag_seconds %.3f\n", (double)s->lag_msec / 1000);
        describe(b, "loop_lag_max_seconds", "gauge", "The same at worst since it was last read.");
        buf_printf(b, "link_relay_loop_lag_max_seconds %.3f\n", (double)s->lag_max_msec / 1000);
        s->lag_max_msec = 0;
}

static void add_sockets(Buf *b, const Stats *s)
{
        describe(b, "sockets", "gauge", "Open WebSockets by role.");
        for (size_t i = 0; i < ELEMENTSOF(role_names); i++)
                buf_printf(b, "link_relay_sockets{role=\"%s\"} %llu\n", role_names[i],
                           (unsigned long long)s->n_roles[i]);
        describe(b, "connections_accepted_total", "counter", "Connections accepted.");
        sample(b, "connections_accepted_total", s->n_accepted);
        describe(b, "closes_total", "counter", "Close frames by code; 0: any other.");
        for (size_t i = 0; i < STATS_CLOSE_CODES; i++)
                if (s->closes[i].n)
                        buf_printf(b, "link_relay_closes_total{code=\"%u\"} %llu\n",
                                   s->closes[i].code, (unsigned long long)s->closes[i].n);
}

void relay_metrics(Relay *r, Buf *b)
{
        Stats *s = &r->stats;

        describe(b, "build_info", "gauge", "The version.");
        buf_printf(b, "link_relay_build_info{version=\"%s\"} 1\n", LINK_VERSION);
        describe(b, "uptime_seconds", "gauge", "Since the start.");
        sample(b, "uptime_seconds", (relay_now_msec(r) - s->started_msec) / 1000);
        add_sockets(b, s);
        describe(b, "registrations", "gauge", "Addresses that are registered.");
        sample(b, "registrations", s->n_registrations);
        describe(b, "links", "gauge", "Links by state.");
        buf_printf(b, "link_relay_links{state=\"relaying\"} %llu\n",
                   (unsigned long long)s->n_relaying);
        buf_printf(b, "link_relay_links{state=\"waiting\"} %llu\n",
                   (unsigned long long)(s->n_live - s->n_relaying));
        describe(b, "links_total", "counter", "Links that were introduced.");
        sample(b, "links_total", s->n_links);
        describe(b, "links_relayed_total", "counter", "Links that came to be relayed.");
        sample(b, "links_relayed_total", s->n_relayed);
        describe(b, "relayed_bytes_total", "counter", "Payload by its origin.");
        buf_printf(b, "link_relay_relayed_bytes_total{from=\"host\"} %llu\n",
                   (unsigned long long)s->from_host);
        buf_printf(b, "link_relay_relayed_bytes_total{from=\"client\"} %llu\n",
                   (unsigned long long)s->from_client);
        describe(b, "queued_bytes", "gauge",
                 "What sockets have not taken yet, and what waits for a rate.");
        sample(b, "queued_bytes", s->queued_bytes);
        describe(b, "held_frames", "gauge", "Frames that wait for their link's rate.");
        sample(b, "held_frames", r->wheel.n);
        add_refusals(b, s);
        add_lag(b, s);
}
