/* The methods about a host: its uplinks, invitations and devices. */
#include <errno.h>

#include "describe.h"
#include "ipc-call-internal.h"
#include "liblinkproto/b64u.h"
#include "liblinkproto/inviteuri.h"
#include "limits.h"
#include "log.h"
#include "pairing.h"

enum {
        DEVICE_NAME_MAX_BYTES = 128, /* of what names a device: twice a label */
        IDS_TOLD_BYTES = 240,        /* of key ids in an error: ten, for people */
};

/* ---- uplinks ---- */

void call_uplink_list(Call *call)
{
        Host *h = call_param_host(call);

        if (h)
                describe_uplinks(&call->result, h);
}

void call_uplink_add(Call *call)
{
        Host *h = call_param_host(call);
        _cleanup_(freep) char *url = h ? call_param_url(call) : NULL;
        int r;

        if (!url)
                return;
        r = host_add_uplink(h, url);
        if (r == -EEXIST) {
                call_fail_f(call, "exists", "host %s has relay %s already", h->name, url);
                return;
        }
        if (r < 0) {
                call_fail_errno(call, r);
                return;
        }
        buf_json_member_str(&call->result, "url", url);
        buf_json_member_str(&call->result, "host", h->name);
        buf_json_member_str(&call->result, "state", uplink_state_name(UPLINK_CONNECTING));
}

void call_uplink_remove(Call *call)
{
        Host *h = call_param_host(call);
        _cleanup_(freep) char *url = h ? call_param_url(call) : NULL;
        int r;

        if (!url)
                return;
        r = host_remove_uplink(h, url);
        if (r == -ENOENT) {
                call_fail_f(call, "noSuchUplink",
                            "host %s has no relay %s; see `linkctl uplink list`", h->name, url);
                return;
        }
        if (r < 0) {
                call_fail_errno(call, r);
                return;
        }
        buf_json_member_str(&call->result, "url", url);
        buf_json_member_str(&call->result, "host", h->name);
}

/* ---- invitations ---- */

static void add_invitation(Buf *out, Host *h, const Invitation *i)
{
        const char *relays[UPLINKS_MAX];
        char id[B64U_LEN(CODE_ID_BYTES) + 1];
        size_t n = 0;

        b64u_encode(i->code_id, CODE_ID_BYTES, id);
        for (const Uplink *u = h->uplinks; u && n < UPLINKS_MAX; u = u->next)
                relays[n++] = u->url;
        _cleanup_(secret_freep) Secret *uri =
                invite_uri_format(host_address(h), (const char *)i->code->data,
                                  i->has_code_id ? i->code_id : NULL, relays, n);
        buf_json_member_str(out, "host", h->name);
        buf_json_member_str(out, "address", host_address(h));
        buf_json_member_str(out, "code", (const char *)i->code->data);
        buf_json_member_str(out, "codeId", i->has_code_id ? id : NULL);
        buf_json_member_str(out, "uri", uri ? (const char *)uri->data : NULL);
        buf_json_member_str(out, "label", i->label[0] ? i->label : NULL);
        describe_time(out, "expiresAt", i->expires_at);
}

static int param_seconds(Call *call, const char *name, int64_t max, const char *fault, int64_t *ret)
{
        JsonSlice v = call_param(call, name);

        if (!v.p || (json_int64(v, ret) == 0 && *ret >= 1 && *ret <= max))
                return 0;
        call_fail(call, "badRequest", fault);
        return -EINVAL;
}

static int param_ttls(Call *call, int64_t *invitation, int64_t *device)
{
        int r = param_seconds(call, "ttlSec", INVITE_TTL_MAX_SEC,
                              "an invitation lives 1 second to 7 days", invitation);

        return r < 0 ? r
                     : param_seconds(call, "deviceTtlSec", DEVICE_TTL_MAX_SEC,
                                     "a device that expires lives 1 second to 366 days", device);
}

