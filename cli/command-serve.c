/* linkctl serve: answers the requests of a host's devices. One poll loop: the agent, the children's
 * pipes, signals. */
#include <errno.h>

#include "agent.h"
#include "jobs.h"
#include "loop.h"
#include "options.h"

typedef struct Server {
        const Cli *cli;
        linkipc *link;
        const char *host;
        bool echo;
        bool ending; /* nothing new is begun */
        Outbox outbox;
        Jobs jobs;
        int status; /* of the process, once it is to end; -1 */
} Server;

static void on_request(linkipc_session *s, linkipc_reply *reply, const char *command, size_t len,
                       void *userdata)
{
        Server *me = userdata;
        int r;

        (void)s; /* the reply knows it */
        if (me->ending)
                return; /* unanswered, it is an error there */
        if (!me->echo) {
                jobs_add(&me->jobs, reply, command, len);
                return;
        }
        r = outbox_answer(&me->outbox, reply, true, command);
        if (r < 0 && r != -ECANCELED)
                output_progress("an answer could not be sent: %s", strerror(-r));
}

static void on_event(linkipc_session *s, const char *data, size_t len, const void *payload,
                     size_t payload_len, void *userdata)
{
        Server *me = userdata;
        int r;

        (void)len; /* data ends with a NUL */
        if (me->ending)
                return;
        r = outbox_event(&me->outbox, s, data, payload, payload_len);
        if (r < 0 && r != -ECANCELED)
                output_progress("an event of %s could not be sent back: %s",
                                linkipc_session_get_label(s), strerror(-r));
}

static void on_writable(linkipc_session *s, void *userdata)
{
        Server *me = userdata;

        outbox_on_writable(&me->outbox, s);
}

static void on_state(linkipc_session *s, int state, void *userdata)
{
        Server *me = userdata;

        if (state == LINKIPC_CLOSED)
                outbox_on_closed(&me->outbox, s);
}

static void on_notify(linkipc *l, const char *topic, const char *json, size_t len, void *userdata)
{
        Server *me = userdata;

        (void)l; /* known already */
        (void)len;
        if (me->status < 0)
                me->status = agent_unserved(me->cli, topic, json);
}

static void on_served(linkipc *l, const linkipc_result *result, void *userdata)
{
        Server *me = userdata;

        (void)l; /* known already */
        if (result->error < 0)
                me->status =
                        agent_told(me->cli, result->error, result->word, result->message, me->host);
        else
                output_progress("serving %s", me->host);
}

/* Rounds until something ends it. */
static int serve(Server *me, Loop *loop)
{
        while (me->status < 0) {
                int r = jobs_prepare(&me->jobs, loop);

                if (r == 0)
                        r = loop_run(loop);
                if (r == LOOP_STOP)
                        return EXIT_OK;
                if (r == LOOP_LOST)
                        return me->status < 0 ? agent_lost(me->cli, me->link) : me->status;
                if (r < 0)
                        return output_error(me->cli, "internal", "cannot wait for requests: %s",
                                            strerror(-r));
                jobs_run(&me->jobs, loop);
        }
        return me->status;
}

/* Lets answers go out and children end. */
static void wind_up(Server *me, Loop *loop)
{
        me->ending = true;
        jobs_stop(&me->jobs);
        (void)linkipc_flush(me->link, SERVE_FLUSH_MSEC); /* as far as it goes */
        loop_hold(loop, true);
        while (!jobs_is_idle(&me->jobs)) {
                if (jobs_prepare(&me->jobs, loop) < 0 || loop_run(loop) < 0)
                        break; /* jobs_done() kills them */
                jobs_run(&me->jobs, loop);
        }
}

static int start(Server *me, Loop **ret)
{
        unsigned roles = me->echo ? LINKIPC_REQUESTS | LINKIPC_EVENTS : LINKIPC_REQUESTS;
        int r = loop_new(ret, me->link);

        if (r < 0)
                return output_error(me->cli, "internal", "cannot watch for signals: %s",
                                    strerror(-r));
        linkipc_on_request(me->link, on_request, me);
        linkipc_on_event(me->link, on_event, me);
        linkipc_on_writable(me->link, on_writable, me);
        linkipc_on_state(me->link, on_state, me);
        linkipc_on_notify(me->link, on_notify, me);
        r = linkipc_serve_async(me->link, me->host, roles, on_served, me, NULL);
        return r < 0 ? agent_failed(me->cli, me->link, r, me->host) : EXIT_OK;
}

static int run_server(Server *me)
{
        Loop *loop = NULL;
        int r = agent_open(me->cli, &me->link);

        if (r == EXIT_OK)
                r = start(me, &loop);
        if (r == EXIT_OK) {
                r = serve(me, loop);
                wind_up(me, loop);
        }
        jobs_done(&me->jobs);
        outbox_done(&me->outbox);
        me->link = linkipc_unref(me->link);
        (void)loop_free(loop); /* NULL */
        return r;
}

static int run(Cli *cli)
{
        Server me = {.cli = cli, .host = cli->args[0] ? cli->args[0] : "default", .status = -1};
        const char *command = options_get(cli, "exec");
        uint64_t timeout_msec = SERVE_TIMEOUT_SEC * 1000;
        unsigned parallel = SERVE_PARALLEL;
        int r = options_get_duration(cli, "timeout", TIMEOUT_MAX_SEC, &timeout_msec);

        me.echo = options_has(cli, "echo");
        if (r == EXIT_OK)
                r = options_get_number(cli, "parallel", SERVE_PARALLEL_MAX, &parallel);
        if (r != EXIT_OK)
                return r;
        if (me.echo == (command != NULL))
                return output_usage(cli, "give either --echo or --exec COMMAND");
        if (me.echo && (options_has(cli, "timeout") || options_has(cli, "parallel")))
                return output_usage(cli, "--timeout and --parallel belong to --exec");
        outbox_init(&me.outbox);
        jobs_init(&me.jobs, command, parallel, timeout_msec, &me.outbox);
        return run_server(&me);
}

const Verb verb_serve = {
        .name = "serve",
        .summary = "Answers the requests that the devices of a host make",
        .help = "--echo sends each request and event back as it came. --exec runs COMMAND by "
                "/bin/sh for\n"
                "each request: stdin is the request's JSON on a line, stdout the answer's JSON "
                "(nothing:\n"
                "null). If its exit status is not 0, the answer is an error with the last line of "
                "its\n"
                "stderr. $LINK_HOST, $LINK_KEY_ID and $LINK_LABEL tell who asks. It is killed "
                "when\n"
                "nobody waits for the answer any more. stderr says \"serving HOST\" once requests "
                "can\n"
                "come; SIGINT and SIGTERM end it. --exec takes requests alone: `linkctl listen "
                "--host HOST`\n"
                "can run beside it. --echo takes the events too, and cannot share the host.\n",
        .usage = "[HOST] (--echo | --exec COMMAND [--timeout TIME] [--parallel N])",
        .args = {{.name = "HOST", .kind = KIND_HOST, .optional = true}},
        .options = {{.name = "echo", .help = "answer with what was asked"},
                    {.name = "exec",
                     .value = "COMMAND",
                     .help = "answer with what COMMAND prints",
                     .kind = KIND_COMMAND},
                    {.name = "timeout",
                     .value = "TIME",
                     .help = "how long COMMAND may take: 60s (default), 5m"},
                    {.name = "parallel",
                     .value = "N",
                     .help = "how many requests at a time: 8 (default) up to 256"}},
        .run = run,
};
