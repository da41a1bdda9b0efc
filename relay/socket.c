#include "socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay-internal.h"

static void on_poll(uv_poll_t *handle, int status, int events)
{
        Conn *c = handle->data;

        if (status < 0) {
                /* An error is pending; libuv watches no more. */
                c->watched = 0;
                conn_on_failed(c);
                return;
        }
        if (events & UV_WRITABLE)
                conn_on_writable(c);
        if (events & UV_READABLE && c->phase != CONN_DEAD)
                conn_on_readable(c);
}

int socket_init(Conn *c)
{
        int one = 1, unsent = UNSENT_BYTES, r = uv_poll_init(c->relay->loop, &c->poll, c->fd);
        unsigned timeout_msec = USER_TIMEOUT_MSEC;

        if (r < 0)
                return r;
        c->poll.data = c;
        /* A Unix socket has no such options. */
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_msec, sizeof(timeout_msec));
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
        return 0;
}

void socket_watch(Conn *c, int events)
{
        if (events == c->watched)
                return;
        c->watched = events;
        /* Both fail only on a handle that is closing, which this one is not. */
        if (events)
                (void)uv_poll_start(&c->poll, events, on_poll);
        else
                (void)uv_poll_stop(&c->poll);
}

ssize_t socket_read(Conn *c, void *p, size_t n)
{
        ssize_t r;

        do
                r = recv(c->fd, p, n, 0);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : r;
}

ssize_t socket_write(Conn *c, const void *p, size_t n)
{
        ssize_t r;

        do
                r = send(c->fd, p, n, MSG_NOSIGNAL);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : r;
}

size_t socket_unacknowledged(const Conn *c)
{
        int n = 0;

        return ioctl(c->fd, SIOCOUTQ, &n) == 0 && n > 0 ? (size_t)n : 0;
}

void socket_shutdown(Conn *c)
{
        (void)shutdown(c->fd, SHUT_WR); /* the peer may have gone already */
}

static void on_closed(uv_handle_t *handle)
{
        Conn *c = container_of(handle, Conn, poll);
        void (*func)(Conn *) = (void (*)(Conn *))(uintptr_t)handle->data;

        func(c);
}

void socket_close(Conn *c, void (*func)(Conn *c))
{
        c->poll.data = (void *)(uintptr_t)func;
        uv_close((uv_handle_t *)&c->poll, on_closed);
        (void)close(c->fd); /* nothing can be done about a failure */
        c->fd = -1;
}
