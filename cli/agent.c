#include "agent.h"

#include <errno.h>
#include <malloc.h>
#include <time.h>

#include "output.h"

static void free_wiped(void *p)
{
        if (p)
                explicit_bzero(p, malloc_usable_size(p));
        free(p);
}

void agent_wipe_json(void)
{
        json_set_alloc_funcs(malloc, free_wiped);
}

/* ---- errors ---- */

/* What helps, where the agent's message does not say it. */
static const char *remedy(const char *word)
{
        static const struct {
                const char *word, *text;
        } remedies[] = {
                {"forbidden", "run it as root, or ask the administrator to be let in"},
                {"wrongCode", "check the code, or ask for a new invitation"},
                {"noSuchMethod", "linkd is older than linkctl: upgrade it"},
                {"version", "linkctl and linkd do not fit together: upgrade the older one"},
                {"disconnected", "see the log of linkd"},
        };

        for (size_t i = 0; i < ELEMENTSOF(remedies); i++)
                if (strcmp(word, remedies[i].word) == 0)
                        return remedies[i].text;
        return NULL;
}

int agent_told(const Cli *cli, int error, const char *word, const char *message, const char *what)
{
        const char *text = message[0] ? message : strerror(-error);
        const char *help = remedy(word);
        int r;

        if (strncmp(word, "noSuch", strlen("noSuch")) == 0)
                what = NULL; /* the message names it */
        if (error == -EREMOTEIO)
                return output_error(cli, "remoteError", "%s%sanswered: %s%s", what ? what : "",
                                    what ? " " : "", text,
                                    strcmp(text, "no request handler") == 0
                                            ? " (run \"linkctl serve\" there)"
                                            : "");
        r = output_error(cli, word[0] ? word : "internal", "%s%s%s%s%s", what ? what : "",
                         what ? ": " : "", text, help ? "; " : "", help ? help : "");
        return strcmp(word, "badRequest") == 0 ? EXIT_USAGE : r; /* about what was typed */
}

int agent_failed(const Cli *cli, const linkipc *l, int r, const char *what)
{
        return agent_told(cli, r, linkipc_error_word(l), linkipc_error_message(l), what);
}

int agent_lost(const Cli *cli, const linkipc *l)
{
        bool told = strcmp(linkipc_error_word(l), "disconnected") != 0; /* more than just that */
        const char *why = told ? linkipc_error_message(l) : "";

        return output_error(cli, "disconnected", "linkd at %s has ended the connection%s%s",
                            linkipc_get_path(l), why[0] ? ": " : "", why);
}

int agent_unserved(const Cli *cli, const char *topic, const char *json)
{
        _cleanup_json_ json_t *info =
                strcmp(topic, "unserved") == 0 ? json_loads(json, 0, NULL) : NULL;
        const char *host = json_string_value(json_object_get(info, "host"));
        const char *word = json_string_value(json_object_get(info, "word"));
        const char *message = json_string_value(json_object_get(info, "message"));

        if (!host || !word || !message)
                return -1;
        return output_error(cli, word, "%s: %s", host, message);
}

/* ---- connecting ---- */

