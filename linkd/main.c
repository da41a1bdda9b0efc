/* linkd: the agent. Options, loop, signals; everything else is the Agent's. */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <uv.h>

#include "agent.h"
#include "config.h"
#include "host.h"
#include "ipc-server.h"
#include "limits.h"
#include "log.h"
#include "notify.h"
#include "peer.h"

LogLevel log_max_level = LOG_LEVEL_INFO;
bool log_to_journal;

typedef struct Daemon {
        uv_loop_t loop;
        uv_signal_t term, interrupt, hangup;
        bool watching;
        Agent *agent;
        Config config; /* in force; the agent looks at its settings */
        int argc;      /* for reading the configuration again */
        char **argv;
        Notify *notify;
} Daemon;

static unsigned count_hosts(const Agent *a)
{
        unsigned n = 0;

        for (const Host *h = a->hosts; h; h = h->next)
                n++;
        return n;
}

static unsigned count_peers(const Agent *a)
{
        unsigned n = 0;

        for (const Peer *p = a->peers; p; p = p->next)
                n++;
        return n;
}

/* ---- signals ---- */

/* Closes everything: the loop then runs out. */
static void stop(Daemon *d)
{
        if (d->watching) {
                uv_close((uv_handle_t *)&d->term, NULL);
                uv_close((uv_handle_t *)&d->interrupt, NULL);
                uv_close((uv_handle_t *)&d->hangup, NULL);
        }
        d->notify = notify_free(d->notify);
        if (d->agent)
                agent_stop(d->agent);
}

static void on_signal(uv_signal_t *handle, int signum)
{
        Daemon *d = handle->data;

        log_info("ending on signal %d", signum);
        notify_stopping();
        stop(d);
}

/* What cannot change goes on as it was. */
static void keep_path(char **fresh, char **now, const char *name)
{
        char *kept = TAKE_PTR(*now);

        if (strcmp(*fresh, kept) != 0)
                log_warning("%s = \"%s\" counts from the next start; until then it is \"%s\"", name,
                            *fresh, kept);
        *now = TAKE_PTR(*fresh);
        *fresh = kept;
}

/* All of the new configuration or nothing of it. */
static void reload(Daemon *d)
{
        _cleanup_(config_done) Config c = {}; /* the new one, then the old */
        _cleanup_(freep) char *fault = NULL;
        Config swap;
        int r = config_load(&c, d->argc, d->argv, &fault);

        if (r == CONFIG_RUN)
                r = ipc_server_set_group(d->agent->ipc, &c.settings, &fault);
        if (r != CONFIG_RUN) {
                log_error("%s; the configuration stays as it was", fault   ? fault
                                                                   : r < 0 ? strerror(-r)
                                                                           : "wrong usage");
                return;
        }
        keep_path(&c.settings.state_dir, &d->config.settings.state_dir, "state_dir");
        keep_path(&c.settings.socket, &d->config.settings.socket, "socket");
        swap = d->config;
        d->config = c;
        c = swap;
        log_max_level = d->config.settings.log_level;
        agent_settings_changed(d->agent);
        log_info("the configuration was read again");
}

static void on_hangup(uv_signal_t *handle, int signum)
{
        Daemon *d = handle->data;

        (void)signum;
        notify_reloading();
        reload(d);
        notify_ready(d->notify);
}

static int watch_signals(Daemon *d)
{
        const struct {
                uv_signal_t *handle;
                uv_signal_cb func;
                int signum;
        } signals[] = {
                {&d->term, on_signal, SIGTERM},
                {&d->interrupt, on_signal, SIGINT},
                {&d->hangup, on_hangup, SIGHUP},
        };
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                r = uv_signal_init(&d->loop, signals[i].handle);
                if (r < 0) { /* the loop ends with those that there are */
                        while (i-- > 0)
                                uv_close((uv_handle_t *)signals[i].handle, NULL);
                        return r;
                }
                signals[i].handle->data = d;
        }
        d->watching = true;
        for (size_t i = 0; r == 0 && i < ELEMENTSOF(signals); i++)
                r = uv_signal_start(signals[i].handle, signals[i].func, signals[i].signum);
        return r;
}

static void harden_process(void)
{
        struct rlimit files, core = {0, 0};

        /* Keys are in memory: no core dump, no ptrace by the same user. */
        if (prctl(PR_SET_DUMPABLE, 0) < 0 || setrlimit(RLIMIT_CORE, &core) < 0)
                log_warning("cannot turn core dumps off: %s", strerror(errno));
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = MIN(files.rlim_max, (rlim_t)OPEN_FILES_MAX);
                if (setrlimit(RLIMIT_NOFILE, &files) < 0)
                        log_warning("cannot raise the limit of open files: %s", strerror(errno));
        }
        (void)umask(0077);
        (void)signal(SIGPIPE, SIG_IGN); /* a closed socket is an errno */
}

