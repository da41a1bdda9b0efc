/* linkctl usage */
#include "agent.h"
#include "options.h"

static int run(Cli *cli)
{
        static const Field fields[] = {{"RELAY", "uplink"},
                                       {"LINK", "linkId"},
                                       {"USED", "used"},
                                       {"THROTTLED", "throttled"},
                                       {"UNLIMITED", "unlimited"}};
        _cleanup_json_ json_t *answer = NULL;
        const json_t *links, *silent;
        int r = agent_call(cli, "usage", json_pack("{s:s?}", "host", cli->args[0]), &answer);

        if (r != EXIT_OK)
                return r;
        links = json_object_get(answer, "usage");
        silent = json_object_get(answer, "silent");
        for (size_t i = 0; i < json_array_size(silent); i++) {
                const json_t *relay = json_array_get(silent, i);
                const char *url = json_string_value(json_object_get(relay, "uplink"));
                const char *cause = json_string_value(json_object_get(relay, "cause"));
                output_progress("relay %s: %s", url ? url : "?", cause ? cause : "no answer");
        }
        if (!json_is_array(links))
                return output_error(cli, "protocol", "linkd answered usage without `usage`");
        if (cli->json)
                return output_json(cli, links);
        if (json_array_size(links) == 0)
                puts("No connection of this host goes through its relays now.");
        return output_table(cli, links, fields, ELEMENTSOF(fields), "");
}

const Verb verb_usage = {
        .name = "usage",
        .summary = "Shows what relays have counted on the connections of a host",
        .help = "USED is the part of the relay's quota of an hour, 0 to 1; what is throttled has\n"
                "spent it. A relay that does not answer is told on stderr.\n",
        .args = {{.name = "HOST", .kind = KIND_HOST, .optional = true}},
        .run = run,
};
