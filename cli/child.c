#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "limits.h"
#include "text.h"

enum { READ_BYTES = 65536 }; /* the size of a pipe */

struct Child {
        pid_t pid;
        bool ended;
        int status;
        int fds[3]; /* our ends of its stdin, stdout, stderr; -1: closed */
        size_t watch[3];
        bool watched[3];
        Bytes input, output, errors;
        size_t input_off, output_max;
        int error; /* what became of the output: 0, -EMSGSIZE, -ENOMEM */
};

static void close_fd(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd); /* of a pipe: nothing to learn */
        *fd = -1;
}

/* ---- starting ---- */

/* ours[i] and theirs[i] for stdin, stdout, stderr; ours do not block. */
static int make_pipes(int ours[3], int theirs[3])
{
        for (int i = 0; i < 3; i++) {
                int p[2];
                if (pipe2(p, O_CLOEXEC) < 0)
                        return -errno;
                ours[i] = i == 0 ? p[1] : p[0];
                theirs[i] = i == 0 ? p[0] : p[1];
                if (fcntl(ours[i], F_SETFL, O_NONBLOCK) < 0)
                        return -errno;
        }
        return 0;
}

/* Our environment and more; the strings are borrowed. */
static char **join_environment(const char *const *more)
{
        size_t n = 0, n_more = 0;
        char **joined;

        while (environ[n])
                n++;
        while (more[n_more])
                n_more++;
        joined = calloc(n + n_more + 1, sizeof(*joined));
        if (!joined)
                return NULL;
        memcpy(joined, more, n_more * sizeof(*joined)); /* the first of a name counts */
        memcpy(joined + n_more, environ, n * sizeof(*joined));
        return joined;
}

/* A group of its own, so that all of it can be killed; our signal handling undone. */
static int set_attributes(posix_spawnattr_t *attr)
{
        sigset_t none, defaults;
        int r;

        if (sigemptyset(&none) < 0 || sigemptyset(&defaults) < 0 ||
            sigaddset(&defaults, SIGPIPE) < 0)
                return errno;
        r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                   POSIX_SPAWN_SETSIGDEF);
        if (r == 0)
                r = posix_spawnattr_setpgroup(attr, 0);
        if (r == 0)
                r = posix_spawnattr_setsigmask(attr, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(attr, &defaults);
        return r;
}

static int spawn_with(Child *c, const ChildSpec *spec, const int theirs[3], posix_spawnattr_t *attr,
                      posix_spawn_file_actions_t *actions)
{
        char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char *)(uintptr_t)spec->command, NULL};
        _cleanup_(freep) char **environment = join_environment(spec->environment);
        int r = environment ? set_attributes(attr) : ENOMEM;

        for (int i = 0; r == 0 && i < 3; i++)
                r = posix_spawn_file_actions_adddup2(actions, theirs[i], i);
        return r == 0 ? posix_spawn(&c->pid, "/bin/sh", actions, attr, argv, environment) : r;
}

static int spawn(Child *c, const ChildSpec *spec, const int theirs[3])
{
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        int r = posix_spawn_file_actions_init(&actions);

        if (r != 0)
                return -r;
        r = posix_spawnattr_init(&attr);
        if (r == 0) {
                r = spawn_with(c, spec, theirs, &attr, &actions);
                (void)posix_spawnattr_destroy(&attr); /* cannot fail */
        }
        (void)posix_spawn_file_actions_destroy(&actions); /* cannot fail */
        return -r;
}

int child_start(Child **ret, const ChildSpec *spec)
{
        int theirs[3] = {-1, -1, -1};
        Child *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->fds[0] = c->fds[1] = c->fds[2] = -1;
        c->output_max = spec->output_max;
        r = bytes_add(&c->input, spec->input, spec->input_n, SIZE_MAX);
        if (r == 0)
                r = make_pipes(c->fds, theirs);
        if (r == 0)
                r = spawn(c, spec, theirs);
        for (int i = 0; i < 3; i++)
                close_fd(&theirs[i]);
        if (r < 0)
                (void)child_free(c); /* NULL */
        else
                *ret = c;
        return r;
}

