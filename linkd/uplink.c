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
#include "selfcheck.h"

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

static void describe_offset(int64_t msec, char *out, size_t size)
{
        int64_t sec = (msec < 0 ? -msec : msec) / 1000;

        (void)snprintf(out, size, "%lld min %lld s %s", (long long)(sec / 60),
                       (long long)(sec % 60), msec < 0 ? "fast" : "slow"); /* fits */
}

/* The relay refused the signature. Is it the clock? The relay's is known by its Date, and the next
 * register is signed with it, once. */
static void explain_auth_refusal(Uplink *u)
{
        bool tried = u->offset_msec != 0;
        char offset[64];

        u->offset_msec = 0;
        if (!u->offset_known) {
                (void)snprintf(
                        u->cause, sizeof(u->cause),
                        "the relay refused the signature (4007): is this machine's clock right?");
                return;
        }
        describe_offset(u->date_offset_msec, offset, sizeof(offset));
        if (u->date_offset_msec > -CLOCK_OFFSET_MIN_MSEC &&
            u->date_offset_msec < CLOCK_OFFSET_MIN_MSEC) {
                (void)snprintf(u->cause, sizeof(u->cause),
                               "the relay refused the signature (4007), though the clocks agree: "
                               "does it know itself by another name (LINK_ORIGIN)?");
        } else if (tried || u->date_offset_msec > CLOCK_OFFSET_MAX_MSEC ||
                   u->date_offset_msec < -CLOCK_OFFSET_MAX_MSEC) {
                (void)snprintf(u->cause, sizeof(u->cause),
                               "the relay refused the signature (4007): by its clock, this "
                               "machine's is %s; set the clock",
                               offset);
        } else {
                u->offset_msec = u->date_offset_msec;
                (void)snprintf(u->cause, sizeof(u->cause),
                               "the relay refused the signature (4007): by its clock, this "
                               "machine's is %s; registering once by the relay's clock",
                               offset);
        }
}

static void explain(Uplink *u, unsigned code, const char *reason)
{
        if (code == CLOSE_REGISTER_AUTH)
                explain_auth_refusal(u);
        else if (code == CLOSE_REGISTER_UNAUTHORIZED)
                (void)snprintf(u->cause, sizeof(u->cause),
                               "the relay is closed and does not list this host's key (4010)");
        else if (code == CLOSE_REPLACED)
                (void)snprintf(u->cause, sizeof(u->cause),
                               "another agent registered this address (4005): is the state "
                               "directory copied?");
        else if (code)
                (void)snprintf(u->cause, sizeof(u->cause), "%s (%u)", reason, code);
        else
                (void)snprintf(u->cause, sizeof(u->cause), "%s", reason); /* cut is fine */
}

static void disconnect(Uplink *u)
{
        dialback_drop_waiting(u);
        u->self_check = self_check_free(u->self_check);
        timer_stop(u->self_check_timer);
        usage_on_lost(u);
        u->usage_asked_msec = 0;
        u->round_trip_msec = 0;
        u->ws = ws_free(u->ws);
        u->offset_known = false;
        set_state(u, UPLINK_WAITING);
}

static void lost(Uplink *u, unsigned code, const char *reason)
{
        uint64_t wait;

        if (u->state == UPLINK_REGISTERED &&
            uv_now(u->host->agent->loop) - u->registered_msec >= STOOD_MSEC)
                u->failures = 0; /* else: a relay that hangs up at once is not dialed in a circle */
        wait = backoff_draw_msec(u->failures, UPLINK_BACKOFF_MIN_MSEC, UPLINK_BACKOFF_MAX_MSEC);
        u->replaced = code == CLOSE_REPLACED;
        if (u->replaced)
                wait += UPLINK_REPLACED_MSEC;
        explain(u, code, reason);
        log_limited(&u->log, uv_now(u->host->agent->loop),
                    u->failures == 0 || u->state == UPLINK_REGISTERED ? LOG_LEVEL_WARNING
                                                                      : LOG_LEVEL_DEBUG,
                    "uplink %s: %s; next try in %u ms", u->url, u->cause, (unsigned)wait);
        if (u->failures < 16)
                u->failures++;
        disconnect(u);
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
        /* Strictly newer than any that it took, or the relay calls it stale. */
        u->sent_ts_msec = MAX(agent_clock_msec() + u->offset_msec, u->taken_ts_msec + 1);
        randombytes_buf(nonce, sizeof(nonce));
        r = register_message(&h->keys->reg, u->sent_ts_msec, nonce, origin, text, sizeof(text));
        if (r < 0)
                return r;
        pace_spend(h->agent->pace, u->url, uv_now(h->agent->loop));
        return ws_send_text(u->ws, text, (size_t)r);
}

static void on_open(void *userdata)
{
        Uplink *u = userdata;
        int64_t date = ws_server_date_msec(u->ws);
        int r;

        u->offset_known = date != 0;
        u->date_offset_msec = date - agent_clock_msec();
        set_state(u, UPLINK_REGISTERING);
        timer_start(u->timer, CONTROL_STEP_MSEC);
        r = ws_keepalive(u->ws, PING_INTERVAL_MSEC, PING_DEADLINE_MSEC);
        if (r == 0)
                r = send_register(u);
        if (r < 0)
                lost(u, CODE_NONE, strerror(-r));
}

/* ---- checking itself ---- */

