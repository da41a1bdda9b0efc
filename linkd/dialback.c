#include "dialback.h"

#include <errno.h>
#include <sodium.h>

#include "host.h"
#include "liblinkproto/control.h"
#include "liblinkproto/handshake.h"
#include "limits.h"
#include "log.h"

typedef enum DialbackState {
        DIALBACK_DIALING,
        DIALBACK_ACCEPTING,
        DIALBACK_HANDSHAKE
} DialbackState;

struct Dialback {
        Dialback *next;
        Uplink *uplink;
        DialbackState state;
        char link_id[LINK_ID_MAX * 4 + 1];
        Ws *ws;
        Timer *timer;
        Handshake *handshake;
        Invitation *invitation; /* whose guess slot is taken; NULL: none */
        bool recovery;          /* a place of the recovery key is taken */
        uint64_t guess_number;  /* of that slot or place: older ones are smaller */
        uint64_t begun_msec;    /* HANDSHAKE: since when, on the loop's clock */
        bool answered;          /* something was said to the client: in a pairing pB, for its F1 */
        uint8_t key_id[KEY_ID_BYTES];
};

static void set_state(Dialback *d, DialbackState state)
{
        static const char *const names[] = {"dialing", "accepting", "handshake"};

        if (state != d->state + 1)
                log_error("link %s: impossible step from %s to %s", d->link_id, names[d->state],
                          names[state]);
        log_debug("link %s: %s -> %s", d->link_id, names[d->state], names[state]);
        d->state = state;
}

/* A link that waits for a slot. */
struct WaitingLink {
        struct WaitingLink *next;
        uint64_t deadline_msec;
        char link_id[LINK_ID_MAX * 4 + 1];
};

static WaitingLink *take_waiting(Uplink *u)
{
        WaitingLink *w = u->waiting;

        u->waiting = w->next;
        if (!u->waiting)
                u->waiting_end = &u->waiting;
        u->n_waiting--;
        return w;
}

Dialback *dialback_free(Dialback *d)
{
        if (!d)
                return NULL;
        if (d->uplink->waiting) /* a slot is free: not on this stack */
                timer_start(d->uplink->waiting_timer, 0);
        for (Dialback **at = &d->uplink->dialbacks; *at; at = &(*at)->next)
                if (*at == d) {
                        *at = d->next;
                        d->uplink->n_dialbacks--;
                        break;
                }
        if (d->invitation)
                invitation_refund(d->invitation);
        if (d->recovery)
                host_refund_recovery(d->uplink->host);
        handshake_free(d->handshake);
        timer_free(d->timer);
        ws_free(d->ws);
        free(d);
        return NULL;
}

void dialback_end_for(Host *h, const Invitation *i, const Dialback *except)
{
        for (Uplink *u = h->uplinks; u; u = u->next) {
                Dialback *next;
                for (Dialback *d = u->dialbacks; d; d = next) {
                        next = d->next;
                        if (d->invitation == i && d != except)
                                dialback_free(d);
                }
        }
}

void dialback_end_recovery(Host *h)
{
        for (Uplink *u = h->uplinks; u; u = u->next) {
                Dialback *next;
                for (Dialback *d = u->dialbacks; d; d = next) {
                        next = d->next;
                        if (d->recovery)
                                dialback_free(d);
                }
        }
}

static void drop(Dialback *d, const char *why)
{
        Uplink *u = d->uplink;

        log_limited(&u->link_log, uv_now(u->host->agent->loop), LOG_LEVEL_INFO,
                    "host %s: link %s at %s: %s", u->host->name, d->link_id, u->url, why);
        dialback_free(d);
}

/* ---- the handshake ---- */

