#include "notify.h"

#include <errno.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "host.h"
#include "limits.h"
#include "log.h"
#include "peer.h"
#include "watch.h"

struct Notify {
        Agent *agent;
        Timer *status_timer, *watchdog_timer;
        uint64_t watchdog_msec; /* 0: nobody watches */
        Watcher watcher;
        char status[128]; /* as it was told last */
};

/* ---- STATUS= ---- */

static void describe_status(const Agent *a, char *out, size_t size)
{
        unsigned uplinks = 0, registered = 0, sessions = 0, peers = 0;

        for (const Host *h = a->hosts; h; h = h->next) {
                sessions += h->n_sessions;
                for (const Uplink *u = h->uplinks; u; u = u->next) {
                        uplinks++;
                        registered += u->state == UPLINK_REGISTERED;
                }
        }
        for (const Peer *p = a->peers; p; p = p->next) {
                peers++;
                sessions += peer_n_links(p);
        }
        (void)snprintf(out, size, "%u of %u uplink%s registered, %u peer%s, %u session%s",
                       registered, uplinks, uplinks == 1 ? "" : "s", peers, peers == 1 ? "" : "s",
                       sessions, sessions == 1 ? "" : "s"); /* fits */
}

static void on_status_timer(void *userdata)
{
        Notify *n = userdata;
        char text[sizeof(n->status)];

        describe_status(n->agent, text, sizeof(text));
        if (strcmp(text, n->status) == 0)
                return;
        memcpy(n->status, text, sizeof(text));
        (void)sd_notifyf(0, "STATUS=%s", text); /* nobody listening is fine, everywhere here */
}

/* What is told about may be half-way: it is looked at from the loop. */
static void on_change(void *userdata, WatchTopic topic, const Buf *json)
{
        Notify *n = userdata;

        (void)topic;
        (void)json;
        if (!timer_active(n->status_timer))
                timer_start(n->status_timer, STATUS_DELAY_MSEC);
}

/* ---- WATCHDOG= ---- */

/* That the loop comes here is what it says. */
static void on_watchdog_timer(void *userdata)
{
        Notify *n = userdata;

        (void)sd_notify(0, "WATCHDOG=1");
        timer_start(n->watchdog_timer, n->watchdog_msec);
}

static void start_watchdog(Notify *n)
{
        uint64_t usec = 0;
        int r = sd_watchdog_enabled(0, &usec);

        if (r < 0)
                log_warning("$WATCHDOG_USEC is none: %s; the watchdog is told nothing",
                            strerror(-r));
        if (r <= 0)
                return;
        n->watchdog_msec = MAX(usec / 2 / 1000, UINT64_C(1));
        on_watchdog_timer(n);
}

/* ---- the rest ---- */

int notify_new(Notify **ret, Agent *a)
{
        Notify *n = calloc(1, sizeof(*n));

        if (!n)
                return -ENOMEM;
        n->agent = a;
        n->watcher = (Watcher){
                .topics = 1U << WATCH_HOST | 1U << WATCH_UPLINK | 1U << WATCH_PEER |
                          1U << WATCH_SESSION,
                .func = on_change,
                .userdata = n,
        };
        n->status_timer = timer_new(a->loop, on_status_timer, n);
        n->watchdog_timer = timer_new(a->loop, on_watchdog_timer, n);
        if (!n->status_timer || !n->watchdog_timer) {
                notify_free(n);
                return -ENOMEM;
        }
        if (getenv("NOTIFY_SOCKET")) /* else nobody is told */
                watch_add(a, &n->watcher);
        start_watchdog(n);
        *ret = n;
        return 0;
}

Notify *notify_free(Notify *n)
{
        if (!n)
                return NULL;
        watch_remove(n->agent, &n->watcher);
        timer_free(n->status_timer);
        timer_free(n->watchdog_timer);
        free(n);
        return NULL;
}

void notify_ready(Notify *n)
{
        describe_status(n->agent, n->status, sizeof(n->status));
        (void)sd_notifyf(0, "READY=1\nSTATUS=%s", n->status);
}

void notify_reloading(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
        (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
                         (unsigned long long)now.tv_sec * 1000000 +
                                 (unsigned long long)now.tv_nsec / 1000);
}

void notify_stopping(void)
{
        (void)sd_notify(0, "STOPPING=1");
}
