#include "connector.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "liblinkproto/control.h"
#include "liblinkproto/handshake.h"
#include "limits.h"
#include "log.h"

typedef enum ConnectorState {
        CONNECTOR_DIALING,
        CONNECTOR_RESOLVING,
        CONNECTOR_RELAYING,
        CONNECTOR_HANDSHAKE,
} ConnectorState;

struct Connector {
        Agent *agent;
        ConnectorFunc func;
        void *userdata;
        char address[ADDRESS_CHARS + 1];
        const Credential *credential; /* reconnecting */
        Secret *code;                 /* pairing */
        bool has_code_id, recover;
        uint8_t code_id[CODE_ID_BYTES];
        char *urls[UPLINKS_MAX];
        size_t n_urls, first, tried; /* relay in use: (first + tried) % n_urls */
        ConnectorState state;
        Ws *ws;
        Timer *timer;
        Handshake *handshake;
        char link_id[LINK_ID_MAX * 4 + 1];
        bool refused;      /* by one relay at least */
        bool no_such_code; /* the host hung up on the header of a pairing */
        char cause[200];
};

static const char *current_url(const Connector *c)
{
        return c->urls[(c->first + c->tried) % c->n_urls];
}

static void set_state(Connector *c, ConnectorState state)
{
        static const char *const names[] = {"dialing", "resolving", "relaying", "handshake"};

        if (state != CONNECTOR_DIALING && state != c->state + 1)
                log_error("connector %s: impossible step from %s to %s", current_url(c),
                          names[c->state], names[state]);
        log_debug("connector %s: %s", current_url(c), names[state]);
        c->state = state;
}

Connector *connector_free(Connector *c)
{
        if (!c)
                return NULL;
        ws_free(c->ws);
        timer_free(c->timer);
        handshake_free(c->handshake);
        secret_free(c->code);
        for (size_t i = 0; i < c->n_urls; i++)
                free(c->urls[i]);
        free(c);
        return NULL;
}

/* The last call: c ends here. */
static void finish(Connector *c, ConnectorResult result, Ws *ws, SealPair *keys)
{
        ConnectorFunc func = c->func;

        func(c->userdata, result, ws, keys,
             result == CONNECTOR_CONNECTED && !c->credential ? handshake_credential(c->handshake)
                                                             : NULL,
             (c->first + c->tried) % c->n_urls, c->cause);
        connector_free(c);
}

static void dial(Connector *c);

/* This relay did not lead there: the next one, or the end. After cA of a pairing it is the end:
 * every further relay would cost another of the host's five guesses. */
static void move_on(Connector *c, const char *why)
{
        bool over = !c->credential && handshake_client_confirmed(c->handshake);

        if (!c->no_such_code) /* that is what the user must hear, whatever other relays do */
                (void)snprintf(c->cause, sizeof(c->cause), "%s: %s", current_url(c),
                               why); /* cut is fine */
        log_debug("connector %s: %s", current_url(c), why);
        if (over) {
                finish(c, CONNECTOR_UNREACHABLE, NULL, NULL);
                return;
        }
        c->ws = ws_free(c->ws);
        c->handshake = handshake_free(c->handshake);
        c->tried++;
        if (c->tried < c->n_urls) {
                dial(c);
                return;
        }
        c->tried--; /* current_url stays valid */
        if (c->no_such_code)
                finish(c, CONNECTOR_WRONG_CODE, NULL, NULL);
        else
                finish(c, c->refused ? CONNECTOR_REVOKED : CONNECTOR_UNREACHABLE, NULL, NULL);
}

/* ---- the handshake ---- */

