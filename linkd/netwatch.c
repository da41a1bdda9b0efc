#include "netwatch.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdalign.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "limits.h"
#include "log.h"

struct NetWatch {
        Agent *agent;
        int fd; /* rtnetlink; -1: none */
        uv_poll_t poll;
        Timer *tick, *settle;
        bool polling;
        uint64_t probed_msec;
        int64_t tick_msec, asleep_msec; /* monotonic time of the last tick; boot time minus it */
};

static int64_t clock_msec(clockid_t clock)
{
        struct timespec t;

        (void)clock_gettime(clock, &t); /* cannot fail for these clocks */
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void probe(NetWatch *w, const char *why)
{
        log_info("%s: every connection is tried", why);
        w->probed_msec = uv_now(w->agent->loop);
        agent_probe(w->agent, true);
        /* The next look at the sessions is when the probes should have been answered. */
        timer_start(w->tick, PING_DEADLINE_MSEC);
}

/* ---- time ---- */

static void on_tick(void *userdata)
{
        NetWatch *w = userdata;
        int64_t now = clock_msec(CLOCK_MONOTONIC), asleep = clock_msec(CLOCK_BOOTTIME) - now;
        bool suspended = asleep - w->asleep_msec >= NETWATCH_GAP_MSEC;
        bool stopped = now - w->tick_msec >= NETWATCH_TICK_MSEC + NETWATCH_GAP_MSEC;

        w->tick_msec = now;
        w->asleep_msec = asleep;
        timer_start(w->tick, NETWATCH_TICK_MSEC);
        if (suspended)
                probe(w, "the machine was asleep");
        else if (stopped)
                probe(w, "the agent was stopped for a while");
        else
                agent_probe(w->agent, false);
}

/* ---- rtnetlink ---- */

static void on_settled(void *userdata)
{
        probe(userdata, "the network has changed");
}

/* Events come in bursts: one probe for each, and not more often than NETWATCH_PROBE_MSEC. */
static void changed(NetWatch *w)
{
        uint64_t now = uv_now(w->agent->loop), due = w->probed_msec + NETWATCH_PROBE_MSEC;
        uint64_t wait = w->probed_msec && due > now ? due - now : 0;

        if (!timer_active(w->settle))
                timer_start(w->settle, MAX(wait, (uint64_t)NETWATCH_SETTLE_MSEC));
}

static bool matters(const struct nlmsghdr *h)
{
        const struct rtmsg *route = NLMSG_DATA(h);

        switch (h->nlmsg_type) {
        case RTM_NEWLINK:
        case RTM_DELLINK:
        case RTM_NEWADDR:
        case RTM_DELADDR:
                return true;
        case RTM_NEWROUTE:
        case RTM_DELROUTE: /* not what the kernel has cached */
                return h->nlmsg_len >= NLMSG_LENGTH(sizeof(*route)) &&
                       !(route->rtm_flags & RTM_F_CLONED);
        default:
                return false;
        }
}

static void take_messages(NetWatch *w, const char *data, size_t len)
{
        const struct nlmsghdr *h;

        for (size_t at = 0; at < len && len - at >= sizeof(*h); at += NLMSG_ALIGN(h->nlmsg_len)) {
                h = (const void *)(data + at);
                if (h->nlmsg_len < sizeof(*h) || h->nlmsg_len > len - at)
                        return;
                if (matters(h))
                        changed(w);
        }
}

static void on_netlink(uv_poll_t *handle, int status, int events)
{
        NetWatch *w = container_of(handle, NetWatch, poll);
        alignas(struct nlmsghdr) char buffer[NETLINK_BUFFER_BYTES];
        ssize_t n;

        (void)events;
        if (status < 0) {
                log_warning("rtnetlink: %s; changes of the network are not noticed any more",
                            uv_strerror(status));
                (void)uv_poll_stop(handle); /* always 0 */
                return;
        }
        while ((n = recv(w->fd, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
                take_messages(w, buffer, (size_t)n);
        if (n < 0 && errno == ENOBUFS) /* more happened than the kernel could tell */
                changed(w);
}

static int open_netlink(NetWatch *w)
{
        struct sockaddr_nl address = {
                .nl_family = AF_NETLINK,
                .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
                             RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
        };
        int r;

        w->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
        if (w->fd < 0)
                return -errno;
        if (bind(w->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                return -errno;
        r = uv_poll_init(w->agent->loop, &w->poll, w->fd);
        if (r < 0)
                return r;
        w->polling = true;
        return uv_poll_start(&w->poll, UV_READABLE, on_netlink);
}

/* ---- life ---- */

static void destroy(NetWatch *w)
{
        if (w->fd >= 0)
                (void)close(w->fd); /* nothing was written to it */
        free(w);
}

static void on_closed(uv_handle_t *handle)
{
        destroy(container_of((uv_poll_t *)handle, NetWatch, poll));
}

NetWatch *netwatch_free(NetWatch *w)
{
        if (!w)
                return NULL;
        timer_free(w->tick);
        timer_free(w->settle);
        if (w->polling)
                uv_close((uv_handle_t *)&w->poll, on_closed);
        else
                destroy(w);
        return NULL;
}

int netwatch_new(NetWatch **ret, Agent *a)
{
        NetWatch *w = calloc(1, sizeof(*w));
        int r;

        if (!w)
                return -ENOMEM;
        w->agent = a;
        w->fd = -1;
        w->tick = timer_new(a->loop, on_tick, w);
        w->settle = timer_new(a->loop, on_settled, w);
        if (!w->tick || !w->settle) {
                netwatch_free(w);
                return -ENOMEM;
        }
        r = open_netlink(w);
        if (r < 0)
                log_warning("no rtnetlink: %s; changes of the network are found by pings alone",
                            strerror(-r));
        w->tick_msec = clock_msec(CLOCK_MONOTONIC);
        w->asleep_msec = clock_msec(CLOCK_BOOTTIME) - w->tick_msec;
        timer_start(w->tick, NETWATCH_TICK_MSEC);
        *ret = w;
        return 0;
}
