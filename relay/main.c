/* link-relay: options, environment, signals. Everything else is the library's (relay.h). */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

#include "listener.h"
#include "relay.h"

static const char default_config[] = "/etc/link/relay.conf";

static const char help[] =
        "Usage: link-relay [OPTION]...\n"
        "The relay of Link: introduces clients to hosts and forwards what it cannot read.\n"
        "\n"
        "  --config FILE      configuration (default: /etc/link/relay.conf, which may be absent)\n"
        "  --check-config     say whether the configuration is valid, and end\n"
        "  --listen WHERE     ADDRESS:PORT, PORT or /PATH of a Unix socket; may be given several "
        "times\n"
        "                     and replaces the file's. Without any: port $LINK_PORT, else 80, of "
        "all\n"
        "                     addresses. Port 0: any; \"listening on\" tells which\n"
        "  --log-level LEVEL  error, warning, info (default) or debug\n"
        "  --version, --help\n"
        "\n"
        "Environment (it wins over the file):\n"
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
        "  LINK_MAX_CONNECTIONS             in all; 0: as many as there are descriptors (0)\n"
        "  LINK_MAX_CONNECTIONS_PER_IP      of one address; 0: any (8192)\n"
        "  LINK_ACCEPTS_PER_SEC_PER_IP      of one address; 0: any (200)\n"
        "  LINK_MAX_QUEUE_BYTES             in all queues; above it nobody is introduced "
        "(1073741824)\n"
        "  LINK_DRAIN_SEC                   closes are spread over this when it stops (0)\n"
        "\n"
        "It runs in the foreground, keeps nothing on disk and logs to stderr. SIGTERM or SIGINT "
        "ends it\n"
        "(a second one at once), SIGHUP reads the configuration again: limits, shaping and "
        "allowlist.\n"
        "Exit status: 0 ended as asked, 1 it could not go on, 2 wrong usage.\n";

