/* CALL doctor: what is wrong, and what helps. */
#include <errno.h>

#include "doctor.h"
#include "ipc-call-internal.h"

static void on_examined(void *userdata, const Buf *relays, const Buf *findings)
{
        Buf out = {};

        buf_add_str(&out, "{");
        buf_json_name(&out, "relays");
        buf_add_str(&out, "[");
        buf_add(&out, relays->data, relays->len);
        buf_add_str(&out, "]");
        buf_json_name(&out, "findings");
        buf_add_str(&out, "[");
        buf_add(&out, findings->data, findings->len);
        buf_add_str(&out, "]}");
        if (buf_ok(relays) < 0 || buf_ok(findings) < 0)
                out.failed = true;
        call_op_result(userdata, &out);
        buf_done(&out);
}

static void drop(void *work)
{
        doctor_free(work);
}

void call_doctor(Call *call)
{
        IpcOp *op = call_defer(call);
        Doctor *d;
        int r;

        if (!op)
                return;
        r = doctor_start(&d, call->agent, on_examined, op);
        if (r < 0) {
                call_op_free(op);
                if (r == -EBUSY)
                        call_fail(call, "busy",
                                  "another doctor is at work: try again when it is done");
                else
                        call_fail_errno(call, r);
                return;
        }
        op->work = d;
        op->drop = drop;
}
