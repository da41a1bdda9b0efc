#include "uplink.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "dialback.h"
#include "host.h"
#include "liblinkproto/control.h"
#include "limits.h"
#include "log.h"
#include "usage.h"
#include "watch.h"

enum { CODE_NONE = 0 };

static const char *const state_names[] = {
        [UPLINK_WAITING] = "waiting",
        [UPLINK_CONNECTING] = "connecting",
        [UPLINK_REGISTERING] = "connecting",
        [UPLINK_REGISTERED] = "registered",
};

const char *uplink_state_name(UplinkState state)
{
        return state_names[state];
}

static void set_state(Uplink *u, UplinkState state)
{
        static const bool allowed[4][4] = {
                [UPLINK_WAITING] = {[UPLINK_CONNECTING] = true, [UPLINK_WAITING] = true},
                [UPLINK_CONNECTING] = {[UPLINK_REGISTERING] = true, [UPLINK_WAITING] = true},
                [UPLINK_REGISTERING] = {[UPLINK_REGISTERED] = true, [UPLINK_WAITING] = true},
                [UPLINK_REGISTERED] = {[UPLINK_WAITING] = true},
        };

        if (!allowed[u->state][state]) {
                log_error("uplink %s: impossible step from %s to %s", u->url, state_names[u->state],
                          state_names[state]);
                return;
        }
        const bool differs = strcmp(state_names[u->state], state_names[state]) != 0;
        if (differs)
                u->since = time(NULL);
        log_debug("uplink %s: %s -> %s", u->url, state_names[u->state], state_names[state]);
        u->state = state;
        if (differs)
                watch_tell_uplink(u, "changed");
}

/* ---- losing it ---- */

static void lost(Uplink *u, unsigned code, const char *reason)
{
        uint64_t wait;

        if (u->state == UPLINK_REGISTERED &&
            uv_now(u->host->agent->loop) - u->registered_msec >= STOOD_MSEC)
                u->failures = 0; /* else: a relay that hangs up at once is not dialed in a circle */
        wait = backoff_draw_msec(u->failures, UPLINK_BACKOFF_MIN_MSEC, UPLINK_BACKOFF_MAX_MSEC);

        if (code == CLOSE_REPLACED)
                wait += UPLINK_REPLACED_MSEC;
        if (code)
                (void)snprintf(u->cause, sizeof(u->cause), "%s (%u)", reason, code);
        else
                (void)snprintf(u->cause, sizeof(u->cause), "%s", reason); /* cut is fine */
        if (code == CLOSE_REGISTER_AUTH)
                (void)snprintf(
                        u->cause, sizeof(u->cause),
                        "the relay refused the signature (4007): is this machine's clock right?");
        else if (code == CLOSE_REGISTER_UNAUTHORIZED)
                (void)snprintf(u->cause, sizeof(u->cause),
                               "the relay is closed and does not list this host's key (4010)");
        else if (code == CLOSE_REPLACED)
                (void)snprintf(u->cause, sizeof(u->cause),
                               "another agent registered this address (4005): is the state "
                               "directory copied?");
        log_line(u->failures == 0 || u->state == UPLINK_REGISTERED ? LOG_LEVEL_WARNING
                                                                   : LOG_LEVEL_DEBUG,
                 "uplink %s: %s; next try in %u ms", u->url, u->cause, (unsigned)wait);
        if (u->failures < 16)
                u->failures++;
        usage_on_lost(u);
        u->ws = ws_free(u->ws);
        set_state(u, UPLINK_WAITING);
        timer_start(u->timer, wait);
}

static void on_timer(void *userdata)
{
        Uplink *u = userdata;

        if (u->state == UPLINK_WAITING)
                uplink_start(u);
        else
                lost(u, CODE_NONE, "the relay did not answer");
}

/* ---- talking ---- */

static int send_register(Uplink *u)
{
        Host *h = u->host;
        char origin[REGISTER_ORIGIN_MAX + 1], text[1024];
        uint8_t nonce[16];
        int r;

        r = register_origin_of_url(u->url, origin, sizeof(origin));
        if (r < 0)
                return r;
        /* Strictly newer than any before, or the relay calls it stale. */
        h->last_ts_msec = MAX(agent_clock_msec(), h->last_ts_msec + 1);
        randombytes_buf(nonce, sizeof(nonce));
        r = register_message(&h->keys->reg, h->last_ts_msec, nonce, origin, text, sizeof(text));
        if (r < 0)
                return r;
        return ws_send_text(u->ws, text, (size_t)r);
}

static void on_open(void *userdata)
{
        Uplink *u = userdata;
        int r;

        set_state(u, UPLINK_REGISTERING);
        timer_start(u->timer, CONTROL_STEP_MSEC);
        r = ws_keepalive(u->ws, PING_INTERVAL_MSEC, PING_DEADLINE_MSEC);
        if (r == 0)
                r = send_register(u);
        if (r < 0)
                lost(u, CODE_NONE, strerror(-r));
}

