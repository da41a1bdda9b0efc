/* linkctl listen: events as lines of JSON.
 *
 *      {"peer":"home","data":DATA,"payload":"BASE64"}
 *      {"host":"default","device":"laptop","keyId":"ID","data":DATA,"payload":"BASE64"}
 *
 * DATA is the event's text as it came; only line breaks between its tokens become spaces. Without a
 * payload there is no such member. While stdout takes no more, nothing is read from the agent. */
#include <errno.h>

#include "agent.h"
#include "lines.h"
#include "options.h"
#include "text.h"

typedef struct Listener {
        const Cli *cli;
        Lines lines;
        bool connected; /* was told */
        int status;     /* of the process, once it is to end; -1 */
} Listener;

static int add_text(Bytes *b, const char *text)
{
        return bytes_add(b, text, strlen(text), SIZE_MAX);
}

/* `"name":"value"`, escaped. */
static int add_member(Bytes *b, const char *before, const char *name, const char *value)
{
        _cleanup_json_ json_t *v = json_string(value);
        _cleanup_(freep) char *text = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;
        int r = text ? add_text(b, before) : -ENOMEM;

        if (r == 0)
                r = add_text(b, name);
        if (r == 0)
                r = add_text(b, text);
        return r;
}

static int add_source(Bytes *b, const linkipc_session *s)
{
        int r;

        if (!linkipc_session_is_incoming(s))
                return add_member(b, "{", "\"peer\":", linkipc_session_get_peer(s));
        r = add_member(b, "{", "\"host\":", linkipc_session_get_host(s));
        if (r == 0)
                r = add_member(b, ",", "\"device\":", linkipc_session_get_label(s));
        if (r == 0)
                r = add_member(b, ",", "\"keyId\":", linkipc_session_get_key_id(s));
        return r;
}

/* Line breaks can stand only between tokens. */
static int add_data(Bytes *b, const char *data, size_t n)
{
        int r = add_text(b, ",\"data\":");
        size_t start = b->n;

        if (r == 0)
                r = bytes_add(b, data, n, SIZE_MAX);
        for (size_t i = start; r == 0 && i < b->n; i++)
                if (b->p[i] == '\n' || b->p[i] == '\r')
                        b->p[i] = ' ';
        return r;
}

static int add_payload(Bytes *b, const void *payload, size_t n)
{
        _cleanup_(freep) char *text = text_base64(payload, n);
        int r = text ? add_text(b, ",\"payload\":\"") : -ENOMEM;

        if (r == 0)
                r = add_text(b, text);
        return r == 0 ? add_text(b, "\"") : r;
}

static void on_event(linkipc_session *s, const char *data, size_t len, const void *payload,
                     size_t payload_len, void *userdata)
{
        Listener *me = userdata;
        int r = add_source(&me->lines.text, s);

        if (r == 0)
                r = add_data(&me->lines.text, data, len);
        if (r == 0 && payload)
                r = add_payload(&me->lines.text, payload, payload_len);
        if (r == 0)
                r = add_text(&me->lines.text, "}\n");
        if (r < 0)
                me->status = output_no_memory(me->cli);
        lines_added(&me->lines);
}

static void on_state(linkipc_session *s, int state, void *userdata)
{
        Listener *me = userdata;
        const char *peer = linkipc_session_get_peer(s);

        if (linkipc_session_is_incoming(s))
                return;
        if (state == LINKIPC_CLOSED) {
                me->status =
                        agent_told(me->cli, linkipc_session_error(s), linkipc_session_error_word(s),
                                   linkipc_session_error_message(s), peer);
        } else if (state == LINKIPC_RECONNECTING) {
                me->connected = false;
                output_progress("reconnecting to %s: %s", peer, linkipc_session_error_message(s));
        } else if (state == LINKIPC_CONNECTED && !me->connected) {
                me->connected = true;
                output_progress("listening to %s", peer);
        }
}

static void on_notify(linkipc *l, const char *topic, const char *json, size_t len, void *userdata)
{
        Listener *me = userdata;

        (void)l; /* known already */
        (void)len;
        if (me->status < 0)
                me->status = agent_unserved(me->cli, topic, json);
}

static void on_served(linkipc *l, const linkipc_result *result, void *userdata)
{
        Listener *me = userdata;
        const char *host = options_get(me->cli, "host");

        (void)l; /* known already */
        if (result->error < 0)
                me->status =
                        agent_told(me->cli, result->error, result->word, result->message, host);
        else
                output_progress("listening on %s", host);
}

static int listen_on(Listener *me, linkipc *l)
{
        while (me->status < 0) {
                int r = lines_watch(&me->lines);

                if (r == 0)
                        r = loop_run(me->lines.loop);
                if (r == LOOP_STOP)
                        return EXIT_OK;
                if (r == LOOP_LOST)
                        return me->status < 0 ? agent_lost(me->cli, l) : me->status;
                if (r < 0)
                        return output_error(me->cli, "internal", "cannot wait for events: %s",
                                            strerror(-r));
                if (me->status < 0 && lines_write(&me->lines) != EXIT_OK)
                        return EXIT_FAILED;
        }
        return me->status;
}

static int start(Listener *me, linkipc *l, linkipc_session **ret)
{
        const char *host = options_get(me->cli, "host");
        int r = loop_new(&me->lines.loop, l);

        if (r < 0)
                return output_error(me->cli, "internal", "cannot watch for signals: %s",
                                    strerror(-r));
        linkipc_on_event(l, on_event, me);
        linkipc_on_state(l, on_state, me);
        linkipc_on_notify(l, on_notify, me);
        if (host)
                r = linkipc_serve_async(l, host, LINKIPC_EVENTS, on_served, me, NULL);
        else
                r = linkipc_connect(l, me->cli->args[0], ret);
        return r < 0 ? agent_failed(me->cli, l, r, host ? host : me->cli->args[0]) : EXIT_OK;
}

static int run(Cli *cli)
{
        _cleanup_link_ linkipc *l = NULL;
        _cleanup_session_ linkipc_session *s = NULL;
        Listener me = {.cli = cli, .lines.cli = cli, .status = -1};
        int r;

        if (!cli->args[0] == !options_has(cli, "host"))
                return output_usage(cli, "give a peer, or --host and a host of this machine");
        r = agent_open(cli, &l);
        if (r == EXIT_OK)
                r = start(&me, l, &s);
        if (r == EXIT_OK)
                r = listen_on(&me, l);
        lines_done(&me.lines);
        loop_free(me.lines.loop);
        return r;
}

const Verb verb_listen = {
        .name = "listen",
        .summary = "Prints the events that a peer, or the devices of a host, send",
        .help = "A line of JSON each, until SIGINT or SIGTERM: {\"peer\":NAME,\"data\":DATA}, or "
                "for a host\n"
                "{\"host\":NAME,\"device\":LABEL,\"keyId\":ID,\"data\":DATA}; an event with a "
                "payload has\n"
                "\"payload\":BASE64 as well. stderr says \"listening ...\" once it does. `linkctl "
                "serve --exec`\n"
                "can run beside --host, `linkctl serve --echo` of the same host cannot.\n",
        .usage = "(PEER | --host HOST)",
        .args = {{.name = "PEER", .kind = KIND_PEER, .optional = true}},
        .options = {{.name = "host",
                     .value = "HOST",
                     .help = "what the devices of this host send to this machine",
                     .kind = KIND_HOST}},
        .run = run,
};
