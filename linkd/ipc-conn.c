/* One connection of an application: its frames in and out, and its end. Declared in ipc-server.h.
 */
#include <errno.h>
#include <stdio.h>

#include "files.h"
#include "ipc-access.h"
#include "ipc-call.h"
#include "ipc-server-internal.h"
#include "ipc-session.h"
#include "ipc-share.h"
#include "ipc-words.h"
#include "limits.h"

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
        caller_done(&c->caller);
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

void ipc_conn_close(IpcConn *c)
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
                ipc_conn_close(c);
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
                ipc_conn_close(c);
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
                        ipc_conn_close(c);
                else if (was_full)
                        go_on(c);
                return;
        }
        buf = uv_buf_init((char *)c->writing.data + c->writing_off,
                          (unsigned)(c->writing.len - c->writing_off));
        if (uv_write(&c->write_req, (uv_stream_t *)&c->pipe, &buf, 1, on_written) < 0)
                ipc_conn_close(c);
}

void ipc_conn_flush_all(IpcServer *s)
{
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

/* It does not read what it has asked for. */
static void cut_off(IpcConn *c, int error)
{
        ipc_conn_log(c, LOG_LEVEL_WARNING, "an application (uid %u) is cut off: %s", c->caller.uid,
                     strerror(-error));
        conn_close_later(c, 0);
}

void ipc_conn_send(IpcConn *c, const IpcMessage *m)
{
        IpcConn *most;
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
                cut_off(c, r);
                return;
        }
        /* A user's small queues are bounded by their number. */
        most = ipc_conn_is_full(c) ? ipc_share_to_cut(c->server->conns, c) : NULL;
        if (most)
                cut_off(most, -ENOBUFS);
        if (most != c)
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

static void refuse(IpcConn *c, const char *word, const char *message)
{
        ipc_conn_send_error(c, 0, 0, word, message);
        conn_close_later(c, ipc_conn_waiting(c) ? IPC_CLOSE_MSEC : 0);
        ipc_session_drop_all(c);
        ipc_call_drop_all(c);
}

void ipc_conn_fail(IpcConn *c, const char *word, const char *message)
{
        if (c->closing)
                return;
        ipc_conn_log(c, LOG_LEVEL_INFO, "closing an application's connection (uid %u): %s: %s",
                     c->caller.uid, word, message);
        refuse(c, word, message);
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
        log_debug("application (uid %u) says hello: %.*s", c->caller.uid,
                  (int)MIN(m->name.n, (size_t)64), m->name.p);
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
                ipc_conn_close(c);
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
                ipc_conn_close(c);
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

/* ---- the beginning ---- */

/* Said when it begins and when it ends, not for each that is refused. */
static bool has_file(IpcConn *c, int fd)
{
        IpcServer *s = c->server;
        bool has = files_may_keep(fd, c->access & ACCESS_ADMINISTER ? FILES_OWNER : FILES_USER);

        if (!has && !s->short_of_files) {
                log_error("socket %s: no descriptors are left, applications are refused: raise the "
                          "limit of open files (LimitNOFILE=), or close sessions",
                          s->path);
                s->short_of_files = true;
        } else if (s->short_of_files && files_may_keep(fd, FILES_NETWORK)) {
                log_info("socket %s: there are descriptors again", s->path);
                s->short_of_files = false;
        }
        return has;
}

static int begin(IpcConn *c)
{
        IpcServer *s = c->server;
        uv_stream_t *stream = ipc_listener_stream(s->listener);
        int fd, r;

        if (!stream) /* the socket is being made anew */
                return -EAGAIN;

        c->timer = timer_new(c->agent->loop, on_timer, c);
        c->frame_timer = timer_new(c->agent->loop, on_frame_timer, c);
        if (!c->timer || !c->frame_timer)
                return -ENOMEM;
        r = uv_accept(stream, (uv_stream_t *)&c->pipe);
        if (r == 0)
                r = uv_fileno((uv_handle_t *)&c->pipe, &fd);
        if (r == 0)
                r = caller_of_socket(&c->caller, fd);
        if (r < 0)
                return r;
        ipc_access_judge(c);
        timer_start(c->timer, IPC_HELLO_MSEC);
        update_reading(c);
        if (!has_file(c, fd))
                refuse(c, "tooMany",
                       "linkd has no descriptors left: raise its limit of open files "
                       "(LimitNOFILE=), or close sessions");
        else if (!ipc_share_has_place(s->conns, s->n_conns, c))
                ipc_conn_fail(c, "tooMany", "the agent has too many connections, or this user has");
        else if (!(c->access & ACCESS_READ))
                ipc_conn_fail(c, "forbidden",
                              "this user may not use the agent: it is for root, the agent's own "
                              "user, members of the socket's group, and whom `access` in "
                              "linkd.conf names");
        return 0;
}

int ipc_conn_accept(IpcServer *s)
{
        IpcConn *c = calloc(1, sizeof(*c));
        int r = c ? uv_pipe_init(s->agent->loop, &c->pipe, 0) : -ENOMEM;

        if (r < 0) {
                free(c);
                return r;
        }
        c->server = s;
        c->agent = s->agent;
        c->frame_max = IPC_FRAME_MAX;
        c->next = s->conns;
        s->conns = c;
        s->n_conns++;
        r = begin(c);
        if (r < 0)
                ipc_conn_close(c);
        return r;
}
