/* A simulated network, loop and clock under the relay's core. It stands in the place of
 * relay/socket.c and of libuv, so that a run depends on nothing but its input.
 *
 *      peer                 kernel                          relay
 *      sim_feed()    ->     in (read in chunks)      ->     socket_read()
 *      sim_take()    <-     out (at most cap bytes)  <-     socket_write()  */
#pragma once

#include "liblinkproto/buf.h"
#include "relay/relay-internal.h"

enum {
        SIM_SOCKETS = 12,
        SIM_IN_MAX = 700 * 1024, /* more than two reads of the relay */
};

typedef struct SimSocket {
        Conn *conn; /* NULL: the relay has closed it, or it is not in use */
        bool in_use;
        Buf in;
        size_t in_off, chunk; /* chunk: most that one read brings */
        Buf out;
        size_t cap; /* of out */
        bool ended, failed;
        uint64_t failed_msec;
        bool shut; /* by the relay */
        void (*on_closed)(Conn *c);
        Conn *closing;
} SimSocket;

typedef struct Sim {
        uint64_t now_msec;
        SimSocket sockets[SIM_SOCKETS];
        uint32_t seed;     /* of all randomness */
        unsigned fails_in; /* the allocation that will fail; 0: none */
        bool starved;      /* one has failed: who lost what is not judged any more */
        bool touched;      /* the relay has done something to a socket or handle */
} Sim;

extern Sim sim;

/* Once a process. */
void sim_start(void);
/* Before each run. */
void sim_reset(void);
/* Frees what a run has left; fails if the relay has left a handle. */
void sim_done(void);

/* A new connection in a free socket. */
void sim_open(size_t n, Relay *r, uint8_t ip);
/* The connection is reset, behind the bytes that were sent. */
void sim_fail(size_t n);
/* Bytes from the peer. false: the buffer is full, nothing was taken. */
bool sim_feed(size_t n, const void *p, size_t len);
/* The peer takes up to len bytes; they are dropped from the socket. Returns how many. */
size_t sim_take(size_t n, uint8_t *out, size_t len);
/* The relay has written all that it will, and the peer has taken it. */
bool sim_at_end(size_t n);

/* Delivers events until there are none. */
void sim_run(void);
/* Lets time pass, with every timer that is due on the way. between() is called after each that has
 * moved something. */
void sim_advance(uint64_t msec, void (*between)(void));
/* The loop was asleep: time has passed at once. */
void sim_jump(uint64_t msec);
