#include "ipc-server.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc-call.h"
#include "ipc-session.h"
#include "ipc-share.h"
#include "ipc-words.h"
#include "limits.h"
#include "log.h"

struct IpcServer {
        Agent *agent;
        uv_pipe_t pipe;
        uv_prepare_t flush; /* once a turn of the loop: writes what was queued in it */
        unsigned n_closing; /* of these two handles */
        char *path;
        IpcConn *conns;
        LIST_HEAD(, IpcConn) dirty;
        unsigned n_conns;
        bool bound;
        LogLimit log;                  /* of connections that were refused or ended */
        uint8_t chunk[IPC_READ_BYTES]; /* one read buffer for all connections */
};

/* ---- memory for frames that are not whole yet ---- */

/* Sets a large frame's length aside, or lets it wait until others have ended. */
static void set_aside(IpcConn *c, size_t len)
{
        if (c->set_aside || len <= IPC_FRAME_SMALL_BYTES)
                return;
        c->starved = !ipc_share_has_bytes(c->server->conns, c, len);
        if (c->starved)
                return;
        c->set_aside = len;
        timer_start(c->frame_timer, IPC_FRAME_MSEC);
}

static void give_back(IpcConn *c)
{
        if (!c->set_aside)
                return;
        c->set_aside = 0;
        if (c->frame_timer)
                timer_stop(c->frame_timer);
        for (IpcConn *i = c->server->conns; i; i = i->next)
                if (i->starved && !i->closing)
                        timer_start(i->timer, 0); /* looks again */
}

static void on_frame_timer(void *userdata)
{
        ipc_conn_fail(userdata, "timeout", "a frame was not whole in time");
}

/* ---- the end of a connection ---- */

static void on_conn_closed(uv_handle_t *handle)
{
        IpcConn *c = container_of((uv_pipe_t *)handle, IpcConn, pipe);

        buf_done_wipe(&c->in);
        buf_done_wipe(&c->out);
        buf_done_wipe(&c->writing);
        free(c);
}

/* What was queued in this turn leaves as far as the socket takes it. */
static void forget_dirty(IpcConn *c)
{
        uv_buf_t buf = uv_buf_init((char *)c->out.data, (unsigned)c->out.len);

        if (!c->dirty)
                return;
        LIST_REMOVE(c, in_dirty);
        c->dirty = false;
        (void)uv_try_write((uv_stream_t *)&c->pipe, &buf, 1); /* nobody waits for the rest */
}

/* Lets go of everything at once; the memory goes when libuv has closed the handle. Never called
 * from inside a callback of a session (see ipc_conn_send). */
static void conn_close(IpcConn *c)
{
        if (uv_is_closing((uv_handle_t *)&c->pipe))
                return;
        c->closing = true;
        for (IpcConn **at = &c->server->conns; *at; at = &(*at)->next)
                if (*at == c) {
                        *at = c->next;
                        c->server->n_conns--;
                        break;
                }
        forget_dirty(c);
        watch_remove(c->agent, &c->watcher);
        ipc_session_drop_all(c);
        ipc_call_drop_all(c);
        c->timer = timer_free(c->timer);
        c->frame_timer = timer_free(c->frame_timer);
        give_back(c);
        uv_close((uv_handle_t *)&c->pipe, on_conn_closed);
}

static void stop_reading(IpcConn *c)
{
        (void)uv_read_stop((uv_stream_t *)&c->pipe); /* always 0 */
        c->reading = false;
}

/* Ends it from the loop, not on this stack; what is being written has msec to leave. */
static void conn_close_later(IpcConn *c, uint64_t msec)
{
        c->closing = true;
        watch_remove(c->agent, &c->watcher);
        stop_reading(c);
        timer_start(c->timer, msec);
}

/* ---- out ---- */

static void make_dirty(IpcConn *c)
{
        if (c->dirty || c->writing.len || uv_is_closing((uv_handle_t *)&c->pipe))
                return;
        c->dirty = true;
        LIST_INSERT_HEAD(&c->server->dirty, c, in_dirty);
}

