/* linkctl call, send */
#include <errno.h>

#include "agent.h"
#include "input.h"
#include "options.h"

static int run_call(Cli *cli)
{
        _cleanup_link_ linkipc *l = NULL;
        _cleanup_(bytes_done) Bytes json = {};
        _cleanup_(freep) char *answer = NULL;
        uint64_t timeout_msec = 0;
        int r = options_get_duration(cli, "timeout", TIMEOUT_MAX_SEC, &timeout_msec);

        if (r == EXIT_OK)
                r = input_read_json(cli, cli->args[1], &json);
        if (r == EXIT_OK)
                r = agent_open(cli, &l);
        if (r != EXIT_OK)
                return r;
        r = linkipc_ask(l, cli->args[0], json.p, (uint32_t)timeout_msec, &answer, NULL);
        if (r < 0)
                return agent_failed(cli, l, r, cli->args[0]);
        puts(answer);
        return EXIT_OK;
}

const Verb verb_call = {
        .name = "call",
        .summary = "Sends one request to a peer and prints the answer",
        .help = "JSON is any JSON text; - reads it from stdin. It arrives as it was typed, and the "
                "answer\n"
                "is printed as it came.\n",
        .args = {{.name = "PEER", .kind = KIND_PEER}, {.name = "JSON"}},
        .options = {{.name = "timeout",
                     .value = "TIME",
                     .help = "how long to wait for the answer: 30s (default), 0.5, 2m"}},
        .run = run_call,
};

/* ---- events ---- */

/* Waits until the session is there. */
static int wait_connected(const Cli *cli, linkipc *l, linkipc_session *s)
{
        int r = linkipc_session_wait(s, CONNECT_WAIT_SEC * 1000);

        if (r >= 0)
                return EXIT_OK;
        if (r == -ETIMEDOUT && linkipc_session_get_state(s) != LINKIPC_CLOSED)
                return output_error(
                        cli, "unreachable", "%s: not connected in %d s%s%s", cli->args[0],
                        CONNECT_WAIT_SEC, linkipc_session_error(s) < 0 ? "; last cause: " : "",
                        linkipc_session_error(s) < 0 ? linkipc_session_error_message(s) : "");
        if (linkipc_session_error(s) < 0) /* why it is closed, or not connected yet */
                return agent_told(cli, linkipc_session_error(s), linkipc_session_error_word(s),
                                  linkipc_session_error_message(s), cli->args[0]);
        return agent_failed(cli, l, r, cli->args[0]);
}

static int send_event(const Cli *cli, const Bytes *json, const Bytes *payload)
{
        _cleanup_link_ linkipc *l = NULL;
        _cleanup_session_ linkipc_session *s = NULL;
        int r = agent_open(cli, &l);

        if (r != EXIT_OK)
                return r;
        r = linkipc_connect(l, cli->args[0], &s);
        if (r < 0)
                return agent_failed(cli, l, r, cli->args[0]);
        r = wait_connected(cli, l, s);
        if (r != EXIT_OK)
                return r;
        r = linkipc_send(s, json->p, payload ? (payload->p ? payload->p : "") : NULL,
                         payload ? payload->n : 0, 0);
        if (r >= 0)
                r = linkipc_session_close(s);
        if (r >= 0)
                r = linkipc_session_wait_closed(s, 0); /* what was sent is delivered first */
        return r < 0 ? agent_failed(cli, l, r, cli->args[0]) : EXIT_OK;
}

static int run_send(Cli *cli)
{
        _cleanup_(bytes_done) Bytes json = {}, payload = {};
        const char *file = options_get(cli, "payload");
        int r;

        if (file && strcmp(file, "-") == 0 && strcmp(cli->args[1], "-") == 0)
                return output_usage(cli, "JSON and payload cannot both come from standard input");
        r = input_read_json(cli, cli->args[1], &json);
        if (r == EXIT_OK && file)
                r = input_read(cli, file, TEXT_MAX_BYTES, "the payload", &payload);
        return r == EXIT_OK ? send_event(cli, &json, file ? &payload : NULL) : r;
}

const Verb verb_send = {
        .name = "send",
        .summary = "Sends one event to a peer",
        .help = "JSON is any JSON text; - reads it from stdin. Done means that it was written to "
                "the\n"
                "network; whether anybody listens there, nobody knows.\n",
        .args = {{.name = "PEER", .kind = KIND_PEER}, {.name = "JSON"}},
        .options = {{.name = "payload",
                     .value = "FILE",
                     .help = "bytes to go with it, at most 16 MiB; - reads stdin",
                     .kind = KIND_FILE}},
        .run = run_send,
};
