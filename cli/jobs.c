#include "jobs.h"

#include <errno.h>
#include <signal.h>

#include "child.h"
#include "output.h"
#include "text.h"

/*  waiting -> running -> (ended: answered, gone)
 *                     -> ending: SIGTERM was sent -> killed: SIGKILL was sent -> (gone) */
typedef enum JobState {
        JOB_WAITING,
        JOB_RUNNING,
        JOB_ENDING,
        JOB_KILLED,
        JOB_GONE, /* to be freed by the next sweep */
} JobState;

struct Job {
        Job *next;
        Jobs *jobs;
        JobState state;
        linkipc_reply *reply; /* referenced; NULL: answered, or not wanted any more */
        Bytes input;          /* while it waits */
        Child *child;
        uint64_t deadline_usec;
};

void jobs_init(Jobs *js, const char *command, unsigned parallel, uint64_t timeout_msec, Outbox *o)
{
        *js = (Jobs){.command = command,
                     .parallel = parallel,
                     .timeout_msec = timeout_msec,
                     .outbox = o};
        js->end = &js->first;
}

static void set_state(Job *j, JobState state)
{
        bool ran = j->state != JOB_WAITING && j->state != JOB_GONE;
        bool runs = state != JOB_WAITING && state != JOB_GONE;

        j->jobs->n_running = j->jobs->n_running - ran + runs;
        if (j->state == JOB_WAITING && state != JOB_WAITING) {
                j->jobs->n_waiting--;
                j->jobs->waiting_bytes -= j->input.n;
        }
        j->state = state;
}

static Job *job_free(Job *j)
{
        if (j->reply)
                linkipc_reply_on_cancel(j->reply, NULL, NULL);
        (void)linkipc_reply_unref(j->reply); /* NULL */
        (void)child_free(j->child);          /* NULL */
        bytes_done(&j->input);
        free(j);
        return NULL;
}

/* ---- answers ---- */

/* The one answer; the reply is let go. */
static void answer(Job *j, bool ok, const char *text)
{
        linkipc_reply *reply = TAKE_PTR(j->reply);
        int r;

        if (!reply)
                return;
        linkipc_reply_on_cancel(reply, NULL, NULL);
        r = outbox_answer(j->jobs->outbox, reply, ok, text);
        if (r == -EMSGSIZE) /* JSON is no longer than a child's output may be, but an escaped error
                               may */
                r = outbox_answer(j->jobs->outbox, reply, false, "the answer is too long");
        if (r < 0 && r != -ECANCELED)
                output_progress("an answer could not be sent: %s", strerror(-r));
        (void)linkipc_reply_unref(reply); /* NULL; without an answer it is an error there */
}

static void answer_failure(Job *j, const char *text)
{
        const linkipc_session *s = j->reply ? linkipc_reply_get_session(j->reply) : NULL;

        if (s)
                output_progress("a request of %s failed: %s", linkipc_session_get_label(s), text);
        answer(j, false, text);
}

static void answer_output(Job *j)
{
        const Bytes *out = child_output(j->child);
        const char *start;
        size_t n;

        if (!out->p || strspn(out->p, " \t\r\n") == out->n)
                answer(j, true, "null");
        else if (text_check_json(out->p, out->n, &start, &n) < 0)
                answer_failure(j, "the command's answer is not JSON");
        else
                answer(j, true, start); /* white space behind it is no harm */
}

static void answer_status(Job *j, int status)
{
        _cleanup_(freep) char *words = child_last_words(j->child), *text = NULL;

        if (words && words[0])
                answer_failure(j, words);
        else if (asprintf(&text, "the command failed with status %d", status) < 0)
                answer_failure(j, "the command failed");
        else
                answer_failure(j, text);
}

static void answer_ended(Job *j)
{
        int status = child_exit_status(j->child);

        if (child_error(j->child) == -EMSGSIZE)
                answer_failure(j, "the command's answer is too long");
        else if (child_error(j->child) < 0)
                answer_failure(j, "out of memory");
        else if (status != 0)
                answer_status(j, status);
        else
                answer_output(j);
}

/* ---- the life of a job ---- */

/* Nobody waits for it any more. */
static void let_go(Job *j)
{
        if (j->state == JOB_WAITING) {
                set_state(j, JOB_GONE);
        } else if (j->state == JOB_RUNNING) {
                child_signal(j->child, SIGTERM);
                j->deadline_usec = loop_now_usec() + SERVE_GRACE_MSEC * 1000ULL;
                set_state(j, JOB_ENDING);
        }
}

static void on_cancel(linkipc_reply *reply, void *userdata)
{
        Job *j = userdata;

        j->reply = NULL;
        let_go(j);
        (void)linkipc_reply_unref(reply); /* NULL */
}

