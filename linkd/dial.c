#include "dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "files.h"
#include "limits.h"
#include "log.h"
#include "text.h"
#include "timer.h"

typedef struct Route Route;

/* One socket. CONNECTING → (with a proxy) ASKING → it wins. */
typedef struct DialSocket {
        struct DialSocket *next;
        Route *route;
        int fd;
        uv_poll_t poll;
        bool asking;
        size_t reply_len;
        char *reply; /* of the proxy; NULL until it is asked */
} DialSocket;

/* One name that leads there: the proxy's, or the relay's own. */
struct Route {
        Dial *dial;
        const Proxy *proxy; /* NULL: direct */
        bool started, resolving, failed;
        uv_getaddrinfo_t resolver;
        struct sockaddr_storage addresses[DIAL_ADDRESSES_MAX];
        size_t n_addresses, next;
        Timer *timer; /* to the next address, or the next round */
        DialSocket *sockets;
        unsigned n_sockets;
};

struct Dial {
        uv_loop_t *loop;
        char host[256];
        uint16_t port;
        Proxy *proxy;    /* a copy: the configuration may change meanwhile; NULL: none */
        Route routes[2]; /* through the proxy (not started if there is none), direct */
        Timer *direct_timer;
        DialFunc func;
        void *userdata;
        bool ended;
        char why[240];
};

/* ---- the end ---- */

static void on_socket_closed(uv_handle_t *handle)
{
        free(container_of((uv_poll_t *)handle, DialSocket, poll));
}

/* Closes it, or gives its descriptor away (keep). */
static int socket_free(DialSocket *s, bool keep)
{
        Route *r = s->route;
        int fd = s->fd;

        for (DialSocket **at = &r->sockets; *at; at = &(*at)->next)
                if (*at == s) {
                        *at = s->next;
                        r->n_sockets--;
                        break;
                }
        free(s->reply);
        uv_close((uv_handle_t *)&s->poll, on_socket_closed);
        if (!keep)
                (void)close(fd); /* nothing was promised on it */
        return fd;
}

static void maybe_destroy(Dial *d)
{
        if (!d->ended || d->routes[0].resolving || d->routes[1].resolving)
                return;
        d->proxy = proxy_free(d->proxy);
        free(d);
}

Dial *dial_free(Dial *d)
{
        if (!d || d->ended)
                return NULL;
        d->ended = true;
        for (size_t i = 0; i < ELEMENTSOF(d->routes); i++) {
                Route *r = &d->routes[i];
                while (r->sockets)
                        (void)socket_free(r->sockets, false);
                r->timer = timer_free(r->timer);
                if (r->resolving)
                        (void)uv_cancel((uv_req_t *)&r->resolver); /* too late is fine */
        }
        d->direct_timer = timer_free(d->direct_timer);
        maybe_destroy(d);
        return NULL;
}

/* The last call: d ends here. */
static void finish(Dial *d, int fd)
{
        DialFunc func = d->func;
        void *userdata = d->userdata;
        char why[sizeof(d->why)];

        memcpy(why, d->why, sizeof(why));
        dial_free(d);
        func(userdata, fd, why);
}

static void start_route(Route *r);

/* What does not fit is cut. */
static void note(Route *r, const char *what, const char *why)
{
        if (r->proxy)
                (void)snprintf(r->dial->why, sizeof(r->dial->why), "proxy %.60s: %.95s%.64s",
                               r->proxy->host, what, why);
        else
                (void)snprintf(r->dial->why, sizeof(r->dial->why), "%.95s%.64s", what, why);
        log_debug("dial %s: %s", r->dial->host, r->dial->why);
}

static void route_failed(Route *r)
{
        Dial *d = r->dial;
        Route *direct = &d->routes[1];

        r->failed = true;
        timer_stop(r->timer);
        if (!direct->started)
                start_route(direct);
        else if (direct->failed && (d->routes[0].failed || !d->routes[0].started))
                finish(d, -1);
}

/* ---- one socket ---- */

static void next_address(Route *r);

static void socket_failed(DialSocket *s, const char *what, int error)
{
        Route *r = s->route;

        note(r, what, error == ECONNREFUSED ? "connection refused" : error ? strerror(error) : "");
        (void)socket_free(s, false);
        if (r->next < r->n_addresses)
                next_address(r); /* at once */
        else if (!r->sockets)
                route_failed(r);
}

static void on_reply(uv_poll_t *handle, int status, int events);