static int flush_output(Dialback *d)
{
        const uint8_t *frame;
        size_t len;

        while (handshake_output(d->handshake, &frame, &len)) {
                WsMessage *m = ws_message_new(len, false);
                int r;

                d->answered = true;
                if (!m)
                        return -ENOMEM;
                memcpy(m->data, frame, len);
                r = ws_send(d->ws, m);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int step(Dialback *d, int result);

/* The attempt at a code that has held a guess for the longest without having sent its F1: it costs
 * nothing to hold one so. NULL: all others have been answered. */
static Dialback *idlest_attempt(const Invitation *i)
{
        Dialback *oldest = NULL;

        for (Uplink *u = i->host->uplinks; u; u = u->next)
                for (Dialback *d = u->dialbacks; d; d = d->next)
                        if (d->invitation == i && !d->answered &&
                            (!oldest || d->guess_number < oldest->guess_number))
                                oldest = d;
        return oldest;
}

/* Takes a guess for d, in the place of an attempt that only holds one if there is no other. */
static bool take_guess(Dialback *d, Invitation *i)
{
        Dialback *idle;

        if (invitation_is_full(i) && (idle = idlest_attempt(i)))
                drop(idle, "pairing: gives its place to a newer attempt, since it sent nothing");
        if (!invitation_reserve(i))
                return false;
        d->invitation = i;
        d->guess_number = ++i->last_guess_number;
        return true;
}

/* The attempt with the recovery key that has to go for another one: the oldest that has not sent
 * its F1, else the oldest. It costs a stranger nothing to hold a place, and who has the key needs
 * it for one round trip alone. */
static Dialback *recovery_to_end(const Host *h)
{
        Dialback *found = NULL;

        for (Uplink *u = h->uplinks; u; u = u->next)
                for (Dialback *d = u->dialbacks; d; d = d->next)
                        if (d->recovery && (!found || d->answered < found->answered ||
                                            (d->answered == found->answered &&
                                             d->guess_number < found->guess_number)))
                                found = d;
        return found;
}

/* Takes a place for d; false: recovery is disabled. */
static bool take_recovery(Dialback *d)
{
        Host *h = d->uplink->host;
        Dialback *other = host_recovery_is_full(h) ? recovery_to_end(h) : NULL;

        if (other)
                drop(other, "recovery: gives its place to a newer attempt");
        d->recovery = host_reserve_recovery(h);
        d->guess_number = ++h->last_recovery_number;
        return d->recovery;
}

/* The header is known: finds the code or the device it names. */
static int give_secret(Dialback *d)
{
        Host *h = d->uplink->host;
        const Header *header = handshake_host_header(d->handshake);
        uint64_t now = uv_now(h->agent->loop);
        Device *device;

        switch (header->mode) {
        case HEADER_PAIR: {
                Invitation *i = invitation_find(h, header->has_code_id ? header->code_id : NULL);
                if (!i || !take_guess(d, i)) {
                        drop(d, i ? "pairing: all guesses are in use, or the time is over"
                                  : "pairing: no such open code");
                        return -ECANCELED;
                }
                return handshake_host_give_password(d->handshake, i->code->data, i->code->len, now);
        }
        case HEADER_RECOVER:
                if (take_recovery(d))
                        return handshake_host_give_password(d->handshake, h->recovery_key->data,
                                                            h->recovery_key->len, now);
                drop(d, "recovery is not enabled");
                return -ECANCELED;
        case HEADER_RECONNECT:
                memcpy(d->key_id, header->key_id, KEY_ID_BYTES);
                device = host_find_device(h, header->key_id);
                if (device && !host_device_is_expired(device))
                        return handshake_host_give_token(d->handshake, device->token, now);
                if (!device && h->agent->n_unreadable_devices) {
                        drop(d,
                             "an unknown key id; not refused, since a device record is unreadable");
                        return -ECANCELED;
                }
                return handshake_host_refuse(d->handshake);
        }
        return -EBADMSG;
}

/* The code was right: the device must be on disk before the client hears of it. */
static int store_device(Dialback *d)
{
        Host *h = d->uplink->host;
        const Credential *c = handshake_credential(d->handshake);
        Invitation *i = d->invitation;
        int r = host_add_device(h, c, i);

        if (r < 0) {
                log_limited(&d->uplink->link_log, uv_now(h->agent->loop), LOG_LEVEL_ERROR,
                            "host %s: a pairing failed, the device could not be stored in %s: %s",
                            h->name, store_dir(h->agent->store),
                            r == -EUSERS ? "too many devices" : strerror(-r));
                drop(d, "pairing: not stored, the guess is given back");
                return -ECANCELED;
        }
        memcpy(d->key_id, c->key_id, KEY_ID_BYTES);
        d->invitation = NULL; /* this attempt outlives it */
        if (i)
                invitation_close(i, "used");
        return handshake_host_stored(d->handshake);
}

static int finish(Dialback *d)
{
        Host *h = d->uplink->host;
        Device *device = host_find_device(h, d->key_id);
        bool paired = handshake_host_header(d->handshake)->mode != HEADER_RECONNECT;
        SealPair *keys;
        Ws *ws;
        int r;

        if (!device || host_device_is_expired(device)) { /* while the handshake ran */
                drop(d, "the device was revoked, or its time is over");
                return -ECANCELED;
        }
        keys = secret_object_new(sizeof(*keys));
        if (!keys)
                return -ENOMEM;
        handshake_take_keys(d->handshake, keys);
        ws = TAKE_PTR(d->ws);
        r = host_add_session(h, device, ws, keys, paired);
        if (r < 0)
                log_limited(&h->stranger_log, uv_now(h->agent->loop), LOG_LEVEL_WARNING,
                            "host %s: a session was dropped: %s", h->name, strerror(-r));
        dialback_free(d);
        return -ECANCELED;
}

/* Follows a result of the machine. -ECANCELED: d is gone. */
static int step(Dialback *d, int result)
{
        uint64_t now = uv_now(d->uplink->host->agent->loop), deadline;
        Invitation *i;

        for (;;) {
                int r = result < 0 ? result : flush_output(d);

                if (r < 0) {
                        if (r != -ECANCELED)
                                drop(d, strerror(-r));
                        return -ECANCELED;
                }
                switch ((HandshakeResult)result) {
                case HANDSHAKE_MORE:
                        deadline = handshake_deadline_msec(d->handshake);
                        timer_start(d->timer, deadline > now ? deadline - now : 0);
                        return 0;
                case HANDSHAKE_NEED_SECRET:
                        result = give_secret(d);
                        break;
                case HANDSHAKE_NEED_STORE:
                        result = store_device(d);
                        break;
                case HANDSHAKE_DONE:
                        result = finish(d);
                        break;
                case HANDSHAKE_WRONG_CODE:
                        i = TAKE_PTR(d->invitation);
                        if (i)
                                invitation_fail(i);
                        drop(d, d->recovery ? "recovery: wrong key" : "pairing: wrong code");
                        return -ECANCELED;
                case HANDSHAKE_REFUSED:
                        drop(d, "refused: unknown, revoked or expired key id");
                        return -ECANCELED;
                case HANDSHAKE_BAD_PEER:
                        drop(d, "the client broke the handshake");
                        return -ECANCELED;
                case HANDSHAKE_TIMED_OUT:
                        drop(d, "the client did not go on in time");
                        return -ECANCELED;
                case HANDSHAKE_LOST:
                        drop(d, "the client went away");
                        return -ECANCELED;
                }
        }
}

/* ---- the socket ---- */

static void on_timer(void *userdata)
{
        Dialback *d = userdata;

        if (d->state == DIALBACK_HANDSHAKE)
                (void)step(d, handshake_tick(d->handshake, uv_now(d->uplink->host->agent->loop)));
        else
                drop(d, "the relay did not answer");
}

static void on_open(void *userdata)
{
        Dialback *d = userdata;
        char text[1024];
        int r = control_encode(CONTROL_ACCEPT, d->link_id, NULL, NULL, text, sizeof(text));

        set_state(d, DIALBACK_ACCEPTING);
        timer_start(d->timer, CONTROL_STEP_MSEC);
        if (r >= 0)
                r = ws_send_text(d->ws, text, (size_t)r);
        if (r < 0)
                drop(d, strerror(-r));
}

static void begin_handshake(Dialback *d)
{
        Host *h = d->uplink->host;
        uint8_t random[HANDSHAKE_RANDOM_BYTES], welcome[TOKEN_BYTES + KEY_ID_BYTES];
        int r;

        set_state(d, DIALBACK_HANDSHAKE);
        d->begun_msec = uv_now(h->agent->loop);
        if (d->uplink->waiting) /* it can become one that gives way */
                timer_start(d->uplink->waiting_timer, 0);
        ws_set_message_max(d->ws, HANDSHAKE_MESSAGE_MAX); /* the session raises it */
        randombytes_buf(random, sizeof(random));
        do { /* a key id whose text does not begin with '-', which would look like an option */
                randombytes_buf(welcome, sizeof(welcome));
        } while (welcome[TOKEN_BYTES] >> 2 == 62);
        r = handshake_host_new(&d->handshake, host_address(h), h->keys->static_private, random,
                               welcome, uv_now(h->agent->loop));
        sodium_memzero(random, sizeof(random));
        sodium_memzero(welcome, sizeof(welcome));
        if (r < 0)
                drop(d, strerror(-r));
        else
                (void)step(d, HANDSHAKE_MORE);
}

static void on_control(Dialback *d, const uint8_t *data, size_t len)
{
        ControlMessage m;

        if (control_decode((const char *)data, len, &m) < 0) {
                drop(d, "the relay sent garbage");
                return;
        }
        if (m.type == CONTROL_RELAYING)
                begin_handshake(d);
        else if (m.type == CONTROL_ERROR)
                drop(d, "the link was gone when it was accepted");
}

static void on_message(void *userdata, bool text, uint8_t *data, size_t len)
{
        Dialback *d = userdata;

        if (d->state != DIALBACK_HANDSHAKE && text) {
                on_control(d, data, len);
                return;
        }
        if (d->state != DIALBACK_HANDSHAKE || text) {
                drop(d, "a message of the wrong kind");
                return;
        }
        (void)step(d,
                   handshake_feed(d->handshake, data, len, uv_now(d->uplink->host->agent->loop)));
}

static void on_closed(void *userdata, unsigned code, const char *reason)
{
        (void)code;
        drop(userdata, reason);
}

static const WsHandler ws_handler = {
        .on_open = on_open,
        .on_message = on_message,
        .on_closed = on_closed,
};

static int start(Uplink *u, const char *link_id)
{
        Dialback *d = calloc(1, sizeof(*d));
        int r;

        if (!d)
                return -ENOMEM;
        d->uplink = u;
        strncpy(d->link_id, link_id, sizeof(d->link_id) - 1); /* of the same size, zeroed */
        d->next = u->dialbacks;
        u->dialbacks = d;
        u->n_dialbacks++;
        d->timer = timer_new(u->host->agent->loop, on_timer, d);
        r = !d->timer ? -ENOMEM
                      : ws_dial(&d->ws, u->host->agent->ws, u->url, host_address(u->host),
                                CONNECT_MSEC, &ws_handler, d);
        if (r < 0)
                dialback_free(d);
        return r;
}

/* ---- waiting for a slot ---- */

/* The slot whose client has been silent for the longest, since DIALBACK_SILENT_MSEC at least: it
 * costs nothing to hold one so. NULL: none. *ret_due_msec: when there will be one; UINT64_MAX:
 * never. */
static Dialback *silent_dialback(const Uplink *u, uint64_t now, uint64_t *ret_due_msec)
{
        Dialback *oldest = NULL;

        for (Dialback *d = u->dialbacks; d; d = d->next)
                if (d->state == DIALBACK_HANDSHAKE && !d->answered &&
                    (!oldest || d->begun_msec <= oldest->begun_msec))
                        oldest = d;
        *ret_due_msec = oldest ? oldest->begun_msec + DIALBACK_SILENT_MSEC : UINT64_MAX;
        return now >= *ret_due_msec ? oldest : NULL;
}

/* Whether there is a slot; a silent client gives its own. */
static bool find_slot(Uplink *u, uint64_t now)
{
        uint64_t due;
        Dialback *silent = u->n_dialbacks >= DIALBACKS_MAX ? silent_dialback(u, now, &due) : NULL;

        if (silent)
                drop(silent, "gives its slot to a link that waits, since its client said nothing");
        return u->n_dialbacks < DIALBACKS_MAX;
}

/* Until the first has waited for too long, or a slot can be taken. */
static void arm_waiting_timer(Uplink *u)
{
        uint64_t now = uv_now(u->host->agent->loop), due;

        if (!u->waiting)
                return;
        (void)silent_dialback(u, now, &due);
        due = MIN(due, u->waiting->deadline_msec);
        timer_start(u->waiting_timer, due > now ? due - now : 0);
}

static int wait_for_slot(Uplink *u, const char *link_id)
{
        WaitingLink *w;

        if (u->n_waiting >= DIALBACKS_WAITING_MAX)
                return -EUSERS;
        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        strncpy(w->link_id, link_id, sizeof(w->link_id) - 1); /* of the same size, zeroed */
        w->deadline_msec = uv_now(u->host->agent->loop) + DIALBACK_WAIT_MSEC;
        *u->waiting_end = w;
        u->waiting_end = &w->next;
        u->n_waiting++;
        if (!timer_active(u->waiting_timer))
                arm_waiting_timer(u);
        log_debug("uplink %s: link %s waits for a slot", u->url, link_id);
        return 0;
}

/* Slots are free or can be taken, or the first has waited for too long. */
void dialback_on_waiting_timer(void *userdata)
{
        Uplink *u = userdata;
        uint64_t now = uv_now(u->host->agent->loop);
        unsigned n_dropped = 0;

        while (u->waiting && (u->waiting->deadline_msec <= now || find_slot(u, now))) {
                _cleanup_(freep) WaitingLink *w = take_waiting(u);
                int r = w->deadline_msec <= now ? -ETIMEDOUT : start(u, w->link_id);

                n_dropped += r == -ETIMEDOUT;
                if (r < 0 && r != -ETIMEDOUT)
                        log_limited(&u->link_log, now, LOG_LEVEL_WARNING,
                                    "uplink %s: a link was dropped: %s", u->url, strerror(-r));
        }
        if (n_dropped)
                log_limited(&u->link_log, now, LOG_LEVEL_WARNING,
                            "uplink %s: %u links were dropped: no slot was free in %u s", u->url,
                            n_dropped, DIALBACK_WAIT_MSEC / 1000);
        arm_waiting_timer(u);
}

void dialback_drop_waiting(Uplink *u)
{
        while (u->waiting)
                free(take_waiting(u));
}

void dialback_end_all(Uplink *u)
{
        dialback_drop_waiting(u);
        while (u->dialbacks)
                dialback_free(u->dialbacks);
}

int dialback_start(Uplink *u, const char *link_id)
{
        return u->n_dialbacks < DIALBACKS_MAX && !u->waiting ? start(u, link_id)
                                                             : wait_for_slot(u, link_id);
}
