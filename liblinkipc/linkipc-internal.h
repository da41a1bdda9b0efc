/* What the files of liblinkipc share. Layers, each calls only those below:
 *
 *   linkipc-sync       blocking calls
 *   linkipc            opening and ending
 *   linkipc-process    the loop: time-outs, frames to handlers, the end of the connection
 *   linkipc-dispatch   one function a frame type
 *   linkipc-session, linkipc-reply, linkipc-request
 *   linkipc-io         bytes and frames from and to the socket
 *   linkipc-error, linkipc-json */
#pragma once

#include <errno.h>

#include "liblinkproto/ipcmsg.h"
#include "limits.h"
#include "linkipc.h"

#define _public_ __attribute__((visibility("default")))

#define USEC_NEVER UINT64_MAX

/* How callbacks are called. They may end all that is there, so whoever goes on with l afterwards
 * has pinned it, and looks again at everything else. */
#define CALLBACK(l, call)                                                                          \
        do {                                                                                       \
                (l)->in_callback++;                                                                \
                call;                                                                              \
                (l)->in_callback--;                                                                \
        } while (0)

/* An error as told to the application. The strings are owned; NULL reads as "". */
typedef struct Err {
        int error; /* negative errno, 0: none */
        char *word;
        char *message;
} Err;

typedef enum RequestKind {
        REQUEST_CALL,
        REQUEST_ASK,
        REQUEST_SERVE,
        REQUEST_CONNECT,
        REQUEST_SESSION, /* a REQUEST */
        REQUEST_EVENT,   /* an EVENT whose delivery is told */
} RequestKind;

/* An operation that the agent has not answered yet. */
typedef struct Request {
        struct Request *next, *prev;
        RequestKind kind;
        uint32_t id;
        uint64_t deadline_usec;
        size_t uncounted_bytes;   /* CALL, ASK: size of the frame */
        linkipc_session *session; /* CONNECT, SESSION, EVENT */
        linkipc_result_func func; /* NULL: nobody waits (any more), but the number is in use */
        void *userdata;
} Request;

typedef struct Handlers {
        linkipc_state_func state;
        void *state_data;
        linkipc_event_func event;
        void *event_data;
        linkipc_request_func request;
        void *request_data;
        linkipc_writable_func writable;
        void *writable_data;
} Handlers;

struct linkipc {
        unsigned n_ref;       /* the application's */
        unsigned pins;        /* functions of ours on the stack that go on with it */
        unsigned in_callback; /* depth */
        int fd;
        bool ending;     /* the last reference has gone */
        bool write_dead; /* the agent reads no more; what it wrote before may still be there */
        bool ended_told; /* everybody has been told that the connection has ended */
        bool credits_waiting;
        bool introduced; /* HELLO has come */
        Err broken;      /* why it has ended */
        Err last;
        char *path, *agent;
        uint32_t window;
        uint32_t serve_window_min, serve_window_max; /* of what was served; 0: nothing yet */
        uint32_t agent_frame_max;

        Buf in;
        size_t in_off;
        Buf out;
        size_t out_off;
        uint64_t wrote_usec; /* about when it was written last */

        Request *requests, *requests_tail; /* oldest first */
        size_t n_requests;
        size_t uncounted_bytes;
        uint32_t last_id;
        uint64_t next_deadline_usec; /* no request runs out of time before; may be too early */

        linkipc_session *sessions[SESSION_BUCKETS]; /* by number: those that the agent knows */
        size_t n_sessions;
        linkipc_session *live, *closed; /* all, by whether their state is LINKIPC_CLOSED */

        Handlers handlers;
        linkipc_notify_func notify;
        void *notify_data;
};

struct linkipc_session {
        unsigned n_ref;
        unsigned pins;                          /* as of the connection */
        linkipc *link;                          /* NULL: the connection is gone */
        linkipc_session *next;                  /* in its bucket */
        linkipc_session *list_next, *list_prev; /* in live or closed */
        uint32_t number;                        /* 0 until opened */
        uint32_t window;                        /* ours; credit is given in portions of it */
        uint8_t state;
        bool framed;
        bool incoming;
        bool owned;      /* incoming, not closed: one reference is the connection's */
        bool in_table;   /* the agent knows it */
        bool connecting; /* a CONNECT holds it */
        bool closing;   /* CLOSE was sent, or is to be sent once it has a number, or is of no use */
        bool abandoned; /* the application has dropped it */
        bool held;
        bool starved;         /* sending failed for want of credit: the writable handler is due */
        int64_t send_balance; /* bytes we may send; may be below zero */
        int64_t receive_balance; /* bytes the agent may send */
        uint64_t credit_owed;    /* taken by the application, not yet given back */
        Err error;
        char *peer, *host, *key_id, *label, *info;
        Handlers handlers;
        linkipc_reply *replies; /* newest first; answered ones too while somebody holds them */
        size_t n_unanswered, n_owed;
        void *userdata;
};

