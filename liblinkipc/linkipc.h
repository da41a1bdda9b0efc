/* linkipc: the client library of linkd, the agent of Link.
 *
 * An application reaches its paired machines ("peers") and serves this machine's identities
 * ("hosts") through the agent, over a Unix socket. It never sees a key, a network socket or a
 * reconnection.
 *
 *      #include <linkipc.h>
 *      #include <stdio.h>
 *      #include <stdlib.h>
 *
 *      int main(void)
 *      {
 *              linkipc *l = NULL;
 *              linkipc_session *s = NULL;
 *              char *answer = NULL;
 *
 *              if (linkipc_open(&l, NULL) < 0 || linkipc_connect(l, "home", &s) < 0 ||
 *                  linkipc_session_wait(s, 0) < 0 ||
 *                  linkipc_request(s, "{\"do\":\"it\"}", 0, &answer, NULL) < 0)
 *                      fprintf(stderr, "%s\n", l ? linkipc_error_message(l) : "no agent runs");
 *              else
 *                      puts(answer);
 *              free(answer);
 *              linkipc_session_unref(s);
 *              linkipc_unref(l);
 *      }
 *
 * Errors. Functions return 0 or more on success and a negative errno on failure; then
 * linkipc_error_word() is a stable word (the table in docs/IPC.md: "noSuchPeer", "revoked" …) and
 * linkipc_error_message() a text for people. Outputs are left untouched on failure. Besides those
 * that a function names, each can return -ENOMEM, -EINVAL (an argument makes no sense, text that is
 * not UTF-8) and, once the agent is gone, -ECONNRESET; -EPROTO if the agent spoke nonsense. A
 * connection never comes back: unref it and open another one. -EREMOTEIO ("remote") is an error
 * that the application at the other end answered; its text is the message. Words of the library
 * itself, beside the table's: "disconnected" (-ECONNRESET: the agent is gone), "canceled",
 * "deadlock", "answered", "noSuch" (no such operation), "remote"; "flow" is -EAGAIN here, "closed"
 * also -ENOTCONN, "tooMany" also -ENOBUFS.
 *
 * JSON is text in UTF-8 and passes unchanged, digit by digit. The library does not parse it; the
 * agent ends a connection that sends it something else.
 *
 * Two ways of use. Blocking calls (linkipc_call, _ask, _request, _send, _serve, _session_wait,
 * _session_wait_closed, _flush) run handlers of other messages while they wait, and cannot be made
 * from within a handler (-EDEADLK). Everything else never waits: it queues, and the application's
 * loop polls linkipc_get_fd() for linkipc_get_events() until linkipc_get_timeout(), and calls
 * linkipc_process() until that returns 0.
 *
 * Callbacks run only from within linkipc_process(), the blocking calls and, with -ECANCELED, the
 * functions that give something up (linkipc_cancel, linkipc_session_unref, linkipc_unref). They may
 * call any function that does not block, and may unref the session or the connection they are
 * about. Pointers they are given are good until they return. The callback of an asynchronous
 * operation is called exactly once if the operation was started (0 was returned).
 *
 * Flow control is per session. Asynchronous sending fails with -EAGAIN while the other side has not
 * taken what was sent before; the writable handler tells when to try again. In the other direction
 * the agent is given room for more after a handler has returned, unless linkipc_session_hold() says
 * otherwise.
 *
 * Time-outs are in milliseconds; 0 is the default of 30 s (120 s for linkipc_call and _serve), and
 * LINKIPC_FOREVER is none. Threads: one at a time may use a connection and what belongs to it. */
#ifndef LINKIPC_H
#define LINKIPC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LINKIPC_FOREVER UINT32_MAX

/* A connection to the agent; a session with a remote machine; a request that waits for an answer.
 */
typedef struct linkipc linkipc;
typedef struct linkipc_session linkipc_session;
typedef struct linkipc_reply linkipc_reply;

/* What became of an asynchronous operation. */
typedef struct linkipc_result {
        int error;           /* 0, or a negative errno */
        const char *word;    /* of an error; else "" */
        const char *message; /* of an error; else "" */
        const char *json;    /* the answer, ended by a NUL; "" with an error */
        size_t json_len;
} linkipc_result;

typedef void (*linkipc_result_func)(linkipc *l, const linkipc_result *result, void *userdata);

/* ---- Connections ---------------------------------------------------------------------------- */

