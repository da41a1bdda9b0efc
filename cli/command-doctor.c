/* linkctl doctor: the agent looks for what is wrong on the way to its relays, linkctl at the
 * socket. */
#include <sys/stat.h>

#include "agent.h"
#include "text.h"

/* "3 ms", "failed", or NULL: the step was not taken. */
static json_t *step_text(const json_t *steps, const char *name)
{
        for (size_t i = 0; i < json_array_size(steps); i++) {
                const json_t *s = json_array_get(steps, i);
                const char *step = json_string_value(json_object_get(s, "step"));
                if (!step || strcmp(step, name) != 0)
                        continue;
                if (!json_is_true(json_object_get(s, "ok")))
                        return json_string("failed");
                return json_sprintf("%lld ms",
                                    (long long)json_integer_value(json_object_get(s, "msec")));
        }
        return json_null();
}

static json_t *clock_text(const json_t *relay)
{
        const json_t *offset = json_object_get(relay, "clockOffsetMsec");
        json_int_t sec = json_integer_value(offset) / 1000;

        if (!json_is_integer(offset))
                return json_null();
        return sec == 0 ? json_string("right")
                        : json_sprintf("%lld s %s", (long long)(sec < 0 ? -sec : sec),
                                       sec < 0 ? "slow" : "fast");
}

/* Which hosts are registered there, and how fast it answers them. */
static json_t *hosts_text(const json_t *relay)
{
        const json_t *hosts = json_object_get(relay, "hosts");
        json_t *list = json_array();

        for (size_t i = 0; list && i < json_array_size(hosts); i++) {
                const json_t *h = json_array_get(hosts, i),
                             *trip = json_object_get(h, "roundTripMsec");
                const char *name = json_string_value(json_object_get(h, "host"));
                const char *state = json_string_value(json_object_get(h, "state"));
                json_t *text =
                        json_is_integer(trip)
                                ? json_sprintf("%s %s (%lld ms)", name ? name : "?",
                                               state ? state : "?",
                                               (long long)json_integer_value(trip))
                                : json_sprintf("%s %s", name ? name : "?", state ? state : "?");
                if (json_array_append_new(list, text) < 0) {
                        json_decref(list);
                        return NULL;
                }
        }
        return list;
}

static int print_relays(const Cli *cli, const json_t *relays)
{
        static const Field fields[] = {{"RELAY", "url"},          {"NAME", "name"},
                                       {"CONNECTION", "connect"}, {"HTTP", "health"},
                                       {"WEBSOCKET", "upgrade"},  {"CLOCK", "clock"},
                                       {"HOSTS", "hosts"}};
        _cleanup_json_ json_t *rows = json_array();

        for (size_t i = 0; i < json_array_size(relays); i++) {
                const json_t *relay = json_array_get(relays, i),
                             *steps = json_object_get(relay, "steps");
                json_t *row = json_pack(
                        "{s:O?, s:o, s:o, s:o, s:o, s:o, s:o}", "url",
                        json_object_get(relay, "url"), "name", step_text(steps, "name"), "connect",
                        step_text(steps, "connect"), "health", step_text(steps, "health"),
                        "upgrade", step_text(steps, "upgrade"), "clock", clock_text(relay), "hosts",
                        hosts_text(relay));
                if (!row || json_array_append_new(rows, row) < 0)
                        return output_no_memory(cli);
        }
        if (!rows)
                return output_no_memory(cli);
        return output_table(cli, rows, fields, ELEMENTSOF(fields), "");
}

static int print_finding(const Cli *cli, const json_t *finding)
{
        const char *about = json_string_value(json_object_get(finding, "about"));
        const char *text = json_string_value(json_object_get(finding, "text"));
        const char *remedy = json_string_value(json_object_get(finding, "remedy"));
        _cleanup_(freep) char *clean_about =
                text_clean(about ? about : "?", strlen(about ? about : "?"));
        _cleanup_(freep) char *clean_text =
                text_clean(text ? text : "?", strlen(text ? text : "?"));
        _cleanup_(freep) char *clean_remedy =
                text_clean(remedy ? remedy : "?", strlen(remedy ? remedy : "?"));

        if (!clean_about || !clean_text || !clean_remedy)
                return output_no_memory(cli);
        printf("%s %s: %s\n      %s\n",
               json_is_true(json_object_get(finding, "problem")) ? "WRONG" : "note ", clean_about,
               clean_text, clean_remedy);
        return EXIT_OK;
}

/* Who may come to the socket at all: linkd asks who it is, but strangers have no business there. */
static int look_at_socket(const Cli *cli, const char *path, json_t *findings)
{
        struct stat st;
        json_t *finding;

        if (!path[0] || stat(path, &st) < 0 || !(st.st_mode & S_IWOTH))
                return EXIT_OK;
        finding = json_pack("{s:b, s:s, s:s, s:s}", "problem", 1, "about", path, "text",
                            "the agent's socket is open to every user", "remedy",
                            "run `chmod o-rwx` on it");
        return json_array_append_new(findings, finding) < 0 ? output_no_memory(cli) : EXIT_OK;
}

static bool has_problem(const json_t *findings)
{
        for (size_t i = 0; i < json_array_size(findings); i++)
                if (json_is_true(json_object_get(json_array_get(findings, i), "problem")))
                        return true;
        return false;
}

static int print(const Cli *cli, const json_t *answer)
{
        const json_t *findings = json_object_get(answer, "findings");
        int r;

        if (cli->json)
                return output_json(cli, answer);
        r = print_relays(cli, json_object_get(answer, "relays"));
        if (r == EXIT_OK && json_array_size(findings))
                putchar('\n');
        for (size_t i = 0; r == EXIT_OK && i < json_array_size(findings); i++)
                r = print_finding(cli, json_array_get(findings, i));
        if (r == EXIT_OK && !has_problem(findings))
                puts("Nothing is wrong.");
        return r;
}

static int run(Cli *cli)
{
        _cleanup_link_ linkipc *l = NULL;
        _cleanup_json_ json_t *answer = NULL;
        json_t *findings;
        int r = agent_open(cli, &l);

        if (r == EXIT_OK)
                r = agent_call_on(cli, l, "doctor", "{}", &answer);
        if (r != EXIT_OK)
                return r;
        findings = json_object_get(answer, "findings");
        if (!json_is_array(findings))
                return output_error(cli, "protocol", "linkd answered doctor without `findings`");
        r = look_at_socket(cli, linkipc_get_path(l), findings);
        if (r == EXIT_OK)
                r = print(cli, answer);
        if (r == EXIT_OK)
                r = output_finish(cli);
        return r == EXIT_OK && has_problem(findings) ? EXIT_FAILED : r;
}

const Verb verb_doctor = {
        .name = "doctor",
        .summary = "Looks for what is wrong, and says what helps",
        .help = "The agent, its socket, its state directory, each relay (name, connection, HTTP, "
                "TLS and\n"
                "WebSocket, registration, round trip, clock), hosts and peers. The exit status is "
                "1 if\n"
                "something is wrong.\n",
        .run = run,
};