struct linkipc_reply {
        unsigned n_ref;
        linkipc_session *session; /* NULL: it is gone */
        linkipc_reply *next, *prev;
        uint32_t request;
        bool answered;
        bool cancelled;
        const char *owed; /* dropped unanswered while there was no credit for this error */
        size_t credit;    /* to give back when that is sent */
        linkipc_cancel_func cancel;
        void *cancel_data;
};

/* linkipc-error */

void err_done(Err *e);
/* word and message are copied; message NULL: the default text of the errno. */
void err_set(Err *e, int error, const char *word, const char *message);
void err_copy(Err *to, const Err *from);
/* From an ERROR or STATE frame. error_no 0: by the word. Without a word: no error. */
void err_set_remote(Err *e, IpcStr word, IpcStr message, uint32_t error_no);
/* As the result of a failed operation. */
linkipc_result err_result(const Err *e);
/* Sets the connection's last error to a local failure; returns error. l may be NULL. */
int link_error(linkipc *l, int error, const char *message);

/* linkipc-json */

/* The string v (JSON text, quoted) in plain UTF-8, a new string; text that is no JSON string is
 * copied as it is. A NUL inside reads as U+FFFD. NULL: out of memory. */
char *json_unquote(const char *text, size_t n);
/* The top-level member of an object, if it is a string, unquoted. *ret: new string, or NULL if
 * there is none. 0 or -ENOMEM. */
int json_get_string(const char *object, size_t n, const char *name, char **ret);

/* linkipc-io */

uint64_t now_usec(void);
/* Keeps a connection in memory, whatever callbacks do, until it is unpinned (NULL is fine). */
linkipc *link_pin(linkipc *l);
linkipc *link_unpin(linkipc *l);
DEFINE_CLEANUP(linkipc, link_unpin)
/* Ends the connection: nothing is sent or read any more. The first cause stays. */
void link_break(linkipc *l, int error, const char *word, const char *message);
/* 0, or the error with which the connection has ended. */
int link_check(linkipc *l);
/* The same for what a malformed frame, or one that makes no sense, means. */
void link_break_protocol(linkipc *l, const char *fault);
/* Queues a frame and sets m->frame_len. 0; -EMSGSIZE; -ENOMEM (the connection has ended then); or
 * why the connection has ended. */
int link_queue(linkipc *l, IpcMessage *m);
size_t link_out_pending(const linkipc *l);
/* Writes what the socket takes. 1: something, 0: nothing. Failures end the connection or the
 * writing. */
int link_write(linkipc *l);
/* Reads what is there, up to READ_BYTES. 1: something (or the end), 0: nothing. */
int link_read(linkipc *l);
/* Whether a whole frame, or a malformed one, is there already. */
bool link_has_frame(const linkipc *l);
/* The frame at the start of the input. 1: *ret, until link_drop_frame(). 0: none (or the connection
 * ended over a malformed one). */
int link_peek_frame(linkipc *l, IpcMessage *ret);
void link_drop_frame(linkipc *l, const IpcMessage *m);
/* The JSON of the frame that was peeked, ended by a NUL. It moves there over the byte before it, so
 * this is done once, and after the other fields were used. */
const char *link_json_text(linkipc *l, const IpcMessage *m);

/* linkipc-request */

typedef struct RequestSpec {
        RequestKind kind;
        uint32_t timeout_msec; /* 0: default, LINKIPC_FOREVER: none */
        linkipc_session *session;
        linkipc_result_func func;
        void *userdata;
} RequestSpec;

/* Sends m with a new request number and remembers it. 0 or negative errno. */
int request_start(linkipc *l, const RequestSpec *spec, IpcMessage *m, Request **ret);
Request *request_find(const linkipc *l, uint32_t id);
/* Ends it: takes it out and calls its callback. q is gone then. */
void request_finish(linkipc *l, Request *q, const linkipc_result *result);
/* Gives it up with an error: tells the agent if that can still help, else the number stays in use
 * until the agent answers. */
