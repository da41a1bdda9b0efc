#include "app.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- many sessions that lose their relay ---- */

typedef struct Crowd Crowd;

typedef struct Member {
        Crowd *crowd;
        linkipc_session *session;
        bool asked, lost;
        uint64_t back_nsec; /* CLOCK_MONOTONIC when the host answered on it again; 0: not yet */
} Member;

struct Crowd {
        linkipc *link;
        unsigned n, up, lost, back;
        Member members[APP_SESSIONS_MAX];
};

static void on_answered(linkipc *l, const linkipc_result *result, void *userdata)
{
        Member *m = userdata;

        (void)l;
        if (result->error < 0)
                fatal("a session's request: %s", result->message);
        m->asked = false;
        if (!m->lost) {
                m->crowd->up++;
        } else {
                m->back_nsec = now_nsec();
                m->crowd->back++;
        }
}

/* Each connection is proved by a request: it is answered when the host's application has it. */
static void on_state(linkipc_session *s, int state, void *userdata)
{
        Crowd *c = userdata;
        Member *m = linkipc_session_get_userdata(s);

        if (state == LINKIPC_CLOSED)
                fatal("a session: %s", linkipc_session_error_message(s));
        if (state == LINKIPC_RECONNECTING && c->up == c->n && !m->lost) {
                m->lost = true;
                c->lost++;
        }
        if (state != LINKIPC_CONNECTED || m->asked || m->back_nsec)
                return;
        m->asked = true;
        if (linkipc_request_async(s, "1", 4 * APP_WAIT_MSEC, on_answered, m, NULL) < 0)
                fatal("a session's request: %s", linkipc_error_message(c->link));
}

/* No limit of our own: the caller has one. */
static void run_while(const Crowd *c, const unsigned *number)
{
        while (*number < c->n) {
                int r = linkipc_process(c->link);

                if (r == 0)
                        r = linkipc_wait(c->link, LINKIPC_FOREVER);
                if (r < 0)
                        fatal("the agent: %s", linkipc_error_message(c->link));
        }
}

void app_sessions(const AppPlan *p)
{
        Crowd c = {.link = app_open(p), .n = p->count};

        linkipc_on_state(c.link, on_state, &c);
        for (unsigned i = 0; i < c.n; i++) {
                Member *m = &c.members[i];

                m->crowd = &c;
                if (linkipc_connect(c.link, p->peer, &m->session) < 0)
                        fatal("connect: %s", linkipc_error_message(c.link));
                linkipc_session_set_userdata(m->session, m);
        }
        run_while(&c, &c.up);
        printf("{\"up\":%u}\n", c.up);
        if (fflush(stdout) != 0)
                fatal("nobody reads");
        run_while(&c, &c.lost);
        run_while(&c, &c.back);
        printf("{\"back_nsec\":[");
        for (unsigned i = 0; i < c.n; i++) {
                printf("%s%" PRIu64, i ? "," : "", c.members[i].back_nsec);
                linkipc_session_unref(c.members[i].session);
        }
        puts("]}");
        linkipc_unref(c.link);
}

/* ---- one after the other ---- */

typedef struct Opener {
        linkipc *link;
        const AppPlan *plan;
        unsigned opening, wanted;
        uint64_t connected;
        linkipc_session *done[APP_SESSIONS_MAX]; /* connected: to be closed outside the callback */
        unsigned n_done;
} Opener;

static void on_opened(linkipc_session *s, int state, void *userdata)
{
        Opener *o = userdata;

        if (state == LINKIPC_CLOSED && linkipc_session_get_userdata(s))
                fatal("a session: %s", linkipc_session_error_message(s));
        if (state == LINKIPC_RECONNECTING)
                fatal("a session was not connected at once: %s", linkipc_session_error_message(s));
        if (state != LINKIPC_CONNECTED || !linkipc_session_get_userdata(s))
                return;
        linkipc_session_set_userdata(s, NULL); /* counted */
        o->done[o->n_done++] = s;
        o->opening--;
        o->connected++;
}

static void turn(Opener *o)
{
        while (o->n_done)
                linkipc_session_unref(o->done[--o->n_done]); /* which closes it */
        while (o->opening < o->wanted) {
                linkipc_session *s;

                if (linkipc_connect(o->link, o->plan->peer, &s) < 0)
                        fatal("connect: %s", linkipc_error_message(o->link));
                linkipc_session_set_userdata(s, o);
                o->opening++;
        }
        app_step(o->link);
}

void app_handshakes(const AppPlan *p)
{
        Opener o = {.link = app_open(p), .plan = p, .wanted = p->in_flight};
        uint64_t begin, end, n;

        linkipc_on_state(o.link, on_opened, &o);
        end = now_nsec() + (uint64_t)p->warm_msec * 1000000;
        while (now_nsec() < end)
                turn(&o);
        n = o.connected;
        printf("{\"warm\":true}\n"); /* now the caller looks at the agents' clocks */
        if (fflush(stdout) != 0)
                fatal("nobody reads");
        begin = now_nsec();
        end = begin + (uint64_t)p->msec * 1000000;
        while (now_nsec() < end)
                turn(&o);
        n = o.connected - n;
        end = now_nsec();
        printf("{\"handshakes\":%" PRIu64 ",\"per_sec\":%.0f}\n", n,
               (double)n / ((double)(end - begin) / 1e9));
        if (fflush(stdout) != 0)
                fatal("nobody reads");
        o.wanted = 0;
        while (o.opening)
                turn(&o);
        linkipc_unref(o.link);
}
