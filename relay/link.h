/* Addresses and links: what the relay knows of who may reach whom. */
#pragma once

#include "conn.h"
#include "hashmap.h"
#include "shape.h"

enum { LINK_ID_CHARS = 36, ADDRESS_TEXT_CHARS = 43, LINK_STATE_LEVELS = 5 };

/* A host's identity: exists while it is registered or has links. */
struct Address {
        HashNode node;
        LIST_ENTRY(Address) of_holder;
        Conn *holder; /* the control socket; NULL: not registered */
        uint8_t public[32];
        int64_t ts_msec;         /* of the register that is in force */
        LIST_HEAD(, Link) links; /* all that live */
        char text[ADDRESS_TEXT_CHARS + 1];
};

typedef enum LinkState { LINK_INTRODUCED, LINK_PENDING, LINK_RELAYING } LinkState;
typedef enum LinkReason { REASON_PEER_GONE, REASON_IDLE, REASON_SLOW_PEER, N_REASONS } LinkReason;

struct Link {
        HashNode node;
        char id[LINK_ID_CHARS + 1];
        uint8_t state;          /* LinkState */
        bool watched_usage : 1; /* in the relay's usage list */
        bool told_throttled : 1;
        uint8_t told_level; /* of `used`, by the last push */
        Address *address;
        LIST_ENTRY(Link) of_address, of_control; /* of_control: while waiting */
        TAILQ_ENTRY(Link) in_idle, in_usage;
        Conn *client, *host; /* host: its relay end, while relaying */
        uint64_t active_msec, listed_msec, usage_msec;
        int64_t started_msec, relay_started_msec; /* wall clock */
        uint64_t from_client, from_host;          /* payload bytes */
        Shape shape;
};

typedef TAILQ_HEAD(LinkList, Link) LinkList;

/* The address, or NULL. */
Address *address_find(Relay *r, const char *text);
/* Makes c (a control socket) its holder, making it if it is new. The one before, if another, is
 * closed 4005. 0 or -ENOMEM. */
int address_claim(Relay *r, const char *text, Conn *c, const uint8_t public[32],
                  int64_t ts_msec) _must_use_;

/* Introduces a client to a registered address. NULL: no memory. */
Link *link_introduce(Conn *client, Address *a);
/* The link of that id that waits for its host's end, or NULL. */
Link *link_find_pending(Relay *r, const char *id);
/* The client has asked for a relay. */
void link_request(Link *l);
/* host is its host's end from now on. */
void link_splice(Link *l, Conn *host);
/* Takes the link away and closes the ends that are still open: client_code, host_code 0: left
 * alone. c, which is going, is left alone too. */
void link_end(Link *l, LinkReason reason, unsigned client_code, unsigned host_code);
/* A control socket, or one end of a link, leaves. */
void link_left(Conn *c);

/* Something went through. */
void link_active(Link *l);
/* Charges a frame of n bytes to the link: 0, or for how long it is held. */
uint64_t link_charge(Link *l, uint64_t n);
/* Idle links and usage pushes that are due. */
void link_sweep(Relay *r, uint64_t now_msec);

static inline Conn *link_other_end(const Conn *c)
{
        return c->link->client == c ? c->link->host : c->link->client;
}
