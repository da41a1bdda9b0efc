#include "watch.h"

#include "log.h"

void watch_add(Agent *a, Watcher *w)
{
        w->next = a->watchers;
        a->watchers = w;
}

void watch_remove(Agent *a, Watcher *w)
{
        for (Watcher **at = &a->watchers; *at; at = &(*at)->next)
                if (*at == w) {
                        *at = w->next;
                        return;
                }
}

const char *watch_topic_name(WatchTopic t)
{
        static const char *const names[] = {
                [WATCH_HOST] = "host",     [WATCH_UPLINK] = "uplink",
                [WATCH_DEVICE] = "device", [WATCH_INVITATION] = "invitation",
                [WATCH_PEER] = "peer",     [WATCH_SESSION] = "session",
                [WATCH_USAGE] = "usage",
        };

        return names[t];
}

static bool is_watched(const Agent *a, WatchTopic t)
{
        for (const Watcher *w = a->watchers; w; w = w->next)
                if (w->topics & 1U << t)
                        return true;
        return false;
}

static void begin(Buf *out, const char *event)
{
        buf_add_str(out, "{");
        buf_json_member_str(out, "event", event);
        describe_time(out, "time", time(NULL));
}

static void tell(const Agent *a, WatchTopic t, Buf *out)
{
        Watcher *next;

        buf_add_str(out, "}");
        if (buf_ok(out) < 0)
                log_error("a change cannot be told: out of memory");
        for (Watcher *w = buf_ok(out) == 0 ? a->watchers : NULL; w; w = next) {
                next = w->next;
                if (w->topics & 1U << t)
                        w->func(w->userdata, t, out);
        }
        buf_done(out);
}

void watch_tell_host(const Host *h, const char *event)
{
        Buf out = {};

        if (!is_watched(h->agent, WATCH_HOST))
                return;
        begin(&out, event);
        describe_host(&out, h);
        tell(h->agent, WATCH_HOST, &out);
}

void watch_tell_uplink(const Uplink *u, const char *event)
{
        Buf out = {};

        if (!is_watched(u->host->agent, WATCH_UPLINK))
                return;
        begin(&out, event);
        uplink_describe_members(u, &out);
        tell(u->host->agent, WATCH_UPLINK, &out);
}

void watch_tell_device(const Host *h, const Device *d, const char *event)
{
        Buf out = {};

        if (!is_watched(h->agent, WATCH_DEVICE))
                return;
        begin(&out, event);
        describe_device(&out, h, d);
        tell(h->agent, WATCH_DEVICE, &out);
}

void watch_tell_invitation(const Invitation *i, const char *event, const char *reason)
{
        Buf out = {};

        if (!is_watched(i->host->agent, WATCH_INVITATION))
                return;
        begin(&out, event);
        describe_invitation(&out, i);
        buf_json_member_str(&out, "reason", reason);
        tell(i->host->agent, WATCH_INVITATION, &out);
}

void watch_tell_peer(const Peer *p, const char *event)
{
        Buf out = {};

        if (!is_watched(p->agent, WATCH_PEER))
                return;
        begin(&out, event);
        describe_peer(&out, p);
        tell(p->agent, WATCH_PEER, &out);
}

void watch_tell_peer_session(const PeerLink *l, const char *event, const char *word,
                             const char *cause)
{
        Buf out = {};

        if (!is_watched(l->peer->agent, WATCH_SESSION))
                return;
        begin(&out, event);
        describe_peer_session(&out, l);
        buf_json_member_str(&out, "word", word);
        buf_json_member_str(&out, "cause", cause);
        tell(l->peer->agent, WATCH_SESSION, &out);
}

void watch_tell_host_session(const HostSession *s, const char *event, const char *word,
                             const char *cause)
{
        Buf out = {};

        if (!is_watched(s->host->agent, WATCH_SESSION))
                return;
        begin(&out, event);
        describe_host_session(&out, s);
        buf_json_member_str(&out, "word", word);
        buf_json_member_str(&out, "cause", cause);
        tell(s->host->agent, WATCH_SESSION, &out);
}

void watch_tell_usage(const Uplink *u, JsonSlice connections)
{
        Buf out = {};

        if (!is_watched(u->host->agent, WATCH_USAGE))
                return;
        begin(&out, "told");
        buf_json_member_str(&out, "uplink", u->url);
        buf_json_member_str(&out, "host", u->host->name);
        buf_json_name(&out, "connections");
        buf_add(&out, connections.p, connections.n);
        tell(u->host->agent, WATCH_USAGE, &out);
}
