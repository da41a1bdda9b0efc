#include "loop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { FD_SIGNALS, FD_LINK, FD_FIRST };

struct Loop {
        linkipc *link;
        int signals;
        bool hold;
        bool ran; /* the watches are of a round that is over */
        uint64_t until_usec;
        struct pollfd *fds;
        size_t n_fds, size;
};

int loop_new(Loop **ret, linkipc *l)
{
        _cleanup_(loop_freep) Loop *loop = calloc(1, sizeof(*loop));
        sigset_t set;

        if (!loop)
                return -ENOMEM;
        loop->signals = -1;
        loop->link = l;
        loop->until_usec = LOOP_NEVER;
        loop->n_fds = FD_FIRST;
        loop->size = FD_FIRST + 1;
        loop->fds = calloc(loop->size, sizeof(*loop->fds));
        if (!loop->fds)
                return -ENOMEM;
        if (sigemptyset(&set) < 0 || sigaddset(&set, SIGTERM) < 0 || sigaddset(&set, SIGINT) < 0 ||
            sigaddset(&set, SIGCHLD) < 0 || sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        loop->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (loop->signals < 0)
                return -errno;
        *ret = TAKE_PTR(loop);
        return 0;
}

Loop *loop_free(Loop *loop)
{
        if (!loop)
                return NULL;
        if (loop->signals >= 0)
                (void)close(loop->signals); /* nothing was written */
        free(loop->fds);
        free(loop);
        return NULL;
}

uint64_t loop_now_usec(void)
{
        struct timespec t = {};

        (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail with this clock */
        return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void loop_hold(Loop *loop, bool hold)
{
        loop->hold = hold;
}

/* A new round begins. */
static void begin(Loop *loop)
{
        if (!loop->ran)
                return;
        loop->ran = false;
        loop->n_fds = FD_FIRST;
        loop->until_usec = LOOP_NEVER;
}

int loop_watch(Loop *loop, int fd, short events, size_t *ret_index)
{
        begin(loop);
        if (loop->n_fds == loop->size) {
                struct pollfd *more = reallocarray(loop->fds, loop->size * 2, sizeof(*more));
                if (!more)
                        return -ENOMEM;
                loop->fds = more;
                loop->size *= 2;
        }
        loop->fds[loop->n_fds] = (struct pollfd){.fd = fd, .events = events};
        *ret_index = loop->n_fds++;
        return 0;
}

void loop_until(Loop *loop, uint64_t usec)
{
        begin(loop);
        loop->until_usec = MIN(loop->until_usec, usec);
}

/* Milliseconds for poll(2), never too early. */
static int time_left(const Loop *loop)
{
        uint64_t until = loop->until_usec, link_until, now = loop_now_usec();

        if (!loop->hold && linkipc_get_timeout(loop->link, &link_until) >= 0)
                until = MIN(until, link_until);
        if (until == LOOP_NEVER)
                return -1;
        if (until <= now)
                return 0;
        return (int)MIN((until - now + 999) / 1000, (uint64_t)INT_MAX);
}

/* LOOP_STOP or 0. */
static int read_signals(const Loop *loop)
{
        struct signalfd_siginfo info;
        int r = 0;

        while (read(loop->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
                if (info.ssi_signo != SIGCHLD) /* that one only ends the round */
                        r = LOOP_STOP;
        return r;
}

int loop_run(Loop *loop)
{
        int r;

        begin(loop);
        loop->ran = true;
        loop->fds[FD_SIGNALS] = (struct pollfd){.fd = loop->signals, .events = POLLIN};
        loop->fds[FD_LINK] = (struct pollfd){
                .fd = loop->hold ? -1 : linkipc_get_fd(loop->link),
                .events = (short)linkipc_get_events(loop->link),
        };
        if (poll(loop->fds, loop->n_fds, time_left(loop)) < 0 && errno != EINTR)
                return -errno;
        if (read_signals(loop) == LOOP_STOP)
                return LOOP_STOP;
        do
                r = loop->hold ? 0 : linkipc_process(loop->link);
        while (r > 0);
        return r < 0 ? LOOP_LOST : 0;
}

short loop_events(const Loop *loop, size_t index)
{
        return index < loop->n_fds ? loop->fds[index].revents : 0;
}
