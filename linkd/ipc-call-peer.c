/* The methods about peers: pairing with one, and removing it. */
#include <errno.h>

#include "ipc-call-internal.h"
#include "ipc-call.h"
#include "liblinkproto/b64u.h"
#include "limits.h"
#include "pairing.h"
#include "peer.h"

struct IpcPairing {
        IpcPairing *next;
        IpcConn *conn;
        uint32_t request;
        Pairing *pairing;
};

static void on_paired(void *userdata, Peer *peer, const char *word, const char *message)
{
        IpcPairing *op = userdata;
        IpcConn *c = op->conn;
        Buf out = {};
        char id[KEY_ID_TEXT_BYTES];

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
        host_key_id_text(peer->credential->key_id, id);
        buf_add_str(&out, "{");
        buf_json_member_str(&out, "name", peer->name);
        buf_json_member_str(&out, "address", peer->credential->address);
        buf_json_member_str(&out, "keyId", id);
        buf_json_name(&out, "uplinks");
        buf_add_str(&out, "[");
        for (size_t i = 0; i < peer->n_uplinks; i++) {
                buf_json_comma(&out);
                buf_json_str(&out, peer->uplinks[i], strlen(peer->uplinks[i]));
        }
        buf_add_str(&out, "]");
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

/* The pieces of an invitation, given one by one. 0, or answered. */
static int invitation_of_params(Call *call, InviteUri *u)
{
        _cleanup_(freep) char *address = NULL, *id = NULL;
        _cleanup_(call_wipe_strp) char *code = NULL;
        JsonSlice list = call_param(call, "uplinks"), item;
        const char *fault = "there are more relays than 8, or one is no text";

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
        while (list.p && json_is_array(list) && json_array_next(&list, &item)) {
                _cleanup_(freep) char *text = NULL;
                if (u->n_relays >= INVITE_RELAYS_MAX || json_str_dup(item, &text) < 0 ||
                    relay_url_normalize(text, strlen(text), &u->relays[u->n_relays], &fault) < 0) {
                        call_fail_url(call, text ? text : "", fault);
                        return -EINVAL;
                }
                u->n_relays++;
        }
        return 0;
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

void call_pair(Call *call)
{
        _cleanup_(invite_uri_done) InviteUri u = {};
        _cleanup_(freep) char *name = NULL;
        IpcConn *c = call->conn;
        IpcPairing *op;
        int r;

        if (call_param_str(call, "name", NAME_MAX_BYTES, &name) < 0 ||
            param_invitation(call, &u) < 0)
                return;
        if (name && name[0] && !name_is_valid(name)) {
                call_fail(call, "badRequest",
                          "a name is at most 64 bytes of printable text, "
                          "without - or @ in front");
                return;
        }
        op = calloc(1, sizeof(*op));
        if (!op) {
                call_fail_errno(call, -ENOMEM);
                return;
        }
        op->conn = c;
        op->request = call->request;
        r = pairing_start(&op->pairing, call->agent, &u, name ? name : "", on_paired, op);
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

void call_peer_remove(Call *call)
{
        _cleanup_(freep) char *name = NULL;
        Peer *p;
        int r = call_param_str(call, "name", NAME_MAX_BYTES, &name);

        if (r < 0)
                return;
        p = r ? agent_find_peer(call->agent, name, strlen(name)) : NULL;
        if (!p) {
                call_fail_f(call, "noSuchPeer", "there is no peer %s; see `linkctl peers`",
                            r ? name : "without a name");
                return;
        }
        r = peer_remove(p);
        if (r < 0)
                call_fail_errno(call, r);
        else
                buf_json_member_str(&call->result, "name", name);
}

void ipc_call_drop_all(IpcConn *c)
{
        while (c->pairings) {
                IpcPairing *op = c->pairings;
                c->pairings = op->next;
                pairing_free(op->pairing);
                free(op);
        }
}
