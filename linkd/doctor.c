#include "doctor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "host.h"
#include "limits.h"
#include "peer.h"
#include "probe.h"
#include "usage.h"

/* A relay that is looked at, however many hosts and peers use it. */
typedef struct Relay {
        Doctor *doctor;
        char *url;
        Probe *probe; /* under way */
        ProbeResult result;
} Relay;

/* The question for the usage of a host, whose answers show that its relays answer. */
typedef struct Asked {
        Doctor *doctor;
        Usage *usage; /* under way */
} Asked;

struct Doctor {
        Agent *agent;
        DoctorFunc func;
        void *userdata;
        Relay relays[PROBES_MAX];
        size_t n_relays, n_pending;
        bool more; /* relays than that */
        Asked asked[HOSTS_MAX];
        size_t n_asked;
        Timer *timer; /* for an end that must not be on the caller's stack */
        Buf findings;
};

Doctor *doctor_free(Doctor *d)
{
        if (!d)
                return NULL;
        for (size_t i = 0; i < d->n_relays; i++) {
                probe_free(d->relays[i].probe);
                free(d->relays[i].url);
        }
        for (size_t i = 0; i < d->n_asked; i++)
                usage_free(d->asked[i].usage);
        timer_free(d->timer);
        buf_done(&d->findings);
        d->agent->doctor = NULL;
        free(d);
        return NULL;
}

/* ---- findings ---- */

/* problem: something does not work; else it is worth knowing. */
static void find(Doctor *d, bool problem, const char *about, const char *remedy, const char *format,
                 ...) _printf_(5, 6);
static void find(Doctor *d, bool problem, const char *about, const char *remedy, const char *format,
                 ...)
{
        char text[512];
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(text, sizeof(text), format, ap); /* cut is fine */
        va_end(ap);
        buf_json_comma(&d->findings);
        buf_add_str(&d->findings, "{");
        buf_json_member_bool(&d->findings, "problem", problem);
        buf_json_member_str(&d->findings, "about", about);
        buf_json_member_str(&d->findings, "text", text);
        buf_json_member_str(&d->findings, "remedy", remedy);
        buf_add_str(&d->findings, "}");
}

static void find_in_state(Doctor *d)
{
        Agent *a = d->agent;
        int r = store_try_write(a->store);

        if (r < 0)
                find(d, true, store_dir(a->store), store_remedy(r),
                     "the state directory cannot be written: %s", strerror(-r));
        for (const Unreadable *u = a->unreadable; u; u = u->next)
                find(d, true, store_dir(a->store),
                     "restore it from a backup, or move it away and pair anew; see `linkd "
                     "--check-state`",
                     "%s", u->text);
}

static void find_in_peers(Doctor *d)
{
        for (const Peer *p = d->agent->peers; p; p = p->next) {
                if (p->state == PEER_REVOKED)
                        find(d, true, p->name,
                             "pair with it again, or forget it by `linkctl peer remove`",
                             "the peer has revoked this machine's credential");
                else if (p->state == PEER_UNREACHABLE)
                        find(d, true, p->name, "run `linkctl doctor` on that machine too",
                             "the peer is unreachable%s%s", p->cause[0] ? ": " : "", p->cause);
        }
}

static void find_in_clock(Doctor *d, const Relay *relay)
{
        int64_t sec = relay->result.clock_offset_msec / 1000, off = sec < 0 ? -sec : sec;

        if (!relay->result.has_date || off < CLOCK_NOTE_SEC)
                return;
        find(d, off > CLOCK_REFUSED_SEC, relay->url,
             "set this machine's clock (`timedatectl set-ntp true`), or the relay's",
             "this machine's clock is %lld s %s by the relay's%s", (long long)off,
             sec > 0 ? "fast" : "slow",
             off > CLOCK_REFUSED_SEC ? ", which refuses registers then" : "");
}

