/* Blocking calls: the asynchronous ones, and the loop until they are answered. */
#include "linkipc-internal.h"

/* What an asynchronous operation comes back with. */
typedef struct Answer {
        bool done;
        bool wanted; /* the JSON */
        Err error;
        char *json;
        size_t len;
} Answer;

static void on_answer(linkipc *l, const linkipc_result *result, void *userdata)
{
        Answer *a = userdata;

        (void)l;
        a->done = true;
        if (result->error < 0) {
                err_set(&a->error, result->error, result->word, result->message);
                return;
        }
        if (!a->wanted)
                return;
        a->json = malloc(result->json_len + 1);
        if (!a->json) {
                err_set(&a->error, -ENOMEM, NULL, NULL);
                return;
        }
        memcpy(a->json, result->json, result->json_len + 1);
        a->len = result->json_len;
}

/* Waits for what was started, which is answered in any case: at the latest when it runs out of time
 * or the connection ends. */
static int wait_answer(linkipc *l, uint32_t id, Answer *a, char **ret, size_t *ret_len)
{
        int r = 0;

        while (!a->done && r == 0)
                r = link_step(l, USEC_NEVER);
        if (!a->done) { /* poll(2) has failed */
                Request *q = request_find(l, id);
                if (q)
                        request_give_up(l, q, r);
        }
        if (a->error.error < 0) {
                r = a->error.error;
                err_copy(&l->last, &a->error);
                err_done(&a->error);
                return r;
        }
        if (ret)
                *ret = a->json;
        if (ret_len)
                *ret_len = a->len;
        return 0;
}

_public_ int linkipc_call(linkipc *l, const char *method, const char *params, uint32_t timeout_msec,
                          char **ret, size_t *ret_len)
{
        Answer a = {.wanted = ret};
        uint32_t id;

        if (!l)
                return -EINVAL;
        _cleanup_(link_unpinp) linkipc *pinned = link_pin(l);
        int r = link_check_blocking(pinned);
        if (r == 0)
                r = linkipc_call_async(l, method, params, timeout_msec, on_answer, &a, &id);
        return r < 0 ? r : wait_answer(l, id, &a, ret, ret_len);
}

_public_ int linkipc_ask(linkipc *l, const char *peer, const char *command, uint32_t timeout_msec,
                         char **ret, size_t *ret_len)
{
        Answer a = {.wanted = ret};
        uint32_t id;

        if (!l)
                return -EINVAL;
        _cleanup_(link_unpinp) linkipc *pinned = link_pin(l);
        int r = link_check_blocking(pinned);
        if (r == 0)
                r = linkipc_ask_async(l, peer, command, timeout_msec, on_answer, &a, &id);
        return r < 0 ? r : wait_answer(l, id, &a, ret, ret_len);
}

_public_ int linkipc_serve(linkipc *l, const char *host, unsigned roles)
{
        Answer a = {0};
        uint32_t id;

        if (!l)
                return -EINVAL;
        _cleanup_(link_unpinp) linkipc *pinned = link_pin(l);
        int r = link_check_blocking(pinned);
        if (r == 0)
                r = linkipc_serve_async(l, host, roles, on_answer, &a, &id);
        return r < 0 ? r : wait_answer(l, id, &a, NULL, NULL);
}

/* ---- sessions ---- */

static uint32_t msec_until(uint64_t deadline_usec)
{
        uint64_t now = now_usec();

        if (deadline_usec == USEC_NEVER)
                return LINKIPC_FOREVER;
        if (deadline_usec <= now)
                return 1; /* 0 would be the default */
        return (uint32_t)MIN((deadline_usec - now + 999) / 1000, (uint64_t)LINKIPC_FOREVER - 1);
}