static void on_registered(Uplink *u, const ControlMessage *m)
{
        if (u->state != UPLINK_REGISTERING || strcmp(m->address, host_address(u->host)) != 0)
                return; /* not an answer to anything we asked */
        timer_stop(u->timer);
        u->registered_msec = uv_now(u->host->agent->loop);
        u->cause[0] = '\0';
        set_state(u, UPLINK_REGISTERED);
        log_info("uplink %s: registered %s", u->url, host_address(u->host));
}

static void on_relay(Uplink *u, const ControlMessage *m)
{
        int r;

        if (u->state != UPLINK_REGISTERED || !m->link_id[0])
                return;
        r = dialback_start(u, m->link_id);
        if (r < 0)
                log_line(r == -EUSERS && u->told_full ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING,
                         "uplink %s: a link was dropped: %s", u->url,
                         r == -EUSERS ? "too many are in flight" : strerror(-r));
        u->told_full = r == -EUSERS;
}

static void on_message(void *userdata, bool text, uint8_t *data, size_t len)
{
        Uplink *u = userdata;
        ControlMessage m;

        if (!text || control_decode((const char *)data, len, &m) < 0) {
                lost(u, CODE_NONE, "the relay sent garbage");
                return;
        }
        switch (m.type) {
        case CONTROL_REGISTERED:
                on_registered(u, &m);
                return;
        case CONTROL_RELAY:
                on_relay(u, &m);
                return;
        case CONTROL_ERROR:
                if (u->state == UPLINK_REGISTERING) {
                        char why[96];
                        (void)snprintf(why, sizeof(why), "the relay refused the register: %s",
                                       m.error); /* cut is fine */
                        lost(u, CODE_NONE, why);
                }
                return;
        case CONTROL_USAGE:
                usage_on_message(u, m.connections);
                return;
        case CONTROL_ARRIVED: /* informational */
        case CONTROL_UNKNOWN:
        case CONTROL_REGISTER:
        case CONTROL_RESOLVE:
        case CONTROL_FOUND:
        case CONTROL_ACCEPT:
        case CONTROL_RELAYING:
        case CONTROL_GET_USAGE:
                return;
        }
}

static void on_closed(void *userdata, unsigned code, const char *reason)
{
        lost(userdata, code, reason);
}

static const WsHandler ws_handler = {
        .on_open = on_open,
        .on_message = on_message,
        .on_closed = on_closed,
};

void uplink_start(Uplink *u)
{
        int r;

        timer_stop(u->timer);
        set_state(u, UPLINK_CONNECTING);
        r = ws_dial(&u->ws, u->host->agent->ws, u->url, host_address(u->host), CONNECT_MSEC,
                    &ws_handler, u);
        if (r < 0)
                lost(u, CODE_NONE, strerror(-r));
}

int uplink_ask_usage(Uplink *u)
{
        char text[64];
        int r = control_encode(CONTROL_GET_USAGE, NULL, NULL, NULL, text, sizeof(text));

        if (u->state != UPLINK_REGISTERED)
                return -ENOTCONN;
        return r < 0 ? r : ws_send_text(u->ws, text, (size_t)r);
}

/* ---- life ---- */

int uplink_new(Uplink **ret, Host *host, const char *url)
{
        Uplink *u = calloc(1, sizeof(*u));

        if (!u)
                return -ENOMEM;
        u->host = host;
        u->since = time(NULL);
        u->url = strdup(url);
        u->timer = timer_new(host->agent->loop, on_timer, u);
        if (!u->url || !u->timer) {
                uplink_free(u);
                return -ENOMEM;
        }
        *ret = u;
        return 0;
}

Uplink *uplink_free(Uplink *u)
{
        if (!u)
                return NULL;
        usage_on_lost(u);
        while (u->dialbacks)
                dialback_free(u->dialbacks);
        ws_free(u->ws);
        timer_free(u->timer);
        free(u->url);
        free(u);
        return NULL;
}

void uplink_describe_members(const Uplink *u, Buf *out)
{
        char since[TIME_TEXT_BYTES];

        agent_format_time(u->since, since);
        buf_json_member_str(out, "url", u->url);
        buf_json_member_str(out, "host", u->host->name);
        buf_json_member_str(out, "state", state_names[u->state]);
        buf_json_member_str(out, "since", since);
        if (u->cause[0])
                buf_json_member_str(out, "cause", u->cause);
}

void uplink_describe(const Uplink *u, Buf *out)
{
        buf_json_comma(out);
        buf_add_str(out, "{");
        uplink_describe_members(u, out);
        buf_add_str(out, "}");
}
