/* A simulated host or client: speaks WebSocket and the control protocol, checks every byte that the
 * relay sends it, and knows what its link's other end has sent. */
#pragma once

#include "liblinkproto/control.h"
#include "liblinkproto/regauth.h"
#include "liblinkproto/wsframe.h"
#include "sim.h"

enum { PEERS = SIM_SOCKETS, PEER_FRAMES = 256, KEYS = 3, PENDING = 8 };

/* A data frame: its payload follows from its seed. */
typedef struct PeerFrame {
        uint32_t len;
        uint8_t opcode, seed;
        bool fin;
} PeerFrame;

typedef struct Peer {
        bool in_use;
        bool upgrades;   /* has sent a valid request */
        bool upgraded;   /* has read the 101 */
        bool answers;    /* pings by pongs, a close by a close */
        bool takes;      /* whatever comes, at once */
        bool wild;       /* has sent bytes that no rule is known for */
        bool close_sent; /* or the end of its stream, or a failure */
        bool spliced, closed;
        unsigned close_code;
        char link_id[LINK_ID_CHARS + 1]; /* "" : none */
        struct Peer *other;              /* of the link, once both know that it is live */
        uint8_t key;                     /* of the address that it was asked for */

        WsReceiver rx;
        Buf head, text;
        uint8_t control[WSFRAME_CONTROL_MAX];
        size_t control_len;

        /* what it has sent since `relaying`; the last may be under way */
        PeerFrame frames[PEER_FRAMES];
        size_t n_frames, n_whole;
        uint32_t sent;
        bool in_message;
        /* what it has got of the other's */
        size_t n_got;
        uint32_t got;
} Peer;

typedef struct Peers {
        Peer peers[PEERS];
        RegisterKey keys[KEYS];
        /* Links that hosts were asked to accept; a ring. */
        char pending[PENDING][LINK_ID_CHARS + 1];
        unsigned n_pending;
} Peers;

extern Peers peers;

void peers_start(void);
void peers_reset(void);
void peers_done(void);

void peer_open(size_t n, Relay *r, uint8_t how);
/* Bytes as they are. */
void peer_send_raw(size_t n, const uint8_t *p, size_t len);
/* A control message. */
void peer_send_text(size_t n, const char *text, size_t len);
void peer_register(size_t n, uint8_t key);
void peer_resolve(size_t n, uint8_t key);
void peer_relay(size_t n);
void peer_accept(size_t n, unsigned back);
/* Begins a data frame of len bytes and sends at most `now` of them; the rest by peer_continue. */
void peer_send_frame(size_t n, bool binary, bool fin, uint32_t len, uint32_t now);
void peer_continue(size_t n, uint32_t len);
void peer_send_control(size_t n, uint8_t opcode, const uint8_t *p, size_t len);
void peer_end(size_t n, bool fail);
/* Takes up to len bytes from the relay, and checks them. */
void peer_take(size_t n, size_t len);
/* Those that take whatever comes. */
void peers_take_all(void);
