#include "connector.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "liblinkproto/control.h"
#include "liblinkproto/handshake.h"
#include "limits.h"
#include "log.h"

typedef enum AttemptState {
        ATTEMPT_UNTRIED, /* or lost a race */
        ATTEMPT_DIALING,
        ATTEMPT_RESOLVING,
        ATTEMPT_RELAYING,
        ATTEMPT_HANDSHAKE,
        ATTEMPT_FAILED,
} AttemptState;

/* One relay. */
typedef struct Attempt {
        Connector *connector;
        char *url;
        size_t place; /* in the list that was given */
        AttemptState state;
        bool suspect, refused;
        Ws *ws;
        Timer *timer;
        char link_id[LINK_ID_MAX * 4 + 1];
} Attempt;

struct Connector {
        Agent *agent;
        ConnectorFunc func;
        void *userdata;
        char address[ADDRESS_CHARS + 1];
        const Credential *credential; /* reconnecting */
        Secret *code;                 /* pairing */
        bool has_code_id, recover;
        uint8_t code_id[CODE_ID_BYTES];
        Attempt attempts[UPLINKS_MAX]; /* in the order of trying */
        size_t n_attempts;
        Timer *race;     /* to the start of the next one */
        Attempt *winner; /* whose handshake runs; NULL: none */
        Handshake *handshake;
        bool fresh;        /* an application waits: what a relay did not know is asked again */
        bool refused;      /* by one relay at least */
        bool absent;       /* a relay does not know the host */
        bool no_such_code; /* the host hung up on the header of a pairing */
        char cause[200];
};

static uint64_t now_msec(const Connector *c)
{
        return uv_now(c->agent->loop);
}

static void set_state(Attempt *a, AttemptState state)
{
        static const char *const names[] = {"untried",  "dialing",   "resolving",
                                            "relaying", "handshake", "failed"};

        if (state != ATTEMPT_UNTRIED && state != ATTEMPT_FAILED && state != a->state + 1)
                log_error("connector %s: impossible step from %s to %s", a->url, names[a->state],
                          names[state]);
        log_debug("connector %s: %s", a->url, names[state]);
        a->state = state;
}

Connector *connector_free(Connector *c)
{
        if (!c)
                return NULL;
        for (size_t i = 0; i < c->n_attempts; i++) {
                ws_free(c->attempts[i].ws);
                timer_free(c->attempts[i].timer);
                free(c->attempts[i].url);
        }
        timer_free(c->race);
        handshake_free(c->handshake);
        secret_free(c->code);
        free(c);
        return NULL;
}

/* The last call: c ends here. */
static void finish(Connector *c, ConnectorResult result, Attempt *at, SealPair *keys)
{
        bool ok = result == CONNECTOR_CONNECTED;

        c->func(c->userdata, result, ok ? TAKE_PTR(at->ws) : NULL, keys,
                ok && !c->credential ? handshake_credential(c->handshake) : NULL,
                at ? at->place : 0, c->cause);
        connector_free(c);
}

/* ---- one relay after the other ---- */

static void dial(Attempt *a);

static bool is_running(const Attempt *a)
{
        return a->state != ATTEMPT_UNTRIED && a->state != ATTEMPT_FAILED;
}

static bool any_running(const Connector *c)
{
        for (size_t i = 0; i < c->n_attempts; i++)
                if (is_running(&c->attempts[i]))
                        return true;
        return false;
}

/* Suspects only when nobody else is left. */
static Attempt *next_untried(Connector *c)
{
        Attempt *suspect = NULL;

        for (size_t i = 0; i < c->n_attempts; i++) {
                Attempt *a = &c->attempts[i];
                if (a->state != ATTEMPT_UNTRIED)
                        continue;
                if (!a->suspect)
                        return a;
                if (!suspect)
                        suspect = a;
        }
        return any_running(c) ? NULL : suspect;
}

/* Starts the next relay, if one is to be started now. */
static void start_next(Connector *c)
{
        Attempt *a = c->winner ? NULL : next_untried(c);

        timer_stop(c->race);
        if (!a || (!c->credential && any_running(c)))
                return;
        dial(a);
        if (c->credential && next_untried(c))
                timer_start(c->race, RACE_STEP_MSEC);
}

static void on_race_timer(void *userdata)
{
        start_next(userdata);
}

static void end_attempt(Attempt *a, AttemptState state)
{
        a->ws = ws_free(a->ws);
        timer_stop(a->timer);
        set_state(a, state);
}

/* This relay did not lead there: others, or the end. After cA of a pairing it is the end: every
 * further relay would cost another of the host's five guesses. */
