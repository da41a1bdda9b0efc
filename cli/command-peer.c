/* linkctl peers; linkctl peer show, remove */
#include "agent.h"

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
