/* The load generator of scripts/bench: one scenario against one running subject, measured from
 * outside, printed as a line of JSON. Everything goes over loopback and ends by itself.
 *
 *      bench-load flow --port 4000 --pid 123 --size 1024 --count 8 --msec 2000 */
#include <getopt.h>
#include <sodium.h>
#include <stdio.h>

#include "limits.h"
#include "measure.h"
#include "scenario.h"

static const char help[] =
        "Usage: bench-load SCENARIO --port PORT --pid PID [OPTION…]\n"
        "  flow      messages of --size through --count links for --msec\n"
        "  pingpong  one message of --size to and fro for --msec\n"
        "  setup     --count sockets from connect to registered\n"
        "  idle      --count registered sockets, pings for --window-msec, then their end\n"
        "  stalled   --count links whose receivers take nothing\n"
        "  --sink-fd FD    the subject is a TCP proxy that connects to this listening socket\n"
        "  --core N        the core that the subject is pinned to\n"
        "  --warm-msec N   before measuring\n";

static const struct {
        const char *name;
        void (*run)(const Plan *p);
} scenarios[] = {
        {"flow", scenario_flow}, {"pingpong", scenario_pingpong}, {"setup", scenario_setup},
        {"idle", scenario_idle}, {"stalled", scenario_stalled},
};

static long number(const char *name, const char *text, long min, long max)
{
        char *end;
        long v = strtol(text, &end, 10);

        if (end == text || *end || v < min || v > max)
                fatal("--%s %s: must be a number from %ld to %ld", name, text, min, max);
        return v;
}

enum { HOUR_MSEC = 3600 * 1000 };

static void take_option(Plan *p, int opt, const char *name)
{
        Subject *s = &p->subject;

        switch (opt) {
        case 'p':
                s->port = (unsigned)number(name, optarg, 1, 65535);
                break;
        case 'P':
                s->pid = (int)number(name, optarg, 1, INT32_MAX);
                break;
        case 'f':
                s->sink_fd = (int)number(name, optarg, 3, SOCKETS_MAX);
                break;
        case 'c':
                s->core = (int)number(name, optarg, 0, 1023);
                break;
        case 's':
                p->size = (size_t)number(name, optarg, 1, SIZE_MAX_BYTES);
                break;
        case 'n':
                p->count = (size_t)number(name, optarg, 1, SOCKETS_MAX);
                break;
        case 'm':
                p->msec = (unsigned)number(name, optarg, 1, HOUR_MSEC);
                break;
        case 'w':
                p->warm_msec = (unsigned)number(name, optarg, 1, HOUR_MSEC);
                break;
        case 'W':
                p->window_msec = (unsigned)number(name, optarg, 0, HOUR_MSEC);
                break;
        default:
                fputs(help, stderr);
                exit(2);
        }
}

static void parse(Plan *p, int argc, char **argv)
{
        static const struct option options[] = {
                {"port", required_argument, NULL, 'p'},
                {"pid", required_argument, NULL, 'P'},
                {"sink-fd", required_argument, NULL, 'f'},
                {"core", required_argument, NULL, 'c'},
                {"size", required_argument, NULL, 's'},
                {"count", required_argument, NULL, 'n'},
                {"msec", required_argument, NULL, 'm'},
                {"warm-msec", required_argument, NULL, 'w'},
                {"window-msec", required_argument, NULL, 'W'},
                {},
        };
        int opt, index = 0;

        while ((opt = getopt_long(argc, argv, "", options, &index)) >= 0)
                take_option(p, opt, options[index].name);
}

int main(int argc, char **argv)
{
        Plan p = {.subject = {.sink_fd = -1, .core = -1},
                  .size = 1024,
                  .count = 1,
                  .msec = 1000,
                  .warm_msec = 200};

        parse(&p, argc, argv);
        if (optind + 1 != argc || !p.subject.port || !p.subject.pid) {
                fputs(help, stderr);
                return 2;
        }
        if (sodium_init() < 0)
                fatal("libsodium does not start");
        for (size_t i = 0; i < ELEMENTSOF(scenarios); i++)
                if (strcmp(argv[optind], scenarios[i].name) == 0) {
                        scenarios[i].run(&p);
                        return EXIT_SUCCESS;
                }
        fatal("there is no scenario \"%s\"", argv[optind]);
}
