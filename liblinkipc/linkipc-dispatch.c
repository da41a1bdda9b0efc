/* One function a frame type. Each looks at what it needs of the frame, then calls back at most
 * once. */
#include "linkipc-internal.h"

static void no_memory(linkipc *l)
{
        link_break(l, -ENOMEM, NULL, NULL);
}

/* ---- the connection ---- */

static void on_hello(linkipc *l, const IpcMessage *m)
{
        if (l->introduced) {
                link_break_protocol(l, "a second HELLO");
                return;
        }
        if (m->version != IPC_VERSION) {
                link_break(l, -EPROTONOSUPPORT, NULL, NULL);
                return;
        }
        if (m->max_frame < IPC_FRAME_MIN) {
                link_break_protocol(l, "it takes no frames");
                return;
        }
        l->agent = strndup(m->name.p, m->name.n);
        if (!l->agent) {
                no_memory(l);
                return;
        }
        l->agent_frame_max = m->max_frame;
        l->introduced = true;
}

static void on_notify(linkipc *l, const IpcMessage *m)
{
        if (!l->notify)
                return;
        _cleanup_(freep) char *topic = strndup(m->name.p, m->name.n);
        if (!topic) {
                no_memory(l);
                return;
        }
        const char *json = link_json_text(l, m);
        CALLBACK(l, l->notify(l, topic, json, m->json.n, l->notify_data));
}

/* ---- answers ---- */

/* NULL: there is none, since an answer has crossed a CANCEL; or the agent mixes things up. */
static Request *answered_request(linkipc *l, const IpcMessage *m)
{
        Request *q = request_find(l, m->request);

        if (!q || q->kind == REQUEST_CONNECT)
                return q;
        uint32_t session = q->session ? q->session->number : 0;
        if (m->session == session)
                return q;
        link_break_protocol(l, "an answer names another session than the question");
        return NULL;
}

static void on_error(linkipc *l, const IpcMessage *m)
{
        _cleanup_(err_done) Err e = {0};

        err_set_remote(&e, m->name, m->message, m->error_no);
        if (e.error == 0)
                err_set(&e, -EIO, NULL, NULL);
        if (m->request == 0) {
                link_break(l, e.error, e.word, e.message);
                return;
        }
        Request *q = answered_request(l, m);
        if (!q)
                return;
        linkipc_result result = err_result(&e);
        request_finish(l, q, &result);
}

static void finish_ok(linkipc *l, Request *q, const IpcMessage *m)
{
        request_finish(l, q,
                       &(linkipc_result){
                               .word = "",
                               .message = "",
                               .json = link_json_text(l, m),
                               .json_len = m->json.n,
                       });
}

static void on_result(linkipc *l, const IpcMessage *m)
{
        Request *q = answered_request(l, m);

        if (!q)
                return;
        switch (q->kind) {
        case REQUEST_CALL:
        case REQUEST_SERVE:
        case REQUEST_EVENT:
                finish_ok(l, q, m);
                return;
        case REQUEST_ASK:
        case REQUEST_CONNECT:
        case REQUEST_SESSION:
                link_break_protocol(l, "a RESULT answers something else");
                return;
        }
}

static void finish_remote_error(linkipc *l, Request *q, const IpcMessage *m)
{
        _cleanup_(err_done) Err e = {0};
        _cleanup_(freep) char *text = json_unquote(m->json.p, m->json.n);

        err_set(&e, -EREMOTEIO, NULL, text);
        linkipc_result result = err_result(&e);
        request_finish(l, q, &result);
}

static void on_response(linkipc *l, const IpcMessage *m)
{
        Request *q = answered_request(l, m);

        if (!q)
                return;
        switch (q->kind) {
        case REQUEST_ASK:
        case REQUEST_SESSION:
                if (m->flags & IPC_FLAG_OK)
                        finish_ok(l, q, m);
                else
                        finish_remote_error(l, q, m);
                return;
        case REQUEST_CALL:
        case REQUEST_SERVE:
        case REQUEST_EVENT:
        case REQUEST_CONNECT:
                link_break_protocol(l, "a RESPONSE answers something else");
                return;
        }
}

/* ---- sessions come and go ---- */

/* Enters it with what the agent tells about it. False: the connection has ended. */
static bool enter(linkipc *l, linkipc_session *s, const IpcMessage *m)
{
        if (m->json.n > INFO_BYTES_MAX) {
                link_break_protocol(l, "it tells too much about a session");
                return false;
        }
        s->info = strndup(m->json.p, m->json.n);
        if (!s->info) {
                no_memory(l);
                return false;
        }
        if (session_enter(l, s, m->session, m->window) < 0) {
                link_break_protocol(l, "a session number is in use, or there are too many");
                return false;
        }
        return true;
}

static void on_opened(linkipc *l, const IpcMessage *m)
{
        Request *q = request_find(l, m->request);

        if (!q || q->kind != REQUEST_CONNECT) {
                link_break_protocol(l, "OPENED without a CONNECT");
                return;
        }
        _cleanup_(session_unpinp) linkipc_session *s = session_pin(q->session);
        if (!enter(l, s, m))
                return;
        request_finish(l, q, &(linkipc_result){.word = "", .message = "", .json = ""});
        session_opened(s);
}

static int read_names(linkipc_session *s)
{
        size_t n = strlen(s->info);
        int r = json_get_string(s->info, n, "host", &s->host);

        if (r == 0)
                r = json_get_string(s->info, n, "keyId", &s->key_id);
        if (r == 0)
                r = json_get_string(s->info, n, "label", &s->label);
        return r;
}

