/* linkctl status */
#include "agent.h"

/* The title of a part, with an empty line ahead of it. */
static void title(const char *text)
{
        printf("\n%s\n", text);
}

static int print_host(const Cli *cli, const json_t *host)
{
        static const Field fields[] = {
                {"name", "name"},         {"address", "address"},
                {"devices", "devices"},   {"invitations", "invitations"},
                {"sessions", "sessions"}, {"served", "served"},
        };
        static const Field uplinks[] = {
                {"RELAY", "url"}, {"STATE", "state"}, {"SINCE", "since"}, {"CAUSE", "cause"}};
        int r;

        title("Host");
        r = output_record(cli, host, fields, ELEMENTSOF(fields), "  ");
        if (r == EXIT_OK)
                r = output_table(cli, json_object_get(host, "uplinks"), uplinks,
                                 ELEMENTSOF(uplinks), "  ");
        return r;
}

static int print_part(const Cli *cli, const json_t *status, const char *name, const char *member,
                      const Field *fields, size_t n_fields)
{
        const json_t *rows = json_object_get(status, member);

        if (json_array_size(rows) == 0)
                return EXIT_OK;
        title(name);
        return output_table(cli, rows, fields, n_fields, "  ");
}

static int print_problems(const Cli *cli, const json_t *status)
{
        const json_t *problems = json_object_get(status, "problems");
        int r = EXIT_OK;

        if (json_array_size(problems) > 0)
                title("Problems");
        for (size_t i = 0; r == EXIT_OK && i < json_array_size(problems); i++) {
                _cleanup_json_ json_t *line =
                        json_pack("{s:O}", "text", json_array_get(problems, i));
                r = line ? output_record(cli, line, (Field[]){{"-", "text"}}, 1, "  ")
                         : output_no_memory(cli);
        }
        return r;
}

static int print_status(const Cli *cli, const json_t *status)
{
        static const Field agent[] = {{"linkd", "version"},
                                      {"process", "pid"},
                                      {"running since", "startedAt"},
                                      {"state in", "stateDir"}};
        static const Field peers[] = {
                {"NAME", "name"}, {"STATE", "state"}, {"RELAY", "uplink"}, {"CAUSE", "cause"}};
        static const Field sessions[] = {{"WITH", "side"},
                                         {"NAME", "name"},
                                         {"STATE", "state"},
                                         {"SINCE", "since"},
                                         {"REQUESTS", "requests"}};
        const json_t *hosts = json_object_get(status, "hosts");
        int r = output_record(cli, status, agent, ELEMENTSOF(agent), "");

        for (size_t i = 0; r == EXIT_OK && i < json_array_size(hosts); i++)
                r = print_host(cli, json_array_get(hosts, i));
        if (r == EXIT_OK)
                r = print_part(cli, status, "Peers", "peers", peers, ELEMENTSOF(peers));
        if (r == EXIT_OK)
                r = print_part(cli, status, "Sessions", "sessions", sessions, ELEMENTSOF(sessions));
        return r == EXIT_OK ? print_problems(cli, status) : r;
}

static int run(Cli *cli)
{
        _cleanup_json_ json_t *status = NULL;
        int r = agent_call(cli, "status", json_object(), &status);

        if (r != EXIT_OK)
                return r;
        return cli->json ? output_json(cli, status) : print_status(cli, status);
}

const Verb verb_status = {
        .name = "status",
        .summary = "Shows the agent, hosts, relays, peers and sessions, and what is wrong",
        .run = run,
};
