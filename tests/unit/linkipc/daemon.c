#include "daemon.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "agent.h"

enum { LOG_MAX = 65536 };

/* Reads its log until this stands there in a whole line; text holds what was read. What comes later
 * stays in the pipe, which is not read any more: writing to it never waits. */
static void wait_log(const Daemon *d, const char *word, char text[LOG_MAX])
{
        size_t n = 0;

        text[0] = 0;
        for (;;) {
                const char *found = strstr(text, word);
                if (found && strchr(found, '\n'))
                        return;
                struct pollfd p = {.fd = d->log, .events = POLLIN};
                assert_int_equal(poll(&p, 1, PATIENCE_MSEC), 1);
                ssize_t k = read(d->log, text + n, LOG_MAX - 1 - n);
                if (k <= 0)
                        fail_msg("it did not start: %s", text);
                n += (size_t)k;
                text[n] = 0;
        }
}

static void start(Daemon *d, const char *const *argv)
{
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        d->pid = fork();
        assert_true(d->pid >= 0);
        if (d->pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* when a test crashes */
                (void)fcntl(fds[1], F_SETFL, O_NONBLOCK);
                (void)dup2(fds[1], STDERR_FILENO);
                (void)setenv("LINK_IP_RATE_PER_MIN", "0", 1);
                (void)setenv("LINK_RELAY_MAX_BPS", "0", 1);
                execv(argv[0], (char **)argv);
                _exit(127);
        }
        assert_int_equal(close(fds[1]), 0);
        d->log = fds[0];
}

void linkd_start(Daemon *d, const char *program)
{
        char state_dir[64], text[LOG_MAX];

        *d = (Daemon){.dir = "/tmp/linkipc-XXXXXX"};
        assert_non_null(mkdtemp(d->dir));
        (void)snprintf(d->socket, sizeof d->socket, "%s/sock", d->dir);
        (void)snprintf(state_dir, sizeof state_dir, "%s/state", d->dir);
        start(d, (const char *const[]){program, "--no-bus", "--config", "/dev/null", "--state-dir",
                                       state_dir, "--socket", d->socket, NULL});
        wait_log(d, "ready: socket ", text);
}

void relay_start(Daemon *d, const char *program)
{
        static const char words[] = "listening on 127.0.0.1:";
        char text[LOG_MAX];

        *d = (Daemon){.dir = "/tmp/linkipc-XXXXXX"};
        assert_non_null(mkdtemp(d->dir));
        start(d, (const char *const[]){program, "--config", "/dev/null", "--listen", "127.0.0.1:0",
                                       NULL});
        wait_log(d, words, text);
        const char *port = strstr(text, words) + strlen(words);
        (void)snprintf(d->url, sizeof d->url, "ws://127.0.0.1:%.*s", (int)strcspn(port, "\n"),
                       port);
}

void daemon_signal(Daemon *d, int number)
{
        int status;

        if (d->pid == 0)
                return;
        assert_int_equal(kill(d->pid, number), 0);
        assert_int_equal(waitpid(d->pid, &status, 0), d->pid);
        d->pid = 0;
        if (number == SIGTERM)
                assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
        (void)st;
        (void)flag;
        (void)ftw;
        return remove(path);
}

void daemon_end(Daemon *d)
{
        daemon_signal(d, SIGTERM);
        assert_int_equal(close(d->log), 0);
        assert_int_equal(nftw(d->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}