/* Some of what waited has left. */
static void go_on(IpcConn *c)
{
        if (c->out.len)
                make_dirty(c);
        if (c->closing)
                return;
        if (!ipc_conn_is_full(c))
                ipc_session_resume_all(c);
        ipc_conn_wake(c);
}

static void on_written(uv_write_t *req, int status)
{
        IpcConn *c = container_of(req, IpcConn, write_req);

        c->written += c->writing.len - c->writing_off;
        buf_done_wipe_content(&c->writing);
        c->writing_off = 0;
        if (status < 0 || (c->closing && c->out.len == 0))
                conn_close(c);
        else
                go_on(c);
}

/* Writes what was queued: most of the time the socket takes it at once. */
static void write_out(IpcConn *c)
{
        uv_buf_t buf = uv_buf_init((char *)c->out.data, (unsigned)c->out.len);
        bool was_full = ipc_conn_is_full(c);
        int n = uv_try_write((uv_stream_t *)&c->pipe, &buf, 1);

        if (n < 0 && n != UV_EAGAIN) {
                conn_close(c);
                return;
        }
        c->written += (size_t)MAX(n, 0);
        c->writing = c->out;
        c->writing_off = (size_t)MAX(n, 0);
        c->out = (Buf){};
        if (c->writing_off == c->writing.len) {
                buf_done_wipe_content(&c->writing);
                c->writing_off = 0;
                if (c->closing)
                        conn_close(c);
                else if (was_full)
                        go_on(c);
                return;
        }
        buf = uv_buf_init((char *)c->writing.data + c->writing_off,
                          (unsigned)(c->writing.len - c->writing_off));
        if (uv_write(&c->write_req, (uv_stream_t *)&c->pipe, &buf, 1, on_written) < 0)
                conn_close(c);
}

static void on_flush(uv_prepare_t *prepare)
{
        IpcServer *s = prepare->data;
        IpcConn *c;

        while ((c = LIST_FIRST(&s->dirty))) {
                LIST_REMOVE(c, in_dirty);
                c->dirty = false;
                write_out(c);
        }
}

size_t ipc_conn_waiting(const IpcConn *c)
{
        return c->out.len + c->writing.len - c->writing_off;
}

bool ipc_conn_is_full(const IpcConn *c)
{
        return ipc_conn_waiting(c) > IPC_OUT_HIGH_BYTES;
}

bool ipc_conn_takes(const IpcConn *c, size_t body_len)
{
        return body_len <= c->frame_max - IPC_FRAME_MIN;
}

uint64_t ipc_conn_taken(const IpcConn *c)
{
        size_t left = uv_stream_get_write_queue_size((const uv_stream_t *)&c->pipe);
        size_t in_flight = c->writing.len - c->writing_off;

        return c->written + in_flight - MIN(left, in_flight);
}

void ipc_conn_send(IpcConn *c, const IpcMessage *m)
{
        int r;

        if (c->closing)
                return;
        if (m->request && !ipc_conn_takes(c, m->json.n)) { /* the rest of an answer is short */
                ipc_conn_send_error(c, m->session, m->request, "tooBig",
                                    "the answer is larger than this application takes");
                return;
        }
        r = ipcmsg_encode(&c->out, m);
        if (r == 0 && ipc_conn_waiting(c) > IPC_OUT_MAX_BYTES)
                r = -ENOBUFS;
        if (r < 0) {
                log_limited(&c->server->log, uv_now(c->agent->loop), LOG_LEVEL_WARNING,
                            "an application (uid %u) is cut off: %s", c->uid, strerror(-r));
                conn_close_later(c, 0);
                return;
        }
        make_dirty(c);
}

void ipc_conn_send_error(IpcConn *c, uint32_t session, uint32_t request, const char *word,
                         const char *message)
{
        ipc_conn_send(c, &(IpcMessage){
                                 .type = IPC_ERROR,
                                 .session = session,
                                 .request = request,
                                 .name = ipc_str(word),
                                 .message = ipc_str(message),
                                 .error_no = ipc_error_of_word(word),
                         });
}

