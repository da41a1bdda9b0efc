/* linkctl completion, help; and __names, which the scripts ask */
#include "agent.h"
#include "completion.h"
#include "options.h"

static const struct {
        const char *name;
        void (*print)(void);
} shells[] = {
        {"bash", completion_print_bash},
        {"zsh", completion_print_zsh},
        {"fish", completion_print_fish},
};

static int run_completion(Cli *cli)
{
        for (size_t i = 0; i < ELEMENTSOF(shells); i++) {
                if (strcmp(cli->args[0], shells[i].name) != 0)
                        continue;
                shells[i].print();
                return EXIT_OK;
        }
        return output_usage(cli, "there is no completion for %s: bash, zsh and fish have one",
                            cli->args[0]);
}

const Verb verb_completion = {
        .name = "completion",
        .summary = "Prints the completion script of a shell",
        .help = "SHELL is bash, zsh or fish. For example in ~/.bashrc:\n"
                "  . <(linkctl completion bash)\n",
        .args = {{.name = "SHELL", .kind = KIND_SHELL}},
        .run = run_completion,
};

/* ---- help ---- */

static int run_help(Cli *cli)
{
        const char *first = cli->args[0], *second = cli->args[1];
        char name[64];
        const Verb *v;

        if (!first) {
                verb_print_overview(stdout);
                return EXIT_OK;
        }
        if (!second && verb_is_group(first)) {
                verb_print_group_help(stdout, first);
                return EXIT_OK;
        }
        (void)snprintf(name, sizeof(name), "%s%s%s", first, second ? " " : "",
                       second ? second : ""); /* a verb fits */
        v = verb_find(name);
        if (!v)
                return options_no_such_verb(cli, name) < 0 ? EXIT_USAGE : EXIT_FAILED;
        verb_print_help(v);
        return EXIT_OK;
}

const Verb verb_help = {
        .name = "help",
        .summary = "Shows what a verb does, or all verbs",
        .args = {{.name = "VERB", .optional = true}, {.name = "VERB", .optional = true}},
        .usage = "[VERB]",
        .run = run_help,
};

/* ---- names ---- */

/* Where the names of a kind are. */
static const struct {
        Kind kind;
        const char *method, *list, *member;
} sources[] = {
        {KIND_PEER, "peers", "peers", "name"},
        {KIND_HOST, "host.list", "hosts", "name"},
        {KIND_DEVICE, "devices", "devices", "keyId"},
        {KIND_UPLINK, "uplink.list", "uplinks", "url"},
        {KIND_INVITATION, "invitations", "invitations", "codeId"},
};

static void print_members(const json_t *list, const char *member)
{
        for (size_t i = 0; i < json_array_size(list); i++) {
                const char *text =
                        json_string_value(json_object_get(json_array_get(list, i), member));
                if (text)
                        puts(text);
        }
}

static int run_names(Cli *cli)
{
        _cleanup_json_ json_t *answer = NULL;
        int r;

        if (strcmp(cli->args[0], verb_kind_name(KIND_SHELL)) == 0) {
                for (size_t i = 0; i < ELEMENTSOF(shells); i++)
                        puts(shells[i].name);
                return EXIT_OK;
        }
        if (strcmp(cli->args[0], verb_kind_name(KIND_SWITCH)) == 0) {
                puts("enable\ndisable");
                return EXIT_OK;
        }
        for (size_t i = 0; i < ELEMENTSOF(sources); i++) {
                if (strcmp(cli->args[0], verb_kind_name(sources[i].kind)) != 0)
                        continue;
                r = agent_call(cli, sources[i].method, json_object(), &answer);
                if (r == EXIT_OK)
                        print_members(json_object_get(answer, sources[i].list), sources[i].member);
                return r;
        }
        return output_usage(cli, "there are no names of %s", cli->args[0]);
}

const Verb verb_names = {
        .name = "__names",
        .summary = "Prints the names of a kind",
        .args = {{.name = "KIND"}},
        .run = run_names,
        .hidden = true,
};
