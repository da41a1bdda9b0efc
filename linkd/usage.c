#include "usage.h"

#include <errno.h>

#include "limits.h"
#include "log.h"
#include "watch.h"

struct Usage {
        Usage *next;
        Agent *agent;
        Uplink *asked[UPLINKS_MAX]; /* that have not answered */
        size_t n_asked;
        Buf links, silent;
        Timer *timer;
        UsageFunc func;
        void *userdata;
};

Usage *usage_free(Usage *q)
{
        if (!q)
                return NULL;
        for (Usage **at = &q->agent->usages; *at; at = &(*at)->next)
                if (*at == q) {
                        *at = q->next;
                        break;
                }
        timer_free(q->timer);
        buf_done(&q->links);
        buf_done(&q->silent);
        free(q);
        return NULL;
}

static void add_silent(Usage *q, const Uplink *u, const char *cause)
{
        buf_json_comma(&q->silent);
        buf_add_str(&q->silent, "{");
        buf_json_member_str(&q->silent, "uplink", u->url);
        buf_json_member_str(&q->silent, "cause", cause);
        buf_add_str(&q->silent, "}");
}

static void finish(Usage *q)
{
        q->func(q->userdata, &q->links, &q->silent);
        usage_free(q);
}

static void on_timer(void *userdata)
{
        Usage *q = userdata;

        for (size_t i = 0; i < q->n_asked; i++)
                add_silent(q, q->asked[i], "the relay did not answer");
        finish(q);
}

int usage_ask(Usage **ret, Host *h, UsageFunc func, void *userdata)
{
        Usage *q = calloc(1, sizeof(*q));

        if (!q || !(q->timer = timer_new(h->agent->loop, on_timer, q))) {
                free(q);
                return -ENOMEM;
        }
        q->agent = h->agent;
        q->func = func;
        q->userdata = userdata;
        q->next = h->agent->usages;
        h->agent->usages = q;
        for (Uplink *u = h->uplinks; u && q->n_asked < UPLINKS_MAX; u = u->next) {
                if (uplink_ask_usage(u) == 0)
                        q->asked[q->n_asked++] = u;
                else
                        add_silent(q, u, u->cause[0] ? u->cause : "not registered");
        }
        timer_start(q->timer, q->n_asked ? CONTROL_STEP_MSEC : 0);
        *ret = q;
        return 0;
}

/* One link of a relay's list; whatever is no such thing is left out. */
static void add_link(Usage *q, const Uplink *u, JsonSlice link)
{
        enum { LINK_ID, USED, THROTTLED, UNLIMITED, N };
        static const char *const names[N] = {"linkId", "used", "throttled", "unlimited"};
        JsonSlice v[N];

        if (json_scan_object(link.p, link.n, names, v, N) < 0 || !v[LINK_ID].p ||
            !json_is_string(v[LINK_ID]))
                return;
        buf_json_comma(&q->links);
        buf_add_str(&q->links, "{");
        buf_json_member_str(&q->links, "uplink", u->url);
        buf_json_name(&q->links, "linkId");
        buf_add(&q->links, v[LINK_ID].p, v[LINK_ID].n);
        if (v[UNLIMITED].p && json_is_true(v[UNLIMITED])) {
                buf_json_member_bool(&q->links, "unlimited", true);
        } else {
                buf_json_name(&q->links, "used");
                if (v[USED].p && json_is_number(v[USED]))
                        buf_add(&q->links, v[USED].p, v[USED].n);
                else
                        buf_add_str(&q->links, "null");
                buf_json_member_bool(&q->links, "throttled",
                                     v[THROTTLED].p && json_is_true(v[THROTTLED]));
        }
        buf_add_str(&q->links, "}");
}

static bool forget(Usage *q, const Uplink *u)
{
        for (size_t i = 0; i < q->n_asked; i++)
                if (q->asked[i] == u) {
                        q->asked[i] = q->asked[--q->n_asked];
                        return true;
                }
        return false;
}

void usage_on_message(Uplink *u, JsonSlice connections)
{
        Usage *next;

        if (!connections.p || !json_is_array(connections))
                return;
        for (Usage *q = u->host->agent->usages; q; q = next) {
                JsonSlice iter = connections, link;
                next = q->next;
                if (!forget(q, u))
                        continue;
                while (json_array_next(&iter, &link))
                        add_link(q, u, link);
                if (q->n_asked == 0)
                        finish(q);
        }
        watch_tell_usage(u, connections);
}

void usage_on_lost(Uplink *u)
{
        for (Usage *q = u->host->agent->usages; q; q = q->next) {
                if (!forget(q, u))
                        continue;
                add_silent(q, u, "the relay was lost");
                if (q->n_asked == 0)
                        timer_start(q->timer, 0); /* not on this stack */
        }
}
