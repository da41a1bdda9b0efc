/* linkctl recovery */
#include "agent.h"
#include "options.h"

static int print_key(const Cli *cli, const json_t *answer)
{
        static const Field fields[] = {{"host", "host"}, {"address", "address"}, {"key", "key"}};
        const json_t *uplinks = json_object_get(answer, "uplinks");
        const char *address = json_string_value(json_object_get(answer, "address"));
        int r = output_record(cli, answer, fields, ELEMENTSOF(fields), "");

        if (r != EXIT_OK)
                return r;
        puts("\nKeep the key in a safe place: it is shown this once, and lets anybody in who has "
             "it.\n"
             "On a machine that is to be let in:");
        printf("  linkctl pair --recovery --address %s", address ? address : "ADDRESS");
        for (size_t i = 0; i < json_array_size(uplinks); i++) {
                const char *url = json_string_value(json_array_get(uplinks, i));
                if (url)
                        printf(" --uplink %s", url);
        }
        puts(json_array_size(uplinks) ? "" : " --uplink URL");
        return EXIT_OK;
}

static int run(Cli *cli)
{
        bool enable = strcmp(cli->args[1], "enable") == 0;
        _cleanup_json_ json_t *answer = NULL;
        int r;

        if (!enable && strcmp(cli->args[1], "disable") != 0)
                return output_usage(cli, "%s is neither enable nor disable", cli->args[1]);
        r = agent_call(cli, enable ? "recovery.enable" : "recovery.disable",
                       json_pack("{s:s?}", "host", cli->args[0]), &answer);
        if (r != EXIT_OK)
                return r;
        if (cli->json)
                return output_json(cli, answer);
        if (enable)
                return print_key(cli, answer);
        puts("Recovery is disabled; devices that came by it stay until they are revoked.");
        return EXIT_OK;
}

const Verb verb_recovery = {
        .name = "recovery",
        .summary = "Makes or withdraws the key by which new machines can pair at any time",
        .help = "enable makes a new key and shows it this once; an older one is void then. Unlike "
                "an\n"
                "invitation it can be used again and again.\n",
        .args = {{.name = "HOST", .kind = KIND_HOST, .optional = true},
                 {.name = "enable|disable", .kind = KIND_SWITCH}},
        .run = run,
};
