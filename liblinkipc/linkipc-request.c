/* Operations that the agent answers. */
#include "linkipc-internal.h"

/* Agents end these by themselves in time, and take a CANCEL for them. */
static bool is_remote(RequestKind kind)
{
        return kind == REQUEST_SESSION || kind == REQUEST_ASK;
}

static bool is_uncounted(RequestKind kind)
{
        return kind == REQUEST_CALL || kind == REQUEST_ASK;
}

static uint32_t default_msec(RequestKind kind)
{
        return kind == REQUEST_CALL || kind == REQUEST_SERVE || kind == REQUEST_CONNECT
                       ? TIMEOUT_CALL_DEFAULT_MSEC
                       : TIMEOUT_DEFAULT_MSEC;
}

uint64_t deadline_in(uint32_t timeout_msec, uint32_t default_msec)
{
        if (timeout_msec == LINKIPC_FOREVER)
                return USEC_NEVER;
        return now_usec() + (uint64_t)(timeout_msec > 0 ? timeout_msec : default_msec) * 1000;
}

static int check_text(linkipc *l, const char *text, size_t max)
{
        if (!text || !*text)
                return link_error(l, -EINVAL, "a text is missing");
        size_t n = strlen(text);
        if (n > max)
                return link_error(l, -EINVAL, "a name is too long");
        if (!ipc_utf8_valid(text, n))
                return link_error(l, -EINVAL, "a text is not UTF-8");
        return 0;
}

int link_check_json(linkipc *l, const char *text)
{
        return check_text(l, text, SIZE_MAX);
}

int link_check_name(linkipc *l, const char *text)
{
        return check_text(l, text, IPC_STRING_MAX);
}

/* ---- the list ---- */

static void enlist(linkipc *l, Request *q)
{
        q->prev = l->requests_tail;
        *(q->prev ? &q->prev->next : &l->requests) = q;
        l->requests_tail = q;
        l->n_requests++;
        l->uncounted_bytes += q->uncounted_bytes;
        l->next_deadline_usec = MIN(l->next_deadline_usec, q->deadline_usec);
}

static void delist(linkipc *l, Request *q)
{
        *(q->prev ? &q->prev->next : &l->requests) = q->next;
        *(q->next ? &q->next->prev : &l->requests_tail) = q->prev;
        l->n_requests--;
        l->uncounted_bytes -= q->uncounted_bytes;
        if (!l->requests)
                l->next_deadline_usec = USEC_NEVER;
}

Request *request_find(const linkipc *l, uint32_t id)
{
        Request *q = l->requests;

        while (q && q->id != id)
                q = q->next;
        return q;
}

static uint32_t new_id(linkipc *l)
{
        do
                l->last_id++;
        while (l->last_id == 0 || request_find(l, l->last_id));
        return l->last_id;
}

Request *request_expired(linkipc *l, uint64_t now)
{
        uint64_t next = USEC_NEVER;

        if (now < l->next_deadline_usec)
                return NULL;
        for (Request *q = l->requests; q; q = q->next) {
                if (q->deadline_usec <= now)
                        return q;
                next = MIN(next, q->deadline_usec);
        }
        l->next_deadline_usec = next;
        return NULL;
}

/* ---- start and end ---- */

/* One is always admitted, however long it is. */
static bool has_room(const linkipc *l, const RequestSpec *spec, const IpcMessage *m)
{
        return !is_uncounted(spec->kind) || l->uncounted_bytes == 0 ||
               l->uncounted_bytes + m->name.n + m->json.n <= UNCOUNTED_BYTES_MAX;
}

static uint64_t deadline_of(const RequestSpec *spec)
{
        uint64_t deadline = deadline_in(spec->timeout_msec, default_msec(spec->kind));

        if (deadline != USEC_NEVER && is_remote(spec->kind))
                deadline += TIMEOUT_GRACE_MSEC * 1000;
        return deadline;
}

int request_start(linkipc *l, const RequestSpec *spec, IpcMessage *m, Request **ret)
{
        bool counted = spec->kind == REQUEST_SESSION || spec->kind == REQUEST_EVENT;
        int r = link_check(l);

        if (r < 0)
                return r;
        if (l->n_requests >= REQUESTS_MAX || !has_room(l, spec, m))
                return link_error(l, -ENOBUFS, NULL);
        Request *q = calloc(1, sizeof *q);
        if (!q)
                return link_error(l, -ENOMEM, NULL);
        m->request = new_id(l);
        r = counted ? session_send(spec->session, m) : link_queue(l, m);
        if (r < 0) {
                free(q);
                return link_error(l, r, NULL);
        }
        *q = (Request){
                .kind = spec->kind,
                .id = m->request,
                .deadline_usec = deadline_of(spec),
                .uncounted_bytes = is_uncounted(spec->kind) ? m->frame_len : 0,
                .session = spec->session,
                .func = spec->func,
                .userdata = spec->userdata,
        };
        enlist(l, q);
        if (ret)
                *ret = q;
        return 0;
}

void request_finish(linkipc *l, Request *q, const linkipc_result *result)
{
        _cleanup_(link_unpinp) linkipc *pinned = link_pin(l);
        Request was = *q;

        delist(l, q);
        free(q);
        if (was.kind == REQUEST_CONNECT)
                session_connect_ended(was.session, result);
        else if (was.func)
                CALLBACK(pinned, was.func(l, result, was.userdata));
}