void jobs_add(Jobs *js, linkipc_reply *reply, const char *command, size_t n)
{
        Job *j;

        if (js->n_waiting >= SERVE_WAITING_MAX || js->waiting_bytes + n > SERVE_WAITING_BYTES) {
                (void)outbox_answer(js->outbox, reply, false, "too many requests are waiting");
                return; /* unsent, it is an error there as well */
        }
        j = calloc(1, sizeof(*j));
        if (!j || bytes_add(&j->input, command, n, SIZE_MAX) < 0) {
                free(j);
                (void)outbox_answer(js->outbox, reply, false, "out of memory"); /* as above */
                return;
        }
        j->jobs = js;
        j->reply = linkipc_reply_ref(reply);
        linkipc_reply_on_cancel(reply, on_cancel, j);
        js->n_waiting++;
        js->waiting_bytes += j->input.n;
        *js->end = j;
        js->end = &j->next;
}

/* The request as lines are read: with a line's end. */
static int start_child(Job *j, const linkipc_session *s)
{
        _cleanup_(freep) char *host = NULL, *key_id = NULL, *label = NULL;
        int r = bytes_add(&j->input, "\n", 1, SIZE_MAX);

        if (r < 0)
                return r;
        if (asprintf(&host, "LINK_HOST=%s", linkipc_session_get_host(s)) < 0 ||
            asprintf(&key_id, "LINK_KEY_ID=%s", linkipc_session_get_key_id(s)) < 0 ||
            asprintf(&label, "LINK_LABEL=%s", linkipc_session_get_label(s)) < 0)
                return -ENOMEM;
        return child_start(&j->child,
                           &(ChildSpec){
                                   .command = j->jobs->command,
                                   .environment = (const char *[]){host, key_id, label, NULL},
                                   .input = j->input.p,
                                   .input_n = j->input.n,
                                   .output_max = TEXT_MAX_BYTES,
                           });
}

static void start_job(Job *j)
{
        const linkipc_session *s = linkipc_reply_get_session(j->reply);
        int r;

        set_state(j, JOB_RUNNING); /* ahead of the line's end, which no account knows */
        r = s ? start_child(j, s) : -ENOTCONN;
        bytes_done(&j->input);
        if (r < 0) {
                _cleanup_(freep) char *text = NULL;
                if (asprintf(&text, "the command cannot be started: %s", strerror(-r)) < 0)
                        text = NULL;
                answer_failure(j, text ? text : "the command cannot be started");
                set_state(j, JOB_GONE);
                return;
        }
        j->deadline_usec = loop_now_usec() + j->jobs->timeout_msec * 1000;
}

static void on_deadline(Job *j)
{
        switch (j->state) {
        case JOB_RUNNING:
                answer_failure(j, "the command took too long");
                let_go(j);
                break;
        case JOB_ENDING:
                child_signal(j->child, SIGKILL);
                j->deadline_usec = LOOP_NEVER;
                set_state(j, JOB_KILLED);
                break;
        case JOB_WAITING:
        case JOB_KILLED:
        case JOB_GONE:
                break;
        }
}

static void sweep(Jobs *js)
{
        for (Job **at = &js->first; *at;) {
                Job *j = *at;
                if (j->state != JOB_GONE) {
                        at = &j->next;
                        continue;
                }
                *at = j->next;
                if (js->end == &j->next)
                        js->end = at;
                (void)job_free(j); /* NULL */
        }
}

int jobs_prepare(Jobs *js, Loop *loop)
{
        int r = 0;

        sweep(js);
        for (Job *j = js->first; j && js->n_running < js->parallel; j = j->next)
                if (j->state == JOB_WAITING)
                        start_job(j);
        for (Job *j = js->first; j && r == 0; j = j->next) {
                if (!j->child || j->state == JOB_GONE)
                        continue;
                loop_until(loop, j->deadline_usec);
                r = child_watch(j->child, loop);
        }
        return r;
}

static void run_job(Job *j, const Loop *loop)
{
        child_pump(j->child, loop);
        if (child_reap(j->child, j->state != JOB_RUNNING)) {
                answer_ended(j);
                set_state(j, JOB_GONE);
                return;
        }
        if (j->state == JOB_RUNNING && child_error(j->child) < 0) {
                answer_failure(j, "the command's answer is too long");
                let_go(j);
        }
        if (loop_now_usec() >= j->deadline_usec)
                on_deadline(j);
}

void jobs_run(Jobs *js, const Loop *loop)
{
        for (Job *j = js->first; j; j = j->next)
                if (j->child && j->state != JOB_GONE)
                        run_job(j, loop);
        sweep(js);
}

void jobs_stop(Jobs *js)
{
        for (Job *j = js->first; j; j = j->next) {
                answer(j, false, "the application is ending");
                let_go(j);
        }
        sweep(js);
}

bool jobs_is_idle(const Jobs *js)
{
        return !js->first;
}

void jobs_done(Jobs *js)
{
        while (js->first) {
                Job *j = js->first;
                js->first = j->next;
                (void)job_free(j); /* NULL */
        }
        js->end = &js->first;
}
