/* The methods about hosts themselves. */
#include <errno.h>

#include "ipc-call-internal.h"
#include "limits.h"

/* `name` of a host that may be made. NULL: answered. */
static char *param_new_name(Call *call)
{
        char *name = NULL;
        int r = call_param_str(call, "name", NAME_MAX_BYTES, &name);

        if (r < 0)
                return NULL;
        if (r && name_is_valid(name))
                return name;
        free(name);
        call_fail(call, "badRequest",
                  "a name is at most 64 bytes of printable text, without - or @ in front");
        return NULL;
}

void call_host_add(Call *call)
{
        _cleanup_(freep) char *name = param_new_name(call);
        Host *h;
        int r;

        if (!name)
                return;
        r = host_create(&h, call->agent, name);
        if (r == -EEXIST) {
                call_fail_f(call, "exists", "there is a host %s already", name);
                return;
        }
        if (r < 0) {
                call_fail_errno(call, r);
                return;
        }
        buf_json_member_str(&call->result, "name", h->name);
        buf_json_member_str(&call->result, "address", host_address(h));
}

void call_host_remove(Call *call)
{
        _cleanup_(freep) char *name = NULL;
        unsigned devices = 0, sessions = 0;
        Host *h = NULL;
        int r = call_param_str(call, "name", NAME_MAX_BYTES, &name);

        if (r < 0)
                return;
        if (r)
                h = agent_find_host(call->agent, name, strlen(name));
        if (!h) {
                call_fail_f(call, "noSuchHost", "there is no host %s; see `linkctl host list`",
                            r ? name : "without a name");
                return;
        }
        if (h == call->agent->hosts && !h->next) {
                call_fail(call, "badRequest",
                          "this is the only host: add another one first (`linkctl host add`)");
                return;
        }
        r = host_remove(h, &devices, &sessions);
        if (r < 0 && devices) {
                call_fail_f(call, "storage",
                            "host %s is still there, but %u of its devices are revoked: the state "
                            "directory %s cannot be written: %s; %s",
                            name, devices, store_dir(call->agent->store), strerror(-r),
                            store_remedy(r));
                return;
        }
        if (r < 0) {
                call_fail_errno(call, r);
                return;
        }
        if (r == STORE_UNSYNCED) {
                call_fail_unsynced(call, "is removed", name);
                return;
        }
        buf_json_member_str(&call->result, "name", name);
        buf_json_member_int(&call->result, "devices", devices);
        buf_json_member_int(&call->result, "sessionsEnded", sessions);
}

/* ---- recovery ---- */

void call_recovery_enable(Call *call)
{
        Host *h = call_param_host(call);
        Buf *out = &call->result;
        int r;

        if (!h)
                return;
        r = host_enable_recovery(h);
        if (r == 0)
                r = buf_reserve(out, 8192); /* so that the key is not left behind when it grows */
        if (r < 0) {
                call_fail_errno(call, r);
                return;
        }
        buf_json_member_str(out, "host", h->name);
        buf_json_member_str(out, "address", host_address(h));
        buf_json_member_str(out, "key", (const char *)h->recovery_key->data);
        buf_json_name(out, "uplinks");
        buf_add_str(out, "[");
        for (const Uplink *u = h->uplinks; u; u = u->next) {
                buf_json_comma(out);
                buf_json_str(out, u->url, strlen(u->url));
        }
        buf_add_str(out, "]");
}

void call_recovery_disable(Call *call)
{
        Host *h = call_param_host(call);
        int r;

        if (!h)
                return;
        r = host_disable_recovery(h);
        if (r < 0)
                call_fail_errno(call, r);
        else
                buf_json_member_str(&call->result, "host", h->name);
}
