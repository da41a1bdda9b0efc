/* Asks the peers: on each session several numbered requests are in flight, and one-shot calls
 * beside them.
 *
 * A number is asked until it is answered. Its deadline begins when it is first asked; it begins
 * anew when the own agent goes, because with it the application's connection breaks and linkd owes
 * nothing any more. An answer "no request handler" is an answer; whether it was due,
 * tests/soak/soak_agent.py decides. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

typedef struct Ask Ask;

/* A session; or the way of the one-shot calls to a peer, which have none. */
typedef struct Way {
        Ask *ask;
        const char *peer;
        bool shared; /* one-shot calls */
        linkipc_session *session;
} Way;

/* One request after the other. */
typedef struct Slot {
        Way *way;
        uint64_t number; /* 0: none */
        uint64_t first_usec, sent_usec, due_usec;
        bool waiting; /* for the agent's answer */
} Slot;

struct Ask {
        const Options *options;
        linkipc *link; /* NULL: no agent */
        Way ways[PEERS_MAX * (SESSIONS_MAX + 1)];
        Slot slots[PEERS_MAX * (SESSIONS_MAX + 1) * SLOTS_MAX];
        size_t n_ways, n_slots;
        uint64_t last_number, last_event, count_usec;
        uint64_t answered, unserved, again, reconnects, slowest_usec;
        uint64_t events_written, events_lost, events_refused, echoes;
        char command[MESSAGE_MAX_BYTES];
        uint8_t payload[PAYLOAD_MAX_BYTES];
};

/* ---- counting ---- */

static void count(Ask *a)
{
        uint64_t now = now_usec(), oldest = 0, open = 0;

        for (size_t i = 0; i < a->n_slots; i++) {
                const Slot *s = &a->slots[i];

                open += s->number != 0;
                if (s->number && now - s->first_usec > oldest)
                        oldest = now - s->first_usec;
        }
        say("count answered=%llu open=%llu oldest_msec=%llu slowest_msec=%llu unserved=%llu "
            "again=%llu "
            "reconnects=%llu events_written=%llu events_lost=%llu events_refused=%llu echoes=%llu",
            (unsigned long long)a->answered, (unsigned long long)open,
            (unsigned long long)oldest / 1000, (unsigned long long)a->slowest_usec / 1000,
            (unsigned long long)a->unserved, (unsigned long long)a->again,
            (unsigned long long)a->reconnects, (unsigned long long)a->events_written,
            (unsigned long long)a->events_lost, (unsigned long long)a->events_refused,
            (unsigned long long)a->echoes);
        a->count_usec = now + COUNT_MSEC * 1000;
}

/* ---- answers ---- */

static uint64_t thinking_usec(const Ask *a, uint64_t number)
{
        return a->options->think_msec *
               (500 + number * 7919 % 1000); /* half to one and a half of it */
}

static void finished(Ask *a, Slot *s, uint64_t now)
{
        s->due_usec = now + thinking_usec(a, s->number);
        s->number = 0;
}

static void on_answer_ok(Ask *a, Slot *s, const linkipc_result *result, uint64_t now)
{
        command_make(a->command, a->options->name, s->number);
        if (!answer_is_right(result->json, result->json_len, s->way->peer, a->command))
                say("wrong request %llu to %s is answered by %.200s", (unsigned long long)s->number,
                    s->way->peer, result->json);
        a->answered++;
        if (now - s->first_usec > a->slowest_usec)
                a->slowest_usec = now - s->first_usec;
        finished(a, s, now);
}

