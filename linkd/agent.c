#include "agent.h"

#include <errno.h>
#include <stdio.h>

#include "hoard.h"
#include "host.h"
#include "ipc-server.h"
#include "lastseen.h"
#include "log.h"
#include "netwatch.h"
#include "peer.h"

int64_t agent_clock_msec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void agent_format_time(time_t t, char out[TIME_TEXT_BYTES])
{
        struct tm tm;

        if (!gmtime_r(&t, &tm) || !strftime(out, TIME_TEXT_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm))
                strcpy(out, "1970-01-01T00:00:00Z"); /* a time from a damaged clock; fits */
}

Host *agent_find_host(Agent *a, const char *name, size_t len)
{
        for (Host *h = a->hosts; h; h = h->next)
                if (strlen(h->name) == len && memcmp(h->name, name, len) == 0)
                        return h;
        return NULL;
}

Peer *agent_find_peer(Agent *a, const char *name, size_t len)
{
        for (Peer *p = a->peers; p; p = p->next)
                if (strlen(p->name) == len && memcmp(p->name, name, len) == 0)
                        return p;
        return NULL;
}

static void on_last_seen_timer(void *userdata)
{
        Agent *a = userdata;

        lastseen_write(a);
        if (a->last_seen_failed)
                agent_note_last_seen(a); /* tries again */
}

void agent_note_last_seen(Agent *a)
{
        if (!timer_active(a->last_seen_timer))
                timer_start(a->last_seen_timer, LAST_SEEN_MSEC);
}

/* ---- loading ---- */

/* Devices belong to hosts, so they are taken in a second pass. */
typedef struct LoadPass {
        Agent *agent;
        bool devices;
        unsigned n_hosts_unreadable;
} LoadPass;

static int report_unreadable(Agent *a, RecordKind kind, const char *file, const char *fault)
{
        Unreadable *u;
        int n;

        log_error("record %s/%s %s; it is left in place", store_dir(a->store), file, fault);
        if (kind == RECORD_DEVICE)
                a->n_unreadable_devices++;
        if (a->n_unreadable++ >= UNREADABLE_REPORT_MAX)
                return 0;
        n = snprintf(NULL, 0, "record %s %s", file, fault);
        u = malloc(sizeof(*u) + (size_t)n + 1);
        if (!u)
                return -ENOMEM;
        u->kind = kind;
        (void)snprintf(u->text, (size_t)n + 1, "record %s %s", file, fault);
        u->next = a->unreadable;
        a->unreadable = u;
        return 0;
}

static int load_record(void *userdata, RecordKind kind, const RecordId *id, const Secret *text,
                       const char *file, const char *fault)
{
        LoadPass *pass = userdata;
        Agent *a = pass->agent;
        Host *h;
        Peer *p;
        int r = -EBADMSG;

        if ((kind == RECORD_DEVICE) != pass->devices)
                return 0;
        if (text) {
                fault = "opens, but makes no sense or is there twice";
                r = kind == RECORD_HOST     ? host_load(&h, a, id, text)
                    : kind == RECORD_DEVICE ? host_load_device(a, id, text)
                                            : peer_load(&p, a, id, text);
        }
        if (r == -ENOENT)
                fault = "opens, but its host is not there";
        else if (r != -EBADMSG && r != -E2BIG)
                return r;
        if (kind == RECORD_HOST)
                pass->n_hosts_unreadable++;
        return report_unreadable(a, kind, file, fault);
}

/* *ret_n_hosts_unreadable: whether there is a host at all can be told by it. */
static int load(Agent *a, unsigned *ret_n_hosts_unreadable, char **ret_fault)
{
        LoadPass pass = {.agent = a};
        int r = store_load(a->store, load_record, &pass, ret_fault);

        pass.devices = true;
        if (r == 0)
                r = store_load(a->store, load_record, &pass, ret_fault);
        if (r < 0)
                return r;
        lastseen_read(a);
        *ret_n_hosts_unreadable = pass.n_hosts_unreadable;
        return 0;
}

/* The first host, in an empty directory alone. */
static int make_first_host(Agent *a, unsigned n_hosts_unreadable, char **ret_fault)
{
        Host *h;
        int r;

        if (n_hosts_unreadable || a->n_unreadable_devices) {
                if (asprintf(ret_fault,
                             "the host record in %s %s, and a new identity is not made over it: "
                             "restore it from a backup, or move all records away to begin anew",
                             store_dir(a->store),
                             n_hosts_unreadable ? "cannot be read"
                                                : "is missing though its devices are there") < 0)
                        *ret_fault = NULL;
                return -EBADMSG;
        }
        r = host_create(&h, a, "default");
        if (r < 0) {
                if (asprintf(ret_fault, "cannot store the new identity in %s: %s; %s",
                             store_dir(a->store), strerror(-r), store_remedy(r)) < 0)
                        *ret_fault = NULL;
                return r;
        }
        log_info("made host %s with address %s", h->name, host_address(h));
        return 0;
}

