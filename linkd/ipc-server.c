#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc-access.h"
#include "ipc-server-internal.h"
#include "log.h"

/* It may be changed by hand, too. */
static int look_at_group(IpcServer *s)
{
        struct stat st;

        if (stat(s->path, &st) < 0)
                return -errno;
        s->group = st.st_gid;
        return 0;
}

static void log_trouble(IpcServer *s, int error)
{
        log_limited(&s->log, uv_now(s->agent->loop), LOG_LEVEL_WARNING, "socket %s: %s", s->path,
                    uv_strerror(error));
}

/* libuv does not listen on while one that it has told of is not accepted: it is tried again. */
static void accept_one(void *userdata)
{
        IpcServer *s = userdata;
        int r = look_at_group(s);

        if (r < 0) /* the file was removed: they are judged by the group that it had */
                log_trouble(s, r);
        r = ipc_conn_accept(s);
        if (r == -EAGAIN) /* none waits */
                return;
        if (r < 0) {
                log_trouble(s, r);
                timer_start(s->again, IPC_ACCEPT_AGAIN_MSEC);
        }
}

static void on_connection(void *userdata, int status)
{
        IpcServer *s = userdata;

        if (status < 0)
                log_trouble(s, status);
        else
                accept_one(s);
}

static int fault(char **ret, int error, const char *path, const char *what)
{
        if (asprintf(ret, "socket %s: %s", path, what) < 0)
                *ret = NULL;
        return error;
}

static int give_group(IpcServer *s, gid_t gid, char **ret_fault)
{
        _cleanup_(freep) char *what = NULL;
        int r;

        if (fchownat(AT_FDCWD, s->path, (uid_t)-1, gid, AT_SYMLINK_NOFOLLOW) == 0)
                return 0;
        r = -errno;
        if (asprintf(&what, "cannot give it the group %u (socket_group): %s", gid, strerror(-r)) <
            0)
                what = NULL;
        return fault(ret_fault, r, s->path, what ? what : strerror(-r));
}

int ipc_server_set_group(IpcServer *s, const Settings *settings, char **ret_fault)
{
        const Settings *old = s->agent->settings;

        if (settings->has_socket_group == old->has_socket_group &&
            settings->socket_group == old->socket_group)
                return 0; /* also when it was changed by hand */
        return give_group(s, settings->has_socket_group ? settings->socket_group : s->own_group,
                          ret_fault);
}

LogLimit *ipc_server_log(IpcServer *s)
{
        return &s->log;
}

gid_t ipc_server_group(const IpcServer *s)
{
        return s->group;
}

void ipc_server_judge(IpcServer *s)
{
        int r = look_at_group(s);

        if (r < 0)
                log_trouble(s, r);
        for (IpcConn *c = s->conns; c; c = c->next) /* none goes on this stack */
                if (!c->closing)
                        ipc_access_apply(c);
}

static void on_flush(uv_prepare_t *prepare)
{
        ipc_conn_flush_all(prepare->data);
}

static void on_flush_closed(uv_handle_t *handle)
{
        free(handle->data);
}

/* The mode last: until then nobody else can open it. */
static int open_to_group(void *userdata, char **ret_fault)
{
        IpcServer *s = userdata;
        const Settings *settings = s->agent->settings;
        int r = look_at_group(s);

        if (r < 0)
                return r;
        s->own_group = s->group;
        if (settings->has_socket_group)
                r = give_group(s, settings->socket_group, ret_fault);
        if (r == 0 && chmod(s->path, 0660) < 0)
                r = -errno;
        return r;
}

int ipc_server_new(IpcServer **ret, Agent *a, const char *path, char **ret_fault)
{
        IpcServer *s = calloc(1, sizeof(*s));
        int r = -ENOMEM;

        if (!s)
                return r;
        s->agent = a;
        (void)uv_prepare_init(a->loop, &s->flush); /* none of the two can fail */
        (void)uv_prepare_start(&s->flush, on_flush);
        uv_unref((uv_handle_t *)&s->flush);
        s->flush.data = s;
        s->path = strdup(path);
        s->again = timer_new(a->loop, accept_one, s);
        if (s->path && s->again)
                r = ipc_listener_new(&s->listener, a->loop, path, open_to_group, on_connection, s,
                                     ret_fault);
        if (r < 0) {
                ipc_server_free(s);
                return r;
        }
        *ret = s;
        return 0;
}

IpcServer *ipc_server_free(IpcServer *s)
{
        if (!s)
                return NULL;
        while (s->conns)
                ipc_conn_close(s->conns);
        ipc_listener_free(s->listener);
        timer_free(s->again);
        free(s->path);
        uv_close((uv_handle_t *)&s->flush, on_flush_closed);
        return NULL;
}