void request_give_up(linkipc *l, Request *q, int error);
/* Ends all of a session, but for a CONNECT. */
void request_finish_session(linkipc *l, const linkipc_session *s, const Err *e);
void request_finish_all(linkipc *l, const Err *e);
/* One that ran out of time, or NULL. Brings next_deadline_usec up to date. */
Request *request_expired(linkipc *l, uint64_t now);
/* An absolute time; 0 means default_msec. */
uint64_t deadline_in(uint32_t timeout_msec, uint32_t default_msec);
/* Each 0, or -EINVAL with the last error set. NULL is neither; JSON is not empty. l may be NULL. */
int link_check_json(linkipc *l, const char *text);
int link_check_name(linkipc *l, const char *text);

/* linkipc-session */

/* One that the agent does not know yet, connecting, with one reference. NULL: no memory. */
linkipc_session *session_new(linkipc *l, uint32_t window);
linkipc_session *session_pin(linkipc_session *s);
linkipc_session *session_unpin(linkipc_session *s);
DEFINE_CLEANUP(linkipc_session, session_unpin)
/* Whether its handlers may be called. */
bool session_listens(const linkipc_session *s);
linkipc_session *session_find(const linkipc *l, uint32_t number);
/* Enters it under its number. -EEXIST; -ENOBUFS: too many. */
int session_enter(linkipc *l, linkipc_session *s, uint32_t number, uint32_t agent_window);
/* The one setter of the state. e (may be NULL) is taken over. Calls the handler. */
void session_set_state(linkipc_session *s, uint8_t state, bool framed, Err *e);
/* Final: leaves the table, tells requests, replies and the handler. s may be gone. */
void session_closed(linkipc_session *s, const Err *e);
/* The agent has answered the CONNECT with a number. */
void session_opened(linkipc_session *s);
/* The CONNECT is over: result says how. s may be gone. */
void session_connect_ended(linkipc_session *s, const linkipc_result *result);
/* Sends CLOSE once, or as soon as there is a number. */
void session_send_close(linkipc_session *s);
/* The connection is being freed: the session has none any more. */
void session_detach(linkipc_session *s);
/* Whether a frame may be sent: 0, -EAGAIN, -ENOTCONN, or why the connection ended. */
int session_may_send(linkipc_session *s);
/* Queues a frame that costs credit; takes it from the balance. 0 or as link_queue. */
int session_send(linkipc_session *s, IpcMessage *m);
typedef struct EventSpec {
        const char *data;
        const void *payload;
        size_t payload_len;
        uint32_t timeout_msec;
        linkipc_result_func func; /* NULL: nobody wants to know */
        void *userdata;
} EventSpec;

/* Sends an event; as linkipc_send_async. */
int session_send_event(linkipc_session *s, const EventSpec *spec, uint32_t *ret_id);
/* Bytes that came and are done with. */
void session_consumed(linkipc_session *s, size_t bytes);
void session_give_credit(linkipc_session *s);
/* The agent gave credit. -EPROTO: more than a balance can hold. */
int session_credited(linkipc_session *s, uint32_t bytes);

/* Of a session that listens. */
#define HANDLER(s, kind) ((s)->handlers.kind ? (s)->handlers.kind : (s)->link->handlers.kind)
#define HANDLER_DATA(s, kind)                                                                      \
        ((s)->handlers.kind ? (s)->handlers.kind##_data : (s)->link->handlers.kind##_data)

/* linkipc-reply */

/* With one reference, to be dropped by reply_handled(). NULL: no memory. */
linkipc_reply *reply_new(linkipc_session *s, uint32_t request);
/* The one that is neither answered nor cancelled, or NULL. */
linkipc_reply *reply_find(const linkipc_session *s, uint32_t request);
/* The handler has returned from a request of so many bytes. error (static): what to answer if
 * nobody has it any more. r may be gone. */
void reply_handled(linkipc_reply *r, size_t bytes, const char *error);
/* Nobody wants it any more. */
void reply_cancel(linkipc_reply *r);
void reply_cancel_all(linkipc_session *s);
/* The session is being freed. */
void reply_orphan_all(linkipc_session *s);
/* Sends errors that had to wait for credit. */
void reply_send_owed(linkipc_session *s);

/* linkipc-dispatch */

void dispatch_frame(linkipc *l, const IpcMessage *m);

/* linkipc-process */

/* 0, or -EDEADLK from within a callback. */
int link_check_blocking(linkipc *l);
/* Processes once; if there was nothing, waits for something. 0; -ETIMEDOUT; why the connection
 * ended. */
int link_step(linkipc *l, uint64_t deadline_usec);
