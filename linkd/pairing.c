#include "pairing.h"

#include <errno.h>
#include <stdio.h>

#include "connector.h"
#include "liblinkproto/ipcmsg.h"
#include "limits.h"
#include "log.h"
#include "peer.h"

struct Pairing {
        Agent *agent;
        char name[NAME_MAX_BYTES + 1];
        char *uplinks[UPLINKS_MAX];
        size_t n_uplinks;
        bool told_code_id; /* or none is needed */
        bool has_replaced;
        uint8_t replaced[KEY_ID_BYTES];
        Connector *connector;
        PairingFunc func;
        void *userdata;
};

bool name_is_valid(const char *text)
{
        size_t n = strlen(text);

        if (n == 0 || n > NAME_MAX_BYTES || text[0] == '-' || text[0] == '@' ||
            !ipc_utf8_valid(text, n))
                return false;
        for (; *text; text++)
                if ((unsigned char)*text < 0x20 || *text == 0x7f)
                        return false;
        return true;
}

const uint8_t *pairing_replaced(const Pairing *p)
{
        return p->has_replaced ? p->replaced : NULL;
}

Pairing *pairing_free(Pairing *p)
{
        if (!p)
                return NULL;
        connector_free(p->connector);
        for (size_t i = 0; i < p->n_uplinks; i++)
                free(p->uplinks[i]);
        free(p);
        return NULL;
}

static Peer *peer_with_address(Agent *a, const char *address)
{
        Peer *p = a->peers;

        while (p && strcmp(p->credential->address, address) != 0)
                p = p->next;
        return p;
}

/* The peer whose credential a pairing replaces; NULL: none. */
static Peer *peer_to_replace(Agent *a, const char *address, const char *name)
{
        Peer *p = name[0] ? agent_find_peer(a, name, strlen(name)) : peer_with_address(a, address);

        return p && strcmp(p->credential->address, address) == 0 ? p : NULL;
}

/* Stores what the host gave: over an older pairing with the same host, if that has the same name or
 * none was asked for. */
static int keep(Peer **ret, Agent *a, const Credential *c, char *const *uplinks, size_t n_uplinks,
                const char *name)
{
        Peer *old = peer_to_replace(a, c->address, name);
        char made[NAME_MAX_BYTES + 1];
        int r;

        if (old) {
                r = peer_replace(old, c, uplinks, n_uplinks);
                if (r == 0)
                        *ret = old;
                return r;
        }
        if (!name[0]) {
                (void)snprintf(made, sizeof(made), "host-%.6s", c->address);
                for (unsigned i = 2; agent_find_peer(a, made, strlen(made)); i++)
                        (void)snprintf(made, sizeof(made), "host-%.6s-%u", c->address, i);
                name = made;
        }
        if (agent_find_peer(a, name, strlen(name)))
                return -EEXIST; /* taken while this pairing ran */
        return peer_create(ret, a, name, c, uplinks, n_uplinks);
}

/* Before anything is spent: whether a peer with that address and name ("": any) can be kept. */
static int check_room(Agent *a, const char *address, const char *name)
{
        unsigned n = 0;

        if (agent_find_peer(a, name, strlen(name)) && !peer_to_replace(a, address, name))
                return -EEXIST;
        for (const Peer *i = a->peers; i; i = i->next)
                n++;
        return n >= PEERS_MAX ? -EUSERS : 0;
}

int pairing_import(Peer **ret, Agent *a, const Credential *c, char *const *uplinks,
                   size_t n_uplinks, const char *name)
{
        int r = check_room(a, c->address, name);

        if (r == 0)
                r = keep(ret, a, c, uplinks, n_uplinks, name);
        if (r == 0)
                log_info("imported a credential of host %s as peer %s", c->address, (*ret)->name);
        return r;
}

static int keep_result(Pairing *p, const Credential *c, Peer **ret)
{
        const Peer *old = peer_to_replace(p->agent, c->address, p->name);
        int r;

        if (old)
                memcpy(p->replaced, old->credential->key_id, KEY_ID_BYTES);
        r = keep(ret, p->agent, c, p->uplinks, p->n_uplinks, p->name);
        p->has_replaced = r == 0 && old && memcmp(p->replaced, c->key_id, KEY_ID_BYTES) != 0;
        return r;
}

static void on_result(void *userdata, ConnectorResult result, Ws *ws, SealPair *keys,
                      const Credential *credential, size_t uplink, const char *cause)
{
        Pairing *p = userdata;
        Peer *peer = NULL;
        char text[768];
        int r;

        p->connector = NULL; /* it ends itself */
        switch (result) {
        case CONNECTOR_CONNECTED:
                r = keep_result(p, credential, &peer);
                /* Applications open sessions of their own. */
                ws_free(ws);
                secret_object_free(keys);
                if (r == 0) {
                        peer_note_uplink(peer, uplink);
                        log_info("paired with host %s as peer %s", credential->address, peer->name);
                        p->func(p->userdata, peer, NULL, NULL);
                        break;
                }
                (void)snprintf(text, sizeof(text),
                               "paired, but the credential could not be kept in %s: %s; %s, with a "
                               "new invitation, and revoke this device on the host",
                               store_dir(p->agent->store), strerror(-r),
                               r == -EEXIST ? "give another --name"
                                            : store_remedy(r)); /* cut is fine */
                p->func(p->userdata, NULL, r == -EEXIST ? "exists" : "storage", text);
                break;
        case CONNECTOR_WRONG_CODE:
                (void)snprintf(text, sizeof(text), "%s%s", cause,
                               p->told_code_id
                                       ? ""
                                       : "; if the invitation shows a code id, give it with "
                                         "--code-id"); /* fits, or is cut */
                p->func(p->userdata, NULL, "wrongCode", text);
                break;
        case CONNECTOR_REVOKED: /* not in a pairing */
        case CONNECTOR_UNREACHABLE:
        case CONNECTOR_ABSENT:
                p->func(p->userdata, NULL, "unreachable", cause);
                break;
        }
        pairing_free(p);
}

int pairing_start(Pairing **ret, Agent *a, const InviteUri *invitation, bool recover,
                  const char *name, PairingFunc func, void *userdata)
{
        Pairing *p;
        int r = check_room(a, invitation->address, name);

        if (r == 0)
                r = store_try_write(a->store); /* before a code is spent for nothing */
        if (r < 0)
                return r;
        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->agent = a;
        p->told_code_id = invitation->has_code_id || recover;
        p->func = func;
        p->userdata = userdata;
        strncpy(p->name, name, sizeof(p->name) - 1); /* checked by the caller; zeroed */
        for (; p->n_uplinks < invitation->n_relays; p->n_uplinks++) {
                p->uplinks[p->n_uplinks] = strdup(invitation->relays[p->n_uplinks]);
                if (!p->uplinks[p->n_uplinks])
                        break;
        }
        r = p->n_uplinks < invitation->n_relays
                    ? -ENOMEM
                    : connector_pair(&p->connector, a, invitation->address, invitation->code,
                                     invitation->has_code_id ? invitation->code_id : NULL, recover,
                                     p->uplinks, p->n_uplinks, on_result, p);
        if (r < 0) {
                pairing_free(p);
                return r;
        }
        *ret = p;
        return 0;
}
