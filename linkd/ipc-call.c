#include "ipc-call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "ipc-call-internal.h"
#include "liblinkproto/inviteuri.h"
#include "limits.h"

void call_fail(Call *call, const char *word, const char *message)
{
        ipc_conn_send_error(call->conn, 0, call->request, word, message);
        call->answered = true;
}

void call_fail_f(Call *call, const char *word, const char *format, ...)
{
        _cleanup_(freep) char *text = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        call_fail(call, text ? word : "internal", text ? text : "out of memory");
}

void call_fail_errno(Call *call, int r)
{
        const char *word = r == -EUSERS   ? "tooMany"
                           : r == -EEXIST ? "exists"
                           : r == -ENOMEM ? "internal"
                           : r == -EINVAL ? "badRequest"
                                          : "storage";

        if (strcmp(word, "storage") == 0)
                call_fail_f(call, word, "the state directory %s cannot be written: %s; %s",
                            store_dir(call->agent->store), strerror(-r), store_remedy(r));
        else
                call_fail(call, word, r == -EUSERS ? "a limit is reached" : strerror(-r));
}

void call_fail_unsynced(Call *call, const char *what, const char *name)
{
        call_fail_f(call, "storage",
                    "%s %s, but the disk did not confirm it, and after a crash it may be back: "
                    "look at the disk of %s (the kernel's log)",
                    name, what, store_dir(call->agent->store));
}

/* ---- parameters ---- */

JsonSlice call_param(const Call *call, const char *name)
{
        JsonSlice v = {};

        /* Valid: checked before the method was called. */
        if (call->params.n == 0 ||
            json_scan_object(call->params.p, call->params.n, &name, &v, 1) < 0)
                return (JsonSlice){};
        return json_is_null(v) ? (JsonSlice){} : v;
}

int call_param_str(Call *call, const char *name, size_t max, char **ret)
{
        _cleanup_(call_wipe_strp) char *value =
                NULL; /* one that is too long may be a secret, too */
        JsonSlice v = call_param(call, name);
        char text[128];
        int r;

        if (!v.p)
                return 0;
        r = json_str_dup(v, &value);
        if (r == -ENOMEM) {
                call_fail_errno(call, r);
                return r;
        }
        if (r == 0 && strlen(value) <= max) {
                *ret = TAKE_PTR(value);
                return 1;
        }
        (void)snprintf(text, sizeof(text), "`%s` must be a string of at most %zu bytes", name, max);
        call_fail(call, "badRequest", text);
        return -EINVAL;
}

int call_param_bool(Call *call, const char *name, bool *ret)
{
        JsonSlice v = call_param(call, name);

        if (v.p && v.p[0] != 't' && v.p[0] != 'f') {
                call_fail(call, "badRequest", "a switch must be true or false");
                return -EINVAL;
        }
        *ret = v.p && json_is_true(v);
        return 0;
}

Host *call_param_host(Call *call)
{
        _cleanup_(freep) char *name = NULL;
        Host *h;
        int r = call_param_str(call, "host", NAME_MAX_BYTES, &name);

        if (r < 0)
                return NULL;
        h = r ? agent_find_host(call->agent, name, strlen(name))
              : agent_find_host(call->agent, "default", strlen("default"));
        if (!h)
                call_fail_f(call, "noSuchHost", "there is no host %s; see `linkctl host list`",
                            r ? name : "default");
        return h;
}

void call_fail_url(Call *call, const char *text, const char *fault)
{
        _cleanup_(freep) char *guess = NULL, *url = NULL;
        const char *ignored;

        if (!strstr(text, "://") && asprintf(&guess, "ws://%s", text) < 0)
                guess = NULL;
        if (guess && relay_url_normalize(guess, strlen(guess), &url, &ignored) == 0)
                call_fail_f(call, "badRequest", "%s is no relay URL: did you mean %s?", text, url);
        else
                call_fail_f(call, "badRequest",
                            "%s (for example ws://relay.example or wss://relay.example)", fault);
}

char *call_param_url(Call *call)
{
        _cleanup_(freep) char *text = NULL;
        const char *fault = "out of memory";
        char *url = NULL;
        int r = call_param_str(call, "url", RELAY_URL_MAX, &text);

        if (r < 0)
                return NULL;
        if (r > 0 && relay_url_normalize(text, strlen(text), &url, &fault) == 0)
                return url;
        call_fail_url(call, r ? text : "", r ? fault : "a relay's URL is needed");
        return NULL;
}