static void ask_proxy(DialSocket *s)
{
        const Dial *d = s->route->dial;
        const Proxy *p = s->route->proxy;
        const char *open = strchr(d->host, ':') ? "[" : "", *close = open[0] ? "]" : "";
        char text[2048];
        int n = snprintf(text, sizeof(text),
                         "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n%s%s%s\r\n", open,
                         d->host, close, d->port, open, d->host, close, d->port,
                         p->authorization[0] ? "Proxy-Authorization: " : "", p->authorization,
                         p->authorization[0] ? "\r\n" : ""); /* fits: see Proxy */
        ssize_t sent = send(s->fd, text, (size_t)n, MSG_NOSIGNAL);

        s->asking = true;
        s->reply = malloc(PROXY_REPLY_MAX + 1);
        if (!s->reply || sent != n || /* the buffer of a fresh socket is larger */
            uv_poll_start(&s->poll, UV_READABLE, on_reply) < 0)
                socket_failed(s, "cannot ask it: ", sent < 0 ? errno : ENOMEM);
}

static void on_reply(uv_poll_t *handle, int status, int events)
{
        DialSocket *s = container_of(handle, DialSocket, poll);
        ssize_t n = status < 0 ? -1
                               : recv(s->fd, s->reply + s->reply_len,
                                      PROXY_REPLY_MAX - s->reply_len, MSG_DONTWAIT);
        char *end, line[64];

        (void)events;
        if (n < 0 && status == 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                socket_failed(s, "it hung up", 0);
                return;
        }
        s->reply_len += (size_t)n;
        s->reply[s->reply_len] = '\0';
        end = memmem(s->reply, s->reply_len, "\r\n\r\n", 4);
        if (!end && s->reply_len < PROXY_REPLY_MAX)
                return;
        (void)snprintf(line, sizeof(line), "it said: %.*s", (int)strcspn(s->reply, "\r\n"),
                       s->reply); /* cut is fine */
        text_make_printable(line);
        if (!end || strncmp(s->reply, "HTTP/1.", 7) != 0 || strncmp(s->reply + 8, " 2", 2) != 0)
                socket_failed(s, line, 0);
        else if (end + 4 != s->reply + s->reply_len) /* we speak first in every tunnel */
                socket_failed(s, "it sent something nobody asked for", 0);
        else {
                Dial *d = s->route->dial;
                finish(d, socket_free(s, true));
        }
}

static void on_connected(uv_poll_t *handle, int status, int events)
{
        DialSocket *s = container_of(handle, DialSocket, poll);
        int error = 0;
        socklen_t size = sizeof(error);

        (void)events;
        if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
                error = errno;
        else if (!error && status < 0) /* libuv says EBADF for every error of the socket */
                error = -status;
        if (error) {
                socket_failed(s, "", error);
                return;
        }
        (void)uv_poll_stop(&s->poll); /* always 0 */
        if (s->route->proxy) {
                ask_proxy(s);
        } else {
                Dial *d = s->route->dial;
                finish(d, socket_free(s, true));
        }
}

static socklen_t address_size(const struct sockaddr_storage *a)
{
        return a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/* 0 or negative errno: this address cannot be tried. */
static int open_socket(Route *r, const struct sockaddr_storage *address)
{
        const int on = 1;
        int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), e;
        DialSocket *s;

        if (fd < 0)
                return -errno;
        if (!files_may_keep(fd, FILES_NETWORK)) {
                (void)close(fd); /* nothing was promised on it */
                return -EMFILE;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* slower without */
        if (connect(fd, (const struct sockaddr *)address, address_size(address)) < 0 &&
            errno != EINPROGRESS) {
                e = errno;
                (void)close(fd); /* nothing was promised on it */
                return -e;
        }
        s = calloc(1, sizeof(*s));
        e = s ? uv_poll_init(r->dial->loop, &s->poll, fd) : -ENOMEM;
        if (e < 0) {
                (void)close(fd); /* as above */
                free(s);
                return e;
        }
        s->route = r;
        s->fd = fd;
        s->next = r->sockets;
        r->sockets = s;
        r->n_sockets++;
        e = uv_poll_start(&s->poll, UV_WRITABLE, on_connected);
        if (e < 0)
                (void)socket_free(s, false);
        return e;
}

/* ---- one route ---- */

/* The oldest of too many. */
static void make_room(Route *r)
{
        DialSocket *s = r->sockets;

        if (r->n_sockets < DIAL_SOCKETS_MAX)
                return;
        while (s->next)
                s = s->next;
        (void)socket_free(s, false);
}

/* Starts the next address; sets the timer for what comes then. May end the dial. */
static void next_address(Route *r)
{
        int e;

        while (r->next < r->n_addresses) {
                make_room(r);
                e = open_socket(r, &r->addresses[r->next++]);
                if (e == 0)
                        break;
                note(r, "", e == -ECONNREFUSED ? "connection refused" : strerror(-e));
        }
        if (r->next < r->n_addresses)
                timer_start(r->timer, DIAL_STEP_MSEC);
        else if (r->sockets)
                timer_start(r->timer, DIAL_AGAIN_MSEC);
        else
                route_failed(r);
}

static void on_timer(void *userdata)
{
        Route *r = userdata;

        if (r->next == r->n_addresses)
                r->next = 0; /* another round */
        next_address(r);
}

static bool is_usable(const struct addrinfo *ai)
{
        return (ai->ai_family == AF_INET || ai->ai_family == AF_INET6) &&
               ai->ai_addrlen <= sizeof(struct sockaddr_storage);
}

/* The families by turns, each in the resolver's order, whose first address begins. */
static void take_addresses(Route *r, const struct addrinfo *list)
{
        int first = AF_UNSPEC;
        const struct addrinfo *at[2] = {list, list};

        for (const struct addrinfo *ai = list; ai && first == AF_UNSPEC; ai = ai->ai_next)
                if (is_usable(ai))
                        first = ai->ai_family;
        for (unsigned turn = 0; r->n_addresses < DIAL_ADDRESSES_MAX && (at[0] || at[1]); turn++) {
                const struct addrinfo **p = &at[turn % 2];
                while (*p && (!is_usable(*p) || ((*p)->ai_family == first) != (turn % 2 == 0)))
                        *p = (*p)->ai_next;
                if (!*p)
                        continue;
                memcpy(&r->addresses[r->n_addresses++], (*p)->ai_addr, (*p)->ai_addrlen);
                *p = (*p)->ai_next;
        }
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
        Route *r = container_of(req, Route, resolver);
        Dial *d = r->dial;
        char what[96];

        r->resolving = false;
        if (d->ended) {
                uv_freeaddrinfo(list);
                maybe_destroy(d);
                return;
        }
        take_addresses(r, list);
        uv_freeaddrinfo(list);
        if (r->n_addresses) {
                next_address(r);
                return;
        }
        (void)snprintf(what, sizeof(what), "cannot resolve %.60s: ",
                       r->proxy ? r->proxy->host : d->host); /* cut is fine */
        note(r, what, status < 0 ? uv_strerror(status) : "no address");
        route_failed(r);
}

/* An address needs no thread that looks it up. false: it is a name. */
static bool take_numeric(Route *r, const char *host, uint16_t port)
{
        struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(port)};
        struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

        if (inet_pton(AF_INET, host, &a4.sin_addr) == 1)
                memcpy(&r->addresses[0], &a4, sizeof(a4));
        else if (inet_pton(AF_INET6, host, &a6.sin6_addr) == 1)
                memcpy(&r->addresses[0], &a6, sizeof(a6));
        else
                return false;
        r->n_addresses = 1;
        r->started = true;
        timer_start(r->timer, 0); /* not on this stack: it may end the dial */
        return true;
}

