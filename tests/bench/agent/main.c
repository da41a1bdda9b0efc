/* The applications of `scripts/bench agent`, and its references.
 *
 *      bench-app rtt --socket /run/linkd/linkd.sock --peer home --size 128 --msec 2000 */
#include <getopt.h>
#include <sodium.h>
#include <stdio.h>

#include "app.h"

static const char help[] =
        "Usage: bench-app SCENARIO [OPTION…]\n"
        "  serve       the default host of the agent at --socket\n"
        "  rtt         a request of --size to --peer and back\n"
        "  pipeline    the same, --in-flight at a time\n"
        "  events      payloads of --size\n"
        "  sessions    --count sessions that lose their connection and find it again\n"
        "  handshakes  sessions that are opened and closed, --in-flight at a time\n"
        "  bare-rtt, bare-pipeline  the same between two processes over a Unix socket\n"
        "  bare-seal   ChaCha20-Poly1305 of --size by libsodium\n"
        "  --msec N, --warm-msec N  how long, and how long before that\n";

static const struct {
        const char *name;
        bool bare;
        void (*run)(const AppPlan *p);
} scenarios[] = {
        {"serve", false, app_serve},       {"rtt", false, app_rtt},
        {"pipeline", false, app_pipeline}, {"events", false, app_events},
        {"sessions", false, app_sessions}, {"handshakes", false, app_handshakes},
        {"bare-rtt", true, bare_rtt},      {"bare-pipeline", true, bare_pipeline},
        {"bare-seal", true, bare_seal},
};

static unsigned number(const char *name, const char *text, long min, long max)
{
        char *end;
        long v = strtol(text, &end, 10);

        if (end == text || *end || v < min || v > max)
                fatal("--%s %s: must be a number from %ld to %ld", name, text, min, max);
        return (unsigned)v;
}

enum { HOUR_MSEC = 3600 * 1000 };

static void take_option(AppPlan *p, int opt, const char *name)
{
        switch (opt) {
        case 's':
                p->socket = optarg;
                break;
        case 'p':
                p->peer = optarg;
                break;
        case 'z':
                p->size = number(name, optarg, 1, APP_SIZE_MAX);
                break;
        case 'n':
                p->count = number(name, optarg, 1, APP_SESSIONS_MAX);
                break;
        case 'f':
                p->in_flight = number(name, optarg, 1, APP_IN_FLIGHT_MAX);
                break;
        case 'm':
                p->msec = number(name, optarg, 1, HOUR_MSEC);
                break;
        case 'w':
                p->warm_msec = number(name, optarg, 1, HOUR_MSEC);
                break;
        default:
                fputs(help, stderr);
                exit(2);
        }
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                {"socket", required_argument, NULL, 's'},
                {"peer", required_argument, NULL, 'p'},
                {"size", required_argument, NULL, 'z'},
                {"count", required_argument, NULL, 'n'},
                {"in-flight", required_argument, NULL, 'f'},
                {"msec", required_argument, NULL, 'm'},
                {"warm-msec", required_argument, NULL, 'w'},
                {},
        };
        AppPlan p = {.peer = "home",
                     .size = 1024,
                     .count = 1,
                     .in_flight = 1,
                     .msec = 1000,
                     .warm_msec = 200};
        int opt, index = 0;

        while ((opt = getopt_long(argc, argv, "", options, &index)) >= 0)
                take_option(&p, opt, options[index].name);
        if (optind + 1 != argc) {
                fputs(help, stderr);
                return 2;
        }
        if (sodium_init() < 0)
                fatal("libsodium does not start");
        for (size_t i = 0; i < ELEMENTSOF(scenarios); i++) {
                if (strcmp(argv[optind], scenarios[i].name) != 0)
                        continue;
                if (!scenarios[i].bare && !p.socket)
                        fatal("--socket is missing");
                scenarios[i].run(&p);
                return EXIT_SUCCESS;
        }
        fatal("there is no scenario \"%s\"", argv[optind]);
}