static void arm_self_check(Uplink *u)
{
        uint64_t msec = u->host->agent->settings->self_check_msec;

        /* From three to five quarters of it, so that agents do not do it all at a time. */
        timer_start(u->self_check_timer,
                    msec - msec / 4 + randombytes_uniform((uint32_t)(msec / 2) + 1));
}

static void on_self_check(void *userdata, SelfCheckResult result, const char *why)
{
        Uplink *u = userdata;

        u->self_check = NULL; /* it ends itself */
        switch (result) {
        case SELF_CHECK_KNOWN:
                log_debug("uplink %s: it leads to this host", u->url);
                arm_self_check(u);
                return;
        case SELF_CHECK_FAILED:
                log_debug("uplink %s: could not check that it leads to this host: %s", u->url, why);
                arm_self_check(u);
                return;
        case SELF_CHECK_UNKNOWN:
                (void)snprintf(u->cause, sizeof(u->cause),
                               "the relay did not know this host any more");
                log_limited(&u->log, uv_now(u->host->agent->loop), LOG_LEVEL_WARNING,
                            "uplink %s: %s; registering anew", u->url, u->cause);
                disconnect(u);
                uplink_start(u);
                return;
        }
}

static void on_self_check_timer(void *userdata)
{
        Uplink *u = userdata;
        int r = self_check_start(&u->self_check, u->host->agent, u->url, host_address(u->host),
                                 on_self_check, u);

        if (r < 0) {
                log_debug("uplink %s: no self check: %s", u->url, strerror(-r));
                arm_self_check(u);
        }
}

void uplink_rearm(Uplink *u)
{
        if (timer_active(u->self_check_timer))
                arm_self_check(u);
}

/* ---- what the relay says ---- */

static void on_registered(Uplink *u, const ControlMessage *m)
{
        if (u->state != UPLINK_REGISTERING || strcmp(m->address, host_address(u->host)) != 0)
                return; /* not an answer to anything we asked */
        timer_stop(u->timer);
        u->registered_msec = uv_now(u->host->agent->loop);
        u->taken_ts_msec = u->sent_ts_msec;
        if (u->offset_msec == 0) /* else the user is to hear of the wrong clock */
                u->cause[0] = '\0';
        else
                log_limited(&u->log, u->registered_msec, LOG_LEVEL_WARNING,
                            "uplink %s: registered by the relay's clock; set this machine's",
                            u->url);
        u->offset_msec = 0;
        set_state(u, UPLINK_REGISTERED);
        arm_self_check(u);
        log_limited(&u->log, u->registered_msec, LOG_LEVEL_INFO, "uplink %s: registered %s", u->url,
                    host_address(u->host));
}

static void on_relay(Uplink *u, const ControlMessage *m)
{
        int r;

        if (u->state != UPLINK_REGISTERED || !m->link_id[0])
                return;
        r = dialback_start(u, m->link_id);
        if (r < 0)
                log_limited(&u->link_log, uv_now(u->host->agent->loop), LOG_LEVEL_WARNING,
                            "uplink %s: a link was dropped: %s", u->url,
                            r == -EUSERS ? "too many are in flight" : strerror(-r));
}

static void on_usage(Uplink *u, const ControlMessage *m)
{
        uint64_t now = uv_now(u->host->agent->loop);

        if (u->usage_asked_msec)
                u->round_trip_msec = (unsigned)MAX(now - u->usage_asked_msec, (uint64_t)1);
        u->usage_asked_msec = 0;
        usage_on_message(u, m->connections);
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
                on_usage(u, &m);
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
        Agent *a = u->host->agent;
        uint64_t wait = pace_delay_msec(a->pace, u->url, PACE_REGISTER, uv_now(a->loop));
        int r;

        timer_stop(u->timer);
        if (wait) {
                log_debug("uplink %s: registered as often as it allows in a minute", u->url);
                timer_start(u->timer, wait);
                return;
        }
        set_state(u, UPLINK_CONNECTING);
        r = ws_dial(&u->ws, a->ws, u->url, host_address(u->host), CONNECT_MSEC, &ws_handler, u);
        if (r < 0)
                lost(u, CODE_NONE, strerror(-r));
}

int uplink_ask_usage(Uplink *u)
{
        char text[64];
        int r = control_encode(CONTROL_GET_USAGE, NULL, NULL, NULL, text, sizeof(text));

        if (u->state != UPLINK_REGISTERED)
                return -ENOTCONN;
        if (r >= 0)
                r = ws_send_text(u->ws, text, (size_t)r);
        if (r == 0)
                u->usage_asked_msec = uv_now(u->host->agent->loop);
        return r;
}

void uplink_probe(Uplink *u)
{
        switch (u->state) {
        case UPLINK_WAITING:
                if (u->replaced || !timer_active(u->timer))
                        return;
                uplink_start(u);
                return;
        case UPLINK_CONNECTING:
                ws_dial_again(u->ws);
                return;
        case UPLINK_REGISTERING:
        case UPLINK_REGISTERED:
                ws_probe(u->ws);
                return;
        }
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
        u->waiting_end = &u->waiting;
        u->timer = timer_new(host->agent->loop, on_timer, u);
        u->waiting_timer = timer_new(host->agent->loop, dialback_on_waiting_timer, u);
        u->self_check_timer = timer_new(host->agent->loop, on_self_check_timer, u);
        if (!u->url || !u->timer || !u->waiting_timer || !u->self_check_timer) {
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
        dialback_end_all(u);
        self_check_free(u->self_check);
        ws_free(u->ws);
        timer_free(u->timer);
        timer_free(u->waiting_timer);
        timer_free(u->self_check_timer);
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
