/* The methods about peers: pairing with one, and removing it. */
#include <errno.h>

#include "ipc-call-internal.h"
#include "ipc-call.h"
#include "liblinkproto/b64u.h"
#include "limits.h"
#include "log.h"
#include "pairing.h"
#include "peer.h"

struct IpcPairing {
        IpcPairing *next;
        IpcConn *conn;
        uint32_t request;
        Pairing *pairing;
};

static void add_pairing(Buf *out, const Peer *peer)
{
        char id[KEY_ID_TEXT_BYTES];

        host_key_id_text(peer->credential->key_id, id);
        buf_json_member_str(out, "name", peer->name);
        buf_json_member_str(out, "address", peer->credential->address);
        buf_json_member_str(out, "keyId", id);
        buf_json_name(out, "uplinks");
        buf_add_str(out, "[");
        for (size_t i = 0; i < peer->n_uplinks; i++) {
                buf_json_comma(out);
                buf_json_str(out, peer->uplinks[i], strlen(peer->uplinks[i]));
        }
        buf_add_str(out, "]");
}

static void on_paired(void *userdata, Peer *peer, const char *word, const char *message)
{
        IpcPairing *op = userdata;
        IpcConn *c = op->conn;
        char id[KEY_ID_TEXT_BYTES];
        Buf out = {};

        for (IpcPairing **at = &c->pairings; *at; at = &(*at)->next)
                if (*at == op) {
                        *at = op->next;
                        break;
                }
        c->n_requests--;
        if (!peer) {
                ipc_conn_send_error(c, 0, op->request, word, message);
                free(op);
                return;
        }
        buf_add_str(&out, "{");
        add_pairing(&out, peer);
        if (pairing_replaced(op->pairing)) {
                host_key_id_text(pairing_replaced(op->pairing), id);
                buf_json_member_str(&out, "replacedKeyId", id);
        }
        buf_add_str(&out, "}");
        if (buf_ok(&out) == 0)
                ipc_conn_send(c, &(IpcMessage){.type = IPC_RESULT,
                                               .request = op->request,
                                               .json = {.p = (char *)out.data, .n = out.len}});
        else
                ipc_conn_send_error(c, 0, op->request, "internal", "out of memory");
        buf_done(&out);
        free(op);
}

/* `uplinks`: relay URLs, normalized (free()). 0, or answered. */
static int param_uplinks(Call *call, char *urls[UPLINKS_MAX], size_t *n)
{
        JsonSlice list = call_param(call, "uplinks"), item;
        const char *fault = "there are more relays than 8, or one is no text";

        while (list.p && json_is_array(list) && json_array_next(&list, &item)) {
                _cleanup_(freep) char *text = NULL;
                if (*n >= UPLINKS_MAX || json_str_dup(item, &text) < 0 ||
                    relay_url_normalize(text, strlen(text), &urls[*n], &fault) < 0) {
                        call_fail_url(call, text ? text : "", fault);
                        return -EINVAL;
                }
                (*n)++;
        }
        return 0;
}

/* The pieces of an invitation, given one by one. 0, or answered. */
static int invitation_of_params(Call *call, InviteUri *u)
{
        _cleanup_(freep) char *address = NULL, *id = NULL;
        _cleanup_(call_wipe_strp) char *code = NULL;

        if (call_param_str(call, "address", 64, &address) < 0 ||
            call_param_str(call, "codeId", 64, &id) < 0 ||
            call_param_str(call, "code", INVITE_CODE_MAX, &code) < 0)
                return -EINVAL;
        if (!address) {
                call_fail(call, "badRequest", "an invitation URI or an address is needed");
                return -EINVAL;
        }
        if (!address_is_valid(address, strlen(address))) {
                call_fail_f(call, "badRequest",
                            "\"%s\" is no address: one has 43 characters, as `linkctl invite` "
                            "shows it",
                            address);
                return -EINVAL;
        }
        memcpy(u->address, address, ADDRESS_CHARS + 1);
        if (id && b64u_decode_exact(id, strlen(id), u->code_id, CODE_ID_BYTES) < 0) {
                call_fail_f(call, "badRequest",
                            "\"%s\" is no code id: one has 11 characters, as `linkctl invite` "
                            "shows it",
                            id);
                return -EINVAL;
        }
        u->has_code_id = id != NULL;
        if (code && code[0] && !(u->code = secret_copy(code, strlen(code)))) {
                call_fail(call, "internal", "out of memory");
                return -ENOMEM;
        }
        return param_uplinks(call, u->relays, &u->n_relays);
}