/* Connects to the agent at a socket path. NULL: $LINKD_SOCKET if set, else the user's agent, else
 * the system's. -ENOENT, -ECONNREFUSED: no agent runs there; -EACCES; -ENAMETOOLONG. The first
 * words with the agent are exchanged later: -EPROTONOSUPPORT can still come from the first blocking
 * call. Waits only when the agent's accept queue is full, for at most 5 s (-EAGAIN). */
int linkipc_open(linkipc **ret, const char *path);
/* The agent of this user ($XDG_RUNTIME_DIR/linkd/linkd.sock, see docs/IPC.md), or the system's. */
int linkipc_open_user(linkipc **ret);
int linkipc_open_system(linkipc **ret);
/* Takes a connected stream socket over (as D-Bus OpenSocket gives it), and closes it in the end. On
 * failure it stays the caller's. Never waits. */
int linkipc_open_fd(linkipc **ret, int fd);

enum {
        LINKIPC_PATH_ENVIRONMENT = 0, /* $LINKD_SOCKET */
        LINKIPC_PATH_USER = 1,
        LINKIPC_PATH_SYSTEM = 2,
};
/* Writes one of the paths that linkipc_open looks at into buf. -ENOENT: the environment names none;
 * -ENAMETOOLONG: size does not do. */
int linkipc_socket_path(int which, char *buf, size_t size);

/* Connections are counted; the last unref ends it and with it its sessions. Callbacks of unanswered
 * operations are then called with -ECANCELED, and those of linkipc_reply_on_cancel(); handlers are
 * not. What was queued is sent as far as the socket takes it without waiting (see linkipc_flush).
 * NULL is fine. Both return: ref its argument, unref NULL. */
linkipc *linkipc_ref(linkipc *l);
linkipc *linkipc_unref(linkipc *l);
/* Ends the connection now; callbacks and state handlers learn it in the next linkipc_process(). */
void linkipc_close(linkipc *l);

/* Word and message of the last operation on l that failed: "" before the first. Good until the next
 * call on l. */
const char *linkipc_error_word(const linkipc *l);
const char *linkipc_error_message(const linkipc *l);
/* Path of the socket; "" after linkipc_open_fd. */
const char *linkipc_get_path(const linkipc *l);
/* Name and version of the agent, once it has introduced itself; else "". */
const char *linkipc_get_agent(const linkipc *l);
/* How many bytes the agent may send ahead on each session that is opened or served from now on:
 * 1 to 4194304; 1 MiB is the default. */
int linkipc_set_window(linkipc *l, uint32_t bytes);

/* For an event loop. The descriptor stays the same and open until the last unref. */
int linkipc_get_fd(const linkipc *l);
/* POLLIN, POLLOUT of poll(2); 0 once the connection has ended. */
int linkipc_get_events(const linkipc *l);
/* Writes when linkipc_process() is due whatever poll says: absolute CLOCK_MONOTONIC microseconds,
 * 0: at once, UINT64_MAX: never. 0. */
int linkipc_get_timeout(const linkipc *l, uint64_t *ret_usec);
/* Does what can be done without waiting: writes, reads, calls the callbacks of at most one message.
 * 1: something was done, call again. 0: nothing to do. Negative: the connection has ended, and all
 * callbacks know; -EBUSY: called from within a callback. */
int linkipc_process(linkipc *l);
/* Waits until there is something to process. 1: there is; 0: the time is over. -EDEADLK from within
 * a callback. */
int linkipc_wait(linkipc *l, uint32_t timeout_msec);
/* Waits until everything that was queued is handed to the agent. */
int linkipc_flush(linkipc *l, uint32_t timeout_msec);

/* Messages that the agent sends on its own. */
typedef void (*linkipc_notify_func)(linkipc *l, const char *topic, const char *json, size_t len,
                                    void *userdata);
void linkipc_on_notify(linkipc *l, linkipc_notify_func func, void *userdata);

/* ---- The agent's own methods ---------------------------------------------------------------- */

/* Calls a method of the agent (docs/IPC.md "Methods of CALL") with a JSON object; NULL: no params.
 * *ret (may be NULL) is a new string, ended by a NUL (free()), *ret_len (may be NULL) its length.
 * Fails as the agent's table of error words says; -ETIMEDOUT. */
int linkipc_call(linkipc *l, const char *method, const char *params, uint32_t timeout_msec,
                 char **ret, size_t *ret_len);
/* The same without waiting. *ret_id (may be NULL) is for linkipc_cancel. -ENOBUFS: 1024 operations
 * or 16 MiB are unanswered. */