void ipc_conn_send_unknown(IpcConn *c, uint32_t request, const char *word, const char *what,
                           IpcStr name, const char *list)
{
        bool fits = name.n <= UNKNOWN_NAME_BYTES; /* not cut: half a character is no UTF-8 */
        char text[UNKNOWN_NAME_BYTES + 96];

        (void)snprintf(text, sizeof(text), "there is no %s %.*s; see `linkctl %s`", what,
                       fits ? (int)name.n : (int)strlen("of that name"),
                       fits ? name.p : "of that name", list); /* fits */
        ipc_conn_send_error(c, 0, request, word, text);
}

void ipc_conn_notify(IpcConn *c, const char *topic, const Buf *json)
{
        ipc_conn_send(c, &(IpcMessage){.type = IPC_NOTIFY,
                                       .name = ipc_str(topic),
                                       .json = {.p = (char *)json->data, .n = json->len}});
}

void ipc_conn_fail(IpcConn *c, const char *word, const char *message)
{
        if (c->closing)
                return;
        log_limited(&c->server->log, uv_now(c->agent->loop), LOG_LEVEL_INFO,
                    "closing an application's connection (uid %u): %s: %s", c->uid, word, message);
        ipc_conn_send_error(c, 0, 0, word, message);
        conn_close_later(c, ipc_conn_waiting(c) ? IPC_CLOSE_MSEC : 0);
        ipc_session_drop_all(c);
        ipc_call_drop_all(c);
}

/* ---- in ---- */

static void on_hello(IpcConn *c, const IpcMessage *m)
{
        if (m->version < 1) {
                ipc_conn_fail(c, "version", "this agent speaks version 1");
                return;
        }
        if (m->max_frame < IPC_HELLO_MAX) {
                ipc_conn_fail(c, "protocol", "an application takes frames of 4096 bytes at least");
                return;
        }
        c->frame_max = MIN(m->max_frame, (uint32_t)IPC_FRAME_MAX);
        c->hello_done = true;
        timer_stop(c->timer);
        log_debug("application (uid %u) says hello: %.*s", c->uid, (int)MIN(m->name.n, (size_t)64),
                  m->name.p);
        ipc_conn_send(c, &(IpcMessage){
                                 .type = IPC_HELLO,
                                 .version = IPC_VERSION,
                                 .max_frame = IPC_FRAME_MAX,
                                 .name = ipc_str("linkd " LINK_VERSION),
                         });
}

static void dispatch(IpcConn *c, const IpcMessage *m)
{
        if (!c->hello_done && m->type != IPC_HELLO) {
                ipc_conn_fail(c, "protocol", "the first frame must be HELLO");
                return;
        }
        switch (m->type) {
        case IPC_HELLO:
                if (c->hello_done)
                        ipc_conn_fail(c, "protocol", "a second HELLO");
                else
                        on_hello(c, m);
                return;
        case IPC_CALL:
                ipc_call_dispatch(c, m);
                return;
        case IPC_CONNECT:
                ipc_session_on_connect(c, m);
                return;
        case IPC_SERVE:
                ipc_session_on_serve(c, m);
                return;
        case IPC_CLOSE:
                ipc_session_on_close(c, m);
                return;
        case IPC_REQUEST:
        case IPC_RESPONSE:
        case IPC_EVENT:
                ipc_session_on_data(c, m);
                return;
        case IPC_ASK:
                ipc_session_on_ask(c, m);
                return;
        case IPC_CANCEL:
                ipc_session_on_cancel(c, m);
                return;
        case IPC_CREDIT:
                ipc_session_on_credit(c, m);
                return;
        case IPC_ERROR:
        case IPC_RESULT:
        case IPC_NOTIFY:
        case IPC_OPENED:
        case IPC_STATE:
        case IPC_INCOMING: /* the codec refuses these from an application */
                ipc_conn_fail(c, "protocol", "a frame that only the agent sends");
                return;
        }
}

