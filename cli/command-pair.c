/* linkctl pair */
#include <unistd.h>

#include "agent.h"
#include "input.h"
#include "options.h"

static const char *const piece_options[] = {"address", "code", "code-id", "uplink"};

/* A recovery key is good for ever: it must not stand where `ps` shows it. */
static int check_recovery(const Cli *cli)
{
        if (cli->args[0] || options_has(cli, "code"))
                return output_usage(cli, "a recovery key is not taken from the command line: it is "
                                         "asked for, or read from stdin or --key-file FILE");
        if (options_has(cli, "code-id"))
                return output_usage(cli, "a recovery key has no code id");
        if (!options_has(cli, "address") || !options_has(cli, "uplink"))
                return output_usage(cli, "give --address and --uplink with --recovery");
        return EXIT_OK;
}

/* An invitation is given as one link or in pieces, not both. */
static int check_usage(const Cli *cli)
{
        if (options_has(cli, "recovery"))
                return check_recovery(cli);
        if (options_has(cli, "key-file"))
                return output_usage(cli, "--key-file belongs to --recovery");
        for (size_t i = 0; i < ELEMENTSOF(piece_options); i++)
                if (cli->args[0] && options_has(cli, piece_options[i]))
                        return output_usage(cli, "--%s cannot be given beside a link",
                                            piece_options[i]);
        if (cli->args[0])
                return EXIT_OK;
        if (!options_has(cli, "address") || !options_has(cli, "code") ||
            !options_has(cli, "uplink"))
                return output_usage(cli, "give the link of an invitation, or --address, --code and "
                                         "--uplink");
        return EXIT_OK;
}

/* EXIT_OK (*ret may be NULL for want of memory), or what was told. */
static int make_params(const Cli *cli, json_t **ret)
{
        _cleanup_(bytes_done) Bytes secret = {};
        const char *name = options_get(cli, "name");
        bool by_uri = cli->args[0] != NULL, recovery = options_has(cli, "recovery");
        int r;

        if (recovery)
                r = input_read_key(cli, options_get(cli, "key-file"), "the recovery key", &secret);
        else
                r = input_read_secret(cli, by_uri ? cli->args[0] : options_get(cli, "code"),
                                      by_uri ? "the link" : "the code", &secret);

        if (r == EXIT_OK && by_uri && strncasecmp(secret.p, "link:", strlen("link:")) != 0)
                r = output_usage(cli,
                                 "\"%.40s\" is no invitation: paste the whole link: line, in "
                                 "quotes",
                                 secret.p);
        if (r != EXIT_OK)
                return r;
        *ret = by_uri ? json_pack("{s:s, s:s?}", "uri", secret.p, "name", name)
                      : json_pack("{s:s, s:s, s:s?, s:o, s:s?, s:b}", "address",
                                  options_get(cli, "address"), "code", secret.p, "codeId",
                                  options_get(cli, "code-id"), "uplinks",
                                  options_get_all(cli, "uplink"), "name", name, "recovery",
                                  recovery);
        return EXIT_OK;
}

static int print_peer(const Cli *cli, const json_t *peer)
{
        static const Field fields[] = {{"name", "name"},
                                       {"address", "address"},
                                       {"key id", "keyId"},
                                       {"relays", "uplinks"}};

        const char *replaced = json_string_value(json_object_get(peer, "replacedKeyId"));
        int r;

        puts("Paired.");
        r = output_record(cli, peer, fields, ELEMENTSOF(fields), "  ");
        if (replaced)
                printf("Replaced the earlier credential %s; on the host, remove it: linkctl revoke "
                       "%s\n",
                       replaced, replaced);
        return r;
}

static int run(Cli *cli)
{
        _cleanup_json_ json_t *peer = NULL;
        json_t *params = NULL;
        int r = check_usage(cli);

        if (r == EXIT_OK)
                r = make_params(cli, &params);
        if (r != EXIT_OK)
                return r;
        if (isatty(STDERR_FILENO))
                output_progress("Pairing; this can take a minute if relays do not answer ...");
        r = agent_call(cli, "pair", params, &peer);
        if (r != EXIT_OK)
                return r;
        return cli->json ? output_json(cli, peer) : print_peer(cli, peer);
}

const Verb verb_pair = {
        .name = "pair",
        .summary = "Pairs this machine with another one that has opened an invitation",
        .help = "URI is the link that `linkctl invite` shows there; - reads it from stdin. Without "
                "it the\n"
                "address, the code and a relay are needed.\n",
        .usage = "[--name NAME] (URI |\n"
                 "         --address ADDRESS --uplink URL... --code CODE [--code-id ID] |\n"
                 "         --address ADDRESS --uplink URL... --recovery [--key-file FILE])",
        .args = {{.name = "URI", .optional = true}},
        .options =
                {{.name = "name", .value = "NAME", .help = "what the other machine is called here"},
                 {.name = "address", .value = "ADDRESS", .help = "its address"},
                 {.name = "code", .value = "CODE", .help = "the code; - reads it from stdin"},
                 {.name = "code-id", .value = "ID", .help = "the code id, if one is shown"},
                 {.name = "uplink", .value = "URL", .help = "a relay of its own", .repeats = true},
                 {.name = "recovery",
                  .help = "by the host's recovery key, which is asked for or read from stdin"},
                 {.name = "key-file",
                  .value = "FILE",
                  .help = "where the recovery key is, else stdin",
                  .kind = KIND_FILE}},
        .run = run,
};
