/* linkctl host add, remove, list, show; linkctl uplink add, remove, list */
#include "agent.h"
#include "options.h"

static const json_t *find_host(const json_t *list, const char *name)
{
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *host = json_array_get(list, i);
                const char *text = json_string_value(json_object_get(host, "name"));
                if (text && strcmp(text, name) == 0)
                        return host;
        }
        return NULL;
}

static int run_host_show(Cli *cli)
{
        static const Field fields[] = {{"name", "name"},         {"address", "address"},
                                       {"created", "createdAt"}, {"devices", "devices"},
                                       {"sessions", "sessions"}, {"invitations", "invitations"},
                                       {"served", "served"},     {"recovery", "recovery"}};
        static const Field uplinks[] = {
                {"RELAY", "url"}, {"STATE", "state"}, {"SINCE", "since"}, {"CAUSE", "cause"}};
        const char *name = cli->args[0] ? cli->args[0] : "default";
        _cleanup_json_ json_t *answer = NULL;
        const json_t *host;
        int r = agent_call(cli, "host.list", json_object(), &answer);

        if (r != EXIT_OK)
                return r;
        host = find_host(json_object_get(answer, "hosts"), name);
        if (!host)
                return output_error(cli, "noSuchHost",
                                    "there is no host %s; see `linkctl host list`", name);
        if (cli->json)
                return output_json(cli, host);
        r = output_record(cli, host, fields, ELEMENTSOF(fields), "");
        if (r == EXIT_OK)
                r = output_table(cli, json_object_get(host, "uplinks"), uplinks,
                                 ELEMENTSOF(uplinks), "");
        return r;
}

const Verb verb_host_show = {
        .name = "host show",
        .summary = "Shows all about one identity",
        .args = {{.name = "NAME", .kind = KIND_HOST, .optional = true}},
        .run = run_host_show,
};

static int run_host_add(Cli *cli)
{
        static const Field fields[] = {{"name", "name"}, {"address", "address"}};
        _cleanup_json_ json_t *answer = NULL;
        int r = agent_call(cli, "host.add", json_pack("{s:s}", "name", cli->args[0]), &answer);

        if (r != EXIT_OK)
                return r;
        return cli->json ? output_json(cli, answer)
                         : output_record(cli, answer, fields, ELEMENTSOF(fields), "");
}

const Verb verb_host_add = {
        .name = "host add",
        .summary = "Makes another identity by which others can reach this machine",
        .help = "It has an address, relays, devices and invitations of its own: add a relay by\n"
                "`linkctl uplink add URL --host NAME`.\n",
        .args = {{.name = "NAME"}},
        .run = run_host_add,
};

static int run_host_remove(Cli *cli)
{
        static const Field fields[] = {{"devices", "devices"}, {"sessions ended", "sessionsEnded"}};
        _cleanup_json_ json_t *answer = NULL;
        int r = agent_call(cli, "host.remove", json_pack("{s:s}", "name", cli->args[0]), &answer);

        if (r != EXIT_OK)
                return r;
        if (cli->json)
                return output_json(cli, answer);
        puts("Removed.");
        return output_record(cli, answer, fields, ELEMENTSOF(fields), "  ");
}

const Verb verb_host_remove = {
        .name = "host remove",
        .summary = "Removes an identity for good, with its devices and live sessions",
        .help = "Its address never comes back: who was paired with it must pair anew. The last\n"
                "identity cannot be removed.\n",
        .args = {{.name = "NAME", .kind = KIND_HOST}},
        .run = run_host_remove,
};

static int run_host_list(Cli *cli)
{
        static const Field fields[] = {{"NAME", "name"},         {"ADDRESS", "address"},
                                       {"DEVICES", "devices"},   {"INVITATIONS", "invitations"},
                                       {"SESSIONS", "sessions"}, {"SERVED", "served"}};

        return agent_print_list(cli, "host.list", json_object(), "hosts", fields,
                                ELEMENTSOF(fields), "This machine has no host.");
}

const Verb verb_host_list = {
        .name = "host list",
        .summary = "Lists the identities by which others can reach this machine",
        .run = run_host_list,
};

/* ---- uplinks ---- */

#define HOST_OPTION                                                                                \
        {                                                                                          \
                .name = "host", .value = "NAME", .help = "of this host (default)",                 \
                .kind = KIND_HOST                                                                  \
        }