static int resolve(Route *r)
{
        const char *host = r->proxy ? r->proxy->host : r->dial->host;
        uint16_t number = r->proxy ? r->proxy->port : r->dial->port;
        const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
        char port[8];
        int e;

        if (take_numeric(r, host, number))
                return 0;
        (void)snprintf(port, sizeof(port), "%u", number); /* fits */
        e = uv_getaddrinfo(r->dial->loop, &r->resolver, on_resolved, host, port, &hints);
        if (e == 0)
                r->resolving = r->started = true;
        return e;
}

static void start_route(Route *r)
{
        int e = resolve(r);

        if (e == 0)
                return;
        note(r, "", strerror(-e));
        r->started = true;
        route_failed(r);
}

static void on_direct_timer(void *userdata)
{
        Dial *d = userdata;

        log_debug("dial %s: the proxy takes long", d->host);
        if (!d->routes[1].started)
                start_route(&d->routes[1]);
}

void dial_again(Dial *d)
{
        for (size_t i = 0; i < ELEMENTSOF(d->routes); i++) {
                Route *r = &d->routes[i];
                if (!r->started || r->failed || r->resolving)
                        continue;
                r->next = 0;
                timer_start(r->timer, 0); /* not on this stack: it may end the dial */
        }
}

int dial_start(Dial **ret, uv_loop_t *loop, const char *host, uint16_t port, const Proxy *proxy,
               DialFunc func, void *userdata)
{
        Dial *d = calloc(1, sizeof(*d));
        int r;

        if (!d)
                return -ENOMEM;
        d->loop = loop;
        d->port = port;
        d->func = func;
        d->userdata = userdata;
        (void)snprintf(d->host, sizeof(d->host), "%s", host); /* fits: RelayUrl.host */
        d->proxy = proxy_copy(proxy);
        d->routes[0].proxy = d->proxy;
        for (size_t i = 0; i < ELEMENTSOF(d->routes); i++) {
                d->routes[i].dial = d;
                d->routes[i].timer = timer_new(loop, on_timer, &d->routes[i]);
        }
        d->direct_timer = timer_new(loop, on_direct_timer, d);
        r = d->routes[0].timer && d->routes[1].timer && d->direct_timer && !d->proxy == !proxy
                    ? 0
                    : -ENOMEM;
        if (r == 0)
                r = resolve(&d->routes[proxy ? 0 : 1]);
        if (r < 0) {
                dial_free(d);
                return r;
        }
        if (proxy)
                timer_start(d->direct_timer, DIAL_PROXY_MSEC);
        *ret = d;
        return 0;
}