_public_ int linkipc_request(linkipc_session *s, const char *command, uint32_t timeout_msec,
                             char **ret, size_t *ret_len)
{
        uint64_t deadline = deadline_in(timeout_msec, TIMEOUT_DEFAULT_MSEC);
        Answer a = {.wanted = ret};
        uint32_t id;

        if (!s)
                return -EINVAL;
        if (!s->link)
                return -ENOTCONN;
        _cleanup_(session_unpinp) linkipc_session *pinned = session_pin(s);
        _cleanup_(link_unpinp) linkipc *l = link_pin(pinned->link);
        int r = link_check_blocking(l);
        if (r < 0)
                return r;
        do
                r = linkipc_request_async(s, command, msec_until(deadline), on_answer, &a, &id);
        while (r == -EAGAIN && (r = link_step(l, deadline)) == 0);
        return r < 0 ? r : wait_answer(l, id, &a, ret, ret_len);
}

_public_ int linkipc_send(linkipc_session *s, const char *data, const void *payload,
                          size_t payload_len, uint32_t timeout_msec)
{
        uint64_t deadline = deadline_in(timeout_msec, TIMEOUT_DEFAULT_MSEC);
        Answer a = {0};
        uint32_t id;

        if (!s)
                return -EINVAL;
        if (!s->link)
                return -ENOTCONN;
        _cleanup_(session_unpinp) linkipc_session *pinned = session_pin(s);
        _cleanup_(link_unpinp) linkipc *l = link_pin(pinned->link);
        EventSpec spec = {
                .data = data,
                .payload = payload,
                .payload_len = payload_len,
                .func = on_answer,
                .userdata = &a,
        };
        int r = link_check_blocking(l);
        if (r < 0)
                return r;
        do {
                spec.timeout_msec = msec_until(deadline);
                r = session_send_event(s, &spec, &id);
        } while (r == -EAGAIN && (r = link_step(l, deadline)) == 0);
        return r < 0 ? r : wait_answer(l, id, &a, NULL, NULL);
}

/* Until it is closed, or (unless for_end) connected. */
static int wait_state(linkipc_session *s, linkipc *l, uint32_t timeout_msec, bool for_end)
{
        uint64_t deadline = deadline_in(timeout_msec, TIMEOUT_DEFAULT_MSEC);
        int r = l && l->in_callback > 0 ? link_error(l, -EDEADLK, NULL) : 0;

        while (r == 0 && s->state != LINKIPC_CLOSED && (for_end || s->state != LINKIPC_CONNECTED))
                r = link_step(l, deadline);
        return r;
}

_public_ int linkipc_session_wait(linkipc_session *s, uint32_t timeout_msec)
{
        if (!s)
                return -EINVAL;
        _cleanup_(session_unpinp) linkipc_session *pinned = session_pin(s);
        _cleanup_(link_unpinp) linkipc *l = link_pin(pinned->link);
        int r = wait_state(s, l, timeout_msec, false);
        if (r == -EDEADLK || s->state != LINKIPC_CLOSED)
                return r;
        if (l)
                err_copy(&l->last, &s->error);
        return s->error.error;
}

_public_ int linkipc_session_wait_closed(linkipc_session *s, uint32_t timeout_msec)
{
        if (!s)
                return -EINVAL;
        _cleanup_(session_unpinp) linkipc_session *pinned = session_pin(s);
        _cleanup_(link_unpinp) linkipc *l = link_pin(pinned->link);
        int r = wait_state(s, l, timeout_msec, true);
        return r == -EDEADLK || s->state != LINKIPC_CLOSED ? r : 0;
}

/* ---- the connection ---- */

_public_ int linkipc_flush(linkipc *l, uint32_t timeout_msec)
{
        uint64_t deadline = deadline_in(timeout_msec, TIMEOUT_DEFAULT_MSEC);

        if (!l)
                return -EINVAL;
        _cleanup_(link_unpinp) linkipc *pinned = link_pin(l);
        int r = link_check_blocking(pinned);
        /* What the agent has thrown away by closing is not handed over: the end is near then. */
        while (r == 0 && (link_out_pending(l) > 0 || l->write_dead))
                r = link_step(l, deadline);
        return r < 0 ? r : link_check(l);
}
