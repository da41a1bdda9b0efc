#include "app.h"

#include <errno.h>
#include <stdio.h>

typedef struct Sender {
        linkipc *link;
        linkipc_session *session;
        uint8_t *payload;
        size_t size;
        uint64_t sent;
} Sender;

/* As much as the session takes. */
static void push(Sender *s, const char *data)
{
        int r;

        do {
                app_number(s->payload, s->size, s->sent);
                r = linkipc_send_async(s->session, data, s->payload, s->size, NULL, NULL, NULL);
                s->sent += r == 0;
        } while (r == 0);
        if (r != -EAGAIN)
                fatal("an event: %s", linkipc_error_message(s->link));
}

static void push_for(Sender *s, const char *data, unsigned msec)
{
        uint64_t end = now_nsec() + (uint64_t)msec * 1000000;

        while (now_nsec() < end) {
                push(s, data);
                app_step(s->link);
        }
}

/* What the host has counted; it must be all. */
static void finish(Sender *s, char **ret)
{
        unsigned long long events, bytes;
        int r = linkipc_request(s->session, "\"report\"", APP_WAIT_MSEC, ret, NULL);

        if (r < 0)
                fatal("the report: %s", linkipc_error_message(s->link));
        if (sscanf(*ret, "{\"events\":%llu,\"bytes\":%llu,", &events, &bytes) != 2 ||
            events != s->sent || bytes != s->sent * s->size)
                fatal("%llu events of %zu bytes were sent, and this came: %s",
                      (unsigned long long)s->sent, s->size, *ret);
}

void app_events(const AppPlan *p)
{
        Sender s = {.size = p->size, .payload = malloc(p->size)};
        _cleanup_(freep) char *report = NULL;

        if (!s.payload || p->size < 16)
                fatal("no payload of %zu bytes", p->size);
        app_fill(s.payload, s.size);
        s.link = app_open(p);
        s.session = app_connect(s.link, p);
        push_for(&s, "0", p->warm_msec);
        push_for(&s, "1", p->msec);
        finish(&s, &report);
        linkipc_session_unref(s.session);
        linkipc_unref(s.link);
        free(s.payload);
        puts(report);
}
