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
        bool has_code_id;
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

static int replace(Pairing *p, Peer *old, const Credential *c, Peer **ret)
{
        uint8_t key_id[KEY_ID_BYTES];
        int r;

        memcpy(key_id, old->credential->key_id, KEY_ID_BYTES);
        r = peer_replace(old, c, p->uplinks, p->n_uplinks);
        if (r < 0)
                return r;
        p->has_replaced = memcmp(key_id, c->key_id, KEY_ID_BYTES) != 0;
        memcpy(p->replaced, key_id, KEY_ID_BYTES);
        *ret = old;
        return 0;
}

/* Stores what the host gave: over an older pairing with the same host, if that has the same name or
 * none was asked for. */
static int keep(Pairing *p, const Credential *c, Peer **ret)
{
        Peer *old = p->name[0] ? agent_find_peer(p->agent, p->name, strlen(p->name))
                               : peer_with_address(p->agent, c->address);

        if (old && strcmp(old->credential->address, c->address) == 0)
                return replace(p, old, c, ret);
        if (old)
                return -EEXIST; /* taken while this pairing ran */
        if (!p->name[0]) {
                (void)snprintf(p->name, sizeof(p->name), "host-%.6s", c->address);
                for (unsigned i = 2; agent_find_peer(p->agent, p->name, strlen(p->name)); i++)
                        (void)snprintf(p->name, sizeof(p->name), "host-%.6s-%u", c->address, i);
        }
        return peer_create(ret, p->agent, p->name, c, p->uplinks, p->n_uplinks);
}

static void on_result(void *userdata, ConnectorResult result, Ws *ws, SealPair *keys,
                      const Credential *credential, size_t uplink, const char *cause)
{
        Pairing *p = userdata;
        Peer *peer = NULL;
        char text[320];
        int r;

        p->connector = NULL; /* it ends itself */
        switch (result) {
        case CONNECTOR_CONNECTED:
                r = keep(p, credential, &peer);
                /* Applications open sessions of their own. */
                ws_free(ws);
                secret_object_free(keys);
                if (r == 0) {
                        peer->last_uplink = uplink;
                        log_info("paired with host %s as peer %s", credential->address, peer->name);
                        p->func(p->userdata, peer, NULL, NULL);
                        break;
                }
                (void)snprintf(text, sizeof(text),
                               "paired, but the credential could not be stored in %s: %s",
                               store_dir(p->agent->store), strerror(-r));
                p->func(p->userdata, NULL, r == -EEXIST ? "exists" : "storage", text);
                break;
        case CONNECTOR_WRONG_CODE:
                (void)snprintf(text, sizeof(text), "%s%s", cause,
                               p->has_code_id ? ""
                                              : "; if the invitation shows a code id, give it with "
                                                "--code-id"); /* fits, or is cut */
                p->func(p->userdata, NULL, "wrongCode", text);
                break;
        case CONNECTOR_REVOKED: /* not in a pairing */
        case CONNECTOR_UNREACHABLE:
                p->func(p->userdata, NULL, "unreachable", cause);
                break;
        }
        pairing_free(p);
}

int pairing_start(Pairing **ret, Agent *a, const InviteUri *invitation, const char *name,
                  PairingFunc func, void *userdata)
{
        const Peer *named = agent_find_peer(a, name, strlen(name));
        unsigned n = 0;
        Pairing *p;
        int r;

        if (named && strcmp(named->credential->address, invitation->address) != 0)
                return -EEXIST; /* before the code is spent */
        for (const Peer *i = a->peers; i; i = i->next)
                n++;
        if (n >= PEERS_MAX)
                return -EUSERS;
        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->agent = a;
        p->has_code_id = invitation->has_code_id;
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
                                     invitation->has_code_id ? invitation->code_id : NULL,
                                     p->uplinks, p->n_uplinks, on_result, p);
        if (r < 0) {
                pairing_free(p);
                return r;
        }
        *ret = p;
        return 0;
}