uint64_t agent_clock_msec(void)
{
        struct timespec now = {};

        (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void agent_pause(void)
{
        (void)nanosleep(&(struct timespec){.tv_nsec = POLL_MSEC * 1000000L}, NULL); /* or less */
}

/* Where it was looked for. */
static void describe_paths(const Cli *cli, char *text, size_t size)
{
        char user[SOCKET_PATH_MAX], system[SOCKET_PATH_MAX];
        bool has_user = linkipc_socket_path(LINKIPC_PATH_USER, user, sizeof(user)) >= 0;
        bool has_system = linkipc_socket_path(LINKIPC_PATH_SYSTEM, system, sizeof(system)) >= 0;
        bool by_environment = !cli->socket && !cli->user && !cli->system &&
                              linkipc_socket_path(LINKIPC_PATH_ENVIRONMENT, text, size) >= 0;
        const char *first = cli->socket ? cli->socket : has_user && !cli->system ? user : NULL;
        const char *second = has_system && !cli->socket && !cli->user ? system : NULL;

        if (!by_environment) /* a path that is cut here would not have been connected to */
                (void)snprintf(text, size, "%s%s%s", first ? first : "",
                               first && second ? " or " : "", second ? second : "");
}

static int open_by_options(const Cli *cli, linkipc **ret)
{
        if (cli->user)
                return linkipc_open_user(ret);
        if (cli->system)
                return linkipc_open_system(ret);
        return linkipc_open(ret, cli->socket);
}

/* Whether an agent that was just started may be there in a moment: it is this user's, or its place
 * was named. The shells' completion does not wait. */
static bool may_come(const Cli *cli, int r)
{
        char path[SOCKET_PATH_MAX];

        if ((r != -ENOENT && r != -ECONNREFUSED) || cli->system || cli->verb->hidden)
                return false;
        return cli->socket ||
               linkipc_socket_path(LINKIPC_PATH_ENVIRONMENT, path, sizeof(path)) >= 0 ||
               linkipc_socket_path(LINKIPC_PATH_USER, path, sizeof(path)) >= 0;
}

static int open_in_time(const Cli *cli, linkipc **ret)
{
        uint64_t end = agent_clock_msec() + START_WAIT_MSEC;
        int r = open_by_options(cli, ret);

        /* There is no event to wait for: a socket that is there may still refuse. */
        while (may_come(cli, r) && agent_clock_msec() < end) {
                agent_pause();
                r = open_by_options(cli, ret);
        }
        return r;
}

int agent_open(const Cli *cli, linkipc **ret)
{
        char at[2 * SOCKET_PATH_MAX + 8];
        int r = open_in_time(cli, ret);

        if (r >= 0)
                return EXIT_OK;
        describe_paths(cli, at, sizeof(at));
        if (r == -ENOENT || r == -ECONNREFUSED) {
                if (!at[0])
                        return output_error(
                                cli, "noAgent",
                                "neither XDG_RUNTIME_DIR nor HOME is set, so that this user's "
                                "linkd cannot be found: name its socket with --socket PATH");
                return output_error(
                        cli, "noAgent",
                        "linkd is not running at %s: start it with `systemctl start linkd` "
                        "(or `linkd --user`), or name its socket with --socket PATH",
                        at);
        }
        if (r == -EACCES || r == -EPERM)
                return output_error(
                        cli, "forbidden",
                        "no access to the socket of linkd at %s: become a member of its "
                        "group (`adduser USER link`), or run it as root",
                        at);
        return output_error(cli, "internal", "cannot connect to linkd at %s: %s", at, strerror(-r));
}

/* ---- calling ---- */

/* Answers hold pairing codes. */
static void wipe_textp(char **text)
{
        if (*text)
                explicit_bzero(*text, strlen(*text));
        free(*text);
}

int agent_call_on(const Cli *cli, linkipc *l, const char *method, const char *params, json_t **ret)
{
        _cleanup_(wipe_textp) char *answer = NULL;
        json_error_t fault;
        int r = linkipc_call(l, method, params, 0, &answer, NULL);

        if (r < 0)
                return agent_failed(cli, l, r, NULL);
        if (!ret)
                return EXIT_OK;
        *ret = json_loads(answer, 0, &fault);
        if (json_is_object(*ret))
                return EXIT_OK;
        return output_error(cli, "protocol",
                            "linkd answered %s with something else than an object: %s", method,
                            *ret ? "another document" : fault.text);
}

int agent_call(const Cli *cli, const char *method, json_t *params, json_t **ret)
{
        _cleanup_link_ linkipc *l = NULL;
        char *text = params ? json_dumps(params, JSON_COMPACT) : NULL;
        int r;

        json_decref(params);
        if (!text)
                return output_no_memory(cli);
        r = agent_open(cli, &l);
        if (r == EXIT_OK)
                r = agent_call_on(cli, l, method, text, ret);
        free_wiped(text);
        return r;
}

int agent_print_list(const Cli *cli, const char *method, json_t *params, const char *member,
                     const Field *fields, size_t n_fields, const char *none)
{
        _cleanup_json_ json_t *answer = NULL;
        const json_t *list;
        int r = agent_call(cli, method, params, &answer);

        if (r != EXIT_OK)
                return r;
        list = json_object_get(answer, member);
        if (!json_is_array(list))
                return output_error(cli, "protocol", "linkd answered %s without `%s`", method,
                                    member);
        if (cli->json)
                return output_json(cli, list);
        if (json_array_size(list) == 0)
                puts(none);
        return output_table(cli, list, fields, n_fields, "");
}