static void on_answer(linkipc *l, const linkipc_result *result, void *userdata)
{
        Slot *s = userdata;
        Ask *a = s->way->ask;
        uint64_t now = now_usec();

        (void)l;
        if (!s->waiting)
                say("wrong a request that was not asked is answered by %.200s", result->json);
        s->waiting = false;
        if (result->error == 0) {
                on_answer_ok(a, s, result, now);
        } else if (result->error == -EREMOTEIO &&
                   strcmp(result->message, "no request handler") == 0) {
                a->unserved++;
                say("unserved %s %llu %llu", s->way->peer, (unsigned long long)s->sent_usec,
                    (unsigned long long)now);
                s->due_usec = now + UNSERVED_MSEC * 1000;
        } else if (result->error == -ETIMEDOUT) {
                say("lost request %llu to %s, asked %llu ms ago: %s", (unsigned long long)s->number,
                    s->way->peer, (unsigned long long)(now - s->first_usec) / 1000,
                    result->message);
                finished(a, s, now);
        } else if (strcmp(result->word, "disconnected") != 0) {
                say("wrong request %llu to %s failed with %s: %s", (unsigned long long)s->number,
                    s->way->peer, result->word, result->message);
                finished(a, s, now);
        } /* else it is asked again when the agent is back */
}

/* ---- events ---- */

static void on_written(linkipc *l, const linkipc_result *result, void *userdata)
{
        Ask *a = userdata;

        (void)l;
        if (result->error == 0)
                a->events_written++;
        else if (strcmp(result->word, "closed") == 0 || strcmp(result->word, "disconnected") == 0)
                a->events_lost++; /* an event that was under way when a connection went is not
                                     repeated */
        else if (strcmp(result->word, "noPayload") == 0)
                a->events_refused++; /* the new connection's other end was stopped for 5 s */
        else
                say("wrong an event failed with %s: %s", result->word, result->message);
}

static void send_event(Ask *a, Way *w)
{
        uint64_t number = a->last_event + 1;
        size_t n = payload_make(a->payload, number);

        event_make(a->command, a->options->name, number);
        if (linkipc_send_async(w->session, a->command, a->payload, n, on_written, a, NULL) == 0)
                a->last_event = number; /* else there is no credit: another time */
}

static void on_event(linkipc_session *session, const char *data, size_t len, const void *payload,
                     size_t payload_len, void *userdata)
{
        Ask *a = userdata;
        uint64_t number;

        (void)session;
        if (!event_is_right(data, len, payload, payload_len, &number) || number > a->last_event)
                say("wrong an event of %zu bytes has come back changed: %.100s", payload_len, data);
        a->echoes++;
}

/* ---- asking ---- */

static int send_request(Ask *a, Slot *s, uint32_t timeout_msec)
{
        command_make(a->command, a->options->name, s->number);
        if (s->way->shared)
                return linkipc_ask_async(a->link, s->way->peer, a->command, timeout_msec, on_answer,
                                         s, NULL);
        return linkipc_request_async(s->way->session, a->command, timeout_msec, on_answer, s, NULL);
}

static void ask(Ask *a, Slot *s, uint64_t now)
{
        uint64_t deadline_usec = (uint64_t)a->options->deadline_msec * 1000;
        int r;

        if (!s->number) {
                s->number = ++a->last_number;
                s->first_usec = now;
                if (!s->way->shared && s->number % 8 == 0)
                        send_event(a, s->way);
        }
        if (now - s->first_usec >= deadline_usec) {
                say("lost request %llu to %s could not be sent in time",
                    (unsigned long long)s->number, s->way->peer);
                finished(a, s, now);
                return;
        }
        s->sent_usec = now;
        s->waiting = true;
        r = send_request(a, s, (uint32_t)((deadline_usec - (now - s->first_usec)) / 1000) + 1);
        if (r == 0)
                return;
        s->waiting = false;
        s->due_usec = now + NO_CREDIT_MSEC * 1000;
        if (r != -EAGAIN && r != -ECONNRESET)
                say("wrong request %llu cannot be sent: %s", (unsigned long long)s->number,
                    linkipc_error_message(a->link));
}

/* Starts what is due. When the next is. */
static uint64_t ask_due(Ask *a)
{
        uint64_t now = now_usec(), next = a->count_usec;

        for (size_t i = 0; i < a->n_slots; i++) {
                Slot *s = &a->slots[i];

                if (s->waiting || (app_stopping && !s->number))
                        continue;
                if (s->due_usec <= now)
                        ask(a, s, now);
                if (!s->waiting && s->due_usec < next)
                        next = s->due_usec;
        }
        return next;
}