int linkipc_call_async(linkipc *l, const char *method, const char *params, uint32_t timeout_msec,
                       linkipc_result_func func, void *userdata, uint32_t *ret_id);

/* Asks a peer once, without a session of one's own. */
int linkipc_ask(linkipc *l, const char *peer, const char *command, uint32_t timeout_msec,
                char **ret, size_t *ret_len);
int linkipc_ask_async(linkipc *l, const char *peer, const char *command, uint32_t timeout_msec,
                      linkipc_result_func func, void *userdata, uint32_t *ret_id);

/* Gives an asynchronous operation up: its callback is called with -ECANCELED before this returns.
 * It may take effect all the same, and count among the 1024 until the agent has answered.
 * -ENOENT: not (or no longer) under way. */
int linkipc_cancel(linkipc *l, uint32_t id);

/* ---- Sessions ------------------------------------------------------------------------------- */

enum {
        LINKIPC_CONNECTING = 1,
        LINKIPC_CONNECTED = 2,
        LINKIPC_RECONNECTING = 3, /* the agent does it by itself */
        LINKIPC_CLOSED = 4,       /* final; linkipc_session_error() says why */
};

/* Opens a session to a peer. It is connecting when this returns; failures show as LINKIPC_CLOSED.
 */
int linkipc_connect(linkipc *l, const char *peer, linkipc_session **ret);
/* Waits until it is connected (0), or closed (its error). -ETIMEDOUT: neither; it goes on trying.
 */
int linkipc_session_wait(linkipc_session *s, uint32_t timeout_msec);
/* Asks for the end. What was sent before is still delivered. Sending fails with -ENOTCONN from now
 * on; LINKIPC_CLOSED confirms. */
int linkipc_session_close(linkipc_session *s);
/* Waits until it is closed. 0 or -ETIMEDOUT. */
int linkipc_session_wait_closed(linkipc_session *s, uint32_t timeout_msec);

/* Sessions are counted. The last unref closes it: its unanswered operations are cancelled, no
 * handler is called any more (but the callbacks of linkipc_reply_on_cancel() are). Sessions that
 * came by linkipc_serve() belong to the connection until they are closed: ref what you keep. A
 * session may outlive its connection; it is closed then. */
linkipc_session *linkipc_session_ref(linkipc_session *s);
linkipc_session *linkipc_session_unref(linkipc_session *s);

int linkipc_session_get_state(const linkipc_session *s);
/* The connection it belongs to (borrowed); NULL once that is gone. */
linkipc *linkipc_session_get_connection(const linkipc_session *s);
/* Whether the other end can take payloads: 1 or 0. It can become so shortly after connecting. */
int linkipc_session_is_framed(const linkipc_session *s);
/* Whether it came by linkipc_serve(): 1 or 0. */
int linkipc_session_is_incoming(const linkipc_session *s);
/* Why it is reconnecting or closed: negative errno (0 if there is nothing to tell), word, message.
 */
int linkipc_session_error(const linkipc_session *s);
const char *linkipc_session_error_word(const linkipc_session *s);
const char *linkipc_session_error_message(const linkipc_session *s);
/* The peer's name as given to linkipc_connect; of an incoming session the host that it reached, and
 * key id and label of the device. "" where there is none. Good as long as the session. */
const char *linkipc_session_get_peer(const linkipc_session *s);
const char *linkipc_session_get_host(const linkipc_session *s);
const char *linkipc_session_get_key_id(const linkipc_session *s);
const char *linkipc_session_get_label(const linkipc_session *s);
/* What the agent told about it, a JSON object; "" until it did. */
const char *linkipc_session_get_info(const linkipc_session *s);
void linkipc_session_set_userdata(linkipc_session *s, void *userdata);
void *linkipc_session_get_userdata(const linkipc_session *s);

/* Handlers. Set on the connection they are for every session that has none of its own; NULL
 * removes. state: a new state, or word (framed) of the same. An incoming session is announced by
 *   LINKIPC_CONNECTED.
 * event: payload is NULL if there is none.
 * request: answer by linkipc_reply_ok or _error, now or, with linkipc_reply_ref, later.
 * writable: sending works again after -EAGAIN, or for the first time. */
typedef void (*linkipc_state_func)(linkipc_session *s, int state, void *userdata);
typedef void (*linkipc_event_func)(linkipc_session *s, const char *data, size_t len,
                                   const void *payload, size_t payload_len, void *userdata);
