/* Listening sockets: where, and what they bring. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "listener.h"
#include "relay-internal.h"

typedef union AnyAddress {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
} AnyAddress;

/* ---- accepting ---- */

/* Without a descriptor nothing can be accepted, and what waits in the queue would wake the loop
 * again and again: the spare one is given up to take the first and close it. */
static void accept_without_descriptor(Listener *l)
{
        Relay *r = l->relay;
        int fd;

        relay_count_refusal(r, REFUSED_DESCRIPTORS);
        if (r->spare_fd >= 0) {
                (void)close(r->spare_fd);
                fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd >= 0)
                        (void)close(fd);
                r->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        }
        r->accept_again_msec = relay_now_msec(r) + ACCEPT_PAUSE_MSEC;
        for (size_t i = 0; i < r->n_listeners; i++) {
                (void)uv_poll_stop(&r->listeners[i]->poll); /* fails only on a closing one */
                r->listeners[i]->watching = false;
        }
}

/* 0: one was taken (or was lost on the way); -EAGAIN; other negative errno. */
static int accept_one(Listener *l)
{
        Relay *r = l->relay;
        AnyAddress from = {};
        socklen_t len = sizeof(from);
        int fd = accept4(l->fd, &from.sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK), err;

        if (fd < 0)
                return errno == ECONNABORTED || errno == EINTR || errno == EPROTO ? 0 : -errno;
        r->stats.n_accepted++;
        if (!relay_has_room(r)) {
                (void)close(fd);
                relay_count_refusal(r, REFUSED_CONNECTIONS);
                return 0;
        }
        err = conn_new(r, fd, &from.sa);
        if (err < 0)
                relay_count_refusal(r, relay_refusal_of(err));
        return 0;
}

static void on_incoming(uv_poll_t *handle, int status, int events)
{
        Listener *l = handle->data;
        int r = 0;

        (void)status; /* accept tells better */
        (void)events;
        for (int i = 0; i < ACCEPTS_PER_WAKE && r == 0; i++)
                r = accept_one(l);
        if (r == -EMFILE || r == -ENFILE || r == -ENOBUFS || r == -ENOMEM)
                accept_without_descriptor(l);
        else if (r < 0 && r != -EAGAIN)
                relay_log(l->relay, RELAY_LOG_ERROR, "accept", "cannot accept on %s: %s", l->name,
                          strerror(-r));
}

void listener_resume(Relay *r, uint64_t now_msec)
{
        if (!r->accept_again_msec || now_msec < r->accept_again_msec)
                return;
        r->accept_again_msec = 0;
        for (size_t i = 0; i < r->n_listeners; i++)
                if (!r->listeners[i]->watching) {
                        r->listeners[i]->watching = true;
                        (void)uv_poll_start(&r->listeners[i]->poll, UV_READABLE, on_incoming);
                }
}

/* ---- opening ---- */

static int describe(Listener *l)
{
        AnyAddress a = {};
        socklen_t len = sizeof(a);
        char host[INET6_ADDRSTRLEN] = "";
        int n;

        if (getsockname(l->fd, &a.sa, &len) < 0)
                return -errno;
        switch (a.sa.sa_family) {
        case AF_INET:
                l->port = ntohs(a.in.sin_port);
                (void)inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof(host)); /* it fits */
                n = asprintf(&l->name, "%s:%u", host, l->port);
                break;
        case AF_INET6:
                l->port = ntohs(a.in6.sin6_port);
                (void)inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof(host));
                n = asprintf(&l->name, "[%s]:%u", host, l->port);
                break;
        default:
                n = asprintf(&l->name, "%.*s", (int)sizeof(a.un.sun_path), a.un.sun_path);
                break;
        }
        if (n < 0)
                l->name = NULL;
        return n < 0 ? -ENOMEM : 0;
}

static void on_closed(uv_handle_t *handle)
{
        Listener *l = handle->data;
        Relay *r = l->relay;

        free(l->name);
        free(l);
        r->n_handles--;
        relay_check_stopped(r);
}

/* 0; -EINVAL: not a stream socket that listens; other negative errno. */
static int check_listens(int fd)
{
        int type = 0, listens = 0;
        socklen_t len = sizeof(int);

        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0)
                return -errno;
        return type == SOCK_STREAM && listens ? 0 : -EINVAL;
}

int relay_listen_fd(Relay *r, int fd)
{
        int flags = fcntl(fd, F_GETFL), err = check_listens(fd);
        Listener *l;

        if (err < 0)
                return err;
        if (r->n_listeners == LISTENERS_MAX)
                return -ENOSPC;
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->relay = r;
        l->fd = fd;
        err = describe(l);
        if (err == 0)
                err = uv_poll_init(r->loop, &l->poll, fd);
        if (err < 0) {
                free(l->name);
                free(l);
                return err;
        }
        l->poll.data = l;
        l->watching = true;
        (void)uv_poll_start(&l->poll, UV_READABLE, on_incoming); /* fails only on a closing one */
        r->listeners[r->n_listeners++] = l;
        r->n_handles++;
        return 0;
}

/* A socket that was left behind by a relay that is gone is in the way; a living one is not touched.
 */