/* An application that does not read its answers, or asks for very much, waits in its write(). */
static bool wants_input(const IpcConn *c)
{
        return !c->closing && !c->starved && ipc_conn_waiting(c) <= IPC_OUT_STOP_BYTES &&
               c->unanswered_bytes <= IPC_UNANSWERED_BYTES_MAX;
}

/* Takes whole frames off data while they are wanted. Returns how many bytes were used. */
static size_t take_frames(IpcConn *c, const uint8_t *data, size_t len)
{
        size_t used = 0;

        c->starved = false; /* unless set_aside() says so again */
        while (wants_input(c)) {
                const char *fault = NULL;
                size_t n = 0;
                IpcMessage m;
                int r = ipcmsg_decode(data + used, len - used, false, &m, &n, &fault);

                if (r < 0) {
                        ipc_conn_fail(c, "protocol", fault);
                        return len;
                }
                if (r == 0) {
                        if (!c->hello_done && MAX(n, len - used) > IPC_HELLO_MAX)
                                ipc_conn_fail(c, "protocol",
                                              "the first frame must be a short HELLO");
                        else
                                set_aside(c, n);
                        return used;
                }
                give_back(c);
                dispatch(c, &m);
                used += n;
        }
        return c->closing ? len : used;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
        IpcConn *c = container_of((uv_pipe_t *)handle, IpcConn, pipe);

        (void)suggested;
        *buf = uv_buf_init((char *)c->server->chunk, sizeof(c->server->chunk));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void update_reading(IpcConn *c)
{
        bool want = wants_input(c);

        if (want == c->reading || c->closing)
                return;
        if (!want)
                stop_reading(c);
        else if (uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) < 0)
                conn_close_later(c, 0);
        else
                c->reading = true;
        if (c->set_aside && !c->closing) { /* its time runs while it is read */
                if (want)
                        timer_start(c->frame_timer, IPC_FRAME_MSEC);
                else
                        timer_stop(c->frame_timer);
        }
}

/* Bytes that the frame at the start of c->in still lacks; of its length, if that is not there. */
static size_t missing(const IpcConn *c)
{
        size_t want = 4;

        if (c->in.len >= 4)
                want += read_u32be(c->in.data);
        return want > c->in.len ? want - c->in.len : 0;
}

/* Takes what waits in c->in, completed by as little of data as that needs. Returns how many bytes
 * of data were used. */
static size_t take_kept(IpcConn *c, const uint8_t *data, size_t len)
{
        size_t used = 0, n, frame;

        while (c->in.len && !c->closing) {
                n = MIN(missing(c), len - used);
                if (n)
                        buf_add(&c->in, data + used, n);
                if (buf_ok(&c->in) < 0)
                        break;
                used += n;
                frame = take_frames(c, c->in.data, c->in.len);
                buf_drop(&c->in, frame);
                if (n == 0 && frame == 0)
                        break; /* it waits for more bytes, or for the connection to be read on */
        }
        return used;
}