/* The first step that failed is the cause of the others. Whether the relay can be reached. */
static bool find_on_the_way(Doctor *d, const Relay *relay)
{
        const ProbeStep *s = relay->result.steps;
        bool reached = s[PROBE_UPGRADE].ok;

        if (s[PROBE_NAME].done && !s[PROBE_NAME].ok)
                find(d, !reached, relay->url,
                     "check the name in the URL, and this machine's DNS (`getent hosts NAME`)",
                     "the relay's name does not resolve: %s", s[PROBE_NAME].detail);
        else if (s[PROBE_CONNECT].done && !s[PROBE_CONNECT].ok)
                find(d, !reached, relay->url,
                     "see that the relay runs and that no firewall is between; or a proxy may be "
                     "needed",
                     "no connection to the relay: %s", s[PROBE_CONNECT].detail);
        else if (s[PROBE_HEALTH].done && !s[PROBE_HEALTH].ok)
                find(d, !reached, relay->url, "see what answers at that address and port",
                     "that does not look like a relay: %s", s[PROBE_HEALTH].detail);
        else if (!reached)
                find(d, true, relay->url,
                     strncmp(relay->url, "wss:", 4) == 0
                             ? "check the relay's certificate, this machine's CAs and clock"
                             : "see that whatever stands in front of the relay lets WebSockets of "
                               "/v1/link pass",
                     "no WebSocket to the relay: %s", s[PROBE_UPGRADE].detail);
        return reached;
}

static void find_in_uplinks(Doctor *d, const Relay *relay, bool reached)
{
        for (const Host *h = d->agent->hosts; h; h = h->next)
                for (const Uplink *u = h->uplinks; u; u = u->next) {
                        if (strcmp(u->url, relay->url) != 0 || !reached)
                                continue;
                        if (u->state != UPLINK_REGISTERED)
                                find(d, true, u->url,
                                     "see `linkctl uplink list` and the relay's log",
                                     "host %s is not registered there: %s", h->name,
                                     u->cause[0] ? u->cause : "not yet");
                        else if (!u->round_trip_msec)
                                find(d, true, u->url, "see the relay's log",
                                     "host %s is registered there, but the relay does not answer",
                                     h->name);
                }
}

static void find_in_hosts(Doctor *d)
{
        for (const Host *h = d->agent->hosts; h; h = h->next) {
                if (!h->uplinks)
                        find(d, h->n_devices > 0, h->name, "add one: `linkctl uplink add URL`",
                             "the host has no relay, so that nobody reaches it");
                if (!h->servers && h->n_devices)
                        find(d, false, h->name, "start it: for example `linkctl serve`",
                             "no application serves the host; requests get an error");
        }
        if (d->more)
                find(d, false, "relays", "remove those that are not used",
                     "there are more relays than are looked at together");
}

/* ---- relays ---- */

static void add_steps(Buf *out, const ProbeResult *result)
{
        buf_json_name(out, "steps");
        buf_add_str(out, "[");
        for (ProbeStepName i = 0; i < PROBE_END; i++) {
                const ProbeStep *s = &result->steps[i];
                if (!s->done)
                        continue;
                buf_json_comma(out);
                buf_add_str(out, "{");
                buf_json_member_str(out, "step", probe_step_name(i));
                buf_json_member_bool(out, "ok", s->ok);
                buf_json_member_int(out, "msec", s->msec);
                buf_json_member_str(out, "detail", s->detail[0] ? s->detail : NULL);
                buf_add_str(out, "}");
        }
        buf_add_str(out, "]");
}

static void add_hosts(Buf *out, const Agent *a, const char *url)
{
        buf_json_name(out, "hosts");
        buf_add_str(out, "[");
        for (const Host *h = a->hosts; h; h = h->next)
                for (const Uplink *u = h->uplinks; u; u = u->next) {
                        if (strcmp(u->url, url) != 0)
                                continue;
                        buf_json_comma(out);
                        buf_add_str(out, "{");
                        buf_json_member_str(out, "host", h->name);
                        buf_json_member_str(out, "state", uplink_state_name(u->state));
                        if (u->round_trip_msec)
                                buf_json_member_int(out, "roundTripMsec", u->round_trip_msec);
                        else
                                buf_json_member_str(out, "roundTripMsec", NULL);
                        buf_add_str(out, "}");
                }
        buf_add_str(out, "]");
}