Child *child_free(Child *c)
{
        if (!c)
                return NULL;
        child_signal(c, SIGKILL);
        while (c->pid > 0 && !c->ended && waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
                ;
        for (int i = 0; i < 3; i++)
                close_fd(&c->fds[i]);
        bytes_done(&c->input);
        bytes_done(&c->output);
        bytes_done(&c->errors);
        free(c);
        return NULL;
}

/* ---- running ---- */

int child_watch(Child *c, Loop *loop)
{
        int r = 0;

        for (int i = 0; r == 0 && i < 3; i++) {
                c->watched[i] = c->fds[i] >= 0;
                if (c->watched[i])
                        r = loop_watch(loop, c->fds[i], i == 0 ? POLLOUT : POLLIN, &c->watch[i]);
        }
        return r;
}

/* A child need not read what it is given. */
static void write_input(Child *c)
{
        ssize_t n = write(c->fds[0], c->input.p + c->input_off, c->input.n - c->input_off);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        c->input_off = n < 0 ? c->input.n : c->input_off + (size_t)n;
        if (c->input_off == c->input.n) {
                bytes_done(&c->input);
                c->input_off = 0;
                close_fd(&c->fds[0]);
        }
}

static void take_output(Child *c, const char *data, size_t n)
{
        if (c->error == 0)
                c->error = bytes_add(&c->output, data, n, c->output_max);
}

/* Only the end is kept. */
static void take_errors(Child *c, const char *data, size_t n)
{
        size_t over;

        if (n > ERROR_TEXT_BYTES) {
                data += n - ERROR_TEXT_BYTES;
                n = ERROR_TEXT_BYTES;
        }
        over = c->errors.n + n > ERROR_TEXT_BYTES ? c->errors.n + n - ERROR_TEXT_BYTES : 0;
        if (over > 0)
                bytes_drop(&c->errors, over);
        if (bytes_add(&c->errors, data, n, ERROR_TEXT_BYTES) < 0)
                bytes_done(&c->errors); /* no memory: then without */
}

/* One read from stdout or stderr. False: nothing, now or for ever. */
static bool read_some(Child *c, int i)
{
        char chunk[READ_BYTES];
        ssize_t n = read(c->fds[i], chunk, sizeof(chunk));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return false;
        if (n <= 0)
                close_fd(&c->fds[i]);
        else if (i == 1)
                take_output(c, chunk, (size_t)n);
        else
                take_errors(c, chunk, (size_t)n);
        return n > 0;
}

void child_pump(Child *c, const Loop *loop)
{
        for (int i = 0; i < 3; i++) {
                if (c->fds[i] < 0 || !c->watched[i] || !loop_events(loop, c->watch[i]))
                        continue;
                if (i == 0)
                        write_input(c);
                else
                        (void)read_some(c, i); /* more comes with the next round */
        }
}

bool child_reap(Child *c, bool kill_rest)
{
        siginfo_t info = {};

        if (c->ended || waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
            info.si_pid != c->pid)
                return c->ended;
        if (kill_rest) /* as long as it is not reaped, the group's number is not used again */
                child_signal(c, SIGKILL);
        if (waitpid(c->pid, &c->status, 0) != c->pid)
                return false;
        c->ended = true;
        /* What it left in the pipes; others that hold them open are not waited for. More than a
         * full pipe cannot be there, unless such others write without end. */
        for (int i = 1; i < 3; i++)
                for (int n = 0; n < 16 && c->fds[i] >= 0 && read_some(c, i); n++)
                        ;
        return true;
}

void child_signal(Child *c, int signo)
{
        if (c->pid > 0 && !c->ended)
                (void)kill(-c->pid, signo); /* it may be gone, and not reaped yet */
}

const Bytes *child_output(const Child *c)
{
        return &c->output;
}

int child_error(const Child *c)
{
        return c->error;
}

int child_exit_status(const Child *c)
{
        return WIFEXITED(c->status) ? WEXITSTATUS(c->status) : 128 + WTERMSIG(c->status);
}

char *child_last_words(const Child *c)
{
        const char *end, *start;

        if (!c->errors.p)
                return strdup("");
        end = c->errors.p + c->errors.n;
        while (end > c->errors.p && strchr("\r\n", end[-1]))
                end--;
        for (start = end; start > c->errors.p && start[-1] != '\n'; start--)
                ;
        return text_clean(start, (size_t)(end - start));
}