void call_wipe_strp(char **s)
{
        if (*s)
                explicit_bzero(*s, strlen(*s));
        free(*s);
}

/* ---- answers that come later ---- */

IpcOp *call_defer(Call *call)
{
        IpcOp *op = calloc(1, sizeof(*op));

        if (!op) {
                call_fail_errno(call, -ENOMEM);
                return NULL;
        }
        op->conn = call->conn;
        op->request = call->request;
        op->next = call->conn->ops;
        call->conn->ops = op;
        call->conn->n_requests++;
        call->answered = true;
        return op;
}

IpcOp *call_op_free(IpcOp *op)
{
        for (IpcOp **at = &op->conn->ops; *at; at = &(*at)->next)
                if (*at == op) {
                        *at = op->next;
                        break;
                }
        op->conn->n_requests--;
        free(op);
        return NULL;
}

void call_op_result(IpcOp *op, const Buf *out)
{
        if (buf_ok(out) == 0)
                ipc_conn_send(op->conn,
                              &(IpcMessage){.type = IPC_RESULT,
                                            .request = op->request,
                                            .json = {.p = (char *)out->data, .n = out->len}});
        else
                ipc_conn_send_error(op->conn, 0, op->request, "internal", "out of memory");
        call_op_free(op);
}

/* ---- dispatch ---- */

static const struct {
        const char *name;
        Access access;
        CallFunc func;
} methods[] = {
        {"status", ACCESS_READ, call_status},
        {"subscribe", ACCESS_READ, call_subscribe},
        {"host.list", ACCESS_READ, call_host_list},
        {"host.add", ACCESS_ADMINISTER, call_host_add},
        {"host.remove", ACCESS_ADMINISTER, call_host_remove},
        {"recovery.enable", ACCESS_ADMINISTER, call_recovery_enable},
        {"recovery.disable", ACCESS_ADMINISTER, call_recovery_disable},
        {"uplink.add", ACCESS_ADMINISTER, call_uplink_add},
        {"uplink.remove", ACCESS_ADMINISTER, call_uplink_remove},
        {"uplink.list", ACCESS_READ, call_uplink_list},
        {"usage", ACCESS_READ, call_usage},
        {"doctor", ACCESS_USE, call_doctor},
        {"invite", ACCESS_ADMINISTER, call_invite},
        {"invitations", ACCESS_ADMINISTER, call_invitations},
        {"uninvite", ACCESS_ADMINISTER, call_uninvite},
        {"pair", ACCESS_ADMINISTER, call_pair},
        {"devices", ACCESS_READ, call_devices},
        {"revoke", ACCESS_ADMINISTER, call_revoke},
        {"peers", ACCESS_READ, call_peers},
        {"peer.remove", ACCESS_ADMINISTER, call_peer_remove},
        {"peer.rename", ACCESS_ADMINISTER, call_peer_rename},
        {"peer.export", ACCESS_ADMINISTER, call_peer_export},
        {"peer.import", ACCESS_ADMINISTER, call_peer_import},
};

static void run(Call *call, CallFunc func)
{
        buf_add_str(&call->result, "{");
        func(call);
        if (call->answered)
                return;
        buf_add_str(&call->result, "}");
        if (buf_ok(&call->result) < 0)
                call_fail(call, "internal", "out of memory");
        else
                ipc_conn_send(call->conn, &(IpcMessage){.type = IPC_RESULT,
                                                        .request = call->request,
                                                        .json = {.p = (char *)call->result.data,
                                                                 .n = call->result.len}});
}

void ipc_call_dispatch(IpcConn *c, const IpcMessage *m)
{
        Call call = {.conn = c, .request = m->request, .agent = c->agent, .params = m->json};
        JsonSlice params;

        if (m->json.n && json_scan_value(m->json.p, m->json.n, &params) < 0) {
                ipc_conn_fail(c, "protocol", "text that should be JSON is not");
                return;
        }
        if (m->json.n && !json_is_object(params)) {
                call_fail(&call, "badRequest", "the params are not a JSON object");
                return;
        }
        if (c->n_requests >= IPC_REQUESTS_MAX) {
                call_fail(&call, "tooMany", "too many unanswered requests");
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(methods); i++) {
                if (!ipc_str_eq(m->name, methods[i].name))
                        continue;
                if (c->access & methods[i].access)
                        run(&call, methods[i].func);
                else
                        call_fail(&call, "forbidden", "this user may not do that");
                buf_done_wipe(&call.result);
                return;
        }
        call_fail(&call, "noSuchMethod", "this agent has no such method");
}
