/* Requests that wait for the application's answer. */
#include "linkipc-internal.h"

linkipc_reply *reply_new(linkipc_session *s, uint32_t request)
{
        linkipc_reply *r = calloc(1, sizeof *r);

        if (!r)
                return NULL;
        r->n_ref = 1;
        r->session = s;
        r->request = request;
        r->next = s->replies;
        if (r->next)
                r->next->prev = r;
        s->replies = r;
        s->n_unanswered++;
        return r;
}

static void delist(linkipc_reply *r)
{
        if (!r->session)
                return;
        *(r->prev ? &r->prev->next : &r->session->replies) = r->next;
        if (r->next)
                r->next->prev = r->prev;
        r->next = r->prev = NULL;
        r->session = NULL;
}

static void reply_free(linkipc_reply *r)
{
        delist(r);
        free(r);
}

static bool is_open(const linkipc_reply *r)
{
        return !r->answered && !r->cancelled;
}

linkipc_reply *reply_find(const linkipc_session *s, uint32_t request)
{
        linkipc_reply *r = s->replies;

        while (r && (r->request != request || !is_open(r)))
                r = r->next;
        return r;
}

/* ---- the answer ---- */

/* The application has closed the session, or the connection has ended: all will be told soon. */
static bool is_unwanted(const linkipc_reply *r)
{
        const linkipc_session *s = r->session;

        return r->cancelled || !s || !s->link || s->closing || s->link->broken.error != 0;
}

static int answer(linkipc_reply *r, bool ok, IpcStr json)
{
        linkipc_session *s = r->session;
        linkipc *l = s ? s->link : NULL;

        if (r->answered)
                return link_error(l, -EALREADY, NULL);
        if (is_unwanted(r))
                return link_error(l, -ECANCELED, NULL);
        if (json.n > MESSAGE_BYTES_MAX)
                return link_error(l, -EMSGSIZE, NULL);
        int e = session_may_send(s);
        if (e < 0)
                return e;
        e = session_send(s, &(IpcMessage){
                                    .type = IPC_RESPONSE,
                                    .flags = ok ? IPC_FLAG_OK : 0,
                                    .request = r->request,
                                    .json = json,
                            });
        if (e < 0)
                return link_error(l, e, NULL);
        r->answered = true;
        s->n_unanswered--;
        return 0;
}

static int answer_error(linkipc_reply *r, const char *message)
{
        Buf b = {0};

        buf_json_str(&b, message, strlen(message));
        int e = buf_ok(&b);
        if (e == 0)
                e = answer(r, false, (IpcStr){.p = (const char *)b.data, .n = b.len});
        buf_done(&b);
        return e;
}

/* Nobody has it any more. True: the error that it is answered by must wait for credit. */
static bool reply_drop(linkipc_reply *r, const char *error)
{
        if (is_open(r) && !is_unwanted(r) && answer_error(r, error) == -EAGAIN) {
                r->owed = error;
                r->session->n_owed++;
                return true;
        }
        if (r->session && is_open(r))
                r->session->n_unanswered--;
        reply_free(r);
        return false;
}

void reply_handled(linkipc_reply *r, size_t bytes, const char *error)
{
        linkipc_session *s = r->session;

        if (--r->n_ref == 0 && reply_drop(r, error))
                r->credit = bytes;
        else if (s)
                session_consumed(s, bytes);
}

void reply_send_owed(linkipc_session *s)
{
        linkipc_reply *next;

        for (linkipc_reply *r = s->replies; r && s->n_owed > 0; r = next) {
                next = r->next;
                if (!r->owed)
                        continue;
                if (answer_error(r, r->owed) == -EAGAIN)
                        return;
                session_consumed(s, r->credit);
                s->n_owed--;
                reply_free(r);
        }
}

/* ---- the end of a request ---- */

void reply_cancel(linkipc_reply *r)
{
        linkipc_session *s = r->session;
        linkipc_cancel_func cancel = r->cancel;

        r->cancelled = true;
        s->n_unanswered--;
        if (r->owed) {
                s->n_owed--;
                session_consumed(s, r->credit);
                reply_free(r);
                return;
        }
        if (!cancel)
                return;
        _cleanup_(link_unpinp) linkipc *l = link_pin(s->link);
        r->n_ref++;
        CALLBACK(l, cancel(r, r->cancel_data));
        linkipc_reply_unref(r);
}

void reply_cancel_all(linkipc_session *s)
{
        linkipc_reply *r = s->replies;

        while (r && s->n_unanswered > 0) {
                if (!is_open(r)) {
                        r = r->next;
                        continue;
                }
                reply_cancel(r);
                r = s->replies; /* the callback may have dropped others */
        }
}

void reply_orphan_all(linkipc_session *s)
{
        while (s->replies)
                delist(s->replies);
}

/* ---- the application's ---- */

_public_ int linkipc_reply_ok(linkipc_reply *r, const char *data)
{
        if (!r)
                return -EINVAL;
        int e = link_check_json(r->session ? r->session->link : NULL, data);
        return e < 0 ? e : answer(r, true, ipc_str(data));
}

_public_ int linkipc_reply_error(linkipc_reply *r, const char *message)
{
        if (!r || !message)
                return -EINVAL;
        if (!ipc_utf8_valid(message, strlen(message)))
                return link_error(r->session ? r->session->link : NULL, -EINVAL,
                                  "a text is not UTF-8");
        return answer_error(r, message);
}

_public_ linkipc_reply *linkipc_reply_ref(linkipc_reply *r)
{
        if (r)
                r->n_ref++;
        return r;
}

_public_ linkipc_reply *linkipc_reply_unref(linkipc_reply *r)
{
        if (r && --r->n_ref == 0)
                (void)reply_drop(r, "the request was dropped unanswered"); /* waits if it must */
        return NULL;
}

_public_ int linkipc_reply_is_cancelled(const linkipc_reply *r)
{
        return r && !r->answered && is_unwanted(r);
}

_public_ void linkipc_reply_on_cancel(linkipc_reply *r, linkipc_cancel_func func, void *userdata)
{
        if (!r)
                return;
        r->cancel = func;
        r->cancel_data = userdata;
}

_public_ linkipc_session *linkipc_reply_get_session(const linkipc_reply *r)
{
        return r ? r->session : NULL;
}
