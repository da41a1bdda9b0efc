/* linkctl invite, invitations, uninvite */
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent.h"
#include "input.h"
#include "options.h"
#include "qr.h"

/* Columns of the terminal; 0: stdout is none, or it does not say. */
static unsigned terminal_columns(void)
{
        struct winsize size = {};

        if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
                return 0;
        return size.ws_col;
}

static int print_qr(const Cli *cli, const char *uri)
{
        int r = qr_print(stdout, uri, isatty(STDOUT_FILENO), terminal_columns());

        if (r < 0)
                return output_no_memory(cli);
        if (r == QR_TOO_WIDE)
                puts("(The terminal is too narrow for the QR code.)");
        if (r == QR_TOO_LONG)
                puts("(The link is too long for a QR code.)");
        return EXIT_OK;
}

static int print_invitation(const Cli *cli, const json_t *invitation)
{
        static const Field fields[] = {{"address", "address"}, {"code", "code"},
                                       {"code id", "codeId"},  {"label", "label"},
                                       {"host", "host"},       {"expires", "expiresAt"}};
        const char *uri = json_string_value(json_object_get(invitation, "uri"));
        int r = EXIT_OK;

        if (uri) {
                r = print_qr(cli, uri);
                if (r == EXIT_OK)
                        printf("\n%s\n\n", uri);
        }
        if (r == EXIT_OK)
                r = output_record(cli, invitation, fields, ELEMENTSOF(fields), "");
        if (r == EXIT_OK && uri)
                printf("\nOn the other machine:\n  linkctl pair '%s'\n", uri);
        return r;
}

/* For people: while no relay has registered the host, the other machine cannot reach it. */
static int warn_unregistered(const Cli *cli, const char *host)
{
        _cleanup_json_ json_t *answer = NULL;
        int r = agent_call(cli, "uplink.list", json_pack("{s:s?}", "host", host), &answer);
        const json_t *uplinks = json_object_get(answer, "uplinks");
        const char *url = NULL, *cause = NULL;

        for (size_t i = 0; r == EXIT_OK && i < json_array_size(uplinks); i++) {
                const json_t *u = json_array_get(uplinks, i);
                const char *state = json_string_value(json_object_get(u, "state"));
                if (state && strcmp(state, "registered") == 0)
                        return EXIT_OK;
                url = json_string_value(json_object_get(u, "url"));
                cause = json_string_value(json_object_get(u, "cause"));
        }
        if (r == EXIT_OK)
                output_progress("linkctl: warning: no relay has registered host %s yet%s%s%s%s: "
                                "nobody can pair until one has; see `linkctl uplink list`",
                                host, cause ? " (" : "", cause ? url : "", cause ? ": " : "",
                                cause ? cause : "");
        return r;
}

/* Unless it was not given. *params is NULL when there is no memory, also after this. */
static void add_seconds(json_t **params, const char *name, uint64_t msec)
{
        if (!*params || !msec ||
            json_object_set_new(*params, name, json_integer((json_int_t)(msec / 1000))) == 0)
                return;
        json_decref(*params);
        *params = NULL;
}

static int run_invite(Cli *cli)
{
        _cleanup_(bytes_done) Bytes code = {};
        _cleanup_json_ json_t *invitation = NULL;
        const char *given = options_get(cli, "code");
        uint64_t ttl_msec = 0, device_msec = 0;
        json_t *params;
        int r = options_get_duration(cli, "ttl", INVITE_TTL_MAX_SEC, &ttl_msec);

        if (r == EXIT_OK)
                r = options_get_duration(cli, "device-ttl", DURATION_MAX_SEC, &device_msec);
        if (r == EXIT_OK && given)
                r = input_read_secret(cli, given, "the code", &code);
        if (r != EXIT_OK)
                return r;
        if (ttl_msec % 1000 != 0 || device_msec % 1000 != 0)
                return output_usage(cli, "--ttl and --device-ttl must be whole seconds");
        params = json_pack("{s:s?, s:s?, s:s?, s:b}", "host", cli->args[0], "label",
                           options_get(cli, "label"), "code", code.p, "noId",
                           options_has(cli, "no-id"));
        add_seconds(&params, "ttlSec", ttl_msec);
        add_seconds(&params, "deviceTtlSec", device_msec);
        r = agent_call(cli, "invite", params, &invitation);
        if (r != EXIT_OK)
                return r;
        if (cli->json)
                return output_json(cli, invitation);
        r = print_invitation(cli, invitation);
        return r == EXIT_OK ? warn_unregistered(cli, cli->args[0] ? cli->args[0] : "default") : r;
}

const Verb verb_invite = {
        .name = "invite",
        .summary = "Opens an invitation, by which one other machine can pair with this one",
        .help = "Shows it as QR code, link, address and code. It can be used once, and five wrong\n"
                "tries of the code end it.\n",
        .args = {{.name = "HOST", .kind = KIND_HOST, .optional = true}},
        .options = {{.name = "ttl",
                     .value = "TIME",
                     .help = "how long it stays open: 15m (default), 90s, 2h, 1d; at most 7d"},
                    {.name = "device-ttl",
                     .value = "TIME",
                     .help = "how long the new device is let in: 30d, at most 366d (default: for "
                             "good)"},
                    {.name = "label",
                     .value = "NAME",
                     .help = "what the new device is called here"},
                    {.name = "code",
                     .value = "CODE",
                     .help = "a code of your own, 6 characters or more; - reads it from stdin"},
                    {.name = "no-id",
                     .help = "without a code id, for older clients: one such a host at a time"}},
        .run = run_invite,
};

/* ---- open ones ---- */

static int run_invitations(Cli *cli)
{
        static const Field fields[] = {{"CODE ID", "codeId"},
                                       {"LABEL", "label"},
                                       {"HOST", "host"},
                                       {"EXPIRES", "expiresAt"},
                                       {"DEVICE SECONDS", "deviceTtlSec"},
                                       {"WRONG TRIES", "failures"},
                                       {"IN FLIGHT", "inFlight"}};

        return agent_print_list(cli, "invitations", json_pack("{s:s?}", "host", cli->args[0]),
                                "invitations", fields, ELEMENTSOF(fields),
                                "No invitation is open.");
}

const Verb verb_invitations = {
        .name = "invitations",
        .summary = "Lists the open invitations of a host",
        .args = {{.name = "HOST", .kind = KIND_HOST, .optional = true}},
        .run = run_invitations,
};

static int run_uninvite(Cli *cli)
{
        _cleanup_json_ json_t *answer = NULL;
        json_t *params =
                json_pack("{s:s, s:s?}", "codeId", cli->args[0], "host", options_get(cli, "host"));
        int r = agent_call(cli, "uninvite", params, &answer);

        if (r != EXIT_OK)
                return r;
        if (cli->json)
                return output_json(cli, answer);
        printf("withdrew invitation %s\n", cli->args[0][0] ? cli->args[0] : "without a code id");
        return EXIT_OK;
}

const Verb verb_uninvite = {
        .name = "uninvite",
        .summary = "Withdraws an open invitation",
        .help = "ID is the code id that `linkctl invitations` shows; \"\" is the invitation "
                "without one.\n",
        .args = {{.name = "ID", .kind = KIND_INVITATION}},
        .options = {{.name = "host",
                     .value = "NAME",
                     .help = "of this host (default)",
                     .kind = KIND_HOST}},
        .run = run_uninvite,
};
