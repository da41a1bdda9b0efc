/* link-relay: options, environment, signals. Everything else is the library's (relay.h). */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include "relay.h"

static const char help[] =
        "Usage: link-relay [OPTION]...\n"
        "The relay of Link: introduces clients to hosts and forwards what it cannot read.\n"
        "\n"
        "  --listen WHERE     ADDRESS:PORT, PORT or /PATH of a Unix socket; may be given several "
        "times\n"
        "                     (default: port $LINK_PORT, else 80, of all addresses). Port 0: any;\n"
        "                     the one it came to be is told by \"listening on\"\n"
        "  --check-config     say whether the configuration is valid, and end\n"
        "  --log-level LEVEL  error, warning, info (default) or debug\n"
        "  --version, --help\n"
        "\n"
        "Environment:\n"
        "  LINK_PORT                        listen port, 1 to 65535 (80)\n"
        "  LINK_RELAY_MAX_BPS               bytes a second a link, burst 2x; 0: no limit "
        "(1048576)\n"
        "  LINK_RELAY_HOURLY_BYTES          bytes an hour a link; 0: no quota (0)\n"
        "  LINK_RELAY_TRICKLE_BPS           bytes a second of a link that has spent its quota "
        "(16384)\n"
        "  LINK_RELAY_IDLE_SEC              a quiet link is closed after this (300)\n"
        "  LINK_IP_RATE_PER_MIN             registers and resolves a minute an address; 0: any "
        "(60)\n"
        "  LINK_TRUST_PROXY                 1: the client is the first X-Forwarded-For hop (0)\n"
        "  LINK_ALLOWED_REGISTER_KEYS       keys that may register; empty: everybody\n"
        "  LINK_ALLOWED_REGISTER_KEYS_FILE  the same, one a line\n"
        "  LINK_ORIGIN                      host[:port] that hosts dial (from their requests)\n"
        "\n"
        "It runs in the foreground, keeps nothing on disk and logs to stderr. SIGTERM or SIGINT "
        "ends it.\n"
        "Exit status: 0 ended as asked, 1 it could not go on, 2 wrong usage.\n";

typedef struct Options {
        const char *listen[LISTENERS_MAX];
        size_t n_listen;
        RelayLogLevel log_level;
        bool check_config;
} Options;

static const char *const level_names[] = {
        [RELAY_LOG_ERROR] = "error",
        [RELAY_LOG_WARNING] = "warning",
        [RELAY_LOG_INFO] = "info",
        [RELAY_LOG_DEBUG] = "debug",
};

typedef struct Daemon {
        uv_loop_t loop;
        uv_signal_t term, interrupt;
        Relay *relay;
        Options options;
} Daemon;

enum { PARSE_RUN = 0, PARSE_DONE = 1, PARSE_USAGE = 2 };

/* ---- options ---- */

static int parse_level(const char *text, RelayLogLevel *ret)
{
        for (size_t i = 0; i < ELEMENTSOF(level_names); i++)
                if (strcmp(text, level_names[i]) == 0) {
                        *ret = (RelayLogLevel)i;
                        return PARSE_RUN;
                }
        fprintf(stderr, "link-relay: --log-level \"%s\" is none of error, warning, info, debug\n",
                text);
        return PARSE_USAGE;
}

static int parse_listen(Options *o, const char *where)
{
        if (o->n_listen == LISTENERS_MAX) {
                fprintf(stderr, "link-relay: --listen is given more than %d times\n",
                        LISTENERS_MAX);
                return PARSE_USAGE;
        }
        o->listen[o->n_listen++] = where;
        return PARSE_RUN;
}

static int parse_option(Options *o, int opt)
{
        switch (opt) {
        case 'l':
                return parse_listen(o, optarg);
        case 'c':
                o->check_config = true;
                return PARSE_RUN;
        case 'L':
                return parse_level(optarg, &o->log_level);
        case 'V':
                printf("link-relay %s\n", LINK_VERSION);
                return PARSE_DONE;
        case 'h':
                fputs(help, stdout);
                return PARSE_DONE;
        default: /* told by getopt */
                fputs("Try: link-relay --help\n", stderr);
                return PARSE_USAGE;
        }
}

static int parse_options(Options *o, int argc, char **argv)
{
        static const struct option options[] = {
                {"listen", required_argument, NULL, 'l'},
                {"check-config", no_argument, NULL, 'c'},
                {"log-level", required_argument, NULL, 'L'},
                {"version", no_argument, NULL, 'V'},
                {"help", no_argument, NULL, 'h'},
                {},
        };
        int opt, r = PARSE_RUN;

        *o = (Options){.log_level = RELAY_LOG_INFO};
        while (r == PARSE_RUN && (opt = getopt_long(argc, argv, "", options, NULL)) >= 0)
                r = parse_option(o, opt);
        if (r == PARSE_RUN && optind < argc) {
                fprintf(stderr, "link-relay: unexpected argument \"%s\"\nTry: link-relay --help\n",
                        argv[optind]);
                return PARSE_USAGE;
        }
        return r;
}

/* ---- log ---- */

