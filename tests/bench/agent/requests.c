#include "app.h"

#include <errno.h>
#include <stdio.h>

/* ---- one at a time ---- */

typedef struct Answer {
        bool come;
        const char *want;
        size_t len;
} Answer;

static void on_answer(linkipc *l, const linkipc_result *result, void *userdata)
{
        Answer *a = userdata;

        (void)l;
        if (result->error < 0)
                fatal("a request: %s", result->message);
        if (result->json_len != a->len || memcmp(result->json, a->want, a->len) != 0)
                fatal("an answer is not what was asked");
        a->come = true;
}

static void ask(linkipc *l, linkipc_session *s, Answer *a)
{
        a->come = false;
        if (linkipc_request_async(s, a->want, APP_WAIT_MSEC, on_answer, a, NULL) < 0)
                fatal("a request: %s", linkipc_error_message(l));
        while (!a->come)
                app_step(l);
}

void app_rtt(const AppPlan *p)
{
        _cleanup_(freep) uint32_t *samples = calloc(APP_SAMPLES_MAX, sizeof(*samples));
        _cleanup_(freep) char *command = app_command(p->size);
        Answer a = {.want = command, .len = p->size};
        linkipc *l = app_open(p);
        linkipc_session *s = app_connect(l, p);
        uint64_t begin = now_nsec() + (uint64_t)p->warm_msec * 1000000,
                 end = begin + (uint64_t)p->msec * 1000000, at;
        size_t n = 0;

        if (!samples)
                fatal("out of memory");
        while (n < APP_SAMPLES_MAX && (at = now_nsec()) < end) {
                ask(l, s, &a);
                if (at >= begin)
                        samples[n++] = (uint32_t)MIN(now_nsec() - at, (uint64_t)UINT32_MAX);
        }
        linkipc_session_unref(s);
        linkipc_unref(l);
        printf("{\"p50_usec\":%.2f,\"p99_usec\":%.2f,\"round_trips\":%zu}\n",
               quantile(samples, n, 0.5) / 1000, quantile(samples, n, 0.99) / 1000, n);
}

/* ---- many at a time ---- */

typedef struct Pipeline {
        linkipc *link;
        linkipc_session *session;
        Answer answer; /* the same for all */
        unsigned in_flight, wanted;
        uint64_t answered;
} Pipeline;

static void fill(Pipeline *p);

static void on_pipelined(linkipc *l, const linkipc_result *result, void *userdata)
{
        Pipeline *p = userdata;

        on_answer(l, result, &p->answer);
        p->in_flight--;
        p->answered++;
        fill(p);
}

static void fill(Pipeline *p)
{
        while (p->in_flight < p->wanted) {
                int r = linkipc_request_async(p->session, p->answer.want, APP_WAIT_MSEC,
                                              on_pipelined, p, NULL);

                if (r == -EAGAIN) /* an answer or the writable handler comes and fills */
                        return;
                if (r < 0)
                        fatal("a request: %s", linkipc_error_message(p->link));
                p->in_flight++;
        }
}

static void on_writable(linkipc_session *s, void *userdata)
{
        (void)s;
        fill(userdata);
}

static void run_until(Pipeline *p, uint64_t end_nsec)
{
        while (now_nsec() < end_nsec)
                app_step(p->link);
}

void app_pipeline(const AppPlan *plan)
{
        _cleanup_(freep) char *command = app_command(plan->size);
        Pipeline p = {.answer = {.want = command, .len = plan->size}, .wanted = plan->in_flight};
        uint64_t begin, n;
        double seconds;

        p.link = app_open(plan);
        p.session = app_connect(p.link, plan);
        linkipc_session_on_writable(p.session, on_writable, &p);
        fill(&p);
        run_until(&p, now_nsec() + (uint64_t)plan->warm_msec * 1000000);
        n = p.answered;
        begin = now_nsec();
        run_until(&p, begin + (uint64_t)plan->msec * 1000000);
        seconds = (double)(now_nsec() - begin) / 1e9;
        n = p.answered - n;
        p.wanted = 0; /* every request that was sent is answered */
        while (p.in_flight)
                app_step(p.link);
        linkipc_session_unref(p.session);
        linkipc_unref(p.link);
        printf("{\"per_sec\":%.0f,\"requests\":%llu}\n", (double)n / seconds,
               (unsigned long long)n);
}