int agent_new_to_check(Agent **ret, uv_loop_t *loop, const char *state_dir, char **ret_fault)
{
        Agent *a = calloc(1, sizeof(*a));
        unsigned n_hosts_unreadable;
        int r;

        if (!a)
                return -ENOMEM;
        a->loop = loop;
        r = store_open_to_read(&a->store, state_dir, ret_fault);
        if (r == 0)
                r = load(a, &n_hosts_unreadable, ret_fault);
        if (r < 0) {
                agent_stop(a);
                agent_free(a);
                return r;
        }
        *ret = a;
        return 0;
}

int agent_new(Agent **ret, uv_loop_t *loop, const char *state_dir, const Settings *settings,
              char **ret_fault)
{
        Agent *a = calloc(1, sizeof(*a));
        unsigned n_hosts_unreadable = 0;
        int r;

        if (!a)
                return -ENOMEM;
        a->loop = loop;
        a->settings = settings;
        a->started_at = time(NULL);
        a->last_seen_timer = timer_new(loop, on_last_seen_timer, a);
        r = a->last_seen_timer ? pace_new(&a->pace, settings->relay_budget) : -ENOMEM;
        if (r == 0)
                r = store_open(&a->store, state_dir, ret_fault);
        if (r == 0)
                r = load(a, &n_hosts_unreadable, ret_fault);
        if (r == 0 && !a->hosts)
                r = make_first_host(a, n_hosts_unreadable, ret_fault);
        if (r == 0)
                r = hoard_new(&a->hoard, a);
        if (r == 0)
                r = ws_loop_new(&a->ws, loop, settings, a->hoard);
        if (r < 0) {
                agent_stop(a);
                agent_free(a); /* no WsLoop yet that would need the loop to run first */
                return r;
        }
        *ret = a;
        return 0;
}

/* Their names may be those of hosts and peers to come; a misspelt one protects nothing. */
static void check_names(Agent *a)
{
        for (const AccessOf *of = a->settings->access.hosts; of; of = of->next)
                if (!agent_find_host(a, of->name, strlen(of->name)))
                        log_warning("access: there is no host %s", of->name);
        for (const AccessOf *of = a->settings->access.peers; of; of = of->next)
                if (!agent_find_peer(a, of->name, strlen(of->name)))
                        log_warning("access: there is no peer %s", of->name);
}

void agent_settings_changed(Agent *a)
{
        pace_set_budget(a->pace, a->settings->relay_budget);
        ws_loop_settings_changed(a->ws);
        for (Host *h = a->hosts; h; h = h->next)
                for (Uplink *u = h->uplinks; u; u = u->next)
                        uplink_rearm(u);
        check_names(a);
        ipc_server_judge(a->ipc);
}

void agent_probe(Agent *a, bool changed)
{
        for (Host *h = a->hosts; h; h = h->next)
                host_probe(h, changed);
        for (Peer *p = a->peers; p; p = p->next)
                peer_probe(p, changed);
}

int agent_start(Agent *a)
{
        int r = netwatch_new(&a->watch, a);

        check_names(a);
        if (r < 0)
                log_warning("changes of the network are not watched: %s", strerror(-r));
        for (Host *h = a->hosts; h; h = h->next) {
                if (!h->uplinks)
                        log_warning("host %s has no relay: run `linkctl uplink add URL`", h->name);
                for (Uplink *u = h->uplinks; u; u = u->next)
                        uplink_start(u);
        }
        return 0;
}

void agent_stop(Agent *a)
{
        if (a->last_seen_timer && timer_active(a->last_seen_timer))
                lastseen_write(a);
        /* Before their applications go: requests under way are asked again when the host is back,
         * and not answered by an error. */
        for (Host *h = a->hosts; h; h = h->next)
                host_stop_sessions(h);
        a->ipc = ipc_server_free(a->ipc);
        while (a->peers) {
                Peer *p = a->peers;
                a->peers = p->next;
                peer_free(p);
        }
        while (a->hosts) {
                Host *h = a->hosts;
                a->hosts = h->next;
                host_free(h);
        }
        while (a->unreadable) {
                Unreadable *u = a->unreadable;
                a->unreadable = u->next;
                free(u);
        }
        a->last_seen_timer = timer_free(a->last_seen_timer);
        hoard_stop(a->hoard);
        a->watch = netwatch_free(a->watch);
        if (a->ws)
                ws_loop_stop(a->ws);
}

Agent *agent_free(Agent *a)
{
        if (!a)
                return NULL;
        ws_loop_free(a->ws);
        hoard_free(a->hoard);
        pace_free(a->pace);
        store_close(a->store);
        free(a);
        return NULL;
}