void call_invite(Call *call)
{
        _cleanup_(freep) char *label = NULL;
        _cleanup_(call_wipe_strp) char *code = NULL;
        Host *h = call_param_host(call);
        Invitation *i;
        int64_t ttl = INVITE_TTL_SEC, device_ttl = 0;
        bool no_id;
        int r;

        if (!h || param_ttls(call, &ttl, &device_ttl) < 0 ||
            call_param_bool(call, "noId", &no_id) < 0 ||
            call_param_str(call, "label", NAME_MAX_BYTES, &label) < 0 ||
            call_param_str(call, "code", INVITE_CODE_MAX, &code) < 0)
                return;
        if (label && label[0] && !name_is_valid(label)) {
                call_fail(call, "badRequest", "a label is at most 64 bytes of printable text");
        } else if (code && strlen(code) < CODE_MIN_BYTES) {
                call_fail(call, "badRequest", "a code has at least 6 characters");
        } else if (!h->uplinks) {
                call_fail(call, "noUplink",
                          "the host has no relay to be reached by: run `linkctl uplink add URL` "
                          "first");
        } else if ((r = store_try_write(call->agent->store)) < 0) {
                call_fail_errno(call, r); /* nobody could be kept */
        } else if ((r = invitation_open(&i, h, code, !no_id, label ? label : "", (uint64_t)ttl)) <
                   0) {
                call_fail_errno(call, r);
        } else {
                i->device_ttl_sec = (uint64_t)device_ttl;
                /* So that the code is not left behind when the buffer grows. */
                if (buf_reserve(&call->result, 8192) < 0)
                        log_error("out of memory");
                add_invitation(&call->result, h, i);
        }
}

void call_invitations(Call *call)
{
        Host *h = call_param_host(call);
        Buf *out = &call->result;

        if (!h)
                return;
        buf_json_name(out, "invitations");
        buf_add_str(out, "[");
        for (const Invitation *i = h->invitations; i; i = i->next) {
                buf_json_comma(out);
                buf_add_str(out, "{");
                describe_invitation(out, i);
                buf_add_str(out, "}");
        }
        buf_add_str(out, "]");
}

void call_uninvite(Call *call)
{
        _cleanup_(freep) char *id = NULL;
        Host *h = call_param_host(call);
        uint8_t code_id[CODE_ID_BYTES];
        Invitation *i = NULL;
        int r;

        if (!h || (r = call_param_str(call, "codeId", 64, &id)) < 0)
                return;
        if (r == 0) {
                call_fail(call, "badRequest", "`codeId` is needed");
                return;
        }
        if (!id[0])
                i = invitation_find(h, NULL);
        else if (b64u_decode_exact(id, strlen(id), code_id, sizeof(code_id)) == 0)
                i = invitation_find(h, code_id);
        if (!i) {
                call_fail_f(call, "noSuchInvitation",
                            "there is no open invitation %s; see `linkctl invitations`",
                            id[0] ? id : "without a code id");
                return;
        }
        invitation_close(i, "withdrawn");
        buf_json_member_str(&call->result, "codeId", id);
}

/* ---- devices ---- */

void call_devices(Call *call)
{
        Host *h = call_param_host(call);
        Buf *out = &call->result;

        if (!h)
                return;
        buf_json_name(out, "devices");
        buf_add_str(out, "[");
        for (const Device *d = h->devices; d; d = d->next) {
                buf_json_comma(out);
                buf_add_str(out, "{");
                describe_device(out, h, d);
                buf_add_str(out, "}");
        }
        buf_add_str(out, "]");
}

static void add_key_id(Buf *out, const Device *d, const char *separator)
{
        char id[KEY_ID_TEXT_BYTES];

        host_key_id_text(d->key_id, id);
        buf_add_str(out, out->len ? separator : "");
        buf_add_str(out, id);
}

