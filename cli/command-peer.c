/* linkctl peers; linkctl peer show, remove, rename, export, import */
#include <unistd.h>

#include "agent.h"
#include "input.h"
#include "options.h"

static int run_peers(Cli *cli)
{
        static const Field fields[] = {{"NAME", "name"},       {"STATE", "state"},
                                       {"SINCE", "since"},     {"RELAY", "uplink"},
                                       {"ADDRESS", "address"}, {"CAUSE", "cause"}};

        return agent_print_list(cli, "peers", json_object(), "peers", fields, ELEMENTSOF(fields),
                                "This machine has no peer: pair with one by `linkctl pair`.");
}

const Verb verb_peers = {
        .name = "peers",
        .summary = "Lists the machines that this one can reach",
        .run = run_peers,
};

static const json_t *find_peer(const json_t *list, const char *name)
{
        for (size_t i = 0; i < json_array_size(list); i++) {
                const json_t *peer = json_array_get(list, i);
                const char *text = json_string_value(json_object_get(peer, "name"));
                if (text && strcmp(text, name) == 0)
                        return peer;
        }
        return NULL;
}

static int run_peer_show(Cli *cli)
{
        static const Field fields[] = {{"name", "name"},         {"address", "address"},
                                       {"state", "state"},       {"since", "since"},
                                       {"cause", "cause"},       {"sessions", "sessions"},
                                       {"last relay", "uplink"}, {"relays", "uplinks"},
                                       {"key id", "keyId"},      {"paired", "createdAt"}};
        _cleanup_json_ json_t *answer = NULL;
        const json_t *peer;
        int r = agent_call(cli, "peers", json_object(), &answer);

        if (r != EXIT_OK)
                return r;
        peer = find_peer(json_object_get(answer, "peers"), cli->args[0]);
        if (!peer)
                return output_error(cli, "noSuchPeer", "there is no peer %s; see `linkctl peers`",
                                    cli->args[0]);
        return cli->json ? output_json(cli, peer)
                         : output_record(cli, peer, fields, ELEMENTSOF(fields), "");
}

const Verb verb_peer_show = {
        .name = "peer show",
        .summary = "Shows all about one peer",
        .args = {{.name = "PEER", .kind = KIND_PEER}},
        .run = run_peer_show,
};

static int run_peer_remove(Cli *cli)
{
        _cleanup_json_ json_t *answer = NULL;
        int r = agent_call(cli, "peer.remove", json_pack("{s:s}", "name", cli->args[0]), &answer);

        if (r != EXIT_OK)
                return r;
        if (cli->json)
                return output_json(cli, answer);
        printf("removed peer %s\n", cli->args[0]);
        return EXIT_OK;
}

const Verb verb_peer_remove = {
        .name = "peer remove",
        .summary = "Forgets a peer and its credential",
        .help = "The other machine keeps its side until the device is revoked there.\n",
        .args = {{.name = "PEER", .kind = KIND_PEER}},
        .run = run_peer_remove,
};

/* ---- names and credentials ---- */

static int run_peer_rename(Cli *cli)
{
        _cleanup_json_ json_t *answer = NULL;
        int r = agent_call(cli, "peer.rename",
                           json_pack("{s:s, s:s}", "name", cli->args[0], "to", cli->args[1]),
                           &answer);

        if (r != EXIT_OK)
                return r;
        if (cli->json)
                return output_json(cli, answer);
        printf("peer %s is called %s now\n", cli->args[0], cli->args[1]);
        return EXIT_OK;
}

const Verb verb_peer_rename = {
        .name = "peer rename",
        .summary = "Gives a peer another name",
        .args = {{.name = "PEER", .kind = KIND_PEER}, {.name = "NAME"}},
        .run = run_peer_rename,
};

static int run_peer_export(Cli *cli)
{
        _cleanup_json_ json_t *answer = NULL;
        const char *credential;
        int r;

        if (isatty(STDOUT_FILENO) && !options_has(cli, "force"))
                return output_usage(cli, "a credential is a secret and is not shown on a terminal: "
                                         "redirect it to a file that only you can read, or give "
                                         "--force");
        r = agent_call(cli, "peer.export", json_pack("{s:s}", "name", cli->args[0]), &answer);
        if (r != EXIT_OK)
                return r;
        if (cli->json)
                return output_json(cli, answer);
        credential = json_string_value(json_object_get(answer, "credential"));
        if (!credential)
                return output_error(cli, "protocol", "linkd answered peer.export without one");
        puts(credential);
        return EXIT_OK;
}

const Verb verb_peer_export = {
        .name = "peer export",
        .summary = "Prints the credential by which this machine reaches a peer",
        .help = "It is a secret: whoever has it can be this machine to that one. Other\n"
                "implementations of Link read it too. Its relays are not in it.\n",
        .args = {{.name = "PEER", .kind = KIND_PEER}},
        .options = {{.name = "force", .help = "print it on a terminal too"}},
        .run = run_peer_export,
};

static int run_peer_import(Cli *cli)
{
        static const Field fields[] = {{"name", "name"},
                                       {"address", "address"},
                                       {"key id", "keyId"},
                                       {"relays", "uplinks"}};
        _cleanup_(bytes_done) Bytes secret = {};
        _cleanup_json_ json_t *answer = NULL;
        const char *file = cli->args[0];
        int r;

        /* The string is base64 of a JSON object. */
        if (file && strncmp(file, "ey", 2) == 0 && access(file, F_OK) < 0)
                return output_usage(cli, "a credential is not taken from the command line: give a "
                                         "file that holds it, or standard input");
        if (!options_has(cli, "uplink"))
                return output_usage(cli, "give a relay of the host with --uplink URL");
        r = input_read_key(cli, file, "the credential", &secret);
        if (r != EXIT_OK)
                return r;
        r = agent_call(cli, "peer.import",
                       json_pack("{s:s, s:o, s:s?}", "credential", secret.p, "uplinks",
                                 options_get_all(cli, "uplink"), "name", options_get(cli, "name")),
                       &answer);
        if (r != EXIT_OK)
                return r;
        if (cli->json)
                return output_json(cli, answer);
        puts("Imported.");
        return output_record(cli, answer, fields, ELEMENTSOF(fields), "  ");
}

const Verb verb_peer_import = {
        .name = "peer import",
        .summary = "Takes over a credential that was exported elsewhere",
        .help = "It is read from FILE or stdin. If the host is a peer already, its credential is\n"
                "replaced, unless --name names another.\n",
        .args = {{.name = "FILE", .kind = KIND_FILE, .optional = true}},
        .options =
                {{.name = "uplink", .value = "URL", .help = "a relay of the host", .repeats = true},
                 {.name = "name", .value = "NAME", .help = "what the host is called here"}},
        .run = run_peer_import,
};
