/* Serves a host: every request is answered by its own command, every event is looked at and sent
 * back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

typedef struct Serve {
        const Options *options;
        linkipc *link; /* NULL: no agent */
        bool serving;
        uint64_t answered, cancelled, events, echoes, count_usec;
} Serve;

static void on_request(linkipc_session *session, linkipc_reply *reply, const char *command,
                       size_t len, void *userdata)
{
        Serve *s = userdata;
        char *answer = answer_make(s->options->name, command);
        int r = linkipc_reply_ok(reply, answer);

        (void)session;
        (void)len; /* it ends with a NUL */
        free(answer);
        if (r == 0)
                s->answered++;
        else if (r == -ECANCELED || r == -ECONNRESET)
                s->cancelled++; /* the session or the agent has gone while the request came */
        else
                say("wrong an answer cannot be given: %s", strerror(-r));
}

/* Events keep their order, and none comes twice on a session. */
static void on_event(linkipc_session *session, const char *data, size_t len, const void *payload,
                     size_t payload_len, void *userdata)
{
        Serve *s = userdata;
        uint64_t number, last = (uint64_t)(uintptr_t)linkipc_session_get_userdata(session);

        if (!event_is_right(data, len, payload, payload_len, &number)) {
                say("wrong an event of %zu bytes has come changed: %.100s", payload_len, data);
                return;
        }
        if (number <= last)
                say("wrong event %llu has come after event %llu", (unsigned long long)number,
                    (unsigned long long)last);
        linkipc_session_set_userdata(session, (void *)(uintptr_t)number);
        s->events++;
        if (linkipc_session_get_credit(session) < ECHO_CREDIT_BYTES)
                return;
        if (linkipc_send_async(session, data, payload, payload_len, NULL, NULL, NULL) == 0)
                s->echoes++; /* else the session has just ended */
}

static void on_served(linkipc *l, const linkipc_result *result, void *userdata)
{
        Serve *s = userdata;

        (void)l;
        if (result->error == 0) {
                s->serving = true;
                say("serving %llu", (unsigned long long)now_usec());
        } else if (result->error != -ECONNRESET && result->error != -ECANCELED) {
                say("wrong host %s cannot be served: %s", s->options->host, result->message);
        }
}

static void start(Serve *s)
{
        int r;

        s->link = app_open(s->options->socket);
        if (!s->link)
                return;
        linkipc_on_request(s->link, on_request, s);
        linkipc_on_event(s->link, on_event, s);
        r = linkipc_serve_async(s->link, s->options->host, LINKIPC_REQUESTS | LINKIPC_EVENTS,
                                on_served, s, NULL);
        if (r < 0 && r != -ECONNRESET) /* that one is noticed in the next turn */
                fatal("host %s: %s", s->options->host, linkipc_error_message(s->link));
}

static void count(Serve *s)
{
        say("count served=%llu cancelled=%llu events=%llu echoes=%llu",
            (unsigned long long)s->answered, (unsigned long long)s->cancelled,
            (unsigned long long)s->events, (unsigned long long)s->echoes);
        s->count_usec = now_usec() + COUNT_MSEC * 1000;
}

int serve_run(const Options *o)
{
        Serve s = {.options = o};

        while (!app_stopping) {
                if (now_usec() >= s.count_usec)
                        count(&s);
                if (!s.link)
                        start(&s);
                if (!s.link) {
                        app_nap(OPEN_AGAIN_MSEC);
                } else if (!app_turn(s.link, s.count_usec)) {
                        if (s.serving)
                                say("disconnected %llu", (unsigned long long)now_usec());
                        s.serving = false;
                        s.link = linkipc_unref(s.link);
                }
        }
        linkipc_unref(s.link);
        count(&s);
        say("done");
        return EXIT_SUCCESS;
}