static int start(Daemon *d)
{
        const Config *config = &d->config;
        _cleanup_(freep) char *fault = NULL;
        int r = agent_new(&d->agent, &d->loop, config->settings.state_dir, &config->settings,
                          &fault);

        if (r == 0)
                r = ipc_server_new(&d->agent->ipc, d->agent, config->settings.socket, &fault);
        if (r == 0)
                r = watch_signals(d);
        if (r == 0)
                r = notify_new(&d->notify, d->agent);
        if (r == 0)
                r = agent_start(d->agent);
        if (r < 0) {
                log_error("cannot start: %s", fault ? fault : strerror(-r));
                return r;
        }
        fprintf(stderr, "ready: socket %s\n", config->settings.socket);
        notify_ready(d->notify);
        return 0;
}

/* ---- checking the state ---- */

/* What is wrong has been logged line by line. */
static int report_state(const Agent *a)
{
        unsigned devices = 0;
        int r = store_check_writable(a->store);

        for (const Host *h = a->hosts; h; h = h->next)
                devices += h->n_devices;
        printf("%s: %u hosts, %u devices, %u peers", store_dir(a->store), count_hosts(a), devices,
               count_peers(a));
        if (a->n_unreadable)
                printf("; %u records cannot be used: restore them from a backup, or move them "
                       "away\n",
                       a->n_unreadable);
        else
                puts(r < 0 ? "; all can be read" : "; all is well");
        if (r < 0)
                printf("it cannot be written: %s; %s\n", strerror(-r), store_remedy(r));
        return a->n_unreadable ? -EBADMSG : r;
}

static int check_state(const Config *config)
{
        _cleanup_(freep) char *fault = NULL;
        Agent *a = NULL;
        uv_loop_t loop;
        int r = uv_loop_init(&loop);

        if (r < 0)
                return r;
        r = agent_new_to_check(&a, &loop, config->settings.state_dir, &fault);
        if (r < 0) {
                log_error("%s", fault ? fault : strerror(-r));
        } else {
                r = report_state(a);
                agent_stop(a);
        }
        (void)uv_run(&loop, UV_RUN_DEFAULT); /* 0: nothing is left */
        agent_free(a);
        if (uv_loop_close(&loop) < 0)
                log_error("the event loop did not end cleanly");
        return r;
}

/* ---- running ---- */

/* Takes config over. */
static int run(Config *config, int argc, char **argv)
{
        Daemon d = {.config = *config, .argc = argc, .argv = argv};
        int r = uv_loop_init(&d.loop);

        *config = (Config){};
        if (r < 0) {
                config_done(&d.config);
                log_error("cannot make an event loop: %s", uv_strerror(r));
                return r;
        }
        r = start(&d);
        if (r < 0)
                stop(&d);
        (void)uv_run(&d.loop, UV_RUN_DEFAULT); /* 0: nothing is left */
        d.agent = agent_free(d.agent);
        if (uv_loop_close(&d.loop) < 0)
                log_error("the event loop did not end cleanly");
        config_done(&d.config);
        return r;
}

/* One arena: the threads that look names up need none each. And buffers of large messages are not
 * given back to the system, and faulted in again, with every message. */
static void tune_malloc(void)
{
        if (mallopt(M_ARENA_MAX, 1) != 1 || mallopt(M_MMAP_THRESHOLD, MALLOC_KEEP_BYTES) != 1 ||
            mallopt(M_TRIM_THRESHOLD, MALLOC_KEEP_BYTES) != 1)
                log_debug("malloc takes no advice"); /* slower, and as right */
}

int main(int argc, char **argv)
{
        _cleanup_(config_done) Config config = {};
        _cleanup_(freep) char *fault = NULL;
        int r = config_load(&config, argc, argv, &fault);

        if (r < 0) {
                fprintf(stderr, "linkd: %s\n", fault ? fault : strerror(-r));
                return EXIT_FAILURE;
        }
        if (r != CONFIG_RUN)
                return r == CONFIG_DONE ? EXIT_SUCCESS : 2;
        log_max_level = config.settings.log_level;
        log_to_journal = log_stderr_is_journal();
        tune_malloc();
        if (sodium_init() < 0) {
                log_error("libsodium does not start");
                return EXIT_FAILURE;
        }
        if (config.check_config) {
                puts("the configuration is valid");
                return EXIT_SUCCESS;
        }
        harden_process();
        if (config.check_state)
                return check_state(&config) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        return run(&config, argc, argv) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