static bool is_idle(const Ask *a)
{
        for (size_t i = 0; i < a->n_slots; i++)
                if (a->slots[i].number)
                        return false;
        return true;
}

/* ---- connections ---- */

static void on_state(linkipc_session *session, int state, void *userdata)
{
        Ask *a = userdata;

        a->reconnects += state == LINKIPC_RECONNECTING;
        if (state == LINKIPC_CLOSED && !app_stopping &&
            strcmp(linkipc_session_error_word(session), "disconnected") != 0)
                say("wrong a session with %s is closed, %s: %s", linkipc_session_get_peer(session),
                    linkipc_session_error_word(session), linkipc_session_error_message(session));
}

static void drop_agent(Ask *a)
{
        for (size_t i = 0; i < a->n_ways; i++)
                a->ways[i].session = linkipc_session_unref(a->ways[i].session);
        a->link = linkipc_unref(a->link);
        for (size_t i = 0; i < a->n_slots; i++)
                if (a->slots[i].waiting)
                        say("wrong request %llu has no answer when the agent is gone",
                            (unsigned long long)a->slots[i].number);
}

/* Opens all sessions. false: the agent has gone again. */
static bool connect_ways(Ask *a)
{
        for (size_t i = 0; i < a->n_ways; i++) {
                Way *w = &a->ways[i];
                int r = w->shared ? 0 : linkipc_connect(a->link, w->peer, &w->session);

                if (r == -ECONNRESET)
                        return false;
                if (r < 0)
                        fatal("peer %s: %s", w->peer, linkipc_error_message(a->link));
        }
        return true;
}

static void connect_agent(Ask *a)
{
        uint64_t now = now_usec();

        a->link = app_open(a->options->socket);
        if (!a->link)
                return;
        linkipc_on_state(a->link, on_state, a);
        linkipc_on_event(a->link, on_event, a);
        if (!connect_ways(a)) {
                drop_agent(a);
                return;
        }
        for (size_t i = 0; i < a->n_slots; i++)
                if (a->slots[i].number) {
                        a->again++;
                        a->slots[i].first_usec = a->slots[i].due_usec = now;
                }
}

static void close_sessions(Ask *a)
{
        for (size_t i = 0; i < a->n_ways; i++) {
                linkipc_session *s = a->ways[i].session;

                if (s && (linkipc_session_close(s) < 0 ||
                          linkipc_session_wait_closed(s, CLOSE_MSEC) < 0))
                        say("wrong a session with %s does not close: %s", a->ways[i].peer,
                            linkipc_error_message(a->link));
        }
}

static void add_way(Ask *a, const char *peer, bool shared, unsigned slots)
{
        Way *w = &a->ways[a->n_ways++];

        *w = (Way){.ask = a, .peer = peer, .shared = shared};
        for (unsigned i = 0; i < slots; i++)
                a->slots[a->n_slots++] = (Slot){.way = w};
}

int ask_run(const Options *o)
{
        Ask *a = calloc(1, sizeof(*a));

        if (!a)
                fatal("out of memory");
        a->options = o;
        for (size_t i = 0; i < o->n_peers; i++) {
                for (unsigned n = 0; n < o->sessions; n++)
                        add_way(a, o->peers[i], false, o->slots);
                add_way(a, o->peers[i], true, 1);
        }
        while (!app_stopping || !is_idle(a)) {
                if (now_usec() >= a->count_usec)
                        count(a);
                if (!a->link)
                        connect_agent(a);
                if (!a->link) {
                        app_nap(OPEN_AGAIN_MSEC);
                } else if (!app_turn(a->link, ask_due(a))) {
                        say("disconnected %llu", (unsigned long long)now_usec());
                        drop_agent(a);
                }
        }
        if (a->link) {
                close_sessions(a);
                drop_agent(a);
        }
        count(a);
        say("done");
        free(a);
        return EXIT_SUCCESS;
}
