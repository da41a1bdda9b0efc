#include "lines.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "output.h"

void lines_added(Lines *l)
{
        loop_hold(l->loop, l->text.n > 0);
}

int lines_watch(Lines *l)
{
        return loop_watch(l->loop, STDOUT_FILENO, l->text.n ? POLLOUT : 0, &l->index);
}

static int failed(const Lines *l, int e)
{
        return output_error(l->cli, "output", "cannot write to standard output: %s", strerror(e));
}

int lines_write(Lines *l)
{
        short events = loop_events(l->loop, l->index);
        size_t left = l->text.n - l->written;
        ssize_t n;

        if (left == 0 && events & (POLLERR | POLLHUP | POLLNVAL)) /* nobody will read what comes */
                return failed(l, EPIPE);
        if (left == 0 || !events)
                return EXIT_OK;
        n = write(STDOUT_FILENO, l->text.p + l->written, MIN(left, (size_t)QUEUED_LINE_BYTES));
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? EXIT_OK : failed(l, errno);
        l->written += (size_t)n;
        if (l->written == l->text.n) {
                lines_done(l);
                loop_hold(l->loop, false);
        }
        return EXIT_OK;
}

void lines_done(Lines *l)
{
        bytes_done(&l->text);
        l->written = 0;
}
