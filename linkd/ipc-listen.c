#include "ipc-listen.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "limits.h"
#include "log.h"
#include "timer.h"

typedef enum ListenerState {
        LISTENER_NONE, /* no handle: listens again at the next tick */
        LISTENER_OPEN,
        LISTENER_CLOSING, /* the handle: on_closed() follows */
} ListenerState;

struct IpcListener {
        uv_loop_t *loop;
        char *path;
        IpcPrepareFunc prepare;
        IpcAcceptFunc accept;
        void *userdata;
        uv_pipe_t pipe;
        ListenerState state;
        bool freed; /* the memory goes in on_closed() */
        dev_t dev;  /* of the socket's file, to know it again */
        ino_t ino;
        Timer *tick;
        int last_error; /* of making it anew: logged when it changes */
};

static int fault(char **ret, int error, const char *path, const char *what)
{
        if (asprintf(ret, "socket %s: %s", path, what) < 0)
                *ret = NULL;
        return error;
}

/* Removes a socket nobody answers on. */
static int clear_path(const char *path, char **ret_fault)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct stat st;
        int fd, r;

        if (strlen(path) >= sizeof(address.sun_path))
                return fault(ret_fault, -ENAMETOOLONG, path,
                             "the path is too long for a Unix socket");
        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : fault(ret_fault, -errno, path, strerror(errno));
        if (!S_ISSOCK(st.st_mode))
                return fault(ret_fault, -EEXIST, path, "there is something else at this path");
        strcpy(address.sun_path, path); /* measured above */
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return fault(ret_fault, -errno, path, strerror(errno));
        r = connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
        (void)close(fd);
        if (r != -ECONNREFUSED)
                return fault(ret_fault, -EADDRINUSE, path, "another agent answers there");
        return unlink(path) < 0 ? fault(ret_fault, -errno, path, strerror(errno)) : 0;
}

/* The directory of the socket, one level, as a user instance needs it. */
static void make_parent(const char *path)
{
        const char *slash = strrchr(path, '/');
        _cleanup_(freep) char *dir =
                slash && slash != path ? strndup(path, (size_t)(slash - path)) : NULL;

        if (dir && mkdir(dir, 0755) == 0)
                log_debug("made %s", dir); /* a failure shows at the bind */
}

/* ---- the socket ---- */

static int bind_socket(IpcListener *l, int fd, char **ret_fault)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct stat st;
        int r;

        strcpy(address.sun_path, l->path); /* measured by clear_path() */
        if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return -errno;
        r = lstat(l->path, &st) < 0 ? -errno : l->prepare(l->userdata, ret_fault);
        if (r < 0) {
                (void)unlink(l->path); /* gone already is fine */
                return r;
        }
        l->dev = st.st_dev;
        l->ino = st.st_ino;
        return 0;
}

/* It may have been removed, and another agent have bound one there since. */
static bool is_ours(const IpcListener *l)
{
        struct stat st;

        return lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino;
}

static void destroy(IpcListener *l)
{
        free(l->path);
        free(l);
}

static void on_closed(uv_handle_t *handle)
{
        IpcListener *l = container_of((uv_pipe_t *)handle, IpcListener, pipe);

        l->state = LISTENER_NONE;
        if (l->freed)
                destroy(l);
        else
                timer_start(l->tick, l->last_error < 0 ? IPC_SOCKET_CHECK_MSEC : 0);
}

static void close_pipe(IpcListener *l)
{
        l->state = LISTENER_CLOSING;
        uv_close((uv_handle_t *)&l->pipe, on_closed);
}

static void on_connection(uv_stream_t *stream, int status)
{
        IpcListener *l = container_of((uv_pipe_t *)stream, IpcListener, pipe);

        l->accept(l->userdata, status);
}

/* Not uv_pipe_bind(): libuv then removes whatever is at the path in the end. */
static int open_pipe(IpcListener *l, char **ret_fault)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

        if (fd < 0)
                return -errno;
        r = bind_socket(l, fd, ret_fault);
        if (r == 0)
                r = uv_pipe_init(l->loop, &l->pipe, 0);
        if (r < 0) {
                (void)close(fd); /* nothing was promised on it */
                return r;
        }
        r = uv_pipe_open(&l->pipe, fd);
        if (r < 0)
                (void)close(fd); /* as above */
        else
                r = uv_listen((uv_stream_t *)&l->pipe, SOMAXCONN, on_connection);
        if (r < 0)
                close_pipe(l);
        else
                l->state = LISTENER_OPEN;
        return r;
}

/* A socket file that somebody has removed would leave an agent that nobody can ask. */
static void on_tick(void *userdata)
{
        IpcListener *l = userdata;
        _cleanup_(freep) char *text = NULL;
        struct stat st;
        int r = 0;

        if (l->state == LISTENER_OPEN && lstat(l->path, &st) < 0 && errno == ENOENT) {
                log_warning("socket %s was removed; it is made anew", l->path);
                close_pipe(l);
        } else if (l->state == LISTENER_NONE) {
                make_parent(l->path);
                r = open_pipe(l, &text);
        }
        if (r < 0 && r != l->last_error)
                log_error("socket %s cannot be made anew: %s", l->path, text ? text : strerror(-r));
        l->last_error = r;
        if (l->state != LISTENER_CLOSING) /* on_closed() goes on */
                timer_start(l->tick, IPC_SOCKET_CHECK_MSEC);
}

int ipc_listener_new(IpcListener **ret, uv_loop_t *loop, const char *path, IpcPrepareFunc prepare,
                     IpcAcceptFunc accept, void *userdata, char **ret_fault)
{
        IpcListener *l;
        int r = clear_path(path, ret_fault);

        if (r < 0)
                return r;
        make_parent(path);
        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->loop = loop;
        l->prepare = prepare;
        l->accept = accept;
        l->userdata = userdata;
        l->path = strdup(path);
        l->tick = timer_new(loop, on_tick, l);
        r = l->path && l->tick ? open_pipe(l, ret_fault) : -ENOMEM;
        if (r < 0) {
                if (!*ret_fault)
                        (void)fault(ret_fault, r, path, strerror(-r));
                ipc_listener_free(l);
                return r;
        }
        timer_start(l->tick, IPC_SOCKET_CHECK_MSEC);
        *ret = l;
        return 0;
}

IpcListener *ipc_listener_free(IpcListener *l)
{
        if (!l)
                return NULL;
        l->tick = timer_free(l->tick);
        if (l->state == LISTENER_OPEN && is_ours(l))
                (void)unlink(l->path); /* gone already is fine */
        if (l->state == LISTENER_OPEN)
                close_pipe(l);
        l->freed = l->state == LISTENER_CLOSING;
        if (!l->freed)
                destroy(l);
        return NULL;
}

uv_stream_t *ipc_listener_stream(IpcListener *l)
{
        return l->state == LISTENER_OPEN ? (uv_stream_t *)&l->pipe : NULL;
}
