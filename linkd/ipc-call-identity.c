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
                call_fail(call, "exists", "there is a host of that name already");
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
                call_fail(call, "noSuchHost",
                          "there is no host of that name; see `linkctl host list`");
                return;
        }
        if (h == call->agent->hosts && !h->next) {
                call_fail(call, "badRequest",
                          "this is the only host: add another one first (`linkctl host add`)");
                return;
        }
        r = host_remove(h, &devices, &sessions);
        if (r < 0) {
                call_fail_errno(call, r);
                return;
        }
        buf_json_member_str(&call->result, "name", name);
        buf_json_member_int(&call->result, "devices", devices);
        buf_json_member_int(&call->result, "sessionsEnded", sessions);
}