static int flush_output(Connector *c)
{
        const uint8_t *frame;
        size_t len;

        while (handshake_output(c->handshake, &frame, &len)) {
                WsMessage *m = ws_message_new(len, false);
                int r;

                if (!m)
                        return -ENOMEM;
                memcpy(m->data, frame, len);
                r = ws_send(c->ws, m);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void connected(Connector *c)
{
        SealPair *keys = secret_object_new(sizeof(*keys));

        if (!keys) {
                move_on(c, "out of memory");
                return;
        }
        if (c->refused)
                log_warning("%s: another relay forged a refusal of this host: it misbehaves",
                            current_url(c));
        handshake_take_keys(c->handshake, keys);
        finish(c, CONNECTOR_CONNECTED, TAKE_PTR(c->ws), keys);
}

static void wrong_code(Connector *c, const char *why)
{
        (void)snprintf(c->cause, sizeof(c->cause), "%s", why); /* cut is fine */
        finish(c, CONNECTOR_WRONG_CODE, NULL, NULL);
}

/* The connection closed in the handshake, in a pairing before cA or after cB. */
static void lost(Connector *c)
{
        if (c->credential) {
                move_on(c, "the connection was lost in the handshake");
        } else if (handshake_client_confirmed(c->handshake)) {
                move_on(c,
                        "the connection was lost when the code had been accepted; it is used up: "
                        "make a new invitation");
        } else {
                (void)snprintf(c->cause, sizeof(c->cause),
                               "%s: the host hung up: the code is used up, expired or withdrawn",
                               current_url(c)); /* cut is fine */
                c->no_such_code = true;
                move_on(c, "the host hung up");
        }
}

static void step(Connector *c, int result)
{
        uint64_t now = uv_now(c->agent->loop), deadline;
        int r = result < 0 ? result : flush_output(c);

        if (r < 0) {
                move_on(c, strerror(-r));
                return;
        }
        switch ((HandshakeResult)result) {
        case HANDSHAKE_MORE:
                deadline = handshake_deadline_msec(c->handshake);
                timer_start(c->timer, deadline > now ? deadline - now : 0);
                return;
        case HANDSHAKE_DONE:
                connected(c);
                return;
        case HANDSHAKE_WRONG_CODE:
                wrong_code(c, "the pairing code does not match");
                return;
        case HANDSHAKE_REFUSED:
                c->refused = true;
                move_on(c, "the host refuses this credential");
                return;
        case HANDSHAKE_BAD_PEER:
                move_on(c, "the other end broke the handshake");
                return;
        case HANDSHAKE_TIMED_OUT:
                move_on(c, "the host did not answer the handshake in time");
                return;
        case HANDSHAKE_LOST:
                lost(c);
                return;
        case HANDSHAKE_NEED_SECRET: /* a host's */
        case HANDSHAKE_NEED_STORE:
                move_on(c, "internal error");
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

static void send_control(Connector *c, ControlType type, const char *link_id, const char *address)
{
        char text[1024];
        int r = control_encode(type, link_id, address, NULL, text, sizeof(text));

        if (r >= 0)
                r = ws_send_text(c->ws, text, (size_t)r);
        if (r < 0)
                move_on(c, strerror(-r));
        else
                timer_start(c->timer, CONTROL_STEP_MSEC);
}

static void on_relaying(Connector *c)
{
        int r = begin_handshake(c);

        if (r < 0) {
                move_on(c, strerror(-r));
                return;
        }
        set_state(c, CONNECTOR_HANDSHAKE);
        ws_set_message_max(c->ws, HANDSHAKE_MESSAGE_MAX); /* the session raises it */
        step(c, handshake_client_start(c->handshake, uv_now(c->agent->loop)));
}

static void on_control(Connector *c, const uint8_t *data, size_t len)
{
        ControlMessage m;

        if (control_decode((const char *)data, len, &m) < 0) {
                move_on(c, "the relay sent garbage");
        } else if (m.type == CONTROL_ERROR) {
                move_on(c, strcmp(m.error, "unknown_address") == 0
                                   ? "the host is not registered there"
                                   : "the relay answered with an error");
        } else if (c->state == CONNECTOR_RESOLVING && m.type == CONTROL_FOUND && m.link_id[0]) {
                memcpy(c->link_id, m.link_id, sizeof(c->link_id));
                set_state(c, CONNECTOR_RELAYING);
                send_control(c, CONTROL_RELAY, c->link_id, NULL);
        } else if (c->state == CONNECTOR_RELAYING && m.type == CONTROL_RELAYING &&
                   strcmp(m.link_id, c->link_id) == 0) {
                on_relaying(c);
        }
        /* Others do not matter; the deadline runs on. */
}

/* ---- the socket ---- */

static void on_open(void *userdata)
{
        Connector *c = userdata;

        set_state(c, CONNECTOR_RESOLVING);
        send_control(c, CONTROL_RESOLVE, NULL, c->address);
}

static void on_message(void *userdata, bool text, uint8_t *data, size_t len)
{
        Connector *c = userdata;

        if (c->state != CONNECTOR_HANDSHAKE && text)
                on_control(c, data, len);
        else if (c->state != CONNECTOR_HANDSHAKE || text)
                move_on(c, "a message of the wrong kind");
        else
                step(c, handshake_feed(c->handshake, data, len, uv_now(c->agent->loop)));
}

static void on_closed(void *userdata, unsigned code, const char *reason)
{
        Connector *c = userdata;
        char text[128];

        if (c->state == CONNECTOR_HANDSHAKE && (c->credential || code == CLOSE_PEER_GONE ||
                                                handshake_client_confirmed(c->handshake))) {
                step(c, handshake_closed(c->handshake));
                return;
        }
        (void)snprintf(text, sizeof(text), code ? "%s (%u)" : "%s", reason, code);
        move_on(c, code == CLOSE_PEER_GONE ? "the host is there but did not answer" : text);
}

static const WsHandler ws_handler = {
        .on_open = on_open,
        .on_message = on_message,
        .on_closed = on_closed,
};

static void on_timer(void *userdata)
{
        Connector *c = userdata;
        static const char *const late[] = {
                [CONNECTOR_DIALING] = "timed out",
                [CONNECTOR_RESOLVING] = "the relay did not answer",
                [CONNECTOR_RELAYING] = "the host did not take the link in time",
        };

        if (!c->ws && c->state == CONNECTOR_DIALING)
                move_on(c, "cannot dial"); /* deferred from dial() */
        else if (c->state == CONNECTOR_HANDSHAKE)
                step(c, handshake_tick(c->handshake, uv_now(c->agent->loop)));
        else
                move_on(c, late[c->state]);
}

static void dial(Connector *c)
{
        int r;

        set_state(c, CONNECTOR_DIALING);
        timer_stop(c->timer);
        r = ws_dial(&c->ws, c->agent->ws, current_url(c), c->address, CONNECT_MSEC, &ws_handler, c);
        if (r < 0) {
                log_debug("connector %s: %s", current_url(c), strerror(-r));
                timer_start(c->timer, 0); /* never from inside the caller */
        }
}

static int start(Connector **ret, Connector *c, Agent *a, const char *address, char *const *urls,
                 size_t n_urls, ConnectorFunc func, void *userdata)
{
        c->agent = a;
        c->func = func;
        c->userdata = userdata;
        memcpy(c->address, address, sizeof(c->address));
        for (; c->n_urls < MIN(n_urls, (size_t)UPLINKS_MAX); c->n_urls++) {
                c->urls[c->n_urls] = strdup(urls[c->n_urls]);
                if (!c->urls[c->n_urls])
                        break;
        }
        c->timer = timer_new(a->loop, on_timer, c);
        if (!c->timer || c->n_urls == 0 || c->n_urls < MIN(n_urls, (size_t)UPLINKS_MAX)) {
                connector_free(c);
                return n_urls ? -ENOMEM : -EINVAL;
        }
        dial(c);
        *ret = c;
        return 0;
}

int connector_pair(Connector **ret, Agent *a, const char *address, const Secret *code,
                   const uint8_t *code_id, bool recover, char *const *urls, size_t n_urls,
                   ConnectorFunc func, void *userdata)
{
        Connector *c = calloc(1, sizeof(*c));

        if (!c || !(c->code = secret_copy(code->data, code->len))) {
                free(c);
                return -ENOMEM;
        }
        c->has_code_id = code_id != NULL;
        c->recover = recover;
        if (code_id)
                memcpy(c->code_id, code_id, CODE_ID_BYTES);
        return start(ret, c, a, address, urls, n_urls, func, userdata);
}

int connector_reconnect(Connector **ret, Agent *a, const Credential *credential, char *const *urls,
                        size_t n_urls, size_t first, ConnectorFunc func, void *userdata)
{
        Connector *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        c->credential = credential;
        c->first = first;
        return start(ret, c, a, credential->address, urls, n_urls, func, userdata);
}