static void fail_ambiguous(Call *call, const Host *h, const char *label)
{
        _cleanup_(buf_done) Buf ids = {};

        for (const Device *d = h->devices; d && ids.len < IDS_TOLD_BYTES; d = d->next)
                if (strcmp(d->label, label) == 0)
                        add_key_id(&ids, d, ", ");
        buf_add_u8(&ids, 0);
        call_fail_f(call, "ambiguous",
                    "several devices are called %s: name one by its key id (%s%s), or give --all",
                    label, buf_ok(&ids) == 0 ? (const char *)ids.data : "",
                    ids.len >= IDS_TOLD_BYTES ? ", ..." : "");
}

/* By key id, else by a label: that only one has, unless all are meant. NULL: answered. */
static Device *find_device(Call *call, Host *h, const char *text, bool all)
{
        uint8_t key_id[KEY_ID_BYTES];
        Device *found = NULL;

        if (b64u_decode_exact(text, strlen(text), key_id, sizeof(key_id)) == 0)
                found = host_find_device(h, key_id);
        if (found)
                return found;
        for (Device *d = h->devices; d; d = d->next) {
                if (strcmp(d->label, text) != 0)
                        continue;
                if (found && !all) {
                        fail_ambiguous(call, h, text);
                        return NULL;
                }
                found = found ? found : d;
        }
        if (!found)
                call_fail_f(call, "noSuchDevice", "there is no device %s; see `linkctl devices`",
                            text);
        return found;
}

static void revoke_one(Call *call, Host *h, Device *d)
{
        char id[KEY_ID_TEXT_BYTES], label[NAME_MAX_BYTES + 1];
        unsigned ended = 0;
        int r;

        host_key_id_text(d->key_id, id);
        memcpy(label, d->label, sizeof(label));
        r = host_revoke(h, d, &ended);
        if (r < 0) {
                call_fail_errno(call, r);
                return;
        }
        if (r == STORE_UNSYNCED) {
                call_fail_unsynced(call, "is revoked", label);
                return;
        }
        buf_json_member_str(&call->result, "keyId", id);
        buf_json_member_str(&call->result, "label", label);
        buf_json_member_int(&call->result, "sessionsEnded", ended);
}

/* Every device of a label. The first that stays ends it; `linkctl devices` tells which are left. */
static void revoke_all(Call *call, Host *h, const char *label)
{
        unsigned ended = 0, n;
        bool unsynced = false;
        Device *next;

        buf_json_member_str(&call->result, "label", label);
        buf_json_name(&call->result, "keyIds");
        buf_add_str(&call->result, "[");
        for (Device *d = h->devices; d; d = next) {
                char id[KEY_ID_TEXT_BYTES];
                int r;

                next = d->next;
                if (strcmp(d->label, label) != 0)
                        continue;
                host_key_id_text(d->key_id, id);
                r = host_revoke(h, d, &n);
                if (r < 0) {
                        call_fail_errno(call, r);
                        return;
                }
                unsynced = unsynced || r == STORE_UNSYNCED;
                ended += n;
                buf_json_comma(&call->result);
                buf_json_str(&call->result, id, strlen(id));
        }
        if (unsynced) {
                call_fail_unsynced(call, "is revoked everywhere", label);
                return;
        }
        buf_add_str(&call->result, "]");
        buf_json_member_int(&call->result, "sessionsEnded", ended);
}

void call_revoke(Call *call)
{
        _cleanup_(freep) char *text = NULL;
        Host *h = call_param_host(call);
        bool all = false;
        Device *d;
        int r;

        if (!h || (r = call_param_str(call, "device", DEVICE_NAME_MAX_BYTES, &text)) < 0 ||
            call_param_bool(call, "all", &all) < 0)
                return;
        if (r == 0) {
                call_fail(call, "badRequest", "`device` is needed: a key id or a label");
                return;
        }
        d = find_device(call, h, text, all);
        if (d && all && strcmp(d->label, text) == 0)
                revoke_all(call, h, text);
        else if (d)
                revoke_one(call, h, d);
}