static void log_line(RelayLogLevel level, const char *text, void *userdata)
{
        static const char *const prefixes[] = {"<3>", "<4>", "<6>", "<7>"}; /* sd-daemon(3) */
        const Daemon *d = userdata;

        if (level <= d->options.log_level)
                fprintf(stderr, "%s%s: %s\n", getenv("JOURNAL_STREAM") ? prefixes[level] : "",
                        level_names[level], text);
}

/* ---- life ---- */

static void on_stopped(Relay *relay, void *userdata)
{
        Daemon *d = userdata;

        d->relay = relay_free(relay); /* the loop ends: nothing is left on it */
}

static void on_signal(uv_signal_t *handle, int signum)
{
        Daemon *d = handle->data;
        (void)signum;
        (void)sd_notify(0, "STOPPING=1");        /* nobody listening is fine */
        uv_close((uv_handle_t *)&d->term, NULL); /* a second signal ends it at once */
        uv_close((uv_handle_t *)&d->interrupt, NULL);
        relay_stop(d->relay, 0, on_stopped, d);
}

static void watch_signals(Daemon *d)
{
        /* These fail only for a signal number that does not exist, or without memory for a pipe
         * that the loop already has. */
        (void)uv_signal_init(&d->loop, &d->term);
        (void)uv_signal_init(&d->loop, &d->interrupt);
        d->term.data = d->interrupt.data = d;
        (void)uv_signal_start(&d->term, on_signal, SIGTERM);
        (void)uv_signal_start(&d->interrupt, on_signal, SIGINT);
}

static int listen_all(Daemon *d, unsigned port, char **ret_fault)
{
        char number[8];
        int n = sd_listen_fds(1), r = 0;

        if (n < 0)
                return relay_fault(ret_fault, n, "cannot take systemd's sockets: %s", strerror(-n));
        for (int i = 0; i < n && r == 0; i++) {
                r = relay_listen_fd(d->relay, SD_LISTEN_FDS_START + i);
                if (r < 0)
                        (void)relay_fault(ret_fault, r, "cannot use systemd's socket %d: %s", i,
                                          strerror(-r));
        }
        for (size_t i = 0; i < d->options.n_listen && r == 0; i++)
                r = relay_listen(d->relay, d->options.listen[i], ret_fault);
        if (r == 0 && n == 0 && d->options.n_listen == 0) {
                (void)snprintf(number, sizeof(number), "%u", port); /* 5 digits */
                r = relay_listen(d->relay, number, ret_fault);
        }
        return r;
}

static int start(Daemon *d, RelayConfig *config, char **ret_fault)
{
        unsigned port = config->port;
        const char *name;
        int r = relay_new(&d->relay, &d->loop, config, ret_fault);

        if (r == 0)
                r = listen_all(d, port, ret_fault);
        if (r < 0)
                return r;
        watch_signals(d);
        for (size_t i = 0; (name = relay_listener_name(d->relay, i)); i++)
                fprintf(stderr, "listening on %s\n", name);
        (void)sd_notify(0, "READY=1"); /* nobody listening is fine */
        return 0;
}

static void raise_file_limit(void)
{
        struct rlimit files;

        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = files.rlim_max;
                (void)setrlimit(RLIMIT_NOFILE, &files); /* fewer connections, then */
        }
}

static int run(Daemon *d, RelayConfig *config)
{
        _cleanup_(freep) char *fault = NULL;
        int r = uv_loop_init(&d->loop);

        if (r < 0) {
                fprintf(stderr, "link-relay: cannot make an event loop: %s\n", uv_strerror(r));
                return r;
        }
        config->log = log_line;
        config->log_data = d;
        r = start(d, config, &fault);
        if (r < 0) {
                fprintf(stderr, "link-relay: %s\n", fault ? fault : strerror(-r));
                if (d->relay)
                        relay_stop(d->relay, 0, on_stopped, d);
        }
        (void)uv_run(&d->loop, UV_RUN_DEFAULT); /* until nothing is left on it */
        if (uv_loop_close(&d->loop) < 0)
                fprintf(stderr, "link-relay: the event loop did not end cleanly\n");
        return r;
}

int main(int argc, char **argv)
{
        _cleanup_(relay_config_done) RelayConfig config;
        _cleanup_(freep) char *fault = NULL;
        Daemon d = {};
        int r = parse_options(&d.options, argc, argv);

        relay_config_init(&config);
        if (r != PARSE_RUN)
                return r == PARSE_DONE ? EXIT_SUCCESS : 2;
        if (relay_config_from_environment(&config, &fault) < 0) {
                fprintf(stderr, "link-relay: %s\n", fault ? fault : "out of memory");
                return EXIT_FAILURE;
        }
        if (d.options.check_config)
                return EXIT_SUCCESS;
        if (sodium_init() < 0) {
                fprintf(stderr, "link-relay: libsodium does not start\n");
                return EXIT_FAILURE;
        }
        (void)signal(SIGPIPE, SIG_IGN); /* stderr may go away */
        raise_file_limit();
        return run(&d, &config) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