static int clear_path(const AnyAddress *a, socklen_t len)
{
        struct stat st;
        int fd, err;

        if (lstat(a->un.sun_path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(st.st_mode))
                return -EEXIST;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        err = connect(fd, &a->sa, len) == 0 ? -EADDRINUSE : -errno;
        (void)close(fd);
        if (err != -ECONNREFUSED)
                return err;
        return unlink(a->un.sun_path) < 0 ? -errno : 0;
}

static int open_socket(const AnyAddress *a, socklen_t len, bool dual, int *ret)
{
        int one = 1, off = 0;
        int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err = 0;

        if (fd < 0)
                return -errno;
        if (a->sa.sa_family != AF_UNIX &&
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
                err = -errno;
        if (err == 0 && a->sa.sa_family == AF_INET6 &&
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, dual ? &off : &one, sizeof(int)) < 0)
                err = -errno;
        if (err == 0 && (bind(fd, &a->sa, len) < 0 || listen(fd, SOMAXCONN) < 0))
                err = -errno;
        if (err < 0) {
                (void)close(fd);
                return err;
        }
        *ret = fd;
        return 0;
}

/* "PORT", "ADDRESS:PORT", "[ADDRESS]:PORT" with numeric addresses. */
static int parse_tcp(const char *where, AnyAddress *ret, socklen_t *ret_len, bool *ret_any)
{
        const char *colon = strrchr(where, ':'), *port = colon ? colon + 1 : where;
        char host[64] = "", *end;
        unsigned long number;
        size_t n = colon ? (size_t)(colon - where) : 0;

        errno = 0;
        number = strtoul(port, &end, 10);
        if (*port < '0' || *port > '9' || *end || errno || number > 65535 || n >= sizeof(host))
                return -EINVAL;
        memcpy(host, where, n);
        if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
                host[n - 1] = '\0';
                memmove(host, host + 1, n - 1);
        }
        *ret = (AnyAddress){};
        *ret_any = n == 0;
        if (*ret_any || inet_pton(AF_INET6, host, &ret->in6.sin6_addr) == 1) {
                ret->in6.sin6_family = AF_INET6;
                ret->in6.sin6_port = htons((uint16_t)number);
                *ret_len = sizeof(ret->in6);
                return 0;
        }
        if (inet_pton(AF_INET, host, &ret->in.sin_addr) != 1)
                return -EINVAL;
        ret->in.sin_family = AF_INET;
        ret->in.sin_port = htons((uint16_t)number);
        *ret_len = sizeof(ret->in);
        return 0;
}

bool listener_is_valid(const char *where)
{
        AnyAddress a;
        socklen_t len;
        bool any;

        return where[0] == '/' ? strlen(where) < sizeof(a.un.sun_path)
                               : parse_tcp(where, &a, &len, &any) == 0;
}

static int listen_tcp(const char *where, int *ret)
{
        AnyAddress a;
        socklen_t len;
        bool any;
        int r = parse_tcp(where, &a, &len, &any);

        if (r < 0)
                return r;
        r = open_socket(&a, len, any, ret);
        if (any && (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)) { /* a machine without IPv6 */
                in_port_t port = a.in6.sin6_port;

                a = (AnyAddress){.in = {.sin_family = AF_INET, .sin_port = port}};
                r = open_socket(&a, sizeof(a.in), false, ret);
        }
        return r;
}

static int listen_unix(const char *path, int *ret)
{
        AnyAddress a = {.un = {.sun_family = AF_UNIX}};
        int r;

        if (strlen(path) >= sizeof(a.un.sun_path))
                return -ENAMETOOLONG;
        strcpy(a.un.sun_path, path); /* measured above */
        r = clear_path(&a, sizeof(a.un));
        return r < 0 ? r : open_socket(&a, sizeof(a.un), false, ret);
}

int relay_listen(Relay *r, const char *where, char **ret_fault)
{
        bool is_unix = where[0] == '/';
        int fd, err = is_unix ? listen_unix(where, &fd) : listen_tcp(where, &fd);

        if (err == 0) {
                err = relay_listen_fd(r, fd);
                if (err < 0)
                        (void)close(fd);
        }
        if (err == -EINVAL)
                return relay_fault(ret_fault, err,
                                   "cannot listen on \"%s\": not PORT, ADDRESS:PORT or /PATH",
                                   where);
        if (err < 0)
                return relay_fault(ret_fault, err, "cannot listen on %s: %s", where,
                                   strerror(-err));
        r->listeners[r->n_listeners - 1]->is_unix = is_unix;
        return 0;
}

unsigned relay_port(const Relay *r, size_t n)
{
        return n < r->n_listeners ? r->listeners[n]->port : 0;
}

const char *relay_listener_name(const Relay *r, size_t n)
{
        return n < r->n_listeners ? r->listeners[n]->name : NULL;
}

void listener_close_all(Relay *r)
{
        while (r->n_listeners) {
                Listener *l = r->listeners[--r->n_listeners];

                if (l->is_unix)
                        (void)unlink(l->name); /* ours; gone already is as good */
                uv_close((uv_handle_t *)&l->poll, on_closed);
                (void)close(l->fd);
        }
}
