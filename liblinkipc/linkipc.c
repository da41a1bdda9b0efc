/* Opening a connection, and ending it. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "linkipc-internal.h"

static const char system_path[] = "/run/linkd/linkd.sock";

static void closep(int *fd)
{
        if (*fd >= 0)
                (void)close(*fd); /* nothing was written to it */
}

/* ---- where the agent is ---- */

static int copy_path(char *buf, size_t size, const char *dir, const char *path)
{
        size_t n = strlen(dir) + strlen(path) + 1;

        if (n > size)
                return -ENAMETOOLONG;
        (void)snprintf(buf, size, "%s%s", dir, path); /* fits */
        return 0;
}

/* docs/IPC.md: the runtime directory, what it is without a login session, or the state directory.
 */
static int user_path(char *buf, size_t size)
{
        const char *runtime = secure_getenv("XDG_RUNTIME_DIR"), *home = secure_getenv("HOME");
        char dir[64];
        struct stat st;

        if (runtime && *runtime == '/')
                return copy_path(buf, size, runtime, "/linkd/linkd.sock");
        (void)snprintf(dir, sizeof dir, "/run/user/%u", getuid()); /* fits */
        if (stat(dir, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == getuid())
                return copy_path(buf, size, dir, "/linkd/linkd.sock");
        if (home && *home == '/')
                return copy_path(buf, size, home, "/.local/state/linkd/linkd.sock");
        return -ENOENT;
}

_public_ int linkipc_socket_path(int which, char *buf, size_t size)
{
        /* A program with more rights than its user must not be led to another agent. */
        const char *socket = secure_getenv("LINKD_SOCKET");

        if (!buf)
                return -EINVAL;
        if (which == LINKIPC_PATH_SYSTEM)
                return copy_path(buf, size, "", system_path);
        if (which == LINKIPC_PATH_ENVIRONMENT)
                return socket && *socket ? copy_path(buf, size, "", socket) : -ENOENT;
        return which == LINKIPC_PATH_USER ? user_path(buf, size) : -EINVAL;
}

/* ---- the socket ---- */

/* A blocking connect(2) on a Unix socket waits for a place in the accept queue, up to SO_SNDTIMEO.
 */
static int connect_until(int fd, const struct sockaddr_un *address, uint64_t deadline)
{
        for (;;) {
                uint64_t now = now_usec();
                if (now >= deadline)
                        return -EAGAIN;
                struct timeval left = {
                        .tv_sec = (time_t)((deadline - now) / 1000000),
                        .tv_usec = (suseconds_t)((deadline - now) % 1000000),
                };
                if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left) < 0)
                        return -errno;
                if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0)
                        return 0;
                if (errno != EINTR)
                        return -errno;
        }
}

static int connect_path(const char *path, int *ret)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t n = strlen(path);

        if (n == 0)
                return -EINVAL;
        if (n >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, n + 1);
        _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        int r = connect_until(fd, &address, now_usec() + (uint64_t)OPEN_WAIT_SEC * 1000000);
        if (r < 0)
                return r;
        *ret = fd;
        fd = -1;
        return 0;
}

static int check_socket(int fd)
{
        int type;
        socklen_t n = sizeof type;
        struct sockaddr_storage peer;
        socklen_t peer_n = sizeof peer;

        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0)
                return -errno;
        if (type != SOCK_STREAM)
                return -EINVAL;
        return getpeername(fd, (struct sockaddr *)&peer, &peer_n) < 0 ? -errno : 0;
}

static int prepare_socket(int fd)
{
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        flags = fcntl(fd, F_GETFD);
        return flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0 ? -errno : 0;
}

/* ---- opening ---- */

static int say_hello(linkipc *l)
{
        return link_queue(l, &(IpcMessage){
                                     .type = IPC_HELLO,
                                     .version = IPC_VERSION,
                                     .max_frame = IPC_FRAME_MAX,
                                     .name = ipc_str("liblinkipc " LINK_VERSION),
                             });
}

static linkipc *discard(linkipc *l)
{
        if (!l)
                return NULL;
        buf_done(&l->out);
        err_done(&l->broken);
        free(l->path);
        free(l);
        return NULL;
}
DEFINE_CLEANUP(linkipc, discard)