typedef void (*linkipc_request_func)(linkipc_session *s, linkipc_reply *reply, const char *command,
                                     size_t len, void *userdata);
typedef void (*linkipc_writable_func)(linkipc_session *s, void *userdata);

void linkipc_on_state(linkipc *l, linkipc_state_func func, void *userdata);
void linkipc_on_event(linkipc *l, linkipc_event_func func, void *userdata);
void linkipc_on_request(linkipc *l, linkipc_request_func func, void *userdata);
void linkipc_on_writable(linkipc *l, linkipc_writable_func func, void *userdata);
void linkipc_session_on_state(linkipc_session *s, linkipc_state_func func, void *userdata);
void linkipc_session_on_event(linkipc_session *s, linkipc_event_func func, void *userdata);
void linkipc_session_on_request(linkipc_session *s, linkipc_request_func func, void *userdata);
void linkipc_session_on_writable(linkipc_session *s, linkipc_writable_func func, void *userdata);

/* Asks the other end. *ret is a new string (free()). -EREMOTEIO: it answered an error; -ETIMEDOUT;
 * -ENOTCONN: the session is closed. */
int linkipc_request(linkipc_session *s, const char *command, uint32_t timeout_msec, char **ret,
                    size_t *ret_len);
/* Without waiting. -EAGAIN: see "Flow control"; -ENOBUFS: 1024 operations are unanswered;
 * -EMSGSIZE. */
int linkipc_request_async(linkipc_session *s, const char *command, uint32_t timeout_msec,
                          linkipc_result_func func, void *userdata, uint32_t *ret_id);

/* Sends an event, and waits until the agent has written it to the network. payload may be NULL.
 * -ENOTSUP: the other end takes no payload; -EMSGSIZE: over 16 MiB. */
int linkipc_send(linkipc_session *s, const char *data, const void *payload, size_t payload_len,
                 uint32_t timeout_msec);
/* Without waiting, and without a time-out. func is called when it is written to the network; NULL:
 * nobody wants to know, and *ret_id is 0. */
int linkipc_send_async(linkipc_session *s, const char *data, const void *payload,
                       size_t payload_len, linkipc_result_func func, void *userdata,
                       uint32_t *ret_id);

/* Bytes that may be sent now; 0: sending says -EAGAIN. The last message may go beyond. */
size_t linkipc_session_get_credit(const linkipc_session *s);
/* Holds back: the agent gets no room for more on this session until linkipc_session_release(), and
 * stops when what it has is used up. Messages that are under way still come. Not counted. */
void linkipc_session_hold(linkipc_session *s);
void linkipc_session_release(linkipc_session *s);

/* ---- Serving a host ------------------------------------------------------------------------- */

enum {
        LINKIPC_REQUESTS = 1,
        LINKIPC_EVENTS = 2,
};

/* Makes this connection the one that serves a host (NULL: "default") in these roles, or with roles
 * 0 lets it go. Sessions are announced to the state handler of the connection, so set handlers
 * first. -EBUSY: another application serves it; -EACCES; -ENOENT. */
int linkipc_serve(linkipc *l, const char *host, unsigned roles);
int linkipc_serve_async(linkipc *l, const char *host, unsigned roles, linkipc_result_func func,
                        void *userdata, uint32_t *ret_id);

/* Answers with JSON, or with an error's text. 0: done with; the reply may be unref'd. -EAGAIN: see
 * "Flow control", try again when writable; -ECANCELED: nobody wants the answer any more; -EALREADY;
 * -EMSGSIZE. */
int linkipc_reply_ok(linkipc_reply *r, const char *data);
int linkipc_reply_error(linkipc_reply *r, const char *message);
/* Replies are counted. A reply whose last reference goes without an answer is answered by an error.
 */
linkipc_reply *linkipc_reply_ref(linkipc_reply *r);
linkipc_reply *linkipc_reply_unref(linkipc_reply *r);
/* 1 when the answer is not wanted any more: cancelled, or the session or connection has ended. */
int linkipc_reply_is_cancelled(const linkipc_reply *r);
/* Called once when that happens. The reference stays the application's. */
typedef void (*linkipc_cancel_func)(linkipc_reply *r, void *userdata);
void linkipc_reply_on_cancel(linkipc_reply *r, linkipc_cancel_func func, void *userdata);
/* The session (borrowed); NULL once that is gone. */
linkipc_session *linkipc_reply_get_session(const linkipc_reply *r);

#ifdef __cplusplus
}
#endif

#endif
