/* linkctl monitor: what changes, a line each.
 *
 *      TIME TOPIC EVENT WHAT …
 *      {"topic":TOPIC,"event":EVENT,"time":TIME, …}      with --json */
#include <errno.h>

#include "agent.h"
#include "lines.h"
#include "text.h"

typedef struct Monitor {
        const Cli *cli;
        Lines lines;
        int status; /* of the process, once it is to end; -1 */
} Monitor;

static int add(Bytes *b, const char *text)
{
        return bytes_add(b, text, strlen(text), SIZE_MAX);
}

static int add_json(Bytes *b, const char *topic, json_t *change)
{
        _cleanup_json_ json_t *line = json_pack("{s:s}", "topic", topic);
        _cleanup_(freep) char *text = NULL;

        if (!line || json_object_update(line, change) < 0 ||
            !(text = json_dumps(line, JSON_COMPACT)))
                return -ENOMEM;
        return add(b, text);
}

/* A member as a word, if it is there. */
static int add_word(Bytes *b, const char *before, const json_t *change, const char *member)
{
        const char *text = json_string_value(json_object_get(change, member));
        _cleanup_(freep) char *clean = NULL;
        int r;

        if (!text || !text[0])
                return 0;
        clean = text_clean(text, strlen(text));
        if (!clean)
                return -ENOMEM;
        r = add(b, before);
        return r == 0 ? add(b, clean) : r;
}

/* How many links of a relay's usage are throttled, which is what people wait for. */
static int add_usage(Bytes *b, const json_t *change)
{
        const json_t *list = json_object_get(change, "connections");
        size_t throttled = 0;
        char text[96];

        if (!json_is_array(list))
                return 0;
        for (size_t i = 0; i < json_array_size(list); i++)
                throttled += json_is_true(json_object_get(json_array_get(list, i), "throttled"));
        (void)snprintf(text, sizeof(text), ": %zu links, %zu throttled", json_array_size(list),
                       throttled); /* fits */
        return add(b, text);
}

static int add_text(Bytes *b, const char *topic, const json_t *change)
{
        static const struct {
                const char *before, *member;
        } words[] = {{" ", "side"},    {" ", "name"},   {" ", "url"},     {" ", "uplink"},
                     {" ", "label"},   {" ", "codeId"}, {" of ", "host"}, {": ", "state"},
                     {": ", "reason"}, {": ", "cause"}};
        int r = add_word(b, "", change, "time");

        if (r == 0)
                r = add(b, " ");
        if (r == 0)
                r = add(b, topic);
        if (r == 0)
                r = add_word(b, " ", change, "event");
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(words); i++) {
                if (strcmp(topic, "peer") == 0 && strcmp(words[i].member, "uplink") == 0)
                        continue; /* the relay is no part of its name */
                r = add_word(b, words[i].before, change, words[i].member);
        }
        return r == 0 ? add_usage(b, change) : r;
}

static void on_notify(linkipc *l, const char *topic, const char *json, size_t len, void *userdata)
{
        Monitor *me = userdata;
        _cleanup_json_ json_t *change = json_loadb(json, len, 0, NULL);
        int r;

        (void)l; /* known already */
        if (!json_is_object(change))
                return; /* a topic of a newer agent */
        r = me->cli->json ? add_json(&me->lines.text, topic, change)
                          : add_text(&me->lines.text, topic, change);
        if (r == 0)
                r = add(&me->lines.text, "\n");
        if (r < 0)
                me->status = output_no_memory(me->cli);
        lines_added(&me->lines);
}

static void on_subscribed(linkipc *l, const linkipc_result *result, void *userdata)
{
        Monitor *me = userdata;

        (void)l; /* known already */
        if (result->error < 0)
                me->status =
                        agent_told(me->cli, result->error, result->word, result->message, NULL);
        else
                output_progress("monitoring");
}

static int monitor(Monitor *me, linkipc *l)
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
                        return output_error(me->cli, "internal", "cannot wait for changes: %s",
                                            strerror(-r));
                if (me->status < 0 && lines_write(&me->lines) != EXIT_OK)
                        return EXIT_FAILED;
        }
        return me->status;
}

static int run(Cli *cli)
{
        _cleanup_link_ linkipc *l = NULL;
        Monitor me = {.cli = cli, .lines.cli = cli, .status = -1};
        int r = agent_open(cli, &l);

        if (r != EXIT_OK)
                return r;
        r = loop_new(&me.lines.loop, l);
        if (r < 0)
                return output_error(cli, "internal", "cannot watch for signals: %s", strerror(-r));
        linkipc_on_notify(l, on_notify, &me);
        r = linkipc_call_async(l, "subscribe", NULL, 0, on_subscribed, &me, NULL);
        r = r < 0 ? agent_failed(cli, l, r, NULL) : monitor(&me, l);
        lines_done(&me.lines);
        loop_free(me.lines.loop);
        return r;
}

const Verb verb_monitor = {
        .name = "monitor",
        .summary = "Prints what changes as it happens",
        .help = "A line for each change of a host, relay, device, invitation, peer, session or of "
                "a\n"
                "relay's usage, until SIGINT or SIGTERM. stderr says \"monitoring\" once it "
                "does.\n",
        .run = run,
};