/* Takes fd over if it succeeds. */
static int link_new(linkipc **ret, int fd, const char *path)
{
        _cleanup_(discardp) linkipc *l = calloc(1, sizeof *l);

        if (!l)
                return -ENOMEM;
        l->n_ref = 1;
        l->fd = -1; /* until nothing can fail any more */
        l->window = WINDOW_DEFAULT;
        l->agent_frame_max = IPC_FRAME_MAX;
        l->next_deadline_usec = USEC_NEVER;
        l->path = strdup(path);
        if (!l->path || say_hello(l) < 0)
                return -ENOMEM;
        int r = prepare_socket(fd);
        if (r < 0)
                return r;
        l->fd = fd;
        *ret = TAKE_PTR(l);
        return 0;
}

static int open_path(linkipc **ret, const char *path)
{
        _cleanup_(closep) int fd = -1;
        int r = connect_path(path, &fd);

        if (r == 0)
                r = link_new(ret, fd, path);
        if (r == 0)
                fd = -1;
        return r;
}

static int open_which(linkipc **ret, int which)
{
        char path[sizeof(struct sockaddr_un)];
        int r = linkipc_socket_path(which, path, sizeof path);

        return r < 0 ? r : open_path(ret, path);
}

_public_ int linkipc_open_user(linkipc **ret)
{
        return ret ? open_which(ret, LINKIPC_PATH_USER) : -EINVAL;
}

_public_ int linkipc_open_system(linkipc **ret)
{
        return ret ? open_which(ret, LINKIPC_PATH_SYSTEM) : -EINVAL;
}

_public_ int linkipc_open(linkipc **ret, const char *path)
{
        char buf[sizeof(struct sockaddr_un)];

        if (!ret)
                return -EINVAL;
        if (path)
                return open_path(ret, path);
        int r = linkipc_socket_path(LINKIPC_PATH_ENVIRONMENT, buf, sizeof buf);
        if (r != -ENOENT) /* whoever names one means that one */
                return r < 0 ? r : open_path(ret, buf);
        r = linkipc_open_user(ret);
        if (r == -ENOENT || r == -ECONNREFUSED)
                r = linkipc_open_system(ret);
        return r;
}

_public_ int linkipc_open_fd(linkipc **ret, int fd)
{
        if (!ret || fd < 0)
                return -EINVAL;
        int r = check_socket(fd);
        return r < 0 ? r : link_new(ret, fd, "");
}

/* ---- the end ---- */

/* The last reference has gone. Callbacks of operations are told, handlers are not. */
static void link_end(linkipc *l)
{
        _cleanup_(err_done) Err e = {0};

        l->ending = true;
        (void)link_write(l); /* as far as it goes */
        link_break(l, -ECANCELED, NULL, "the application has ended the connection");
        l->ended_told = true;
        err_set(&e, -ECANCELED, NULL, NULL);
        request_finish_all(l, &e);
        while (l->live)
                session_detach(l->live);
        while (l->closed)
                session_detach(l->closed);
}

_public_ linkipc *linkipc_ref(linkipc *l)
{
        if (l)
                l->n_ref++;
        return l;
}

_public_ linkipc *linkipc_unref(linkipc *l)
{
        if (!l || --l->n_ref > 0 || l->ending)
                return NULL;
        _cleanup_(link_unpinp) linkipc *pinned = link_pin(l);
        link_end(pinned);
        return NULL;
}

_public_ void linkipc_close(linkipc *l)
{
        if (!l || l->broken.error != 0)
                return;
        (void)link_write(l); /* as far as it goes */
        link_break(l, -ECONNRESET, "closed", "the application has closed the connection");
}

/* ---- what the application reads off it, and sets ---- */

_public_ const char *linkipc_get_path(const linkipc *l)
{
        return l ? l->path : "";
}

_public_ const char *linkipc_get_agent(const linkipc *l)
{
        return l && l->agent ? l->agent : "";
}

_public_ int linkipc_set_window(linkipc *l, uint32_t bytes)
{
        if (!l)
                return -EINVAL;
        if (bytes < 1 || bytes > IPC_WINDOW_MAX)
                return link_error(l, -EINVAL, NULL);
        l->window = bytes;
        return 0;
}