static void take_input(IpcConn *c, const uint8_t *data, size_t len)
{
        size_t used = take_kept(c, data, len);

        if (c->in.len == 0 && used < len)
                used += take_frames(c, data + used, len - used);
        if (used < len && !c->closing)
                buf_add(&c->in, data + used, len - used);
        if (c->in.len == 0)
                buf_done_wipe(&c->in); /* an idle connection owns no buffer, and no pairing code */
        if (buf_ok(&c->in) < 0)
                ipc_conn_fail(c, "internal", "out of memory");
        update_reading(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
        IpcConn *c = container_of((uv_pipe_t *)stream, IpcConn, pipe);

        if (n < 0) {
                conn_close(c);
                return;
        }
        if (n == 0)
                return;
        take_input(c, (const uint8_t *)buf->base, (size_t)n);
        explicit_bzero(buf->base, (size_t)n); /* codes and invitations pass here */
}

static void on_timer(void *userdata)
{
        IpcConn *c = userdata;

        if (c->closing)
                conn_close(c);
        else if (!c->hello_done)
                ipc_conn_fail(c, "timeout", "there was no HELLO in time");
        else
                take_input(c, NULL, 0);
}

void ipc_conn_wake(IpcConn *c)
{
        if (!c->reading && wants_input(c))
                timer_start(c->timer, 0);
}

/* ---- listening ---- */

static void on_connection(uv_stream_t *stream, int status)
{
        IpcServer *s = container_of((uv_pipe_t *)stream, IpcServer, pipe);
        IpcConn *c;
        int fd, r;

        if (status < 0) {
                log_limited(&s->log, uv_now(s->agent->loop), LOG_LEVEL_WARNING, "socket %s: %s",
                            s->path, uv_strerror(status));
                return;
        }
        c = calloc(1, sizeof(*c));
        if (!c || uv_pipe_init(s->agent->loop, &c->pipe, 0) < 0) {
                log_limited(&s->log, uv_now(s->agent->loop), LOG_LEVEL_ERROR,
                            "socket %s: out of memory", s->path);
                free(c);
                return;
        }
        c->server = s;
        c->agent = s->agent;
        c->frame_max = IPC_FRAME_MAX;
        c->timer = timer_new(s->agent->loop, on_timer, c);
        c->frame_timer = timer_new(s->agent->loop, on_frame_timer, c);
        c->next = s->conns;
        s->conns = c;
        s->n_conns++;
        r = uv_accept(stream, (uv_stream_t *)&c->pipe);
        if (r == 0)
                r = uv_fileno((uv_handle_t *)&c->pipe, &fd);
        if (r == 0)
                r = policy_of_socket(fd, s->path, &c->access, &c->uid);
        if (r == 0 && (!c->timer || !c->frame_timer))
                r = -ENOMEM;
        if (r == 0)
                update_reading(c);
        if (r < 0) {
                log_limited(&s->log, uv_now(s->agent->loop), LOG_LEVEL_WARNING, "socket %s: %s",
                            s->path, strerror(-r));
                conn_close(c);
        } else if (!ipc_share_has_place(s->conns, s->n_conns, c)) {
                ipc_conn_fail(c, "tooMany", "the agent has too many connections, or this user has");
        } else if (!(c->access & ACCESS_READ)) {
                ipc_conn_fail(c, "forbidden",
                              "this user may not use the agent: it is for root, "
                              "the agent's own user, and members of the socket's group");
        } else {
                timer_start(c->timer, IPC_HELLO_MSEC);
        }
}

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

static void on_server_closed(uv_handle_t *handle)
{
        IpcServer *s = handle->data;

        if (--s->n_closing > 0)
                return;
        free(s->path);
        free(s);
}

int ipc_server_new(IpcServer **ret, Agent *a, const char *path, char **ret_fault)
{
        IpcServer *s;
        int r = clear_path(path, ret_fault);

        if (r < 0)
                return r;
        make_parent(path);
        s = calloc(1, sizeof(*s));
        if (!s || !(s->path = strdup(path)) || uv_pipe_init(a->loop, &s->pipe, 0) < 0) {
                if (s)
                        free(s->path);
                free(s);
                return -ENOMEM;
        }
        s->agent = a;
        (void)uv_prepare_init(a->loop, &s->flush); /* none of the two can fail */
        (void)uv_prepare_start(&s->flush, on_flush);
        uv_unref((uv_handle_t *)&s->flush);
        s->flush.data = s->pipe.data = s;
        r = uv_pipe_bind(&s->pipe, path);
        if (r == 0) {
                s->bound = true;
                r = chmod(path, 0660) < 0 ? -errno : 0;
        }
        if (r == 0)
                r = uv_listen((uv_stream_t *)&s->pipe, SOMAXCONN, on_connection);
        if (r < 0) {
                (void)fault(ret_fault, r, path, strerror(-r));
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
                conn_close(s->conns);
        if (s->bound)
                (void)unlink(s->path); /* gone already is fine */
        s->n_closing = 2;
        uv_close((uv_handle_t *)&s->pipe, on_server_closed);
        uv_close((uv_handle_t *)&s->flush, on_server_closed);
        return NULL;
}