static void on_incoming(linkipc *l, const IpcMessage *m)
{
        if (l->serve_window_max == 0) {
                link_break_protocol(l, "INCOMING without a SERVE");
                return;
        }
        /* Which host's window it is does not matter: portions of the smallest always do, and the
         * largest is what it may have at most. */
        linkipc_session *s = session_new(l, l->serve_window_min);
        if (!s) {
                no_memory(l);
                return;
        }
        _cleanup_(session_unpinp) linkipc_session *pinned = session_pin(s);
        pinned->receive_balance = l->serve_window_max;
        s->incoming = s->owned = true;
        if (!enter(l, s, m))
                return;
        if (read_names(s) < 0) {
                no_memory(l);
                return;
        }
        session_set_state(s, LINKIPC_CONNECTED, false, NULL);
}

static void on_state(linkipc *l, const IpcMessage *m)
{
        linkipc_session *found = session_find(l, m->session);
        Err e = {0};

        if (!found)
                return;
        _cleanup_(session_unpinp) linkipc_session *s = session_pin(found);
        if (m->state == IPC_STATE_CONNECTED) {
                session_set_state(s, LINKIPC_CONNECTED, ipc_str_eq(m->name, "framed"), NULL);
                return;
        }
        err_set_remote(&e, m->name, m->message, 0);
        if (m->state != IPC_STATE_CLOSED) {
                session_set_state(s, m->state, false, &e);
                return;
        }
        if (e.error == 0)
                err_set(&e, -ECONNRESET, "closed", "the session is closed");
        session_closed(s, &e);
        err_done(&e);
}

/* ---- messages on a session ---- */

static void on_event(linkipc *l, linkipc_session *s, const IpcMessage *m)
{
        if (session_listens(s) && HANDLER(s, event)) {
                const char *data = link_json_text(l, m);
                CALLBACK(l, HANDLER(s, event)(s, data, m->json.n, m->payload, m->payload_len,
                                              HANDLER_DATA(s, event)));
        }
        session_consumed(s, m->frame_len);
}

static void on_request(linkipc *l, linkipc_session *s, const IpcMessage *m)
{
        const char *error = "no request handler"; /* docs/PROTOCOL.md */

        if (reply_find(s, m->request) || s->n_unanswered >= REPLIES_MAX) {
                link_break_protocol(l, "a request number is in use, or too many are");
                return;
        }
        linkipc_reply *r = reply_new(s, m->request);
        if (!r) {
                no_memory(l);
                return;
        }
        if (session_listens(s) && HANDLER(s, request)) {
                const char *command = link_json_text(l, m);
                error = "the request was dropped unanswered";
                CALLBACK(l,
                         HANDLER(s, request)(s, r, command, m->json.n, HANDLER_DATA(s, request)));
        }
        reply_handled(r, m->frame_len, error);
}

/* REQUEST, RESPONSE and EVENT of a session: what they cost is taken, and given back when the
 * callback has returned. */
static void on_data(linkipc *l, const IpcMessage *m)
{
        linkipc_session *found = session_find(l, m->session);

        if (!found) {
                link_break_protocol(l, "a message on a session that is not there");
                return;
        }
        if (found->receive_balance <= 0) {
                link_break_protocol(l, "it sent more than there was room for");
                return;
        }
        _cleanup_(session_unpinp) linkipc_session *s = session_pin(found);
        s->receive_balance -= (int64_t)m->frame_len;
        if (m->type == IPC_EVENT) {
                on_event(l, s, m);
        } else if (m->type == IPC_REQUEST) {
                on_request(l, s, m);
        } else {
                on_response(l, m);
                session_consumed(s, m->frame_len);
        }
}

static void on_cancel(linkipc *l, const IpcMessage *m)
{
        linkipc_session *found = session_find(l, m->session);

        if (!found)
                return;
        _cleanup_(session_unpinp) linkipc_session *s = session_pin(found);
        linkipc_reply *r = reply_find(s, m->request);
        if (r) /* else the answer has crossed it */
                reply_cancel(r);
}

static void on_credit(linkipc *l, const IpcMessage *m)
{
        linkipc_session *found = session_find(l, m->session);

        if (!found)
                return;
        _cleanup_(session_unpinp) linkipc_session *s = session_pin(found);
        if (session_credited(s, m->window) < 0)
                link_break_protocol(l, "CREDIT lifts the balance above 2^31-1");
}

void dispatch_frame(linkipc *l, const IpcMessage *m)
{
        if (!l->introduced && m->type != IPC_HELLO && (m->type != IPC_ERROR || m->request != 0)) {
                link_break_protocol(l, "the first frame is no HELLO");
                return;
        }
        switch (m->type) {
        case IPC_HELLO:
                on_hello(l, m);
                return;
        case IPC_ERROR:
                on_error(l, m);
                return;
        case IPC_RESULT:
                on_result(l, m);
                return;
        case IPC_NOTIFY:
                on_notify(l, m);
                return;
        case IPC_OPENED:
                on_opened(l, m);
                return;
        case IPC_INCOMING:
                on_incoming(l, m);
                return;
        case IPC_STATE:
                on_state(l, m);
                return;
        case IPC_RESPONSE:
                if (m->session == 0)
                        on_response(l, m);
                else
                        on_data(l, m);
                return;
        case IPC_REQUEST:
        case IPC_EVENT:
                on_data(l, m);
                return;
        case IPC_CANCEL:
                on_cancel(l, m);
                return;
        case IPC_CREDIT:
                on_credit(l, m);
                return;
        case IPC_CALL:
        case IPC_CONNECT:
        case IPC_SERVE:
        case IPC_CLOSE:
        case IPC_ASK: /* the codec refuses these from an agent */
                link_break_protocol(l, "a frame that only applications send");
                return;
        }
}
