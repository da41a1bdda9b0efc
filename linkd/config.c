#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const char system_file[] = "/etc/link/linkd.conf";

static const char help[] =
        "Usage: linkd [OPTION]...\n"
        "The agent of Link: keeps this machine reachable through relays, and reaches others.\n"
        "\n"
        "  --config FILE      configuration (default: /etc/link/linkd.conf, with --user\n"
        "                     $XDG_CONFIG_HOME/link/linkd.conf; the default may be absent)\n"
        "  --state-dir DIR    keys, devices and peers (default: /var/lib/linkd, with --user\n"
        "                     $XDG_STATE_HOME/linkd)\n"
        "  --socket PATH      where applications find the agent (default: /run/linkd/linkd.sock,\n"
        "                     with --user $XDG_RUNTIME_DIR/linkd/linkd.sock)\n"
        "  --user             run for this user alone\n"
        "  --no-bus           do not offer D-Bus\n"
        "  --check-config     say whether the configuration is valid, and end\n"
        "  --check-state      read all of the state directory, say what is wrong with it, change\n"
        "                     nothing, and end\n"
        "  --log-level LEVEL  error, warning, info (default) or debug\n"
        "  --version, --help\n"
        "\n"
        "It runs in the foreground and logs to stderr. SIGTERM or SIGINT ends it, SIGHUP takes a "
        "new\n"
        "configuration in force: all but state_dir and socket, and all or nothing.\n"
        "Exit status: 0 ended as asked, 1 it could not go on, 2 wrong usage.\n";

typedef struct Options {
        const char *config, *state_dir, *socket, *log_level;
        bool user, check_config, check_state;
} Options;

static int parse_argv(Options *o, int argc, char **argv)
{
        enum {
                OPT_CONFIG = 256,
                OPT_STATE,
                OPT_SOCKET,
                OPT_USER,
                OPT_BUS,
                OPT_CHECK_CONFIG,
                OPT_CHECK_STATE,
                OPT_LOG,
                OPT_VERSION,
                OPT_HELP
        };
        static const struct option options[] = {
                {"config", required_argument, NULL, OPT_CONFIG},
                {"state-dir", required_argument, NULL, OPT_STATE},
                {"socket", required_argument, NULL, OPT_SOCKET},
                {"user", no_argument, NULL, OPT_USER},
                {"no-bus", no_argument, NULL, OPT_BUS},
                {"check-config", no_argument, NULL, OPT_CHECK_CONFIG},
                {"check-state", no_argument, NULL, OPT_CHECK_STATE},
                {"log-level", required_argument, NULL, OPT_LOG},
                {"version", no_argument, NULL, OPT_VERSION},
                {"help", no_argument, NULL, OPT_HELP},
                {},
        };
        int opt;

        optind = 0; /* GNU: from the beginning; SIGHUP reads them again */
        while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                switch (opt) {
                case OPT_CONFIG:
                        o->config = optarg;
                        break;
                case OPT_STATE:
                        o->state_dir = optarg;
                        break;
                case OPT_SOCKET:
                        o->socket = optarg;
                        break;
                case OPT_USER:
                        o->user = true;
                        break;
                case OPT_BUS:
                        break; /* this version offers none anyway */
                case OPT_CHECK_CONFIG:
                        o->check_config = true;
                        break;
                case OPT_CHECK_STATE:
                        o->check_state = true;
                        break;
                case OPT_LOG:
                        o->log_level = optarg;
                        break;
                case OPT_VERSION:
                        printf("linkd %s\n", LINK_VERSION);
                        return CONFIG_DONE;
                case OPT_HELP:
                        fputs(help, stdout);
                        return CONFIG_DONE;
                default: /* told by getopt */
                        fputs("Try: linkd --help\n", stderr);
                        return CONFIG_USAGE;
                }
        }
        if (optind < argc) {
                fprintf(stderr, "linkd: unexpected argument \"%s\"\nTry: linkd --help\n",
                        argv[optind]);
                return CONFIG_USAGE;
        }
        return CONFIG_RUN;
}

/* "$NAME/tail", or "$HOME/fallback/tail"; NULL: neither is set, or no memory. */
static char *user_path(const char *name, const char *fallback, const char *tail)
{
        const char *dir = getenv(name), *home = getenv("HOME");
        char *path = NULL;
        int r = -1;

        if (dir && dir[0] == '/')
                r = asprintf(&path, "%s/%s", dir, tail);
        else if (fallback && home && home[0] == '/')
                r = asprintf(&path, "%s/%s/%s", home, fallback, tail);
        return r < 0 ? NULL : path;
}

/* The runtime directory, what it is without a login session, or the state directory: liblinkipc
 * looks in the same order (docs/IPC.md). */
static char *user_socket(void)
{
        char *path = user_path("XDG_RUNTIME_DIR", NULL, "linkd/linkd.sock");
        char dir[64];
        struct stat st;

        if (path)
                return path;
        (void)snprintf(dir, sizeof(dir), "/run/user/%u", getuid()); /* fits */
        if (stat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == getuid())
                return asprintf(&path, "%s/linkd/linkd.sock", dir) < 0 ? NULL : path;
        return user_path("HOME", NULL, ".local/state/linkd/linkd.sock");
}

static int set_path(char **to, const char *given, char *fallback, const char *what,
                    char **ret_fault)
{
        if (given) {
                free(*to);
                *to = strdup(given);
        } else if (!*to) {
                *to = TAKE_PTR(fallback);
        }
        free(fallback);
        return *to ? 0 : conf_fail(ret_fault, -ENOENT, "no %s: name one, or set HOME", what);
}

/* Where everything is that nobody has named. */
static int set_paths(Settings *s, const Options *o, char **ret_fault)
{
        int r = set_path(&s->state_dir, o->state_dir,
                         o->user ? user_path("XDG_STATE_HOME", ".local/state", "linkd")
                                 : strdup("/var/lib/linkd"),
                         "state directory (--state-dir)", ret_fault);

        return r < 0 ? r
                     : set_path(&s->socket, o->socket,
                                o->user ? user_socket() : strdup("/run/linkd/linkd.sock"),
                                "socket (--socket)", ret_fault);
}

static int read_file(Settings *s, const Options *o, char **ret_fault)
{
        _cleanup_(freep) char *standard =
                o->user ? user_path("XDG_CONFIG_HOME", ".config", "link/linkd.conf")
                        : strdup(system_file);
        const char *file = o->config ? o->config : standard;

        if (!file || (!o->config && access(file, F_OK) < 0 && errno == ENOENT))
                return 0;
        return settings_read(s, file, ret_fault);
}

int config_load(Config *ret, int argc, char **argv, char **ret_fault)
{
        _cleanup_(config_done) Config c = {};
        Options o = {};
        int r = parse_argv(&o, argc, argv);

        if (r != CONFIG_RUN)
                return r;
        r = settings_init(&c.settings, ret_fault);
        if (r == 0)
                r = read_file(&c.settings, &o, ret_fault);
        if (r < 0)
                return r;
        if (o.log_level && log_level_parse(o.log_level, &c.settings.log_level) < 0) {
                fprintf(stderr, "linkd: --log-level %s is none of error, warning, info, debug\n",
                        o.log_level);
                return CONFIG_USAGE;
        }
        r = set_paths(&c.settings, &o, ret_fault);
        if (r < 0)
                return r;
        c.check_config = o.check_config;
        c.check_state = o.check_state;
        *ret = c;
        c = (Config){};
        return CONFIG_RUN;
}

void config_done(Config *c)
{
        settings_done(&c->settings);
}