/* Whether a CANCEL was sent: no answer follows, or one that crossed it. */
static bool send_cancel(linkipc *l, const Request *q)
{
        if (!is_remote(q->kind) || link_out_pending(l) > OUT_BYTES_FOR_CREDIT)
                return false;
        if (q->session && !q->session->in_table)
                return false;
        return link_queue(l, &(IpcMessage){
                                     .type = IPC_CANCEL,
                                     .session = q->session ? q->session->number : 0,
                                     .request = q->id,
                             }) == 0;
}

void request_give_up(linkipc *l, Request *q, int error)
{
        _cleanup_(link_unpinp) linkipc *pinned = link_pin(l);
        _cleanup_(err_done) Err e = {0};
        linkipc_result_func func = q->func;
        void *userdata = q->userdata;

        err_set(&e, error, NULL, NULL);
        linkipc_result result = err_result(&e);
        if (send_cancel(l, q)) {
                request_finish(l, q, &result);
                return;
        }
        q->func = NULL;
        q->deadline_usec = USEC_NEVER;
        if (q->kind == REQUEST_CONNECT)
                session_closed(q->session, &e);
        else if (func)
                CALLBACK(pinned, func(l, &result, userdata));
}

void request_finish_session(linkipc *l, const linkipc_session *s, const Err *e)
{
        linkipc_result result = err_result(e);
        Request *q = l->requests;

        while (q) {
                if (q->session != s || q->kind == REQUEST_CONNECT) {
                        q = q->next;
                        continue;
                }
                request_finish(l, q, &result);
                q = l->requests; /* the callback may have taken others out */
        }
}

void request_finish_all(linkipc *l, const Err *e)
{
        linkipc_result result = err_result(e);

        while (l->requests)
                request_finish(l, l->requests, &result);
}

/* ---- the application's ---- */

static int start_async(linkipc *l, const RequestSpec *spec, IpcMessage *m, uint32_t *ret_id)
{
        Request *q;
        int r = request_start(l, spec, m, &q);

        if (r == 0 && ret_id)
                *ret_id = q->id;
        return r;
}

_public_ int linkipc_call_async(linkipc *l, const char *method, const char *params,
                                uint32_t timeout_msec, linkipc_result_func func, void *userdata,
                                uint32_t *ret_id)
{
        IpcMessage m = {.type = IPC_CALL, .name = ipc_str(method), .json = ipc_str(params)};

        if (!l)
                return -EINVAL;
        int r = link_check_name(l, method);
        if (r == 0 && m.json.n > 0)
                r = link_check_json(l, params);
        if (r < 0)
                return r;
        return start_async(l,
                           &(RequestSpec){
                                   .kind = REQUEST_CALL,
                                   .timeout_msec = timeout_msec,
                                   .func = func,
                                   .userdata = userdata,
                           },
                           &m, ret_id);
}

_public_ int linkipc_ask_async(linkipc *l, const char *peer, const char *command,
                               uint32_t timeout_msec, linkipc_result_func func, void *userdata,
                               uint32_t *ret_id)
{
        IpcMessage m = {
                .type = IPC_ASK,
                .timeout_msec = timeout_msec,
                .name = ipc_str(peer),
                .json = ipc_str(command),
        };

        if (!l)
                return -EINVAL;
        int r = link_check_name(l, peer);
        if (r == 0)
                r = link_check_json(l, command);
        if (r < 0)
                return r;
        return start_async(l,
                           &(RequestSpec){
                                   .kind = REQUEST_ASK,
                                   .timeout_msec = timeout_msec,
                                   .func = func,
                                   .userdata = userdata,
                           },
                           &m, ret_id);
}

_public_ int linkipc_serve_async(linkipc *l, const char *host, unsigned roles,
                                 linkipc_result_func func, void *userdata, uint32_t *ret_id)
{
        if (!l)
                return -EINVAL;
        if (roles > (LINKIPC_REQUESTS | LINKIPC_EVENTS))
                return link_error(l, -EINVAL, "an unknown role");
        int r = link_check_name(l, host ? host : "default");
        if (r < 0)
                return r;
        IpcMessage m = {
                .type = IPC_SERVE,
                .window = l->window,
                .roles = (uint8_t)roles,
                .name = ipc_str(host ? host : "default"),
        };
        r = start_async(l,
                        &(RequestSpec){
                                .kind = REQUEST_SERVE,
                                .func = func,
                                .userdata = userdata,
                        },
                        &m, ret_id);
        if (r < 0 || roles == 0)
                return r;
        l->serve_window_max = MAX(l->serve_window_max, l->window);
        l->serve_window_min =
                l->serve_window_min == 0 ? l->window : MIN(l->serve_window_min, l->window);
        return 0;
}

_public_ int linkipc_cancel(linkipc *l, uint32_t id)
{
        if (!l)
                return -EINVAL;
        Request *q = request_find(l, id);
        if (!q || !q->func)
                return link_error(l, -ENOENT, NULL);
        request_give_up(l, q, -ECANCELED);
        return 0;
}