typedef struct Options {
        const char *listen[LISTENERS_MAX];
        size_t n_listen;
        const char *config; /* NULL: the default one */
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
        uv_signal_t term, interrupt, hangup;
        uv_timer_t watchdog;
        Relay *relay;
        Options options;
        bool log_json, log_journal;
        bool watching; /* signals and watchdog are on the loop */
        uint64_t drain_msec;
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
        if (!listener_is_valid(where)) {
                fprintf(stderr, "link-relay: --listen \"%s\" is not PORT, ADDRESS:PORT or /PATH\n",
                        where);
                return PARSE_USAGE;
        }
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
        case 'f':
                o->config = optarg;
                return PARSE_RUN;
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
                {"config", required_argument, NULL, 'f'},
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

/* One JSON object a line. */
static void log_json(RelayLogLevel level, const char *event, const char *text)
{
        struct timespec now;
        char time[32] = "";
        struct tm tm;
        Buf b = {};

        (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail */
        if (gmtime_r(&now.tv_sec, &tm))
                (void)strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%SZ", &tm); /* fits */
        buf_add_str(&b, "{");
        buf_json_member_str(&b, "time", time);
        buf_json_member_str(&b, "level", level_names[level]);
        buf_json_member_str(&b, "event", event);
        buf_json_member_str(&b, "message", text);
        buf_add_str(&b, "}\n");
        if (buf_ok(&b) == 0)
                (void)fwrite(b.data, 1, b.len, stderr); /* there is no other place to complain */
        buf_done(&b);
}

static void log_line(RelayLogLevel level, const char *event, const char *text, void *userdata)
{
        static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
        const Daemon *d = userdata;

        if (level > d->options.log_level)
                return;
        if (d->log_json)
                log_json(level, event, text);
        else if (d->log_journal)
                (void)sd_journal_send("PRIORITY=%i", priorities[level], "LINK_EVENT=%s", event,
                                      "MESSAGE=%s", text, NULL); /* as above */
        else
                fprintf(stderr, "%s: %s\n", level_names[level], text);
}

/* Told at every level; as text a line of its own form, which scripts wait for. */
static void log_listening(Daemon *d, const char *where)
{
        char text[256];

        (void)snprintf(text, sizeof(text), "listening on %s", where); /* a path may be cut */
        if (d->log_json)
                log_json(RELAY_LOG_INFO, "listen", text);
        else if (d->log_journal)
                (void)sd_journal_send("PRIORITY=%i", LOG_INFO, "LINK_EVENT=listen", "MESSAGE=%s",
                                      text, NULL); /* there is no other place to complain */
        else
                fprintf(stderr, "%s\n", text);
}

/* Whether stderr is the journal (systemd.exec(5)): then fields can be given. */
static bool stderr_is_journal(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
               fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

/* ---- configuration ---- */

static int load_config(const Options *o, RelayConfig *ret, char **ret_fault)
{
        relay_config_init(ret);
        return relay_config_load(ret, o->config ? o->config : default_config, o->config, ret_fault);
}

static void use_config(Daemon *d, RelayConfig *c)
{
        d->log_json = c->log_json;
        d->drain_msec = c->drain_sec * 1000;
        c->log = log_line;
        c->log_data = d;
}

/* All of the new file or nothing of it. */
static void on_hangup(uv_signal_t *handle, int signum)
{
        Daemon *d = handle->data;
        _cleanup_(freep) char *fault = NULL;
        _cleanup_(relay_config_done) RelayConfig config;
        struct timespec now;

        (void)signum;
        (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail */
        (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
                         (unsigned long long)now.tv_sec * 1000000 +
                                 (unsigned long long)now.tv_nsec / 1000);
        if (load_config(&d->options, &config, &fault) < 0) {
                log_line(RELAY_LOG_ERROR, "reload", fault ? fault : "out of memory", d);
                log_line(RELAY_LOG_ERROR, "reload", "the configuration stays as it was", d);
        } else {
                use_config(d, &config);
                relay_reconfigure(d->relay, &config);
                log_line(RELAY_LOG_INFO, "reload", "the configuration was read again", d);
        }
        (void)sd_notify(0, "READY=1"); /* nobody listening is fine, here and below */
}

/* ---- life ---- */

static void on_stopped(Relay *relay, void *userdata)
{
        Daemon *d = userdata;

        d->relay = relay_free(relay); /* the loop ends: nothing is left on it */
        if (d->watching)
                uv_close((uv_handle_t *)&d->watchdog, NULL);
}

static void on_signal(uv_signal_t *handle, int signum)
{
        Daemon *d = handle->data;

        (void)signum;
        /* The manager waits for the drain, whatever its TimeoutStopSec=. */
        (void)sd_notifyf(0, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%llu",
                         (unsigned long long)(d->drain_msec + STOP_NOTICE_MSEC) * 1000);
        log_line(RELAY_LOG_INFO, "stop", "stopping", d);
        uv_close((uv_handle_t *)&d->term, NULL); /* a second signal ends it at once */
        uv_close((uv_handle_t *)&d->interrupt, NULL);
        uv_close((uv_handle_t *)&d->hangup, NULL);
        (void)signal(SIGHUP, SIG_IGN); /* there is nothing to read again; it must not kill */
        relay_stop(d->relay, d->drain_msec, on_stopped, d);
}

static void on_watchdog(uv_timer_t *timer)
{
        (void)timer;
        (void)sd_notify(0, "WATCHDOG=1");
}

static void watch(Daemon *d)
{
        uint64_t usec;

        /* These fail only for a signal number that does not exist, or without memory for a pipe
         * that the loop already has. */
        (void)uv_signal_init(&d->loop, &d->term);
        (void)uv_signal_init(&d->loop, &d->interrupt);
        (void)uv_signal_init(&d->loop, &d->hangup);
        d->term.data = d->interrupt.data = d->hangup.data = d;
        (void)uv_signal_start(&d->term, on_signal, SIGTERM);
        (void)uv_signal_start(&d->interrupt, on_signal, SIGINT);
        (void)uv_signal_start(&d->hangup, on_hangup, SIGHUP);
        (void)uv_timer_init(&d->loop, &d->watchdog);
        d->watching = true;
        if (sd_watchdog_enabled(0, &usec) > 0)
                (void)uv_timer_start(&d->watchdog, on_watchdog, usec / 2000, usec / 2000);
}

/* systemd's sockets; then --listen, else the file's; else the port. */
static int listen_all(Daemon *d, const RelayConfig *c, char **ret_fault)
{
        const Options *o = &d->options;
        size_t n_listen = o->n_listen ? o->n_listen : c->n_listen;
        char number[24];
        int n = sd_listen_fds(1), r = 0;

        if (n < 0)
                return relay_fault(ret_fault, n, "cannot take systemd's sockets: %s", strerror(-n));
        for (int i = 0; i < n && r == 0; i++) {
                r = relay_listen_fd(d->relay, SD_LISTEN_FDS_START + i);
                if (r < 0)
                        (void)relay_fault(ret_fault, r, "cannot use systemd's socket %d: %s", i,
                                          r == -EINVAL ? "it listens for no stream (Accept=no)"
                                                       : strerror(-r));
        }
        for (size_t i = 0; i < n_listen && r == 0; i++)
                r = relay_listen(d->relay, o->n_listen ? o->listen[i] : c->listen[i], ret_fault);
        if (r == 0 && n == 0 && n_listen == 0) {
                (void)snprintf(number, sizeof(number), "%llu",
                               (unsigned long long)c->port); /* fits */
                r = relay_listen(d->relay, number, ret_fault);
        }
        return r;
}

static int start(Daemon *d, RelayConfig *config, char **ret_fault)
{
        const char *name;
        int r;

        use_config(d, config);
        r = relay_new(&d->relay, &d->loop, config, ret_fault);
        if (r == 0)
                r = listen_all(d, relay_config(d->relay), ret_fault);
        if (r < 0)
                return r;
        watch(d);
        for (size_t i = 0; (name = relay_listener_name(d->relay, i)); i++)
                log_listening(d, name);
        (void)sd_notify(0, "READY=1");
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
        _cleanup_(relay_config_done) RelayConfig config = {};
        _cleanup_(freep) char *fault = NULL;
        Daemon d = {.log_journal = stderr_is_journal()};
        int r = parse_options(&d.options, argc, argv);

        if (r != PARSE_RUN)
                return r == PARSE_DONE ? EXIT_SUCCESS : 2;
        if (load_config(&d.options, &config, &fault) < 0) {
                fprintf(stderr, "link-relay: %s\n", fault ? fault : "out of memory");
                return EXIT_FAILURE;
        }
        if (d.options.check_config) {
                puts("the configuration is valid");
                return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        }
        if (sodium_init() < 0) {
                fprintf(stderr, "link-relay: libsodium does not start\n");
                return EXIT_FAILURE;
        }
        (void)signal(SIGPIPE, SIG_IGN); /* stderr may go away */
        raise_file_limit();
        return run(&d, &config) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
