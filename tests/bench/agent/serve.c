#include "app.h"

#include <inttypes.h>
#include <stdio.h>

/* What has come on a session since the last report. */
typedef struct Count {
        uint64_t events, bytes; /* all that came */
        uint64_t next;          /* number that the next event must have */
        /* Of the events that are measured, "1": the first begins it and is not counted. */
        uint64_t measured_bytes, begun_nsec, ended_nsec;
} Count;

static void check_payload(const Count *c, const uint8_t *p, size_t n)
{
        _cleanup_(freep) uint8_t *want = NULL;
        uint8_t number[8];

        write_u64le(number, c->next);
        if (n < 2 * sizeof(number) || memcmp(p, number, sizeof(number)) != 0 ||
            memcmp(p + n - sizeof(number), number, sizeof(number)) != 0)
                fatal("event %" PRIu64 " did not come in its place, or not whole", c->next);
        if (c->next > 0)
                return;
        want = malloc(n);
        if (!want)
                fatal("out of memory");
        app_fill(want, n);
        app_number(want, n, 0);
        if (memcmp(want, p, n) != 0)
                fatal("a payload of %zu bytes has arrived changed", n);
}

static void on_event(linkipc_session *s, const char *data, size_t len, const void *payload,
                     size_t payload_len, void *userdata)
{
        Count *c = linkipc_session_get_userdata(s);

        (void)userdata;
        if (!c || !payload)
                fatal("an event without a payload, or on no session");
        check_payload(c, payload, payload_len);
        c->next++;
        c->events++;
        c->bytes += payload_len;
        if (len != 1 || data[0] != '1')
                return;
        c->ended_nsec = now_nsec();
        if (!c->begun_nsec)
                c->begun_nsec = c->ended_nsec;
        else
                c->measured_bytes += payload_len;
}

static void report(linkipc_session *s, linkipc_reply *r)
{
        Count *c = linkipc_session_get_userdata(s);
        char text[256];

        (void)snprintf(text, sizeof(text),
                       "{\"events\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"measured_bytes\":%" PRIu64
                       ",\"nsec\":%" PRIu64 "}",
                       c->events, c->bytes, c->measured_bytes,
                       c->ended_nsec - c->begun_nsec); /* fits */
        *c = (Count){};
        if (linkipc_reply_ok(r, text) < 0)
                fatal("a report could not be answered");
}

static void on_request(linkipc_session *s, linkipc_reply *r, const char *command, size_t len,
                       void *userdata)
{
        static const char wanted[] = "\"report\"";

        (void)userdata;
        if (len == sizeof(wanted) - 1 && memcmp(command, wanted, len) == 0) {
                report(s, r);
                return;
        }
        if (linkipc_reply_ok(r, command) < 0)
                fatal("a request of %zu bytes could not be answered", len);
}

static void on_state(linkipc_session *s, int state, void *userdata)
{
        (void)userdata;
        if (state == LINKIPC_CLOSED) {
                free(linkipc_session_get_userdata(s));
                linkipc_session_set_userdata(s, NULL);
        } else if (!linkipc_session_get_userdata(s)) {
                Count *c = calloc(1, sizeof(*c));

                if (!c)
                        fatal("out of memory");
                linkipc_session_set_userdata(s, c);
        }
}

void app_serve(const AppPlan *p)
{
        linkipc *l = app_open(p);
        int r;

        linkipc_on_state(l, on_state, NULL);
        linkipc_on_event(l, on_event, NULL);
        linkipc_on_request(l, on_request, NULL);
        r = linkipc_serve(l, NULL, LINKIPC_REQUESTS | LINKIPC_EVENTS);
        if (r < 0)
                fatal("serve: %s", linkipc_error_message(l));
        puts("{\"serving\":true}");
        if (fflush(stdout) != 0)
                fatal("nobody reads");
        for (;;) {
                r = linkipc_process(l);
                if (r == 0)
                        r = linkipc_wait(l, LINKIPC_FOREVER);
                if (r < 0)
                        fatal("the agent: %s", linkipc_error_message(l));
        }
}