/* The uplink of that URL in a list of them, or NULL. */
static json_t *find_uplink(const json_t *list, const char *url)
{
        for (size_t i = 0; i < json_array_size(list); i++) {
                json_t *uplink = json_array_get(list, i);
                const char *text = json_string_value(json_object_get(uplink, "url"));
                if (text && strcmp(text, url) == 0)
                        return uplink;
        }
        return NULL;
}

/* Waits until the relay that was added has registered the host, or it is known why not; state and
 * cause of added become what they are now. */
static int wait_registered(const Cli *cli, json_t *added)
{
        const char *url = json_string_value(json_object_get(added, "url"));
        uint64_t end = agent_clock_msec() + REGISTER_WAIT_MSEC;

        do {
                _cleanup_json_ json_t *answer = NULL;
                json_t *uplink, *cause;
                const char *state;
                int r = agent_call(cli, "uplink.list",
                                   json_pack("{s:s?}", "host", options_get(cli, "host")), &answer);

                if (r != EXIT_OK)
                        return r;
                uplink = find_uplink(json_object_get(answer, "uplinks"), url ? url : "");
                if (!uplink)
                        return EXIT_OK; /* removed meanwhile */
                state = json_string_value(json_object_get(uplink, "state"));
                cause = json_object_get(uplink, "cause");
                if (json_object_set(added, "state", json_object_get(uplink, "state")) < 0 ||
                    (cause && json_object_set(added, "cause", cause) < 0))
                        return output_no_memory(cli);
                if (cause || (state && strcmp(state, "registered") == 0))
                        return EXIT_OK;
                agent_pause();
        } while (agent_clock_msec() < end);
        return EXIT_OK;
}

static void print_registered(const json_t *added)
{
        const char *state = json_string_value(json_object_get(added, "state"));
        const char *cause = json_string_value(json_object_get(added, "cause"));

        if (state && strcmp(state, "registered") == 0)
                puts("registered");
        else
                printf("not yet registered: %s; linkd keeps trying\n",
                       cause ? cause : "the relay has not answered yet");
}

/* Calls a method about an uplink; a sentence on its answer's URL and host. */
static int change_uplink(Cli *cli, const char *method, const char *done, const char *to)
{
        bool add = strcmp(method, "uplink.add") == 0;
        _cleanup_json_ json_t *answer = NULL;
        json_t *params =
                json_pack("{s:s, s:s?}", "url", cli->args[0], "host", options_get(cli, "host"));
        const char *url, *host;
        int r = agent_call(cli, method, params, &answer);

        if (r == EXIT_OK && add)
                r = wait_registered(cli, answer);
        if (r != EXIT_OK)
                return r;
        if (cli->json)
                return output_json(cli, answer);
        url = json_string_value(json_object_get(answer, "url"));
        host = json_string_value(json_object_get(answer, "host"));
        printf("%s relay %s %s host %s\n", done, url ? url : cli->args[0], to,
               host ? host : "default");
        if (add)
                print_registered(answer);
        return EXIT_OK;
}

static int run_uplink_add(Cli *cli)
{
        return change_uplink(cli, "uplink.add", "added", "to");
}

static int run_uplink_remove(Cli *cli)
{
        return change_uplink(cli, "uplink.remove", "removed", "from");
}

static int run_uplink_list(Cli *cli)
{
        static const Field fields[] = {
                {"RELAY", "url"}, {"STATE", "state"}, {"SINCE", "since"}, {"CAUSE", "cause"}};

        return agent_print_list(cli, "uplink.list",
                                json_pack("{s:s?}", "host", options_get(cli, "host")), "uplinks",
                                fields, ELEMENTSOF(fields),
                                "This host has no relay: add one with `linkctl uplink add URL`.");
}

const Verb verb_uplink_add = {
        .name = "uplink add",
        .summary = "Adds a relay by which the host is reached from now on",
        .help = "URL is ws://HOST[:PORT] or wss://HOST[:PORT], without a path. Waits up to 2 "
                "seconds and\n"
                "says whether the relay has registered the host; if not, linkd keeps trying.\n",
        .args = {{.name = "URL"}},
        .options = {HOST_OPTION},
        .run = run_uplink_add,
};

const Verb verb_uplink_remove = {
        .name = "uplink remove",
        .summary = "Removes a relay from the host",
        .args = {{.name = "URL", .kind = KIND_UPLINK}},
        .options = {HOST_OPTION},
        .run = run_uplink_remove,
};

const Verb verb_uplink_list = {
        .name = "uplink list",
        .summary = "Lists the host's relays and whether they have registered it",
        .options = {HOST_OPTION},
        .run = run_uplink_list,
};
