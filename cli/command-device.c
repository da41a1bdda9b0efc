/* linkctl devices, revoke */
#include "agent.h"
#include "options.h"

static int run_devices(Cli *cli)
{
        static const Field fields[] = {
                {"KEY ID", "keyId"},      {"LABEL", "label"},          {"HOST", "host"},
                {"CREATED", "createdAt"}, {"LAST SEEN", "lastSeenAt"}, {"CONNECTED", "connected"},
                {"INVITATION", "codeId"}, {"EXPIRES", "expiresAt"},
        };

        return agent_print_list(cli, "devices", json_pack("{s:s?}", "host", cli->args[0]),
                                "devices", fields, ELEMENTSOF(fields),
                                "No device is paired with this host.");
}

const Verb verb_devices = {
        .name = "devices",
        .summary = "Lists the machines that may reach a host of this one",
        .args = {{.name = "HOST", .kind = KIND_HOST, .optional = true}},
        .run = run_devices,
};

static int run_revoke(Cli *cli)
{
        _cleanup_json_ json_t *answer = NULL;
        static const Field fields[] = {{"key id", "keyId"},
                                       {"key ids", "keyIds"},
                                       {"label", "label"},
                                       {"sessions ended", "sessionsEnded"}};
        json_t *params = json_pack("{s:s, s:s?, s:b}", "device", cli->args[0], "host",
                                   options_get(cli, "host"), "all", options_has(cli, "all"));
        int r = agent_call(cli, "revoke", params, &answer);

        if (r != EXIT_OK)
                return r;
        if (cli->json)
                return output_json(cli, answer);
        puts("Revoked.");
        return output_record(cli, answer, fields, ELEMENTSOF(fields), "  ");
}

const Verb verb_revoke = {
        .name = "revoke",
        .summary = "Shuts a device out for good, and ends its sessions at once",
        .help = "DEVICE is a key id that `linkctl devices` shows, or a label: one that only one "
                "device has,\n"
                "or with --all that of several.\n",
        .args = {{.name = "DEVICE", .kind = KIND_DEVICE}},
        .options = {{.name = "all", .help = "every device of this label"},
                    {.name = "host",
                     .value = "NAME",
                     .help = "of this host (default)",
                     .kind = KIND_HOST}},
        .run = run_revoke,
};