static void fail(Attempt *a, const char *why)
{
        Connector *c = a->connector;
        bool over = a == c->winner && !c->credential && handshake_client_confirmed(c->handshake);

        if (!c->no_such_code) /* that is what the user must hear, whatever other relays do */
                (void)snprintf(c->cause, sizeof(c->cause), "%s: %s", a->url, why); /* cut is fine */
        log_debug("connector %s: %s", a->url, why);
        if (over) {
                finish(c, CONNECTOR_UNREACHABLE, NULL, NULL);
                return;
        }
        if (a == c->winner) {
                c->winner = NULL;
                c->handshake = handshake_free(c->handshake);
        }
        end_attempt(a, ATTEMPT_FAILED);
        start_next(c);
        if (any_running(c))
                return;
        if (c->no_such_code)
                finish(c, CONNECTOR_WRONG_CODE, NULL, NULL);
        else
                finish(c,
                       c->refused  ? CONNECTOR_REVOKED
                       : c->absent ? CONNECTOR_ABSENT
                                   : CONNECTOR_UNREACHABLE,
                       NULL, NULL);
}

/* ---- the handshake ---- */

static int flush_output(Attempt *a)
{
        const uint8_t *frame;
        size_t len;

        while (handshake_output(a->connector->handshake, &frame, &len)) {
                WsMessage *m = ws_message_new(len, false);
                int r;

                if (!m)
                        return -ENOMEM;
                memcpy(m->data, frame, len);
                r = ws_send(a->ws, m);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void connected(Attempt *a)
{
        Connector *c = a->connector;
        SealPair *keys = secret_object_new(sizeof(*keys));

        if (!keys) {
                fail(a, "out of memory");
                return;
        }
        for (size_t i = 0; i < c->n_attempts; i++)
                if (c->attempts[i].refused) {
                        log_limited(&c->agent->relay_log, now_msec(c), LOG_LEVEL_WARNING,
                                    "%s forged a refusal of this host: it misbehaves",
                                    c->attempts[i].url);
                        pace_suspect(c->agent->pace, c->attempts[i].url, now_msec(c));
                }
        handshake_take_keys(c->handshake, keys);
        finish(c, CONNECTOR_CONNECTED, a, keys);
}

static void wrong_code(Connector *c, const char *why)
{
        (void)snprintf(c->cause, sizeof(c->cause), "%s", why); /* cut is fine */
        finish(c, CONNECTOR_WRONG_CODE, NULL, NULL);
}

/* The connection closed in the handshake, in a pairing before cA or after cB. */
static void lost(Attempt *a)
{
        Connector *c = a->connector;

        if (c->credential) {
                fail(a, "the connection was lost in the handshake");
        } else if (handshake_client_confirmed(c->handshake)) {
                fail(a, "the connection was lost when the code had been accepted; it is used up: "
                        "make a new invitation");
        } else {
                (void)snprintf(c->cause, sizeof(c->cause),
                               "%s: the host hung up: the code is used up, expired or withdrawn",
                               a->url); /* cut is fine */
                c->no_such_code = true;
                fail(a, "the host hung up");
        }
}

/* A handshake that came to nothing, maybe by the relay's doing. */
static void suspect(Attempt *a, const char *why)
{
        pace_suspect(a->connector->agent->pace, a->url, now_msec(a->connector));
        fail(a, why);
}

static void step(Attempt *a, int result)
{
        Connector *c = a->connector;
        uint64_t now = now_msec(c), deadline;
        int r = result < 0 ? result : flush_output(a);

        if (r < 0) {
                fail(a, strerror(-r));
                return;
        }
        switch ((HandshakeResult)result) {
        case HANDSHAKE_MORE:
                deadline = handshake_deadline_msec(c->handshake);
                timer_start(a->timer, deadline > now ? deadline - now : 0);
                return;
        case HANDSHAKE_DONE:
                connected(a);
                return;
        case HANDSHAKE_WRONG_CODE:
                /* The host hangs up in either case (PROTOCOL.md "Pairing rules"). */
                wrong_code(c, "the pairing code does not match (or the host could not keep this "
                              "device: `linkctl status` there tells)");
                return;
        case HANDSHAKE_REFUSED:
                a->refused = c->refused = true;
                fail(a, "the host refuses this credential");
                return;
        case HANDSHAKE_BAD_PEER:
                suspect(a, "the other end broke the handshake");
                return;
        case HANDSHAKE_TIMED_OUT:
                suspect(a, "the host did not answer the handshake in time");
                return;
        case HANDSHAKE_LOST:
                lost(a);
                return;
        case HANDSHAKE_NEED_SECRET: /* a host's */
        case HANDSHAKE_NEED_STORE:
                fail(a, "internal error");
                return;
        }
}

static int begin_handshake(Connector *c)
{
        uint8_t random[HANDSHAKE_RANDOM_BYTES];
        int r;

        randombytes_buf(random, sizeof(random));
        if (c->credential)
                r = handshake_client_reconnect(&c->handshake, c->credential, random);
        else
                r = handshake_client_pair(&c->handshake, c->address, c->code->data, c->code->len,
                                          c->has_code_id ? c->code_id : NULL, c->recover, random);
        sodium_memzero(random, sizeof(random));
        return r;
}

/* ---- the introduction ---- */

static void send_control(Attempt *a, ControlType type, const char *link_id, const char *address)
{
        char text[1024];
        int r = control_encode(type, link_id, address, NULL, text, sizeof(text));

        if (r >= 0)
                r = ws_send_text(a->ws, text, (size_t)r);
        if (r < 0)
                fail(a, strerror(-r));
        else
                timer_start(a->timer, CONTROL_STEP_MSEC);
}

/* Introduced: the race is over. */
static void on_relaying(Attempt *a)
{
        Connector *c = a->connector;
        int r = begin_handshake(c);

        if (r < 0) {
                fail(a, strerror(-r));
                return;
        }
        c->winner = a;
        timer_stop(c->race);
        for (size_t i = 0; i < c->n_attempts; i++)
                if (&c->attempts[i] != a && is_running(&c->attempts[i]))
                        end_attempt(&c->attempts[i], ATTEMPT_UNTRIED);
        set_state(a, ATTEMPT_HANDSHAKE);
        ws_set_message_max(a->ws, HANDSHAKE_MESSAGE_MAX); /* the session raises it */
        step(a, handshake_client_start(c->handshake, now_msec(c)));
}

static void on_error(Attempt *a, const char *error)
{
        Connector *c = a->connector;

        if (strcmp(error, "unknown_address") == 0) {
                pace_unknown(c->agent->pace, a->url, c->address, now_msec(c));
                c->absent = true;
                fail(a, "the host is not registered there");
        } else {
                fail(a, "the relay answered with an error");
        }
}

static void on_control(Attempt *a, const uint8_t *data, size_t len)
{
        ControlMessage m;

        if (control_decode((const char *)data, len, &m) < 0) {
                fail(a, "the relay sent garbage");
        } else if (m.type == CONTROL_ERROR) {
                on_error(a, m.error);
        } else if (a->state == ATTEMPT_RESOLVING && m.type == CONTROL_FOUND && m.link_id[0]) {
                pace_known(a->connector->agent->pace, a->url, a->connector->address);
                memcpy(a->link_id, m.link_id, sizeof(a->link_id));
                set_state(a, ATTEMPT_RELAYING);
                send_control(a, CONTROL_RELAY, a->link_id, NULL);
        } else if (a->state == ATTEMPT_RELAYING && m.type == CONTROL_RELAYING &&
                   strcmp(m.link_id, a->link_id) == 0) {
                on_relaying(a);
        }
        /* Others do not matter; the deadline runs on. */
}

/* ---- the socket ---- */

static void on_open(void *userdata)
{
        Attempt *a = userdata;
        Connector *c = a->connector;

        if (pace_delay_msec(c->agent->pace, a->url, PACE_RESOLVE, now_msec(c))) {
                fail(a, "this relay was asked as often as it allows in a minute");
                return;
        }
        pace_spend(c->agent->pace, a->url, now_msec(c));
        set_state(a, ATTEMPT_RESOLVING);
        send_control(a, CONTROL_RESOLVE, NULL, c->address);
}

static void on_message(void *userdata, bool text, uint8_t *data, size_t len)
{
        Attempt *a = userdata;

        if (a->state != ATTEMPT_HANDSHAKE && text)
                on_control(a, data, len);
        else if (a->state != ATTEMPT_HANDSHAKE || text)
                fail(a, "a message of the wrong kind");
        else
                step(a, handshake_feed(a->connector->handshake, data, len, now_msec(a->connector)));
}

static void on_closed(void *userdata, unsigned code, const char *reason)
{
        Attempt *a = userdata;
        Connector *c = a->connector;
        char text[128];

        if (a->state == ATTEMPT_HANDSHAKE && (c->credential || code == CLOSE_PEER_GONE ||
                                              handshake_client_confirmed(c->handshake))) {
                step(a, handshake_closed(c->handshake));
                return;
        }
        (void)snprintf(text, sizeof(text), code ? "%s (%u)" : "%s", reason, code);
        fail(a, code == CLOSE_PEER_GONE ? "the host is there but did not answer" : text);
}

static const WsHandler ws_handler = {
        .on_open = on_open,
        .on_message = on_message,
        .on_closed = on_closed,
};

static const char *late(const Attempt *a)
{
        switch (a->state) {
        case ATTEMPT_RESOLVING:
                return "the relay did not answer";
        case ATTEMPT_RELAYING:
                return "the host did not take the link in time";
        case ATTEMPT_UNTRIED:
        case ATTEMPT_DIALING:
        case ATTEMPT_HANDSHAKE:
        case ATTEMPT_FAILED:
                break;
        }
        return "timed out";
}

/* This relay is not asked now. */
static void passed_over(Attempt *a)
{
        Connector *c = a->connector;

        c->absent = c->absent ||
                    pace_unknown_delay_msec(c->agent->pace, a->url, c->address, now_msec(c));
        fail(a, "the host is not registered there, or the relay was asked too often: it is asked "
                "again in a minute");
}

static void on_timer(void *userdata)
{
        Attempt *a = userdata;
        Connector *c = a->connector;

        if (!a->ws && a->state == ATTEMPT_DIALING)
                passed_over(a);
        else if (a->state == ATTEMPT_HANDSHAKE)
                step(a, handshake_tick(c->handshake, now_msec(c)));
        else
                fail(a, late(a));
}

static void dial(Attempt *a)
{
        Connector *c = a->connector;
        int r = 0;

        set_state(a, ATTEMPT_DIALING);
        if (pace_delay_msec(c->agent->pace, a->url, PACE_RESOLVE, now_msec(c)) ||
            (!c->fresh && pace_unknown_delay_msec(c->agent->pace, a->url, c->address, now_msec(c))))
                r = -EAGAIN;
        else
                r = ws_dial(&a->ws, c->agent->ws, a->url, c->address, CONNECT_MSEC, &ws_handler, a);
        if (r < 0) {
                log_debug("connector %s: %s", a->url, strerror(-r));
                timer_start(a->timer, 0); /* never from inside the caller */
        }
}

void connector_hurry(Connector *c)
{
        for (size_t i = 0; i < c->n_attempts; i++)
                if (c->attempts[i].state == ATTEMPT_DIALING && c->attempts[i].ws)
                        ws_dial_again(c->attempts[i].ws);
}

/* ---- life ---- */

static int add_attempt(Connector *c, const char *url, size_t place)
{
        Attempt *a = &c->attempts[c->n_attempts++];

        a->connector = c;
        a->place = place;
        a->url = strdup(url);
        a->timer = timer_new(c->agent->loop, on_timer, a);
        a->suspect = pace_is_suspect(c->agent->pace, url, now_msec(c));
        return a->url && a->timer ? 0 : -ENOMEM;
}

static int start(Connector **ret, Connector *c, const char *address, char *const *urls,
                 size_t n_urls, size_t first)
{
        int r = n_urls ? 0 : -EINVAL;

        n_urls = MIN(n_urls, (size_t)UPLINKS_MAX);
        memcpy(c->address, address, sizeof(c->address));
        c->race = timer_new(c->agent->loop, on_race_timer, c);
        if (!c->race)
                r = -ENOMEM;
        for (size_t i = 0; r == 0 && i < n_urls; i++)
                r = add_attempt(c, urls[(first + i) % n_urls], (first + i) % n_urls);
        if (r < 0) {
                connector_free(c);
                return r;
        }
        start_next(c);
        *ret = c;
        return 0;
}

static Connector *alloc(Agent *a, ConnectorFunc func, void *userdata)
{
        Connector *c = calloc(1, sizeof(*c));

        if (!c)
                return NULL;
        c->agent = a;
        c->func = func;
        c->userdata = userdata;
        return c;
}

int connector_pair(Connector **ret, Agent *a, const char *address, const Secret *code,
                   const uint8_t *code_id, bool recover, char *const *urls, size_t n_urls,
                   ConnectorFunc func, void *userdata)
{
        Connector *c = alloc(a, func, userdata);

        if (!c || !(c->code = secret_copy(code->data, code->len))) {
                free(c);
                return -ENOMEM;
        }
        c->fresh = true;
        c->has_code_id = code_id != NULL;
        c->recover = recover;
        if (code_id)
                memcpy(c->code_id, code_id, CODE_ID_BYTES);
        return start(ret, c, address, urls, n_urls, 0);
}

int connector_reconnect(Connector **ret, Agent *a, const Credential *credential, char *const *urls,
                        size_t n_urls, size_t first, bool fresh, ConnectorFunc func, void *userdata)
{
        Connector *c = alloc(a, func, userdata);

        if (!c)
                return -ENOMEM;
        c->credential = credential;
        c->fresh = fresh;
        return start(ret, c, credential->address, urls, n_urls, first);
}