static int param_invitation(Call *call, InviteUri *u)
{
        _cleanup_(call_wipe_strp) char *uri = NULL;
        const char *fault = "out of memory";
        int r = call_param_str(call, "uri", INVITE_URI_MAX, &uri);

        if (r < 0)
                return r;
        if (r == 0) {
                r = invitation_of_params(call, u);
        } else {
                r = invite_uri_parse(uri, strlen(uri), u, &fault);
                if (r < 0)
                        call_fail(call, "badRequest", fault);
        }
        if (r < 0)
                return r;
        if (!u->code)
                fault = "the pairing code is missing";
        else if (u->code->len < CODE_MIN_BYTES)
                fault = "a pairing code has at least 6 characters";
        else if (!u->n_relays)
                fault = "no relay is named: a relay's URL is needed";
        else
                return 0;
        call_fail(call, "badRequest", fault);
        return -EINVAL;
}

static const char bad_name[] =
        "a name is at most 64 bytes of printable text, without - or @ in front";

void call_pair(Call *call)
{
        _cleanup_(invite_uri_done) InviteUri u = {};
        _cleanup_(freep) char *name = NULL;
        IpcConn *c = call->conn;
        IpcPairing *op;
        bool recover;
        int r;

        if (call_param_str(call, "name", NAME_MAX_BYTES, &name) < 0 ||
            call_param_bool(call, "recovery", &recover) < 0 || param_invitation(call, &u) < 0)
                return;
        if (recover && u.has_code_id) {
                call_fail(call, "badRequest", "a recovery key has no code id");
                return;
        }
        if (name && name[0] && !name_is_valid(name)) {
                call_fail(call, "badRequest", bad_name);
                return;
        }
        op = calloc(1, sizeof(*op));
        if (!op) {
                call_fail_errno(call, -ENOMEM);
                return;
        }
        op->conn = c;
        op->request = call->request;
        r = pairing_start(&op->pairing, call->agent, &u, recover, name ? name : "", on_paired, op);
        if (r < 0) {
                free(op);
                if (r == -EEXIST)
                        call_fail_f(call, "exists",
                                    "a peer is already called %s: give another --name, or "
                                    "\"linkctl peer remove %s\" first",
                                    name, name);
                else
                        call_fail_errno(call, r);
                return;
        }
        op->next = c->pairings;
        c->pairings = op;
        c->n_requests++;
        call->answered = true;
}

/* The peer that `name` names. NULL: answered. */
static Peer *param_peer(Call *call)
{
        _cleanup_(freep) char *name = NULL;
        Peer *p;
        int r = call_param_str(call, "name", NAME_MAX_BYTES, &name);

        if (r < 0)
                return NULL;
        p = r ? agent_find_peer(call->agent, name, strlen(name)) : NULL;
        if (!p)
                call_fail_f(call, "noSuchPeer", "there is no peer %s; see `linkctl peers`",
                            r ? name : "without a name");
        return p;
}

void call_peer_remove(Call *call)
{
        char name[NAME_MAX_BYTES + 1];
        Peer *p = param_peer(call);
        int r;

        if (!p)
                return;
        memcpy(name, p->name, sizeof(name));
        r = peer_remove(p);
        if (r < 0)
                call_fail_errno(call, r);
        else if (r == STORE_UNSYNCED)
                call_fail_unsynced(call, "is removed", name);
        else
                buf_json_member_str(&call->result, "name", name);
}

