#include "app.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

volatile sig_atomic_t app_stopping;

static const char help[] =
        "Usage: soak-app ask   --socket PATH --name NAME --peer PEER… [--sessions N] [--slots N]\n"
        "                      [--think-msec N] [--deadline-msec N]\n"
        "       soak-app serve --socket PATH --name NAME --host HOST\n";

uint64_t now_usec(void)
{
        struct timespec t;

        if (clock_gettime(CLOCK_MONOTONIC, &t) < 0)
                fatal("no clock: %s", strerror(errno));
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void say(const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        if (vprintf(format, ap) < 0 || putchar('\n') < 0)
                fatal("standard output is gone");
        va_end(ap);
}

void fatal(const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        (void)fputs("soak-app: ", stderr);
        (void)vfprintf(stderr, format, ap);
        (void)fputc('\n', stderr);
        va_end(ap);
        exit(EXIT_FAILURE);
}

/* ---- the agent ---- */

linkipc *app_open(const char *path)
{
        linkipc *l = NULL;
        int r = linkipc_open(&l, path);

        /* It is being restarted, or stopped and its queue full. */
        if (r < 0 && r != -ENOENT && r != -ECONNREFUSED && r != -EAGAIN && r != -ECONNRESET)
                fatal("%s cannot be reached: %s", path, strerror(-r));
        return l;
}

void app_nap(unsigned msec)
{
        if (poll(NULL, 0, (int)msec) < 0 && errno != EINTR)
                fatal("poll: %s", strerror(errno));
}

bool app_turn(linkipc *l, uint64_t due_usec)
{
        struct pollfd p = {.fd = linkipc_get_fd(l), .events = (short)linkipc_get_events(l)};
        uint64_t now = now_usec(), library = UINT64_MAX;
        int r, msec;

        (void)linkipc_get_timeout(l, &library); /* fails only without an argument */
        if (library < due_usec)
                due_usec = library;
        msec = due_usec > now ? (int)((due_usec - now) / 1000) + 1 : 0;
        if (!app_stopping && poll(&p, 1, msec) < 0 && errno != EINTR)
                fatal("poll: %s", strerror(errno));
        while ((r = linkipc_process(l)) > 0)
                ;
        return r == 0;
}

/* ---- the command line ---- */

static unsigned number(const char *name, const char *text, unsigned max)
{
        char *end;
        unsigned long v = strtoul(text, &end, 10);

        if (end == text || *end || v == 0 || v > max)
                fatal("--%s %s: must be a number from 1 to %u", name, text, max);
        return (unsigned)v;
}

static void take_option(Options *o, int opt, const char *name)
{
        switch (opt) {
        case 'S':
                o->socket = optarg;
                break;
        case 'n':
                if (strlen(optarg) > NAME_MAX_BYTES)
                        fatal("--name %s is too long", optarg);
                o->name = optarg;
                break;
        case 'H':
                o->host = optarg;
                break;
        case 'p':
                if (o->n_peers == PEERS_MAX)
                        fatal("more than %d peers", PEERS_MAX);
                o->peers[o->n_peers++] = optarg;
                break;
        case 's':
                o->sessions = number(name, optarg, SESSIONS_MAX);
                break;
        case 'l':
                o->slots = number(name, optarg, SLOTS_MAX);
                break;
        case 't':
                o->think_msec = number(name, optarg, 60000);
                break;
        case 'd':
                o->deadline_msec = number(name, optarg, 3600 * 1000);
                break;
        default:
                (void)fputs(help, stderr);
                exit(2);
        }
}

static void parse(Options *o, int argc, char **argv)
{
        static const struct option options[] = {
                {"socket", required_argument, NULL, 'S'},
                {"name", required_argument, NULL, 'n'},
                {"host", required_argument, NULL, 'H'},
                {"peer", required_argument, NULL, 'p'},
                {"sessions", required_argument, NULL, 's'},
                {"slots", required_argument, NULL, 'l'},
                {"think-msec", required_argument, NULL, 't'},
                {"deadline-msec", required_argument, NULL, 'd'},
                {},
        };
        int opt, index = 0;

        while ((opt = getopt_long(argc, argv, "", options, &index)) >= 0)
                take_option(o, opt, options[index].name);
}

static void on_term(int signal_number)
{
        (void)signal_number;
        app_stopping = 1;
}

int main(int argc, char **argv)
{
        const struct sigaction term = {.sa_handler = on_term};
        Options o = {.sessions = 2, .slots = 4, .think_msec = 100, .deadline_msec = 90 * 1000};
        const char *verb;

        parse(&o, argc, argv);
        verb = optind + 1 == argc ? argv[optind] : "";
        if (setvbuf(stdout, NULL, _IOLBF, 0) != 0 || sigaction(SIGTERM, &term, NULL) < 0)
                fatal("cannot start: %s", strerror(errno));
        if (strcmp(verb, "ask") == 0 && o.socket && o.name && o.n_peers)
                return ask_run(&o);
        if (strcmp(verb, "serve") == 0 && o.socket && o.host)
                return serve_run(&o);
        (void)fputs(help, stderr);
        return 2;
}