static void add_relay(Buf *out, const Agent *a, const Relay *relay)
{
        buf_json_comma(out);
        buf_add_str(out, "{");
        buf_json_member_str(out, "url", relay->url);
        add_steps(out, &relay->result);
        if (relay->result.has_date)
                buf_json_member_int(out, "clockOffsetMsec", relay->result.clock_offset_msec);
        else
                buf_json_member_str(out, "clockOffsetMsec", NULL);
        add_hosts(out, a, relay->url);
        buf_add_str(out, "}");
}

static void finish(Doctor *d)
{
        Buf relays = {};

        find_in_state(d);
        find_in_hosts(d);
        for (size_t i = 0; i < d->n_relays; i++) {
                bool reached = find_on_the_way(d, &d->relays[i]);
                find_in_clock(d, &d->relays[i]);
                find_in_uplinks(d, &d->relays[i], reached);
                add_relay(&relays, d->agent, &d->relays[i]);
        }
        find_in_peers(d);
        d->func(d->userdata, &relays, &d->findings);
        buf_done(&relays);
        doctor_free(d);
}

static void one_done(Doctor *d)
{
        if (--d->n_pending == 0)
                timer_start(d->timer, 0);
}

static void on_timer(void *userdata)
{
        finish(userdata);
}

static void on_probe(void *userdata, const ProbeResult *result)
{
        Relay *relay = userdata;

        relay->probe = NULL; /* it ends itself */
        relay->result = *result;
        one_done(relay->doctor);
}

/* The uplinks have noted what the answers took. */
static void on_usage(void *userdata, const Buf *links, const Buf *silent)
{
        Asked *asked = userdata;

        (void)links;
        (void)silent;
        asked->usage = NULL; /* it ends itself */
        one_done(asked->doctor);
}

static int ask(Doctor *d, Host *h)
{
        Asked *asked = &d->asked[d->n_asked];
        int r;

        if (d->n_asked == HOSTS_MAX)
                return 0; /* there are no more */
        asked->doctor = d;
        r = usage_ask(&asked->usage, h, on_usage, asked);
        if (r < 0)
                return r;
        d->n_asked++;
        d->n_pending++;
        return 0;
}

static int look_at(Doctor *d, const char *url)
{
        Relay *relay;
        int r;

        for (size_t i = 0; i < d->n_relays; i++)
                if (strcmp(d->relays[i].url, url) == 0)
                        return 0;
        if (d->n_relays == PROBES_MAX) {
                d->more = true;
                return 0;
        }
        relay = &d->relays[d->n_relays];
        relay->doctor = d;
        relay->url = strdup(url);
        if (!relay->url)
                return -ENOMEM;
        d->n_relays++;
        r = probe_start(&relay->probe, d->agent, url, on_probe, relay);
        if (r == 0)
                d->n_pending++;
        return r;
}

static int begin(Doctor *d)
{
        int r = 0;

        for (Host *h = d->agent->hosts; r == 0 && h; h = h->next) {
                for (Uplink *u = h->uplinks; r == 0 && u; u = u->next)
                        r = look_at(d, u->url);
                if (r == 0)
                        r = ask(d, h);
        }
        for (Peer *p = d->agent->peers; p; p = p->next)
                for (size_t i = 0; r == 0 && i < p->n_uplinks; i++)
                        r = look_at(d, p->uplinks[i]);
        if (r == 0 && d->n_pending == 0)
                timer_start(d->timer, 0);
        return r;
}

int doctor_start(Doctor **ret, Agent *a, DoctorFunc func, void *userdata)
{
        Doctor *d;
        int r;

        if (a->doctor)
                return -EBUSY;
        d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        d->agent = a;
        d->func = func;
        d->userdata = userdata;
        d->timer = timer_new(a->loop, on_timer, d);
        r = d->timer ? begin(d) : -ENOMEM;
        if (r < 0) {
                doctor_free(d);
                return r;
        }
        a->doctor = d;
        *ret = d;
        return 0;
}