void call_peer_rename(Call *call)
{
        _cleanup_(freep) char *to = NULL;
        bool listed;
        Peer *p = param_peer(call);
        int r;

        if (!p || (r = call_param_str(call, "to", NAME_MAX_BYTES, &to)) < 0)
                return;
        if (!r || !name_is_valid(to)) {
                call_fail(call, "badRequest", bad_name);
                return;
        }
        if (agent_find_peer(call->agent, to, strlen(to))) {
                call_fail_f(call, "exists", "there is a peer %s already", to);
                return;
        }
        listed = access_find(call->agent->settings->access.peers, p->name);
        r = peer_rename(p, to);
        if (r < 0) {
                call_fail_errno(call, r);
                return;
        }
        if (listed)
                log_warning("peer %s: no longer has the access list of its old name in linkd.conf",
                            p->name);
        ipc_server_judge(call->agent->ipc);
        buf_json_member_str(&call->result, "name", p->name);
}

void call_peer_export(Call *call)
{
        Peer *p = param_peer(call);

        if (!p)
                return;
        _cleanup_(secret_freep) Secret *text = credential_export(p->credential);
        if (!text || buf_reserve(&call->result, 16384) < 0) { /* so that it leaves no copy behind */
                call_fail_errno(call, -ENOMEM);
                return;
        }
        add_pairing(&call->result, p);
        buf_json_member_str(&call->result, "credential", (const char *)text->data);
}

static void import(Call *call, const Credential *c, char *const *urls, size_t n, const char *name)
{
        Peer *p;
        int r;

        if (name[0] && !name_is_valid(name)) {
                call_fail(call, "badRequest", bad_name);
                return;
        }
        if (n == 0) {
                call_fail(call, "badRequest", "no relay is named: a relay's URL is needed");
                return;
        }
        r = pairing_import(&p, call->agent, c, urls, n, name);
        if (r == -EEXIST)
                call_fail_f(call, "exists", "there is a peer %s already", name);
        else if (r < 0)
                call_fail_errno(call, r);
        else
                add_pairing(&call->result, p);
}

void call_peer_import(Call *call)
{
        _cleanup_(call_wipe_strp) char *text = NULL;
        _cleanup_(freep) char *name = NULL;
        char *urls[UPLINKS_MAX] = {};
        size_t n = 0;
        Credential *c;
        int r = call_param_str(call, "credential", CREDENTIAL_STRING_MAX, &text);

        if (r < 0 || call_param_str(call, "name", NAME_MAX_BYTES, &name) < 0)
                return;
        c = secret_object_new(sizeof(*c));
        if (!c)
                call_fail_errno(call, -ENOMEM);
        else if (!r || credential_import(text, strlen(text), c) < 0)
                call_fail(call, "badRequest", "`credential` is none, or is damaged");
        else if (param_uplinks(call, urls, &n) == 0)
                import(call, c, urls, n, name ? name : "");
        for (size_t i = 0; i < n; i++)
                free(urls[i]);
        secret_object_free(c);
}

void ipc_call_end_pairings(IpcConn *c, const char *word, const char *message)
{
        while (c->pairings) {
                IpcPairing *op = c->pairings;

                c->pairings = op->next;
                c->n_requests--;
                ipc_conn_send_error(c, 0, op->request, word, message);
                pairing_free(op->pairing);
                free(op);
        }
}

void ipc_call_drop_all(IpcConn *c)
{
        while (c->ops) {
                c->ops->drop(c->ops->work);
                call_op_free(c->ops);
        }
        while (c->pairings) {
                IpcPairing *op = c->pairings;
                c->pairings = op->next;
                pairing_free(op->pairing);
                free(op);
        }
}
