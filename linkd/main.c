/* linkd: the agent. Options, loop, signals; everything else is the Agent's. */
#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <uv.h>

#include "agent.h"
#include "config.h"
#include "ipc-server.h"
#include "limits.h"
#include "log.h"

LogLevel log_max_level = LOG_LEVEL_INFO;

typedef struct Daemon {
        uv_loop_t loop;
        uv_signal_t term, interrupt;
        bool watching;
        Agent *agent;
} Daemon;

/* Closes everything: the loop then runs out. */
static void stop(Daemon *d)
{
        if (d->watching) {
                uv_close((uv_handle_t *)&d->term, NULL);
                uv_close((uv_handle_t *)&d->interrupt, NULL);
        }
        if (d->agent)
                agent_stop(d->agent);
}

static void on_signal(uv_signal_t *handle, int signum)
{
        Daemon *d = handle->data;

        log_info("ending on signal %d", signum);
        (void)sd_notify(0, "STOPPING=1"); /* nobody listening is fine */
        stop(d);
}

static int watch_signals(Daemon *d)
{
        int r = uv_signal_init(&d->loop, &d->term);

        if (r < 0)
                return r;
        r = uv_signal_init(&d->loop, &d->interrupt);
        if (r < 0) {
                uv_close((uv_handle_t *)&d->term, NULL);
                return r;
        }
        d->watching = true;
        d->term.data = d->interrupt.data = d;
        r = uv_signal_start(&d->term, on_signal, SIGTERM);
        if (r == 0)
                r = uv_signal_start(&d->interrupt, on_signal, SIGINT);
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

static int start(Daemon *d, const Config *config)
{
        _cleanup_(freep) char *fault = NULL;
        int r = agent_new(&d->agent, &d->loop, config->state_dir, &config->settings, &fault);

        if (r == 0)
                r = ipc_server_new(&d->agent->ipc, d->agent, config->socket, &fault);
        if (r == 0)
                r = watch_signals(d);
        if (r == 0)
                r = agent_start(d->agent);
        if (r < 0) {
                log_error("cannot start: %s", fault ? fault : strerror(-r));
                return r;
        }
        fprintf(stderr, "ready: socket %s\n", config->socket);
        (void)sd_notify(0, "READY=1"); /* nobody listening is fine */
        return 0;
}

static int run(const Config *config)
{
        Daemon d = {};
        int r = uv_loop_init(&d.loop);

        if (r < 0) {
                log_error("cannot make an event loop: %s", uv_strerror(r));
                return r;
        }
        r = start(&d, config);
        if (r < 0)
                stop(&d);
        (void)uv_run(&d.loop, UV_RUN_DEFAULT); /* 0: nothing is left */
        d.agent = agent_free(d.agent);
        if (uv_loop_close(&d.loop) < 0)
                log_error("the event loop did not end cleanly");
        return r;
}

int main(int argc, char **argv)
{
        _cleanup_(config_done) Config config = {};
        int r = config_load(&config, argc, argv);

        if (r < 0)
                return EXIT_FAILURE;
        if (r != CONFIG_RUN)
                return r == CONFIG_DONE ? EXIT_SUCCESS : 2;
        log_max_level = config.log_level;
        if (sodium_init() < 0) {
                log_error("libsodium does not start");
                return EXIT_FAILURE;
        }
        harden_process();
        return run(&config) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
