/* CALL usage: what relays say of the links of a host. */
#include "ipc-call-internal.h"
#include "usage.h"

static void on_usage(void *userdata, const Buf *links, const Buf *silent)
{
        Buf out = {};

        buf_add_str(&out, "{");
        buf_json_name(&out, "usage");
        buf_add_str(&out, "[");
        buf_add(&out, links->data, links->len);
        buf_add_str(&out, "]");
        buf_json_name(&out, "silent");
        buf_add_str(&out, "[");
        buf_add(&out, silent->data, silent->len);
        buf_add_str(&out, "]}");
        if (buf_ok(links) < 0 || buf_ok(silent) < 0)
                out.failed = true;
        call_op_result(userdata, &out);
        buf_done(&out);
}

static void drop(void *work)
{
        usage_free(work);
}

void call_usage(Call *call)
{
        Host *h = call_param_host(call);
        IpcOp *op = h ? call_defer(call) : NULL;
        Usage *q;
        int r;

        if (!op)
                return;
        r = usage_ask(&q, h, on_usage, op);
        if (r < 0) {
                call_op_free(op);
                call_fail_errno(call, r);
                return;
        }
        op->work = q;
        op->drop = drop;
}
