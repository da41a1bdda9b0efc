#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <libconfig.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
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
        "It runs in the foreground and logs to stderr. SIGTERM or SIGINT ends it, SIGHUP reads "
        "the\n"
        "configuration again: the log level changes at once, the rest at the next start.\n"
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

static int take_setting(Config *c, const char *file, const config_setting_t *s)
{
        const char *name = config_setting_name(s), *value = config_setting_get_string(s);
        unsigned line = config_setting_source_line(s);
        char **to = strcmp(name, "state_dir") == 0 ? &c->state_dir
                    : strcmp(name, "socket") == 0  ? &c->socket
                                                   : NULL;

        if (!to && strcmp(name, "log_level") != 0) {
                fprintf(stderr, "linkd: %s:%u: unknown setting \"%s\"\n", file, line, name);
                return -EINVAL;
        }
        if (!value || !value[0]) {
                fprintf(stderr, "linkd: %s:%u: \"%s\" must be a string\n", file, line, name);
                return -EINVAL;
        }
        if (to && value[0] != '/') {
                fprintf(stderr, "linkd: %s:%u: %s \"%s\" must begin with /\n", file, line, name,
                        value);
                return -EINVAL;
        }
        if (to == &c->socket && strlen(value) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
                fprintf(stderr, "linkd: %s:%u: socket \"%s\" is too long for a Unix socket\n", file,
                        line, value);
                return -EINVAL;
        }
        if (!to) {
                if (log_level_parse(value, &c->log_level) == 0)
                        return 0;
                fprintf(stderr,
                        "linkd: %s:%u: log_level \"%s\" is none of error, warning, info, debug\n",
                        file, line, value);
                return -EINVAL;
        }
        free(*to);
        *to = strdup(value);
        return *to ? 0 : -ENOMEM;
}

static int read_file(Config *c, const char *file, bool must_exist)
{
        config_t cfg;
        int r = 0;

        if (!must_exist && access(file, F_OK) < 0 && errno == ENOENT)
                return 0;
        config_init(&cfg);
        if (!config_read_file(&cfg, file)) {
                if (config_error_type(&cfg) == CONFIG_ERR_FILE_IO)
                        fprintf(stderr, "linkd: cannot read the configuration %s\n", file);
                else
                        fprintf(stderr, "linkd: %s:%d: %s\n", file, config_error_line(&cfg),
                                config_error_text(&cfg));
                r = -EINVAL;
        }
        const config_setting_t *root = r == 0 ? config_root_setting(&cfg) : NULL;
        for (int i = 0; root && r == 0 && i < config_setting_length(root); i++)
                r = take_setting(c, file, config_setting_get_elem(root, (unsigned)i));
        config_destroy(&cfg);
        return r;
}

static int set_path(char **to, const char *given, char *fallback, const char *what)
{
        if (given) {
                free(*to);
                *to = strdup(given);
        } else if (!*to) {
                *to = TAKE_PTR(fallback);
        }
        free(fallback);
        if (*to)
                return 0;
        fprintf(stderr, "linkd: no %s: name one, or set HOME\n", what);
        return -ENOENT;
}

int config_load(Config *ret, int argc, char **argv)
{
        _cleanup_(config_done) Config c = {.log_level = LOG_LEVEL_INFO};
        Options o = {};
        int r = parse_argv(&o, argc, argv);

        if (r != CONFIG_RUN)
                return r;
        _cleanup_(freep) char *file =
                o.user ? user_path("XDG_CONFIG_HOME", ".config", "link/linkd.conf")
                       : strdup(system_file);
        if (o.config || file)
                r = read_file(&c, o.config ? o.config : file, o.config != NULL);
        if (r < 0)
                return r;
        if (o.log_level && log_level_parse(o.log_level, &c.log_level) < 0) {
                fprintf(stderr, "linkd: --log-level %s is none of error, warning, info, debug\n",
                        o.log_level);
                return CONFIG_USAGE;
        }
        r = set_path(&c.state_dir, o.state_dir,
                     o.user ? user_path("XDG_STATE_HOME", ".local/state", "linkd")
                            : strdup("/var/lib/linkd"),
                     "state directory (--state-dir)");
        if (r == 0)
                r = set_path(&c.socket, o.socket,
                             o.user ? user_socket() : strdup("/run/linkd/linkd.sock"),
                             "socket (--socket)");
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
        free(c->state_dir);
        free(c->socket);
}
